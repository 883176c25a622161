"""Class priors: estimated without labels, corrected for, and rows that are no probabilities named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.image_qc.priors import UnusableProbabilities, correct_for_priors, estimate_priors, importance

TRAINED = np.array([0.5, 0.3, 0.2])


def posteriors(actual: np.ndarray, count: int = 4000) -> np.ndarray:
    """Bayes posteriors under the trained priors of values whose classes come with the actual ones."""
    random = np.random.default_rng(0)
    classes = random.choice(3, size=count, p=actual)
    values = random.normal(2.0 * classes, 1.0)
    likelihood = np.exp(-0.5 * (values[:, None] - 2.0 * np.arange(3)) ** 2)
    weighed = likelihood * TRAINED
    return weighed / weighed.sum(1, keepdims=True)


@pytest.mark.parametrize("actual", [(0.2, 0.3, 0.5), (0.8, 0.1, 0.1), (0.5, 0.3, 0.2)])
def test_shifted_priors_are_found_without_labels(actual: tuple[float, ...]) -> None:
    found = estimate_priors(posteriors(np.array(actual)), TRAINED)
    assert np.abs(found - actual).max() < 0.03
    assert found.sum() == pytest.approx(1.0)


def test_the_same_priors_change_nothing() -> None:
    given_ = posteriors(TRAINED, 50)
    assert np.allclose(correct_for_priors(given_, TRAINED, TRAINED), given_)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
def test_corrected_rows_are_probabilities_and_go_back(raw: list[float]) -> None:
    actual = np.array(raw) / sum(raw)
    given_ = posteriors(TRAINED, 20)
    there = correct_for_priors(given_, TRAINED, actual)
    assert np.allclose(there.sum(1), 1.0)
    assert np.allclose(correct_for_priors(there, actual, TRAINED), given_, atol=1e-9)


def test_weighed_training_images_come_as_frequently_as_the_actual_ones() -> None:
    actual = np.array([0.2, 0.3, 0.5])
    classes = np.repeat(np.arange(3), [50, 30, 20])
    weights = importance(classes, TRAINED, actual)
    assert [weights[classes == c].sum() / weights.sum() for c in range(3)] == pytest.approx(actual.tolist())


@pytest.mark.parametrize(
    "rows", [np.full((2, 3), np.nan), np.array([[0.9, 0.9, 0.9]]), np.array([[-0.5, 1.0, 0.5]]), np.zeros((0, 3))]
)
def test_rows_that_are_no_probabilities_are_named(rows: np.ndarray) -> None:
    with pytest.raises(UnusableProbabilities):
        estimate_priors(rows, TRAINED)
