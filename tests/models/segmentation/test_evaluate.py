"""Figures follow from the rows of the CSV alone, and intervals are over persons."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.metrics import dice
from models.phantom import hippocampus_phantom
from models.registry import shipped_models
from models.segmentation.baseline import mean_shape
from models.segmentation.cases import LabelledVolume
from models.segmentation.evaluate import (
    CaseScore,
    bootstrap_interval,
    read_scores,
    summary,
    table,
    write_report,
)
from models.split import Split

ROW = CaseScore(
    case="hippocampus_001",
    person="p1",
    method="network",
    label="Hippocampus",
    dice=0.9,
    surface_dice=0.95,
    hd95=1.0,
    assd=0.4,
    volume_ml=3.0,
    expert_ml=3.3,
    agreement=0.96,
)


def test_the_report_is_regenerated_from_its_csv(tmp_path: Path) -> None:
    rows = [replace(ROW, case=f"c{n}", person=f"p{n // 2}", dice=0.8 + n / 100) for n in range(10)]
    cards = shipped_models()[:1]
    report = write_report(tmp_path, rows, cards=cards, split=Split.TEST)
    assert summary(read_scores(tmp_path / "cases.csv"), cards=cards, split=Split.TEST) == report
    row = report["results"][0]
    assert (row["cases"], row["persons"]) == (10, 5)
    assert row["dice"]["mean"] == pytest.approx(0.845)
    assert row["dice"]["low"] < 0.845 < row["dice"]["high"]
    assert "n=10 (5 persons)" in "\n".join(table(report))


def test_a_distance_that_does_not_exist_is_counted_and_not_averaged() -> None:
    rows = [ROW, replace(ROW, case="c2", person="p2", dice=0.0, hd95=math.nan, assd=math.nan)]
    row = summary(rows, cards=[], split=Split.TEST)["results"][0]
    assert row["distance_undefined"] == 1
    assert row["hd95"]["mean"] == 1.0
    assert row["lowest_dice"] == 0.0


def test_the_gain_over_the_baseline_is_paired_by_case() -> None:
    pairs = [(0.90, 0.70), (0.80, 0.60), (0.95, 0.75)]
    rows = [
        replace(ROW, case=f"c{n}", person=f"p{n}", method=method, dice=value)
        for n, pair in enumerate(pairs)
        for method, value in zip(("network", "mean shape"), pair, strict=True)
    ]
    (gain,) = summary(rows, cards=[], split=Split.TEST)["gain_over_baseline"]
    assert (gain["label"], gain["baseline"]) == ("Hippocampus", "mean shape")
    assert gain["mean"] == gain["low"] == gain["high"] == pytest.approx(0.2)


def test_two_sides_of_one_person_widen_the_interval() -> None:
    values = list(np.random.default_rng(0).normal(size=20))
    apart = bootstrap_interval({str(n): [v] for n, v in enumerate(values)})
    paired = bootstrap_interval({str(n): [v, v] for n, v in enumerate(values)})
    counted_twice = bootstrap_interval({str(n): [values[n // 2]] for n in range(40)})
    assert paired == pytest.approx(apart)
    assert paired[2] - paired[1] > counted_twice[2] - counted_twice[1]


def test_nothing_measured_gives_no_interval() -> None:
    assert all(math.isnan(value) for value in bootstrap_interval({"p": [math.nan]}))


def test_the_mean_shape_is_a_baseline_that_overlaps_but_does_not_fit() -> None:
    cases = [
        LabelledVolume(name=str(s), volume=v, expert=e) for s, (v, e) in ((s, hippocampus_phantom(s)) for s in (0, 2))
    ]
    baseline = mean_shape(cases)
    volume, expert = hippocampus_phantom(4)
    assert 0.4 < dice(baseline.place(volume), expert > 0) < 0.95
    parts = baseline.divide(expert > 0, volume)
    np.testing.assert_array_equal(parts > 0, expert > 0)
    assert dice(parts == 1, expert == 1) > 0.9
