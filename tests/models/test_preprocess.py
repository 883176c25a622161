"""Preprocessing can be undone, does not depend on how an image is stored, and refuses what no network can use."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.volume import Grid, Volume
from models.errors import UnusableVolume
from models.preprocess import PreprocessPlan, canonical_view, normalise, prepare, restore_view

PLAN = PreprocessPlan()
ORDERS = st.sampled_from(list(permutations(range(3))))
FLIPS = st.tuples(st.booleans(), st.booleans(), st.booleans())


def _canonical(shape: tuple[int, int, int] = (6, 7, 8), spacing: tuple[float, float, float] = (1, 1, 1)) -> Volume:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing
    affine[3, 3] = 1
    voxels = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return Volume(grid=Grid(shape=shape, affine=affine), voxels=voxels, modality="MR")


def _stored_as(volume: Volume, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """Return the same image in the same place with other index axes."""
    affine = volume.grid.affine.copy()
    voxels = volume.voxels
    for axis, flip in enumerate(flips):
        if flip:
            affine[:, 3] += affine[:, axis] * (voxels.shape[axis] - 1)
            affine[:, axis] = -affine[:, axis]
            voxels = np.flip(voxels, axis)
    voxels = np.ascontiguousarray(voxels.transpose(order))
    affine = affine[:, [*order, 3]]
    depth, height, width = voxels.shape
    return Volume(grid=Grid(shape=(depth, height, width), affine=affine), voxels=voxels, modality="MR")


@settings(deadline=None, max_examples=50)
@given(order=ORDERS, flips=FLIPS)
def test_the_network_sees_the_same_voxels_however_they_are_stored(
    order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    volume = _canonical()
    np.testing.assert_array_equal(prepare(_stored_as(volume, order, flips), PLAN).voxels, prepare(volume, PLAN).voxels)


@settings(deadline=None, max_examples=50)
@given(order=ORDERS, flips=FLIPS)
def test_without_resampling_the_way_back_is_exact(order: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    volume = _stored_as(_canonical(), order, flips)
    prepared = prepare(volume, PLAN)
    restored = prepared.restore(prepared.apply(volume.voxels)[None])
    np.testing.assert_array_equal(restored[0], volume.voxels)
    assert not prepared.resampled


@settings(deadline=None, max_examples=30)
@given(order=ORDERS, flips=FLIPS)
def test_a_view_and_its_inverse_are_the_identity(order: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    volume = _stored_as(_canonical(spacing=(2, 3, 4)), order, flips)
    view, spacing = canonical_view(volume.voxels, volume.grid)
    assert spacing == (2, 3, 4)
    np.testing.assert_array_equal(restore_view(view, volume.grid), volume.voxels)


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (3.0, 1.0, 1.0), (1.0, 0.8, 2.0), (10.0, 1.0, 1.0)])
def test_a_resampled_mask_comes_back_to_where_it_was(spacing: tuple[float, float, float]) -> None:
    shape = tuple(round(48 / s) for s in spacing)
    volume = _canonical(shape, spacing)
    z, y, x = np.meshgrid(*[(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    ball = (z - 24) ** 2 + (y - 24) ** 2 + (x - 24) ** 2 < 14**2
    prepared = prepare(volume, PLAN)
    assert prepared.voxels.shape == tuple(round(n * s) for n, s in zip(shape, spacing, strict=True))
    back = prepared.restore(prepared.apply(ball.astype(np.uint8))[None])[0] > 0.5
    assert back.shape == ball.shape
    assert 2 * (back & ball).sum() / (back.sum() + ball.sum()) > 0.93


def test_spacing_within_two_percent_is_not_resampled() -> None:
    assert not prepare(_canonical(spacing=(1.01, 0.99, 1.0)), PLAN).resampled
    assert prepare(_canonical(spacing=(1.05, 1.0, 1.0)), PLAN).resampled


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(1e-3, 1e4), offset=st.floats(-1e3, 1e3))
def test_intensity_scale_and_offset_do_not_matter(scale: float, offset: float) -> None:
    volume = _canonical()
    changed = (volume.voxels.astype(np.float64) * scale + offset).astype(np.float64)
    np.testing.assert_allclose(normalise(changed, PLAN), normalise(volume.voxels, PLAN), atol=1e-3)


def test_one_bright_voxel_does_not_move_the_others() -> None:
    voxels = np.random.default_rng(0).normal(size=(20, 20, 20))
    spiked = voxels.copy()
    spiked[3, 3, 3] = 1e9
    assert np.abs(normalise(spiked, PLAN) - normalise(voxels, PLAN))[spiked < 1e8].max() < 0.05


def _with(voxels: npt.NDArray[np.float32], affine: npt.NDArray[np.float64] | None = None) -> Volume:
    depth, height, width = voxels.shape
    grid = Grid(shape=(depth, height, width), affine=_canonical().grid.affine if affine is None else affine)
    return Volume(grid=grid, voxels=voxels, modality="MR")


def _sheared() -> Volume:
    affine = _canonical().grid.affine.copy()
    affine[1, 0] = 0.4
    return _with(_canonical().voxels, affine)


def _holding(value: float) -> Volume:
    voxels = _canonical().voxels.copy()
    voxels[0, 0, 0] = value
    return _with(voxels)


@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        (_holding(np.nan), "not finite"),
        (_holding(np.inf), "not finite"),
        (_with(np.full((6, 7, 8), 3, np.float32)), "equal"),
        (_with(np.ones((1, 7, 8), np.float32)), "at least 4"),
        (_sheared(), "not orthogonal"),
        (_canonical(spacing=(900, 900, 900)), "512"),
    ],
)
def test_an_unusable_image_is_refused_with_its_reason(volume: Volume, reason: str) -> None:
    with pytest.raises(UnusableVolume, match=reason) as caught:
        prepare(volume, PLAN)
    assert caught.value.code == "UNUSABLE_VOLUME"
    assert not caught.value.retryable
