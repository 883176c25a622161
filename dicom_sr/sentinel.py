"""Sentinels against writers that flip or displace masks under a consistent header: only the content shows it.

Older cornerstone adapters store the slices of an unsorted stack in reverse order and renumber the header to match. The
mask then fits its prior better after a flip than as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from dicom_sr.diff import SegmentationDiff
from dicom_sr.segmentation import Segment, Segmentation

#: A flip is suspected when it raises a segment's Dice with its prior by more than this.
FLIP_GAIN = 0.05
#: A displacement is suspected when it raises Dice by more than `FLIP_GAIN` to at least this: the same mask, moved.
SHIFTED_DICE = 0.95
#: Displacements tried along each axis, voxels.
_SHIFTS = (-3, -2, -1, 1, 2, 3)
#: Voxels of a mask looked up at most; larger masks are sampled evenly.
_SAMPLE = 200_000
#: Segments looked at in one object.
_MOST_SEGMENTS = 16

Indices = npt.NDArray[np.int64]


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
        found += _suspicions(prior, prior.segments[index], edited, edited.segments[index])
    return tuple(found)


def _most_changed(changes: SegmentationDiff) -> list[int]:
    """Find the segments whose Dice leaves room for a flip to gain, most changed voxels first."""
    room = [i for i, segment in enumerate(changes.segments) if segment.dice < 1.0 - FLIP_GAIN]
    room.sort(key=lambda i: -changes.segments[i].added_voxels - changes.segments[i].removed_voxels)
    return room[:_MOST_SEGMENTS]


def _suspicions(prior: Segmentation, before: Segment, edited: Segmentation, after: Segment) -> Iterator[Suspicion]:
    prior_layer = prior.layers[prior.layer_of[prior.segments.index(before)]]
    edited_layer = edited.layers[edited.layer_of[edited.segments.index(after)]]
    prior_size = int(np.count_nonzero(prior_layer == before.number))
    indices = np.flatnonzero(edited_layer == after.number)
    edited_size = len(indices)
    if not prior_size or not edited_size:
        return
    step = -(-edited_size // _SAMPLE)
    sample = np.stack(np.unravel_index(indices[::step], edited_layer.shape), axis=-1).astype(np.int64)
    weight = 2.0 * edited_size / len(sample) / (prior_size + edited_size)

    def dice(moved: Indices) -> float:
        within = moved[((moved >= 0) & (moved < prior_layer.shape)).all(axis=1)]
        return weight * int(np.count_nonzero(prior_layer[tuple(within.T)] == before.number))

    plain = dice(sample)
    for displacement, axis in _flips(prior):
        flipped = sample.copy()
        flipped[:, axis] = prior_layer.shape[axis] - 1 - flipped[:, axis]
        undone = dice(flipped)
        if undone - plain > FLIP_GAIN:
            yield Suspicion(displacement=displacement, label=before.label, dice=plain, dice_undone=undone)
    shifted = max(dice(sample + offset) for offset in _offsets())
    if shifted - plain > FLIP_GAIN and shifted >= SHIFTED_DICE:
        yield Suspicion(displacement=Displacement.SHIFTED, label=before.label, dice=plain, dice_undone=shifted)


def _flips(prior: Segmentation) -> Iterator[tuple[Displacement, int]]:
    """Flips worth trying and the grid axis of each; the slice axis counts as such even where it runs left to right."""
    lateral = int(np.abs(prior.grid.affine[0, :3] / prior.grid.spacing).argmax())
    yield Displacement.SLICES_REVERSED, 0
    for axis in (1, 2):
        yield (Displacement.LEFT_RIGHT if axis == lateral else Displacement.UP_DOWN), axis


def _offsets() -> Iterator[Indices]:
    for axis in range(3):
        for distance in _SHIFTS:
            offset = np.zeros(3, np.int64)
            offset[axis] = distance
            yield offset
