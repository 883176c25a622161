"""The figures beside the shipped weights are those of these weights, follow from their CSV, and reach the goals."""

from __future__ import annotations

import json

import pytest

from models.card import METRICS_FILE
from models.registry import find_model
from models.segmentation.evaluate import CASES_FILE, NETWORK, read_scores, summary
from models.split import Split, person_of, split_of

CARDS = [find_model("hippocampus"), find_model("hippocampus-subfields")]
GOALS = {"Hippocampus": 0.89, "Hippocampus anterior": 0.87, "Hippocampus posterior": 0.87}


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_report_follows_from_its_cases(card) -> None:
    report = json.loads((card.folder / METRICS_FILE).read_text())
    assert report == summary(read_scores(card.folder / CASES_FILE), cards=CARDS, split=Split.TEST)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_only_test_patients_were_measured_and_enough_of_them(card) -> None:
    scores = read_scores(card.folder / CASES_FILE)
    assert {split_of(score.case) for score in scores} == {Split.TEST}
    assert all(score.person == person_of(score.case) for score in scores)
    assert len({score.case for score in scores}) >= 40


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_goals_are_reached_end_to_end(card) -> None:
    report = json.loads((card.folder / METRICS_FILE).read_text())
    reached = {row["label"]: row["dice"]["mean"] for row in report["results"] if row["method"] == NETWORK}
    assert set(reached) == set(card.labels)
    assert all(reached[label] >= GOALS[label] for label in card.labels)
