"""Site thresholds: moved only where rated scans speak for it, undecided near the threshold, bad ratings named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.image_qc.site_thresholds import (
    Quality,
    ScorePopulation,
    SiteThreshold,
    UnusableRatings,
    fit_population,
    read_site_thresholds,
    site_threshold,
    write_site_thresholds,
)

POPULATION = ScorePopulation(threshold=0.0, good=-2.0, bad=2.0, good_spread=1.0, bad_spread=1.0, between=1.5)


def sites(offsets: dict[str, float]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Make forty good and ten bad scans of each site, moved by its offset."""
    random = np.random.default_rng(0)
    scores, bad, where = [], [], []
    for name, offset in offsets.items():
        scores += [*(random.normal(-2, 0.7, 40) + offset), *(random.normal(2, 0.7, 10) + offset)]
        bad += [False] * 40 + [True] * 10
        where += [name] * 50
    return np.array(scores), np.array(bad), where


def test_the_common_threshold_lies_between_good_and_bad() -> None:
    population = fit_population(*sites({"A": 0.0, "B": 0.3, "C": -0.3}))
    assert -1.0 < population.threshold < 1.0
    assert population.good < population.threshold < population.bad
    assert 0.05 < population.between < 0.5


def test_a_site_that_is_shifted_gets_its_own_threshold() -> None:
    scores, bad, _ = sites({"D": 3.0})
    own = site_threshold(POPULATION, scores, bad)
    assert own.own
    assert 2.0 < own.threshold < 4.0
    assert [own.judge(s) for s in (0.5, 5.5)] == [Quality.ACCEPTABLE, Quality.BAD]


def test_a_site_without_enough_bad_scans_keeps_the_common_threshold() -> None:
    scores, bad, _ = sites({"D": 3.0})
    own = site_threshold(POPULATION, scores[:42], bad[:42])
    assert not own.own
    assert own.threshold == POPULATION.threshold


def test_a_site_like_the_others_keeps_the_common_threshold() -> None:
    scores, bad, _ = sites({"D": 0.0})
    assert not site_threshold(POPULATION, scores, bad).own


def test_a_site_nobody_rated_has_the_widest_band() -> None:
    nobody = site_threshold(POPULATION, np.array([]), np.array([], bool))
    assert nobody == SiteThreshold(threshold=0.0, uncertainty=POPULATION.between, rated=0, own=False)
    assert nobody.judge(1.0) is Quality.UNDECIDED


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 30), st.integers(0, 30))
def test_every_rated_scan_makes_the_band_narrower(fewer: int, more: int) -> None:
    scores, bad, _ = sites({"A": 0.5})
    narrow, wide = (site_threshold(POPULATION, scores[-n:] if n else scores[:0], bad[-n:] if n else bad[:0])
                    for n in (max(fewer, more), min(fewer, more)))  # fmt: skip
    assert narrow.uncertainty <= wide.uncertainty


def test_thresholds_survive_their_file(tmp_path: Path) -> None:
    written = {"A": SiteThreshold(threshold=1.5, uncertainty=0.2, rated=12, own=True)}
    write_site_thresholds(written, tmp_path / "sites.json")
    assert read_site_thresholds(tmp_path / "sites.json") == written


@pytest.mark.parametrize("content", ["", "[]", '{"sites": {"A": {"threshold": "x"}}}', '{"sites": {"A": {}}}'])
def test_a_file_that_holds_something_else_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "sites.json").write_text(content)
    with pytest.raises(UnusableRatings):
        read_site_thresholds(tmp_path / "sites.json")


def test_ratings_of_one_class_make_no_population() -> None:
    with pytest.raises(UnusableRatings, match="three acceptable"):
        fit_population(np.zeros(9), np.zeros(9, bool), ["A"] * 9)


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused(score: float) -> None:
    with pytest.raises(UnusableRatings, match="finite"):
        site_threshold(POPULATION, np.array([score]), np.array([True]))
