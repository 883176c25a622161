"""Metrics equal a brute-force reference on tiny masks and follow the stated rules for empty ones."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from dicom_sr.segmentation import Mask
from models.metrics import assd, dice, hd95, surface, surface_dice, volume_ml

MASKS = arrays(np.bool_, (4, 5, 3))
SPACING = (2.0, 0.7, 1.3)
EMPTY: Mask = np.zeros((4, 5, 3), bool)
FULL: Mask = np.ones((4, 5, 3), bool)


def _outline(mask: Mask) -> list[tuple[int, ...]]:
    found = []
    for index in product(*(range(n) for n in mask.shape)):
        if not mask[index]:
            continue
        for axis, step in product(range(3), (-1, 1)):
            near = list(index)
            near[axis] += step
            if not 0 <= near[axis] < mask.shape[axis] or not mask[tuple(near)]:
                found.append(index)
                break
    return found


def _directed(a: Mask, b: Mask) -> list[float]:
    scale = np.array(SPACING)
    return [
        min(math.dist(p * scale, q * scale) for q in map(np.array, _outline(b))) for p in map(np.array, _outline(a))
    ]


@settings(deadline=None, max_examples=40)
@given(MASKS, MASKS)
def test_distances_equal_brute_force(a: Mask, b: Mask) -> None:
    if not a.any() or not b.any():
        return
    one, other = _directed(a, b), _directed(b, a)
    assert hd95(a, b, SPACING) == pytest.approx(max(np.percentile(one, 95), np.percentile(other, 95)))
    assert assd(a, b, SPACING) == pytest.approx(np.mean(one + other))
    assert surface_dice(a, b, SPACING, tolerance_mm=1.0) == pytest.approx(np.mean(np.array(one + other) <= 1.0))


@settings(deadline=None, max_examples=40)
@given(MASKS, MASKS)
def test_dice_equals_counting_and_is_symmetric(a: Mask, b: Mask) -> None:
    both = sum(1 for x, y in zip(a.ravel(), b.ravel(), strict=True) if x and y)
    total = int(a.sum() + b.sum())
    assert dice(a, b) == (2 * both / total if total else 1.0)
    assert dice(a, b) == dice(b, a)
    if a.any() and b.any():
        assert hd95(a, b, SPACING) == hd95(b, a, SPACING)


@settings(deadline=None, max_examples=20)
@given(MASKS)
def test_a_mask_agrees_perfectly_with_itself(a: Mask) -> None:
    assert dice(a, a) == 1
    assert hd95(a, a, SPACING) == 0
    assert surface_dice(a, a, SPACING) == 1


@settings(deadline=None, max_examples=20)
@given(MASKS)
def test_the_surface_is_every_voxel_with_a_neighbour_outside(a: Mask) -> None:
    assert sorted(map(tuple, np.argwhere(surface(a)).tolist())) == sorted(_outline(a))


def test_two_empty_masks_agree_perfectly() -> None:
    assert (dice(EMPTY, EMPTY), hd95(EMPTY, EMPTY, SPACING), assd(EMPTY, EMPTY, SPACING)) == (1, 0, 0)
    assert surface_dice(EMPTY, EMPTY, SPACING) == 1


def test_one_empty_mask_has_no_overlap_and_no_distance() -> None:
    assert dice(FULL, EMPTY) == 0
    assert math.isnan(hd95(FULL, EMPTY, SPACING))
    assert math.isnan(assd(EMPTY, FULL, SPACING))
    assert surface_dice(FULL, EMPTY, SPACING) == 0


def test_volume_counts_spacing() -> None:
    assert volume_ml(FULL, SPACING) == pytest.approx(60 * 2.0 * 0.7 * 1.3 / 1000)


def test_a_shift_of_two_slices_is_two_slices_of_distance() -> None:
    a = np.zeros((20, 8, 8), bool)
    a[5:9, 2:6, 2:6] = True
    assert hd95(a, np.roll(a, 2, axis=0), (3.0, 1.0, 1.0)) == pytest.approx(6.0)
