"""What an edit changed: per segment voxels, volume, overlap, surface distance and slices against the prior.

"Edited" is this difference of pixels, never what Segment Algorithm Type says: viewers mark an untouched segmentation
MANUAL and an edited one AUTOMATIC.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dicom_sr.errors import GeometryMismatch
from dicom_sr.segmentation import Mask, Segment, Segmentation
from dicom_sr.surface import hd95


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentDiff:
    """What happened to one segment.

    Parameters
    ----------
    label : str
        Segment Label of ours.
    prior_voxels, edited_voxels : int
        Size before and after.
    added_voxels, removed_voxels : int
        Voxels in the edited mask only; in the prior mask only.
    voxel_ml : float
        Volume of one voxel, ml.
    hd95_mm : float
        95th percentile of the surface distance, mm; 0 for an unchanged mask, nan if either mask is empty or it was not
        measured.
    slices : tuple of int
        Slice indices z in which a voxel changed, ascending.
    """

    label: str
    prior_voxels: int
    edited_voxels: int
    added_voxels: int
    removed_voxels: int
    voxel_ml: float
    hd95_mm: float
    slices: tuple[int, ...]

    @property
    def is_changed(self) -> bool:
        """Whether any voxel was added or removed."""
        return bool(self.added_voxels or self.removed_voxels)

    @property
    def added_ml(self) -> float:
        """Volume added, ml."""
        return self.added_voxels * self.voxel_ml

    @property
    def removed_ml(self) -> float:
        """Volume removed, ml."""
        return self.removed_voxels * self.voxel_ml

    @property
    def dice(self) -> float:
        """Dice coefficient of prior and edited mask, 0..1; 1 when both are empty."""
        total = self.prior_voxels + self.edited_voxels
        return 1.0 if total == 0 else 2.0 * (self.prior_voxels - self.removed_voxels) / total

    @property
    def volume_ratio(self) -> float:
        """Edited over prior volume; inf when only the prior is empty, 1 when both are."""
        if self.prior_voxels:
            return self.edited_voxels / self.prior_voxels
        return math.inf if self.edited_voxels else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationDiff:
    """What happened to a segmentation.

    Parameters
    ----------
    segments : tuple of SegmentDiff
        One for each segment of the prior, in its order.
    changed_voxels : int
        Grid positions at which any segment changed.
    slices : tuple of int
        Slice indices z in which any segment changed, ascending.
    """

    segments: tuple[SegmentDiff, ...]
    changed_voxels: int
    slices: tuple[int, ...]

    @property
    def is_changed(self) -> bool:
        """Whether any voxel of any segment changed."""
        return self.changed_voxels > 0

    @property
    def changed_segments(self) -> tuple[SegmentDiff, ...]:
        """The segments that changed."""
        return tuple(segment for segment in self.segments if segment.is_changed)

    def segment_named(self, label: str) -> SegmentDiff | None:
        """Return the segment with this label, or None."""
        return next((segment for segment in self.segments if segment.label == label), None)


def diff(prior: Segmentation, edited: Segmentation, *, surfaces: bool = True) -> SegmentationDiff:
    """Compare an edited segmentation with its prior, voxel by voxel.

    Parameters
    ----------
    prior, edited : Segmentation
        On the same grid, with the same labels; their packing into layers may differ.
    surfaces : bool
        Whether to measure the surface distance of changed segments (the costly part).

    Returns
    -------
    SegmentationDiff

    Raises
    ------
    GeometryMismatch
        If the grids or the labels differ.
    """
    if not prior.grid.is_same_as(edited.grid):
        raise GeometryMismatch("the edited segmentation lies on another grid than its prior")
    if [s.label for s in prior.segments] != [s.label for s in edited.segments]:
        raise GeometryMismatch("the edited segmentation has other segments than its prior")
    tallies = [
        _Tally(before=before, after=after) for before, after in zip(prior.segments, edited.segments, strict=True)
    ]
    changed, slices = 0, []
    for z in range(prior.grid.shape[0]):
        _count_plane(prior, z, {(prior.layer_of[i], t.before.number): t.prior_planes for i, t in enumerate(tallies)})
        _count_plane(edited, z, {(edited.layer_of[i], t.after.number): t.edited_planes for i, t in enumerate(tallies)})
        here = _compare_plane(prior, edited, z, tallies)
        if here:
            changed += here
            slices.append(z)
    found = tuple(tally.summary(prior.grid.voxel_ml) for tally in tallies)
    if surfaces:
        found = tuple(
            replace(segment, hd95_mm=_surface_distance(prior, edited, tally)) if segment.is_changed else segment
            for segment, tally in zip(found, tallies, strict=True)
        )
    return SegmentationDiff(segments=found, changed_voxels=changed, slices=tuple(slices))


@dataclass(slots=True, kw_only=True)
class _Tally:
    """Counts of one segment while the planes are walked; the keys are slice indices."""

    before: Segment
    after: Segment
    prior_planes: dict[int, int] = field(default_factory=dict)
    edited_planes: dict[int, int] = field(default_factory=dict)
    added: dict[int, int] = field(default_factory=dict)
    removed: dict[int, int] = field(default_factory=dict)

    def summary(self, voxel_ml: float) -> SegmentDiff:
        """Sum up; without the surface distance unless it is known to be 0 or nan."""
        touched = {z for counts in (self.added, self.removed) for z, n in counts.items() if n}
        sizes = sum(self.prior_planes.values()), sum(self.edited_planes.values())
        return SegmentDiff(
            label=self.before.label,
            prior_voxels=sizes[0],
            edited_voxels=sizes[1],
            added_voxels=sum(self.added.values()),
            removed_voxels=sum(self.removed.values()),
            voxel_ml=voxel_ml,
            hd95_mm=0.0 if min(sizes) and not touched else math.nan,
            slices=tuple(sorted(touched)),
        )

    def planes(self) -> range:
        """Slices between the first and the last that hold either mask."""
        occupied = [*self.prior_planes, *self.edited_planes]
        return range(min(occupied), max(occupied) + 1) if occupied else range(0)


def _count_plane(segmentation: Segmentation, z: int, planes_of: dict[tuple[int, int], dict[int, int]]) -> None:
    """Record in `planes_of`, by (layer, number), how many voxels each segment has in slice z."""
    for layer, labels in enumerate(segmentation.layers[:, z]):
        if not labels.any():
            continue
        counts = np.bincount(labels.ravel())
        for number in np.flatnonzero(counts):
            planes = planes_of.get((layer, int(number)))
            if planes is not None:
                planes[z] = int(counts[number])


def _compare_plane(prior: Segmentation, edited: Segmentation, z: int, tallies: Sequence[_Tally]) -> int:
    """Record what changed in slice z and return at how many positions any segment changed."""
    if _is_packed_alike(prior, edited) and np.array_equal(prior.layers[:, z], edited.layers[:, z]):
        return 0
    anywhere = np.zeros(prior.grid.shape[1:], np.bool_)
    for index, tally in enumerate(tallies):
        if z not in tally.prior_planes and z not in tally.edited_planes:
            continue
        before = prior.layers[prior.layer_of[index], z] == tally.before.number
        after = edited.layers[edited.layer_of[index], z] == tally.after.number
        changed = before != after
        total = int(np.count_nonzero(changed))
        if total:
            tally.added[z] = int(np.count_nonzero(changed & after))
            tally.removed[z] = total - tally.added[z]
            anywhere |= changed
    return int(np.count_nonzero(anywhere))


def _is_packed_alike(prior: Segmentation, edited: Segmentation) -> bool:
    return (
        prior.layers.shape == edited.layers.shape
        and prior.layer_of == edited.layer_of
        and [s.number for s in prior.segments] == [s.number for s in edited.segments]
    )


def _surface_distance(prior: Segmentation, edited: Segmentation, tally: _Tally) -> float:
    if not tally.prior_planes or not tally.edited_planes:
        return math.nan
    before = _mask_in(prior, tally.before, tally.planes())
    after = _mask_in(edited, tally.after, tally.planes())
    box = tuple(_extents(before | after))
    return hd95(before[box], after[box], prior.grid.spacing)


def _mask_in(segmentation: Segmentation, segment: Segment, planes: range) -> Mask:
    layer = segmentation.layer_of[segmentation.segments.index(segment)]
    mask: Mask = segmentation.layers[layer, planes.start : planes.stop] == segment.number
    return mask


def _extents(mask: Mask) -> Iterator[slice]:
    """Slice that holds the mask along each axis."""
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        yield slice(int(occupied[0]), int(occupied[-1]) + 1)
