"""A segmentation on a grid: declared segments and their masks, packed into as few label layers as overlap allows.

One layer suffices unless segments overlap, so a hundred organs cost one integer array and never a one-hot stack.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dicom_sr.codes import Code
from dicom_sr.errors import GeometryMismatch
from dicom_sr.volume import Grid

Mask = npt.NDArray[np.bool_]
Layers = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment as a stage declares it.

    Parameters
    ----------
    number : int
        Segment Number, 1-based; also the value in its label layer.
    label : str
        Segment Label: ASCII, unique across all stages of a pipeline, because it is the one identity every editor keeps.
    category, property_type : Code
        Segmented Property Category / Type Code (CID 7150 / 7151).
    anatomic_region : Code or None
        Anatomic Region Sequence item.
    property_type_modifier : Code or None
        Segmented Property Type Modifier: the part or side of the type, such as anterior (CID 244 and the like).
    color : tuple of int, (r, g, b)
        Recommended display colour, sRGB 0..255.
    """

    number: int
    label: str
    category: Code
    property_type: Code
    anatomic_region: Code | None = None
    property_type_modifier: Code | None = None
    color: tuple[int, int, int] = (230, 159, 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """Segments and their masks on one grid.

    Parameters
    ----------
    grid : Grid
        Voxel grid of the source image.
    segments : tuple of Segment
        Declared segments, in order; a declared segment may be empty.
    layers : numpy.ndarray, (layer, z, y, x), uint16
        Label layers, 0 is background; canonical packing, see `from_masks`.
    layer_of : tuple of int
        For each segment the layer that holds its mask.
    """

    grid: Grid
    segments: tuple[Segment, ...]
    layers: Layers
    layer_of: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.layers.ndim != 4 or self.layers.shape[1:] != self.grid.shape:
            raise GeometryMismatch(f"layers of shape {self.layers.shape} on a grid of shape {self.grid.shape}")

    @classmethod
    def from_labelmap(cls, grid: Grid, labels: npt.ArrayLike, segments: Iterable[Segment]) -> Segmentation:
        """Build from one integer label map, (z, y, x); values that no segment declares become background."""
        declared = tuple(segments)
        given = np.asarray(labels)
        layer = np.where(np.isin(given, [s.number for s in declared]), given, 0).astype(np.uint16)
        return cls(grid=grid, segments=declared, layers=layer[None], layer_of=(0,) * len(declared))

    @classmethod
    def from_masks(cls, grid: Grid, masks: Mapping[int, Mask], segments: Iterable[Segment]) -> Segmentation:
        """Build from masks by segment number; each segment, in order, goes to the first layer it does not overlap."""
        declared = tuple(segments)
        layers: list[Layers] = [np.zeros(grid.shape, np.uint16)]
        layer_of: list[int] = []
        for segment in declared:
            mask = masks.get(segment.number)
            if mask is None or not mask.any():
                layer_of.append(0)
                continue
            index = next((i for i, layer in enumerate(layers) if not layer[mask].any()), len(layers))
            if index == len(layers):
                layers.append(np.zeros(grid.shape, np.uint16))
            layers[index][mask] = segment.number
            layer_of.append(index)
        return cls(grid=grid, segments=declared, layers=np.stack(layers), layer_of=tuple(layer_of))

    @property
    def overlaps(self) -> bool:
        """Whether any two segments share a voxel (then there is more than one layer)."""
        return len(self.layers) > 1

    def segment_named(self, label: str) -> Segment | None:
        """Return the segment with this label, or None."""
        return next((s for s in self.segments if s.label == label), None)

    def mask(self, segment: Segment) -> Mask:
        """Mask of one declared segment, (z, y, x), bool."""
        layer = self.layer_of[self.segments.index(segment)]
        mask: Mask = self.layers[layer] == segment.number
        return mask

    def numbered_from_one(self) -> Segmentation:
        """Return the same masks with segment numbers 1, 2, 3 ... in declared order, as a BINARY SEG needs them.

        Label values of a model may have gaps; PS3.3 C.8.20.2 wants Segment Numbers from 1 in steps of 1.
        """
        if [s.number for s in self.segments] == list(range(1, len(self.segments) + 1)):
            return self
        segments = tuple(replace(segment, number=n) for n, segment in enumerate(self.segments, 1))
        layers = np.zeros_like(self.layers)
        for old, new, layer in zip(self.segments, segments, self.layer_of, strict=True):
            layers[layer][self.layers[layer] == old.number] = new.number
        return Segmentation(grid=self.grid, segments=segments, layers=layers, layer_of=self.layer_of)

    def voxel_count(self, segment: Segment) -> int:
        """Count the voxels of one segment."""
        return int(np.count_nonzero(self.mask(segment)))

    def digest(self) -> str:
        """SHA-256 (hex) of grid, labels in order and masks; UIDs, codes and colours do not count."""
        digest = hashlib.sha256(self.grid.digest().encode())
        digest.update("\0".join(s.label for s in self.segments).encode())
        numbers = [s.number for s in self.segments]
        if numbers == list(range(1, len(numbers) + 1)):
            digest.update(np.ascontiguousarray(self.layers, dtype="<u2").data)
        else:
            rank = np.zeros(65536, np.uint16)
            rank[numbers] = np.arange(1, len(numbers) + 1)
            digest.update(np.ascontiguousarray(rank[self.layers], dtype="<u2").data)
        return digest.hexdigest()
