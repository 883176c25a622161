"""Real ratings: read as they are, ranked without the site that is judged, and the site rule does no harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.image_qc.ratings_evaluate import (
    RATINGS_FILE,
    area_under_curve,
    rating_figures,
    read_ratings,
    score_ratings,
)
from tests.support.shared import shared_data


def test_the_area_under_the_curve_of_three_pairs() -> None:
    assert area_under_curve(np.array([0.1, 0.4, 0.3, 0.8]), np.array([False, False, True, True])) == 0.75


def test_sizes_and_raters_are_no_metrics() -> None:
    scans = read_ratings(shared_data("qc_ratings") / RATINGS_FILE)
    assert (len(scans.names), len(scans.bad), len(set(scans.sites))) == (30, 1101, 17)
    assert not {"size_x", "rater_1", "site", "spacing_z", "summary_bg_mean"} & set(scans.names)


def test_ranking_transfers_between_sites_and_own_thresholds_do_no_harm(tmp_path: Path) -> None:
    score_ratings(shared_data("qc_ratings") / RATINGS_FILE, tmp_path)
    figures = rating_figures(tmp_path)
    ranked = figures["leave_one_site_out"]
    assert ranked["all metrics"]["auc"] > 0.88
    assert ranked["all metrics"]["balanced_accuracy"] > 0.80
    assert ranked["metrics without tissue"]["auc"] < ranked["all metrics"]["auc"]
    for row in figures["site_thresholds"].values():
        assert row["site's own where earned"] >= row["one threshold for all"] - 0.003
