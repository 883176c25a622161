"""The difference between an edit and its prior against counting voxel by voxel."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.diff import diff
from dicom_sr.errors import GeometryMismatch
from dicom_sr.segmentation import Mask, Segmentation
from dicom_sr.volume import Grid
from tests.support.make_segmentation import make_segments

GRID = Grid(shape=(4, 5, 6), affine=np.diag([3.0, 1.5, 1.25, 1.0]))
LABELS = ("A", "B", "C")


def segmentation(masks: dict[int, Mask], labels: tuple[str, ...] = LABELS, grid: Grid = GRID) -> Segmentation:
    return Segmentation.from_masks(grid, masks, make_segments(*labels))


def random_masks(seed: int, density: float) -> dict[int, Mask]:
    rng = np.random.default_rng(seed)
    return {n: rng.random(GRID.shape) < density for n in (1, 2, 3)}


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**16),
    density=st.sampled_from([0.0, 0.05, 0.3]),
    edited_density=st.sampled_from([0.0, 0.05, 0.3]),
    touched=st.sets(st.integers(1, 3)),
)
def test_every_count_equals_counting_voxel_by_voxel(
    seed: int, density: float, edited_density: float, touched: set[int]
) -> None:
    before = random_masks(seed, density)
    other = random_masks(seed + 1, edited_density)
    after = {n: other[n] if n in touched else before[n] for n in before}
    found = diff(segmentation(before), segmentation(after))
    anywhere = np.zeros(GRID.shape, bool)
    for segment, number in zip(found.segments, before, strict=True):
        changed = before[number] ^ after[number]
        anywhere |= changed
        total = int(before[number].sum() + after[number].sum())
        assert segment.prior_voxels == before[number].sum()
        assert segment.edited_voxels == after[number].sum()
        assert segment.added_voxels == (after[number] & ~before[number]).sum()
        assert segment.removed_voxels == (before[number] & ~after[number]).sum()
        assert segment.slices == tuple(np.flatnonzero(changed.any(axis=(1, 2))))
        common = int((before[number] & after[number]).sum())
        assert segment.dice == pytest.approx(2 * common / total if total else 1.0)
    assert found.changed_voxels == anywhere.sum()
    assert found.slices == tuple(np.flatnonzero(anywhere.any(axis=(1, 2))))
    assert found.is_changed == bool(anywhere.any())
    assert {s.label for s in found.changed_segments} == {
        s.label for s, n in zip(found.segments, before, strict=True) if (before[n] ^ after[n]).any()
    }


def test_a_copy_has_no_difference_and_no_surface_distance() -> None:
    masks = random_masks(3, 0.3)
    found = diff(segmentation(masks), segmentation(masks))
    assert not found.is_changed
    assert {s.hd95_mm for s in found.segments} == {0.0}


def test_packing_into_other_layers_is_no_difference() -> None:
    masks = random_masks(3, 0.4)
    prior = segmentation(masks)
    last_first = Segmentation.from_masks(GRID, masks, prior.segments[::-1])
    repacked = Segmentation(
        grid=GRID, segments=prior.segments, layers=last_first.layers, layer_of=last_first.layer_of[::-1]
    )
    assert prior.layer_of != repacked.layer_of
    assert not diff(prior, repacked).is_changed


def test_other_segment_numbers_are_no_difference() -> None:
    masks = random_masks(3, 0.2)
    prior = segmentation(masks)
    renumbered = tuple(replace(s, number=s.number + 10) for s in prior.segments)
    edited = Segmentation.from_masks(GRID, {n + 10: m for n, m in masks.items()}, renumbered)
    assert not diff(prior, edited).is_changed


def test_volumes_are_given_in_millilitres() -> None:
    empty, one = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
    one[1, 2, 1:5] = True
    found = diff(segmentation({1: empty}), segmentation({1: one})).segment_named("A")
    assert found is not None
    assert found.added_ml == pytest.approx(4 * 3.0 * 1.5 * 1.25 / 1000)
    assert found.removed_ml == 0
    assert found.volume_ratio == math.inf
    assert math.isnan(found.hd95_mm)


def test_the_surface_distance_is_that_of_the_masks() -> None:
    before, after = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
    before[0, 0, 0] = True
    after[2, 0, 0] = True
    found = diff(segmentation({2: before}), segmentation({2: after})).segment_named("B")
    assert found is not None
    assert found.hd95_mm == pytest.approx(6.0)
    assert found.dice == 0


def test_surfaces_are_not_measured_when_not_asked_for() -> None:
    before, after = random_masks(1, 0.3), random_masks(2, 0.3)
    found = diff(segmentation(before), segmentation(after), surfaces=False)
    assert all(math.isnan(s.hd95_mm) for s in found.segments)


def test_an_unknown_label_has_no_difference() -> None:
    masks = random_masks(1, 0.1)
    assert diff(segmentation(masks), segmentation(masks)).segment_named("D") is None


def test_another_grid_or_other_segments_cannot_be_compared() -> None:
    masks = random_masks(1, 0.1)
    moved = Grid(shape=GRID.shape, affine=GRID.affine + np.array([[0, 0, 0, 5.0]] * 3 + [[0] * 4]))
    with pytest.raises(GeometryMismatch):
        diff(segmentation(masks), segmentation(masks, grid=moved))
    with pytest.raises(GeometryMismatch):
        diff(segmentation(masks), segmentation(masks, labels=("A", "C", "B")))
