"""The surface distance against measuring every pair of surface voxels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from dicom_sr import surface
from dicom_sr.segmentation import Mask
from dicom_sr.surface import hd95

SPACING = (3.0, 1.5, 1.25)


def brute_force(first: Mask, second: Mask) -> float:
    """Percentiles over the full matrix of distances between surface voxels."""
    points = [np.argwhere(m & ~binary_erosion(m)) * np.array(SPACING) for m in (first, second)]
    distances = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    return float(max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95)))


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**16), density=st.sampled_from([0.02, 0.5, 0.95]), flips=st.integers(0, 60))
def test_the_distance_equals_measuring_every_pair(seed: int, density: float, flips: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.random((4, 6, 7)) < density
    second = first.copy()
    second.ravel()[rng.integers(0, second.size, flips)] ^= True
    if first.any() and second.any():
        assert hd95(first, second, SPACING) == pytest.approx(brute_force(first, second))
    else:
        assert math.isnan(hd95(first, second, SPACING))


def test_the_distance_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random((4, 6, 7)) < 0.3, rng.random((4, 6, 7)) < 0.1
    assert hd95(first, second, SPACING) == hd95(second, first, SPACING)


def test_a_surface_too_irregular_to_measure_gives_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface, "MAX_SURFACE_VOXELS", 10)
    assert math.isnan(hd95(np.ones((4, 4, 4), bool), np.ones((4, 4, 4), bool), SPACING))
