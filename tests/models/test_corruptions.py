"""Corruptions: severity spreads true Dice over its range, slices stay coherent, nothing is invented."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.corruptions import SMOOTH, Corruption, corrupt, drop_slices, shift, signed_distance, swap_labels
from models.metrics import dice

SPACING = (1.0, 1.0, 1.0)


def structure() -> np.ndarray:
    """Make a curved two-part structure of a hippocampus's size in a crop of 1 mm voxels."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in (34, 50, 36)], indexing="ij")
    along = (y - 25) / 20
    body = ((z - 17 - 4 * along**2) / 6) ** 2 + ((x - 18 + 4 * along) / 7) ** 2 + along**2 < 1
    return np.where(body, np.where(y < 24, 1, 2), 0).astype(np.uint8)


@pytest.mark.parametrize("kind", [k for k in SMOOTH if k is not Corruption.BORDER_MOVE])
def test_dice_falls_with_severity(kind: Corruption) -> None:
    labels = structure()
    means = []
    for severity in (0.05, 0.4, 1.0):
        found = [
            dice(labels > 0, corrupt(labels, kind, severity, spacing=SPACING, random=np.random.default_rng(n)) > 0)
            for n in range(4)
        ]
        means.append(float(np.mean(found)))
    assert means[0] > 0.9
    assert means[0] > means[1] > means[2]
    assert means[2] < 0.6


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(list(Corruption)), st.floats(0, 1), st.integers(0, 1000))
def test_no_corruption_invents_labels_or_changes_its_input(kind: Corruption, severity: float, seed: int) -> None:
    labels = structure()
    before = labels.copy()
    made = corrupt(labels, kind, severity, spacing=(1.0, 2.0, 0.7), random=np.random.default_rng(seed))
    assert made.shape == labels.shape
    assert made.dtype == np.uint8
    assert set(np.unique(made)) <= {0, 1, 2}
    assert np.array_equal(labels, before)
    if severity == 0:
        assert np.array_equal(made, labels)


@pytest.mark.parametrize("kind", list(Corruption))
def test_an_empty_segmentation_can_be_corrupted(kind: Corruption) -> None:
    made = corrupt(np.zeros((8, 8, 8), np.uint8), kind, 0.7, spacing=SPACING, random=np.random.default_rng(0))
    assert made.any() == (kind is Corruption.EVERYTHING)


def test_the_same_seed_makes_the_same_corruption_and_another_another() -> None:
    one, same, other = (
        corrupt(structure(), Corruption.ELASTIC, 0.5, spacing=SPACING, random=np.random.default_rng(s))
        for s in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_smooth_corruptions_are_coherent_between_slices() -> None:
    labels = structure()
    made = corrupt(labels, Corruption.SWELL, 0.5, spacing=SPACING, random=np.random.default_rng(0)) > 0
    inner = made[5:-5]
    changes = np.abs(np.diff(inner.astype(int), axis=0)).sum() / max(1, inner.sum())
    random = np.random.default_rng(0).permuted((labels > 0)[5:-5], axis=0)
    assert changes < 0.5 * np.abs(np.diff(random.astype(int), axis=0)).sum() / max(1, random.sum())


def test_a_border_move_keeps_the_union() -> None:
    labels = structure()
    moved = corrupt(labels, Corruption.BORDER_MOVE, 0.6, spacing=SPACING, random=np.random.default_rng(0))
    assert np.array_equal(moved > 0, labels > 0)
    assert not np.array_equal(moved, labels)


def test_swap_and_mirror_are_their_own_inverse() -> None:
    labels = structure()
    assert np.array_equal(swap_labels(swap_labels(labels)), labels)
    mirrored = corrupt(labels, Corruption.MIRROR, 1.0, spacing=SPACING, random=np.random.default_rng(0))
    assert np.array_equal(mirrored[:, :, ::-1], labels)


@pytest.mark.parametrize("offset", [(10, 0, 0), (0, -10, 0), (3, 2, -4), (99, 0, 0)])
def test_shift_moves_by_millimetres(offset: tuple[int, int, int]) -> None:
    labels = structure()
    moved = shift(labels, np.array(offset, float), spacing=(1.0, 1.0, 2.0))
    where = np.argwhere(labels) + np.array((offset[0], offset[1], round(offset[2] / 2)))
    kept = where[((where >= 0) & (where < labels.shape)).all(1)]
    assert int((moved > 0).sum()) == len(kept)
    assert (moved[tuple(kept.T)] > 0).all()


def test_dropped_slices_are_empty_and_the_others_untouched() -> None:
    labels = structure()
    dropped = drop_slices(labels, axis=1, first=20, count=3)
    assert not dropped[:, 20:23].any()
    assert np.array_equal(dropped[:, :20], labels[:, :20])


def test_signed_distance_is_positive_inside_and_in_millimetres() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4] = True
    distance = signed_distance(mask, (2.0, 1.0, 1.0))
    assert distance[4, 4, 4] == pytest.approx(1.0)
    assert distance[6, 4, 4] == pytest.approx(-4.0)
