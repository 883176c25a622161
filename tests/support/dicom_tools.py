"""Real programs that judge or read our objects: dciodvfy, dcentvfy (dicom3tools), PixelMed, dcmqi, highdicom.

Each function returns what the program complains about, minus false errors. Every false error is listed here by its own
pattern with the reason why it is one. A program that is not installed skips the calling test and says so.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from dicom_sr.seg_kind import SEGMENTATION_STORAGE
from dicom_sr.volume import Grid

_JARS = [Path("/usr/share/java") / name for name in ("pixelmed.jar", "xalan2.jar", "serializer.jar")]
_TIMEOUT_S = 240


@dataclass(frozen=True)
class FalseError:
    """A complaint that is wrong: what it looks like, why it is wrong."""

    pattern: str
    reason: str


#: dciodvfy of 2022 does not know Label Map Segmentation: such a file is judged under the SOP Class of bit planes.
LABELMAP_FALSE_ERRORS = (
    FalseError(
        r"SegmentIdentificationSequence\(0062,000a\)> - Missing attribute for Type 1 Required",
        "A.51.5 requires Segment Identification unless Segmentation Type is LABELMAP (Supplement 243)",
    ),
    FalseError(
        r"SegmentNumber not monotonically increasing from one by one",
        "C.8.20.4: this holds for BINARY and FRACTIONAL only; the background of a label map is described as segment 0",
    ),
    FalseError(
        r"SegmentNumber\(0062,0004\)\[1\]> - Value is zero",
        "C.8.20.2.3: every pixel value of a label map is described, also the background 0",
    ),
    FalseError(
        r"SegmentationType\(0062,0001\)\[1\]> - Unrecognized enumerated value = <LABELMAP>",
        "the value that Supplement 243 added",
    ),
)
#: PixelMed's instance validator on segmentations.
PIXELMED_IOD_FALSE_ERRORS = (
    FalseError(
        r"GeneralSeriesModule/Laterality/: : Missing conditional attribute",
        "type 2C: required for a paired body part only, which the validator cannot tell",
    ),
)
#: The same on a label map judged under the SOP Class of bit planes: it does not know Supplement 243 either.
PIXELMED_LABELMAP_FALSE_ERRORS = (
    FalseError(
        r"SegmentationType/value\[1\]: Unrecognized enumerated value :LABELMAP:",
        "the value that Supplement 243 added",
    ),
    FalseError(
        r"SegmentationMacro/SegmentIdentificationSequence/: .*: Missing required sequence attribute",
        "A.51.5 requires Segment Identification unless Segmentation Type is LABELMAP (Supplement 243)",
    ),
)
#: PixelMed's structured report validator knows the context groups of 2019.
PIXELMED_SR_FALSE_ERRORS = (
    FalseError(r"CID 100\b", "CID 100 is extensible: a procedure code outside the list of 2019 is legal"),
)


def dciodvfy_errors(file: Path) -> list[str]:
    """Errors of `dciodvfy -new`; warnings do not count."""
    output = _run([_program("dciodvfy", "dicom3tools"), "-new", str(file)])
    return [line for line in output.splitlines() if line.startswith(("Error", "Abort"))]


def labelmap_dciodvfy_errors(file: Path, folder: Path) -> list[str]:
    """Errors of dciodvfy on a label map judged as Segmentation Storage, minus `LABELMAP_FALSE_ERRORS`."""
    return without(dciodvfy_errors(as_bit_planes(file, folder)), LABELMAP_FALSE_ERRORS)


def as_bit_planes(file: Path, folder: Path) -> Path:
    """Copy a label map under the SOP Class of bit planes, the one that dicom3tools knows."""
    copy = folder / "as_bit_planes.dcm"
    shutil.copy(file, copy)
    changed = f"(0008,0016)={SEGMENTATION_STORAGE}"
    _run([_program("dcmodify", "dcmtk"), "-nb", "-m", changed, str(copy)])
    return copy


def dcentvfy_complaints(files: Iterable[Path]) -> list[str]:
    """Everything dcentvfy says about the entities that `files` share."""
    output = _run([_program("dcentvfy", "dicom3tools"), *(str(file) for file in files)])
    return [line for line in output.splitlines() if line.strip()]


def pixelmed_iod_errors(file: Path) -> list[str]:
    """Errors of PixelMed's instance validator (about 4 s), minus `PIXELMED_IOD_FALSE_ERRORS`."""
    output = _pixelmed("DicomInstanceValidator", file)
    assert "IOD validation complete" in output, output[-2000:]
    return without([x for x in output.splitlines() if x.startswith("Error")], PIXELMED_IOD_FALSE_ERRORS)


def labelmap_pixelmed_errors(file: Path, folder: Path) -> list[str]:
    """Errors of PixelMed on a label map judged as Segmentation Storage, minus `PIXELMED_LABELMAP_FALSE_ERRORS`."""
    return without(pixelmed_iod_errors(as_bit_planes(file, folder)), PIXELMED_LABELMAP_FALSE_ERRORS)


def pixelmed_sr_errors(file: Path) -> list[str]:
    """Errors of PixelMed's structured report validator (about 11 s), minus `PIXELMED_SR_FALSE_ERRORS`."""
    output = _pixelmed("DicomSRValidator", file)
    return without([line for line in output.splitlines() if line.startswith("Error")], PIXELMED_SR_FALSE_ERRORS)


