"""Image quality metrics agree with their definitions on images where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dicom_sr.volume import Grid, Volume
from models.image_qc.metrics import (
    bias_range,
    contrast_to_noise,
    energy_ratio,
    entropy_focus,
    measure_quality,
    noise_by_differences,
    smoothness_mm,
    snr_from_air,
    structured_air,
)


def noise(shape: tuple[int, int, int] = (40, 40, 40), *, sigma: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).normal(0, sigma, shape).astype(np.float32)


def test_entropy_is_one_for_an_even_image_and_nought_for_a_single_voxel() -> None:
    single = np.zeros((9, 9, 9), np.float32)
    single[4, 4, 4] = 5.0
    assert entropy_focus(np.ones((9, 9, 9), np.float32)) == pytest.approx(1.0, abs=1e-6)
    assert entropy_focus(single) == pytest.approx(0.0, abs=1e-6)
    assert entropy_focus(np.zeros((9, 9, 9), np.float32)) is None


def test_entropy_equals_its_sum_written_out() -> None:
    voxels = np.abs(noise((3, 3, 3)))
    norm = math.sqrt(float((voxels.astype(float) ** 2).sum()))
    total = sum(v / norm * math.log(v / norm) for v in voxels.astype(float).ravel().tolist())
    assert entropy_focus(voxels) == pytest.approx(total / (math.sqrt(27) * math.log(1 / math.sqrt(27))), rel=1e-6)


@pytest.mark.parametrize("fwhm", [3.0, 5.0])
def test_smoothness_of_filtered_noise_is_the_filters(fwhm: float) -> None:
    spacing = (2.0, 1.0, 1.0)
    smooth = ndimage.gaussian_filter(noise((50, 90, 90)), [fwhm / s / 2.3548 for s in spacing]).astype(np.float32)
    assert smoothness_mm(smooth, spacing) == pytest.approx(fwhm, rel=0.12)


def test_noise_is_measured_whatever_the_slope_beneath() -> None:
    ramp = np.add.outer(np.arange(40.0), np.add.outer(3 * np.arange(40.0), 2 * np.arange(40.0))).astype(np.float32)
    found = noise_by_differences(ramp + noise(sigma=2.5), np.ones((40, 40, 40), bool))
    assert found == pytest.approx(2.5, rel=0.03)


def test_snr_uses_the_rayleigh_correction_of_air() -> None:
    random = np.random.default_rng(0)
    voxels = np.hypot(random.normal(0, 3, (40, 40, 40)), random.normal(0, 3, (40, 40, 40))).astype(np.float32)
    voxels[:20] = 300.0
    tissue = np.zeros(voxels.shape, bool)
    tissue[:20] = True
    assert snr_from_air(voxels, tissue, ~tissue) == pytest.approx(300.0 / 3.0, rel=0.03)


def test_energy_ratio_is_a_ratio_of_medians_and_absent_over_emptied_air() -> None:
    voxels = np.full((10, 10, 10), 2.0, np.float32)
    voxels[:5] = 10.0
    tissue = voxels > 5
    assert energy_ratio(voxels, tissue, ~tissue) == pytest.approx(25.0)
    assert energy_ratio(np.where(tissue, voxels, 0).astype(np.float32), tissue, ~tissue) is None
    assert energy_ratio(voxels, tissue, np.zeros_like(tissue)) is None


def test_a_ghost_in_the_air_raises_qi1() -> None:
    air = np.ones((40, 40, 40), bool)
    clean = np.abs(noise())
    ghost = clean.copy()
    ghost[10:20, 10:20, 10:20] += 12.0
    assert structured_air(clean, air) == pytest.approx(0.0, abs=1e-3)
    assert structured_air(ghost, air) == pytest.approx(1000 / 64000, rel=0.1)


def test_a_linear_log_field_has_the_range_it_was_made_with() -> None:
    field = np.exp(np.linspace(-0.5, 0.5, 40))[:, None, None] * np.ones((40, 40, 40))
    assert bias_range((100 * field).astype(np.float32), field > 0) == pytest.approx(0.9, abs=0.02)


def test_contrast_falls_when_noise_rises() -> None:
    classes = np.repeat([20.0, 60.0, 100.0], 12)[:, None, None] * np.ones((36, 36, 36))
    found = [
        contrast_to_noise((classes + noise((36, 36, 36), sigma=s)).astype(np.float32), classes > 0) for s in (2, 8)
    ]
    assert found[0] > found[1] > 1


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12)),
    st.floats(-1e4, 1e4),
    st.floats(0, 1e4),
    st.booleans(),
)
def test_any_finite_image_gives_numbers_or_none(
    shape: tuple[int, int, int], mean: float, spread: float, has_air: bool
) -> None:
    voxels = (mean + spread * noise(shape)).astype(np.float32)
    measured = measure_quality(
        Volume(grid=Grid(shape=shape, affine=np.eye(4)), voxels=voxels, modality="MR"), has_air=has_air
    )
    for name in type(measured).__dataclass_fields__:
        value = getattr(measured, name)
        assert value is None or math.isfinite(value)
