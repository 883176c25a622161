"""Sentinels against writers that flip or displace masks under a consistent header: only the content shows it.

Older cornerstone adapters store the slices of an unsorted stack in reverse order and renumber the header to match. The
mask then fits its prior better after a flip than as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from dicom_sr.diff import SegmentationDiff
from dicom_sr.segmentation import Mask, Segment, Segmentation

#: A flip is suspected when undoing it raises a segment's Dice with its prior by more than this...
FLIP_GAIN = 0.05
#: ... or leaves at most this part of the voxels that changed: on a nearly symmetric mask Dice does not move.
FLIP_REMAINDER = 0.75
#: A shift is suspected when undoing it leaves at most this part of the voxels that changed: the same mask, moved.
SHIFT_REMAINDER = 0.25
#: Displacements that explain fewer changed voxels than this are not suspected.
MIN_VOXELS = 10
#: Displacements tried along each axis, voxels.
_SHIFTS = (-3, -2, -1, 1, 2, 3)
#: Segments looked at in one object.
_MOST_SEGMENTS = 16


class Displacement(StrEnum):
    """How a mask may have been displaced by its writer."""

    SLICES_REVERSED = "SLICES_REVERSED"
    LEFT_RIGHT = "LEFT_RIGHT"
    UP_DOWN = "UP_DOWN"
    SHIFTED = "SHIFTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """One suspected displacement of one segment.

    Parameters
    ----------
    displacement : Displacement
        What undoes it.
    label : str
        Segment Label of ours.
    dice, dice_undone : float
        Dice with the prior as it stands, and with the displacement undone.
    """

    displacement: Displacement
    label: str
    dice: float
    dice_undone: float


def suspect_displacement(prior: Segmentation, edited: Segmentation, changes: SegmentationDiff) -> tuple[Suspicion, ...]:
    """Look for a flip or a small shift that fits the prior better than what was received.

    Parameters
    ----------
    prior, edited : Segmentation
        On the same grid, with the same segments in the same order.
    changes : SegmentationDiff
        Their difference; the segments that changed most are looked at, because a flip moves them all.

    Returns
    -------
    tuple of Suspicion
        Empty when no flip about the middle of the grid and no shift of up to 3 voxels along an axis fits better.
    """
    found: list[Suspicion] = []
    for index in _most_changed(changes):
        before, after = prior.segments[index], edited.segments[index]
        pair = _Pair(before.label, _boxed(prior, before), _boxed(edited, after))
        found += _flips(pair, prior)
        found += _shifts(pair)
    return tuple(found)


class _Box(NamedTuple):
    """A mask cropped to what it holds, (z, y, x), and the index of its first voxel in the grid."""

    mask: Mask
    start: tuple[int, ...]

    def flipped(self, axis: int, size: int) -> _Box:
        """Flip about the middle of a grid axis of `size` voxels."""
        start = list(self.start)
        start[axis] = size - start[axis] - self.mask.shape[axis]
        return _Box(np.flip(self.mask, axis), tuple(start))

    def shifted(self, axis: int, distance: int) -> _Box:
        """Move along a grid axis."""
        start = list(self.start)
        start[axis] += distance
        return _Box(self.mask, tuple(start))


class _Pair:
    """A segment before and after, and how well any displacement of the latter fits the former."""

    def __init__(self, label: str, before: _Box, after: _Box) -> None:
        self.label = label
        self.after = after
        self._before = before
        self._total = int(np.count_nonzero(before.mask)) + int(np.count_nonzero(after.mask))
        self.changed = self.changed_with(after)

    def changed_with(self, after: _Box) -> int:
        """Count the voxels that differ from the prior when the edited mask is `after`."""
        return self._total - 2 * _common(self._before, after)

    def suspicion(self, displacement: Displacement, remaining: int) -> Suspicion:
        """Put a displacement that leaves `remaining` changed voxels into Dice."""
        return Suspicion(
            displacement=displacement,
            label=self.label,
            dice=1 - self.changed / self._total,
            dice_undone=1 - remaining / self._total,
        )


def _most_changed(changes: SegmentationDiff) -> list[int]:
    """Find the segments present before and after in which most voxels changed."""
    changed = [(s.added_voxels + s.removed_voxels, i) for i, s in enumerate(changes.segments)]
    present = [
        (n, i) for n, i in changed if n and changes.segments[i].prior_voxels and changes.segments[i].edited_voxels
    ]
    return [i for _, i in sorted(present, key=lambda pair: (-pair[0], pair[1]))[:_MOST_SEGMENTS]]


def _flips(pair: _Pair, prior: Segmentation) -> Iterator[Suspicion]:
    # The slice axis counts as such even where it runs from left to right.
    lateral = int(np.abs(prior.grid.affine[0, :3] / prior.grid.spacing).argmax())
    for axis in range(3):
        in_plane = Displacement.LEFT_RIGHT if axis == lateral else Displacement.UP_DOWN
        displacement = in_plane if axis else Displacement.SLICES_REVERSED
        remaining = pair.changed_with(pair.after.flipped(axis, prior.grid.shape[axis]))
        found = pair.suspicion(displacement, remaining)
        better = remaining <= FLIP_REMAINDER * pair.changed or found.dice_undone - found.dice > FLIP_GAIN
        if better and pair.changed - remaining >= MIN_VOXELS:
            yield found


def _shifts(pair: _Pair) -> Iterator[Suspicion]:
    moved = [pair.after.shifted(axis, distance) for axis in range(3) for distance in _SHIFTS]
    remaining = min(pair.changed_with(box) for box in moved)
    if pair.changed - remaining >= MIN_VOXELS and remaining <= SHIFT_REMAINDER * pair.changed:
        yield pair.suspicion(Displacement.SHIFTED, remaining)


def _boxed(segmentation: Segmentation, segment: Segment) -> _Box:
    layer = segmentation.layers[segmentation.layer_of[segmentation.segments.index(segment)]]
    planes = np.flatnonzero([(plane == segment.number).any() for plane in layer])
    mask = layer[planes[0] : planes[-1] + 1] == segment.number
    rows, columns = (np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    mask = mask[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _Box(mask, (int(planes[0]), int(rows[0]), int(columns[0])))


def _common(first: _Box, second: _Box) -> int:
    """Count the voxels in both masks."""
    ours, theirs = [], []
    for a, n, b, m in zip(first.start, first.mask.shape, second.start, second.mask.shape, strict=True):
        low, high = max(a, b), min(a + n, b + m)
        if low >= high:
            return 0
        ours.append(slice(low - a, high - a))
        theirs.append(slice(low - b, high - b))
    return int(np.count_nonzero(first.mask[tuple(ours)] & second.mask[tuple(theirs)]))