def dcmqi_masks(file: Path, folder: Path, grid: Grid) -> dict[str, npt.NDArray[np.bool_]]:
    """Read a segmentation with dcmqi's segimage2itkimage: masks by Segment Label, (z, y, x) on `grid`.

    Voxels are placed by dcmqi's own affine; one that falls outside the grid or off its centres fails the test.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _run([_dcmqi("segimage2itkimage"), "--inputDICOM", str(file), "--outputDirectory", str(folder), "-t", "nii"])
    described = json.loads((folder / "meta.json").read_text())["segmentAttributes"]
    masks = {}
    for number, segments in enumerate(described, start=1):
        image = nib.load(folder / f"{number}.nii.gz")
        voxels = np.asanyarray(image.dataobj)
        for segment in segments:
            inside = voxels > 0 if len(segments) == 1 else voxels == segment["labelID"]
            masks[segment["SegmentLabel"]] = _on_grid(inside, image.affine, grid)
    return masks


def dcmqi_write(
    masks: Sequence[tuple[dict[str, object], npt.NDArray[np.bool_]]],
    grid: Grid,
    sources: Sequence[Path],
    folder: Path,
    *,
    labelmap: bool = False,
) -> Path:
    """Write a segmentation with dcmqi's itkimage2segimage, the writer of 3D Slicer; one image per segment.

    Parameters
    ----------
    masks : sequence of (dict, array)
        dcmqi's JSON attributes of the segment (SegmentLabel, codes...), and the mask (z, y, x).
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for i, (_, mask) in enumerate(masks, start=1):
        images.append(folder / f"in{i}.nii.gz")
        nib.save(nib.Nifti1Image(mask.transpose(2, 1, 0).astype(np.uint8), ras_affine(grid)), images[-1])
    meta = {
        "SeriesDescription": "edited",
        "SeriesNumber": "301",
        "InstanceNumber": "1",
        "ContentCreatorName": "Reader^One",
        "segmentAttributes": [
            [{"labelID": 1, "SegmentAlgorithmType": "MANUAL", **attributes}] for attributes, _ in masks
        ],
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    output = folder / "dcmqi.dcm"
    _run(
        [
            *(_dcmqi("itkimage2segimage"), "--inputImageList", ",".join(str(image) for image in images)),
            *("--inputDICOMList", ",".join(str(source) for source in sources)),
            *("--inputMetadata", str(folder / "meta.json"), "--outputDICOM", str(output), "--skip", "1"),
            *(["--segmentationType", "labelmap"] if labelmap else []),
        ]
    )
    return output


def highdicom_masks(file: Path, grid: Grid) -> dict[str, npt.NDArray[np.bool_]]:
    """Read a segmentation with highdicom: masks by Segment Label, (z, y, x) on `grid`."""
    import highdicom as hd

    seg = hd.seg.segread(file)
    # highdicom 0.28.2 splits 16-bit label maps wrongly: every segment above 255 comes out empty.
    combined = seg.SegmentationType == "LABELMAP"
    volume = seg.get_volume(combine_segments=combined, allow_missing_positions=True)
    ras_from_voxel = np.diag([-1, -1, 1, 1]) @ volume.affine
    masks = {}
    for channel, number in enumerate(seg.segment_numbers):
        voxels = volume.array == number if combined else volume.array[..., channel] > 0
        label = seg.get_segment_description(number).segment_label
        masks[label] = _on_grid(voxels, ras_from_voxel, grid)
    return masks


def ras_affine(grid: Grid) -> npt.NDArray[np.float64]:
    """Affine of `grid` for NIfTI: index (x, y, z) to RAS mm."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    return affine[:, [2, 1, 0, 3]]


def without(complaints: Sequence[str], known: Sequence[FalseError]) -> list[str]:
    """Return the complaints that no known false error explains."""
    return [line for line in complaints if not any(re.search(false.pattern, line) for false in known)]


def _on_grid(mask: npt.NDArray[np.bool_], ras_from_voxel: npt.NDArray[np.float64], grid: Grid) -> npt.NDArray[np.bool_]:
    """Move a mask with its own affine onto `grid` by exact placement, without interpolation."""
    found = np.argwhere(mask)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras_from_voxel @ np.c_[found, np.ones(len(found))].T
    index = (np.linalg.inv(grid.affine) @ lps)[:3]
    nearest = np.rint(index).astype(int)
    placed = np.zeros(grid.shape, bool)
    if len(found):
        assert np.abs(index - nearest).max() < 0.05, "the reader's voxels lie between those of the source grid"
        outside = (nearest < 0).any(axis=1) | (nearest.max(axis=1) >= grid.shape)
        assert not outside.any(), "the reader's voxels lie outside the source grid"
        placed[tuple(nearest)] = True
    return placed


def _pixelmed(validator: str, file: Path) -> str:
    missing = [jar.name for jar in _JARS if not jar.exists()]
    if missing:
        pytest.skip(f"PixelMed is not installed (apt: libpixelmed-java libxalan2-java); missing {', '.join(missing)}")
    classpath = ":".join(str(jar) for jar in _JARS)
    return _run([_program("java", "default-jre"), "-cp", classpath, f"com.pixelmed.validate.{validator}", str(file)])


def _dcmqi(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else _program(name, "dcmqi", installer="pip")


def _program(name: str, package: str, *, installer: str = "apt") -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed ({installer}: {package})")
    return found


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout + done.stderr
