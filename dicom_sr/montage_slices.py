"""Which part of a volume and which slices a montage shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_sr.segmentation import Mask, Segmentation
from dicom_sr.volume import Volume

Layer = npt.NDArray[np.integer] | Mask

_MARGIN_MM = 10.0
_SMALLEST_MM = 50.0


@dataclass(frozen=True, slots=True)
class ShownSlice:
    """A slice to show and the segment it is the worst of, empty where it is just one through the segments."""

    index: int
    worst_of: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """What an edit changed.

    Parameters
    ----------
    added, removed : numpy.ndarray, (z, y, x), bool
        Voxels that gained or lost any segment; a relabelled voxel is both.
    index : int
        Slice with most changed voxels.
    slice_count : int
        Slices with any change.
    added_ml, removed_ml : float
        Millilitres.
    """

    added: Mask
    removed: Mask
    index: int
    slice_count: int
    added_ml: float
    removed_ml: float


def region_of(volume: Volume, layers: Sequence[Layer]) -> tuple[slice, slice, slice]:
    """Return the box around all labels with a margin, at least 50 mm wide and inside the grid; else the whole grid."""
    shape, spacing = volume.grid.shape, volume.grid.spacing
    union = np.zeros(shape, bool)
    for layer in layers:
        union |= layer != 0
    if not union.any():
        return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])
    sides = []
    for axis in range(3):
        hit = np.flatnonzero(union.any(axis=tuple(a for a in range(3) if a != axis)))
        grow = max(_MARGIN_MM, (_SMALLEST_MM - (hit[-1] - hit[0] + 1) * spacing[axis]) / 2) / spacing[axis]
        sides.append(slice(max(0, int(hit[0] - grow)), min(shape[axis], int(np.ceil(hit[-1] + 1 + grow)))))
    return sides[0], sides[1], sides[2]


def slices_to_show(
    worst: Mapping[str, Sequence[int]], layers: Sequence[Layer], volume: Volume, count: int
) -> list[ShownSlice]:
    """Return at most `count` slices, in order: the worst of each segment in turn, then evenly spread ones."""
    depth = volume.grid.shape[0]
    chosen: dict[int, str] = {}
    for place in range(max((len(indices) for indices in worst.values()), default=0)):
        for label, indices in worst.items():
            if place < len(indices) and 0 <= indices[place] < depth:
                chosen.setdefault(int(indices[place]), label)
    shown = [ShownSlice(index, label) for index, label in chosen.items()][:count]
    for index in _spread(layers, depth, count):
        if len(shown) < count and index not in chosen:
            shown.append(ShownSlice(index, ""))
    return sorted(shown, key=lambda s: s.index)


def changed_slices(before: Segmentation, after: Segmentation) -> Change:
    """Return what differs between two segmentations, segment by segment of the same label."""
    added = np.zeros(before.grid.shape, bool)
    removed = np.zeros(before.grid.shape, bool)
    for segment in before.segments:
        counterpart = after.segment_named(segment.label)
        old = before.mask(segment)
        new = np.zeros_like(old) if counterpart is None else after.mask(counterpart)
        added |= new & ~old
        removed |= old & ~new
    changed = np.count_nonzero(added | removed, axis=(1, 2))
    voxel_ml = before.grid.voxel_ml
    return Change(
        added=added,
        removed=removed,
        index=int(changed.argmax()),
        slice_count=int(np.count_nonzero(changed)),
        added_ml=float(np.count_nonzero(added)) * voxel_ml,
        removed_ml=float(np.count_nonzero(removed)) * voxel_ml,
    )


def _spread(layers: Sequence[Layer], depth: int, count: int) -> list[int]:
    held = np.zeros(depth, bool)
    for layer in layers:
        held |= layer.any(axis=(1, 2))
    hit = np.flatnonzero(held)
    first, last = (int(hit[0]), int(hit[-1])) if hit.size else (0, depth - 1)
    steps = np.linspace(first, last, 2 * count + 1)[1::2]  # the middles of equal parts, then their bounds
    return [*dict.fromkeys([*(round(s) for s in steps), *range(first, last + 1)])]
