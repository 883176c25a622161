"""Display copies of images and segmentations: 8-bit volumes and label layers as files that are read by memory map.

The folder is disposable. Files are named by content, so a copy is never stale; the oldest go when there are too many.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dicom_sr.segmentation import Segmentation
    from dicom_sr.volume import Volume

#: Percentiles of the voxels that become black and white, except for CT.
_BLACK, _WHITE = 0.5, 99.7
#: Display window of CT, HU: soft tissue, centre 40, width 400.
_CT_WINDOW = (-160.0, 240.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayVolume:
    """An image windowed for display.

    Parameters
    ----------
    voxels : numpy.ndarray, (z, y, x), uint8
        Memory map, read only.
    affine : numpy.ndarray, (4, 4), float64
        Voxel index (z, y, x, 1) to LPS mm.
    """

    voxels: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplaySegment:
    """A segment as pages draw it: value in its layer, label, sRGB colour, layer."""

    number: int
    label: str
    color: tuple[int, int, int]
    layer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayLayers:
    """A segmentation for display: its segments and label layers, (layer, z, y, x), a read-only memory map."""

    segments: tuple[DisplaySegment, ...]
    layers: npt.NDArray[np.uint16]
    voxel_ml: float

    def mask(self, segment: DisplaySegment) -> npt.NDArray[np.bool_]:
        """Mask of one segment, (z, y, x), bool."""
        mask: npt.NDArray[np.bool_] = self.layers[segment.layer] == segment.number
        return mask


class PictureCache:
    """Display copies in one folder.

    Parameters
    ----------
    folder : Path
        Created if missing.
    limit_bytes : int
        The copies that were used longest ago are dropped beyond this.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = 2 << 30) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    def volume(self, digest: str, load: Callable[[], Volume]) -> DisplayVolume:
        """Return the display copy of the volume with this digest, making it by `load` when there is none."""
        import numpy as np

        pixels, notes = self._folder / f"{digest}.npy", self._folder / f"{digest}.json"
        if not (pixels.is_file() and notes.is_file()):
            volume = load()
            self._keep(pixels, _windowed(volume))
            self._note(notes, {"affine": volume.grid.affine.tolist()})
        affine = np.array(json.loads(notes.read_text())["affine"])
        return DisplayVolume(voxels=self._open(pixels), affine=affine)

    def layers(self, digest: str, load: Callable[[], Segmentation]) -> DisplayLayers:
        """Return the display copy of the segmentation with this digest, making it by `load` when there is none."""
        pixels, notes = self._folder / f"{digest}.npy", self._folder / f"{digest}.json"
        if not (pixels.is_file() and notes.is_file()):
            segmentation = load()
            self._keep(pixels, segmentation.layers)
            described = [
                {"number": s.number, "label": s.label, "color": list(s.color), "layer": layer}
                for s, layer in zip(segmentation.segments, segmentation.layer_of, strict=True)
            ]
            self._note(notes, {"voxel_ml": segmentation.grid.voxel_ml, "segments": described})
        known = json.loads(notes.read_text())
        segments = tuple(
            DisplaySegment(number=s["number"], label=s["label"], color=tuple(s["color"]), layer=s["layer"])
            for s in known["segments"]
        )
        return DisplayLayers(segments=segments, layers=self._open(pixels), voxel_ml=known["voxel_ml"])

    def _open(self, path: Path) -> npt.NDArray[Any]:
        import numpy as np

        path.touch()
        mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped

    def _keep(self, path: Path, values: npt.NDArray[Any]) -> None:
        import numpy as np

        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, values, allow_pickle=False)
        Path(name).replace(path)
        self._drop_oldest(spare=path)

    def _note(self, path: Path, notes: dict[str, object]) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        with os.fdopen(descriptor, "w") as file:
            json.dump(notes, file)
        Path(name).replace(path)

    def _drop_oldest(self, *, spare: Path) -> None:
        copies = sorted(((p.stat(), p) for p in self._folder.glob("*.npy")), key=lambda pair: pair[0].st_mtime)
        total = sum(stat.st_size for stat, _ in copies)
        for stat, path in copies:
            if total <= self._limit_bytes:
                break
            if path != spare:
                # An open memory map stays valid: the file lives until it is closed.
                path.unlink(missing_ok=True)
                path.with_suffix(".json").unlink(missing_ok=True)
                total -= stat.st_size


def _windowed(volume: Volume) -> npt.NDArray[np.uint8]:
    import numpy as np

    voxels = volume.voxels
    if volume.modality == "CT":
        black, white = _CT_WINDOW
    else:
        # A sample is enough for a window, and keeps the memory of a large volume's sort small.
        sample = voxels.ravel()[:: max(1, voxels.size // 1_000_000)]
        finite = sample[np.isfinite(sample)]
        black, white = (float(v) for v in np.percentile(finite, (_BLACK, _WHITE))) if finite.size else (0.0, 1.0)
    scale = 255.0 / max(white - black, 1e-6)
    windowed = np.empty(voxels.shape, np.uint8)
    for z, plane in enumerate(voxels):
        windowed[z] = np.clip((np.nan_to_num(plane) - black) * scale, 0, 255)
    return windowed
