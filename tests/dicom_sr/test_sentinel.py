"""Flips and shifts under a consistent header are seen by the content, and honest edits are not taken for them."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_sr.diff import diff
from dicom_sr.segmentation import Mask, Segmentation
from dicom_sr.sentinel import Displacement, Suspicion, suspect_displacement
from dicom_sr.volume import Grid
from tests.support.make_segmentation import make_segments

AXIAL = np.array([[0, 0, 1.0, -20], [0, 1.0, 0, -20], [3.0, 0, 0, -30], [0, 0, 0, 1]])
SAGITTAL = np.array([[3.0, 0, 0, -20], [0, 0, 1.0, -20], [0, -1.0, 0, 30], [0, 0, 0, 1]])
SHAPE = (12, 24, 28)


def hook() -> Mask:
    """A shape that no flip and no shift maps onto itself."""
    mask = np.zeros(SHAPE, bool)
    mask[1:8, 3:9, 4:20] = True
    mask[5:8, 3:20, 4:8] = True
    return mask


def suspicions(before: Mask, after: Mask, affine: np.ndarray = AXIAL) -> tuple[Suspicion, ...]:
    grid = Grid(shape=SHAPE, affine=affine)
    prior = Segmentation.from_masks(grid, {1: before}, make_segments("A"))
    edited = Segmentation.from_masks(grid, {1: after}, make_segments("A"))
    return suspect_displacement(prior, edited, diff(prior, edited, surfaces=False))


def kinds(found: tuple[Suspicion, ...]) -> set[Displacement]:
    return {suspicion.displacement for suspicion in found}


@pytest.mark.parametrize(
    ("flip", "kind"),
    [
        (np.s_[::-1], Displacement.SLICES_REVERSED),
        (np.s_[:, :, ::-1], Displacement.LEFT_RIGHT),
        (np.s_[:, ::-1], Displacement.UP_DOWN),
    ],
)
def test_a_flip_is_suspected_by_name(flip: tuple[slice, ...], kind: Displacement) -> None:
    found = suspicions(hook(), hook()[flip])
    assert kind in kinds(found)
    suspicion = next(s for s in found if s.displacement is kind)
    assert suspicion.dice_undone == pytest.approx(1.0)
    assert suspicion.dice < 0.9


def test_a_flip_is_suspected_on_a_mask_so_nearly_symmetric_that_dice_does_not_move() -> None:
    before = np.zeros(SHAPE, bool)
    before[1:11, 2:22, 2:26] = True
    before[1, 5:9, 5:10] = False
    found = suspicions(before, before[::-1])
    assert kinds(found) == {Displacement.SLICES_REVERSED}
    assert found[0].dice > 0.98


def test_a_shift_is_suspected_on_a_mask_so_large_that_dice_does_not_move() -> None:
    before = np.zeros(SHAPE, bool)
    before[1:11, 2:22, 2:24] = True
    before[1, 5:9, 5:10] = False
    assert kinds(suspicions(before, np.roll(before, 1, axis=2))) == {Displacement.SHIFTED}


def test_making_a_one_sided_mask_symmetric_is_an_edit_and_no_flip() -> None:
    before = hook()
    both = before | before[:, :, ::-1]
    assert suspicions(before, both) == ()


def test_a_flip_of_an_edited_mask_is_suspected_too() -> None:
    edited = hook()
    edited[2, 4:9, 20:25] = True
    assert Displacement.SLICES_REVERSED in kinds(suspicions(hook(), edited[::-1]))


def test_in_a_sagittal_series_the_slice_order_is_what_exchanges_left_and_right() -> None:
    assert Displacement.LEFT_RIGHT not in kinds(suspicions(hook(), hook()[:, :, ::-1], SAGITTAL))
    assert Displacement.SLICES_REVERSED in kinds(suspicions(hook(), hook()[::-1], SAGITTAL))


@pytest.mark.parametrize("offset", [(2, 0, 0), (-1, 0, 0), (0, 3, 0), (0, 0, -3)])
def test_the_same_mask_displaced_by_a_few_voxels_is_suspected(offset: tuple[int, int, int]) -> None:
    assert Displacement.SHIFTED in kinds(suspicions(hook(), np.roll(hook(), offset, axis=(0, 1, 2))))


def test_an_untouched_mask_a_stroke_and_an_erasure_are_not_suspected() -> None:
    painted, erased = hook(), hook()
    painted[4, 10:18, 8:16] = True
    erased[:, :, 12:] = False
    for edited in (hook(), painted, erased, np.zeros(SHAPE, bool)):
        assert suspicions(hook(), edited) == ()


def test_a_large_mask_is_seen_too() -> None:
    before = np.zeros((40, 100, 100), bool)
    before[2:30, 5:95, 5:95] = True
    grid = Grid(shape=before.shape, affine=AXIAL)
    prior = Segmentation.from_masks(grid, {1: before}, make_segments("A"))
    edited = Segmentation.from_masks(grid, {1: before[::-1]}, make_segments("A"))
    found = suspect_displacement(prior, edited, diff(prior, edited, surfaces=False))
    assert found[0].displacement is Displacement.SLICES_REVERSED
    assert found[0].dice_undone == pytest.approx(1.0, abs=0.01)
