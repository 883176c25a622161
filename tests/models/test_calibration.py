"""Calibration: monotone maps match brute force, intervals cover what they promise, bounds equal the textbook's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calibration import (
    MonotoneMap,
    area_under_roc,
    bootstrap_interval,
    clopper_pearson,
    conformal_by_group,
    conformal_quantile,
    fit_monotone,
    threshold_for_miss_rate,
)

numbers = st.floats(min_value=-5, max_value=5, allow_nan=False)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30))
def test_a_fitted_map_never_falls(pairs: list[tuple[float, float]]) -> None:
    scores, targets = (np.array(column) for column in zip(*pairs, strict=True))
    fitted = fit_monotone(scores, targets)
    values = [fitted(s) for s in np.linspace(-6, 6, 60)]
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(values))
    assert min(targets) - 1e-9 <= min(values)
    assert max(values) <= max(targets) + 1e-9


def test_a_fitted_map_keeps_what_is_already_rising() -> None:
    scores = np.arange(10.0)
    fitted = fit_monotone(scores, 2 * scores, least_per_step=1)
    assert [fitted(s) for s in (0.0, 4.5, 9.0)] == pytest.approx([0.0, 9.0, 18.0])


def test_violators_are_pooled_to_their_mean() -> None:
    fitted = fit_monotone(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 3.0, 1.0, 5.0]), least_per_step=1)
    assert fitted(2.5) == pytest.approx(2.0)


def test_a_map_is_constant_beyond_its_ends() -> None:
    fitted = MonotoneMap(scores=(0.0, 1.0), values=(0.2, 0.8))
    assert (fitted(-5), fitted(0.5), fitted(9)) == pytest.approx((0.2, 0.5, 0.8))


def test_the_conformal_quantile_is_the_textbook_rank() -> None:
    assert conformal_quantile([float(v) for v in range(1, 20)], coverage=0.9) == 18.0
    assert conformal_quantile([1.0] * 8, coverage=0.9) == math.inf


def test_intervals_cover_new_patients_as_promised() -> None:
    random = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        per_patient = np.abs(random.normal(0, random.uniform(0.5, 2.0, 41)))
        limit = conformal_quantile(per_patient[:-1].tolist(), coverage=0.9)
        covered.append(per_patient[-1] <= limit)
    assert np.mean(covered) >= 0.87


def test_intervals_cover_new_patients_who_bring_many_samples() -> None:
    random = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        leaning = np.abs(random.normal(0, 1, 31))
        errors = [float(abs(random.normal(0, 0.3)) + lean) for lean in leaning[:-1] for _ in range(5)]
        groups = [str(n) for n in range(30) for _ in range(5)]
        limit = conformal_by_group(errors, groups, coverage=0.9)
        covered.append(abs(random.normal(0, 0.3)) + leaning[-1] <= limit)
    assert 0.86 <= np.mean(covered) <= 0.97


def test_one_sample_a_patient_is_plain_split_conformal() -> None:
    errors = [float(v) for v in np.random.default_rng(0).permutation(19)]
    groups = [str(n) for n in range(19)]
    assert conformal_by_group(errors, groups, coverage=0.9) == conformal_quantile(errors, coverage=0.9)
    assert conformal_by_group(errors[:8], groups[:8], coverage=0.9) == math.inf


def test_patients_count_once_however_many_errors_they_give() -> None:
    errors = [1.0] * 1000 + [10.0 + i for i in range(20)]
    groups = ["one"] * 1000 + [f"p{i}" for i in range(20)]
    assert conformal_by_group(errors, groups, coverage=0.9) >= 26.0


@pytest.mark.parametrize(
    ("failures", "trials", "low", "high"),
    [(0, 59, 0.0, 0.0495), (0, 0, 0.0, 1.0), (5, 5, 0.5493, 1.0), (1, 20, 0.0026, 0.2161)],
)
def test_exact_bounds_equal_published_ones(failures: int, trials: int, low: float, high: float) -> None:
    assert clopper_pearson(failures, trials) == pytest.approx((low, high), abs=2e-4)


def test_the_threshold_is_the_lowest_that_keeps_its_promise() -> None:
    scores = np.linspace(0, 1, 1001)
    chosen, missed, accepted, bound = threshold_for_miss_rate(
        scores, scores < 0.5, miss_rate=0.05, candidates=[0.3, 0.4, 0.49, 0.5, 0.6]
    )
    assert chosen == 0.49
    assert missed / accepted < bound <= 0.05


def test_without_a_sufficient_threshold_the_bound_tells() -> None:
    *_, bound = threshold_for_miss_rate(np.ones(5), np.ones(5, bool), miss_rate=0.05, candidates=[0.5])
    assert bound == 1.0


def test_bootstrap_resamples_patients_not_samples() -> None:
    values = np.array([0.0] * 50 + [1.0] * 50)
    two = bootstrap_interval({"a": range(50), "b": range(50, 100)}, lambda i: float(values[i].mean()))
    many = bootstrap_interval({str(n): [n] for n in range(100)}, lambda i: float(values[i].mean()))
    assert two == (0.0, 1.0)
    assert many[1] - many[0] < 0.25


def test_area_under_roc_counts_pairs() -> None:
    assert area_under_roc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True])) == pytest.approx(0.875)
    assert math.isnan(area_under_roc(np.ones(3), np.ones(3, bool)))
