"""The scorer rises with its evidence and never falls; what it learned survives a file."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.verdict import Finding, Outcome, judge
from models.errors import InvalidModel
from models.segmentation_qc.calibrate import calibrate, rule_criteria
from models.segmentation_qc.calibrated import CALIBRATION_FILE, Calibration, read_calibration
from models.segmentation_qc.evidence import EVIDENCE_NAMES, Evidence, gather_evidence
from models.segmentation_qc.scorer import fit_scorer
from models.segmentation_qc.table import Line, evidence_of, read_table, write_table


def lines(persons: int = 24, each: int = 20) -> list[Line]:
    """Make candidates whose evidence follows their true Dice with noise that differs between persons."""
    random = np.random.default_rng(0)
    made = []
    for person in range(persons):
        leaning = random.normal(0, 0.02)
        for number in range(each):
            dice = float(random.uniform(0, 1))
            seen = float(np.clip(dice + leaning + random.normal(0, 0.03), 0, 1))
            evidence = (
                seen,
                seen,
                seen,
                -10 * (1 - seen),
                -5 * (1 - seen),
                -(1 - seen),
                -float(random.uniform(0, 3)),
                -1.0,
                0.9,
            )
            made.append(
                Line(
                    split="calibration",
                    case=f"c{person}",
                    person=f"p{person}",
                    source="synthetic" if number % 2 else "undertrained",
                    variant=str(number),
                    label="Organ",
                    dice=dice,
                    hd95=12 * (1 - dice),
                    pseudo_truth_dice=0.9,
                    agreement=None,
                    missing_mm=0.0,
                    rules="",
                    evidence=evidence,
                )
            )
    return made


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    good = {"HOLES": [("Organ", 0.0)], "MISSING_END": [("Organ", 2.5)]}
    return calibrate(lines(), tuple(rule_criteria(good, images=24)))


def test_the_scorer_learns_what_evidence_says() -> None:
    table = lines()
    evidence, targets = np.array([x.evidence for x in table]), np.array([x.dice for x in table])
    scorer = fit_scorer(evidence, targets, np.ones(len(table)), names=EVIDENCE_NAMES)
    found = np.array([scorer.score(row) for row in evidence])
    assert np.corrcoef(found, targets)[0, 1] > 0.98


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=9, max_size=9), st.integers(0, 8), st.floats(0, 2))
def test_better_evidence_never_lowers_the_score(base: list[float], which: int, gain: float) -> None:
    random = np.random.default_rng(1)
    evidence = random.uniform(-1, 1, (80, 9))
    scorer = fit_scorer(evidence, evidence[:, 0] ** 3 - evidence[:, 5], np.ones(80), names=EVIDENCE_NAMES)
    better = np.array(base)
    better[which] += gain
    assert scorer.score(better) >= scorer.score(np.array(base)) - 1e-9


def test_predictions_stay_in_their_range_with_ordered_bounds(calibration: Calibration) -> None:
    organ = calibration.structures["Organ"]
    for value in (-100.0, -1.0, 0.0, 0.5, 1.0, 100.0):
        evidence = Evidence(**dict.fromkeys(EVIDENCE_NAMES, value))
        overlap, far = organ.predict_dice(evidence), organ.predict_hd95(evidence)
        assert 0 <= overlap.low <= overlap.value <= overlap.high <= 1
        assert 0 <= far.low <= far.value <= far.high <= 40.001


def test_intervals_cover_patients_that_were_not_there(calibration: Calibration) -> None:
    fresh = [x for x in lines(persons=60) if int(x.person[1:]) >= 24]
    found = [calibration.structures["Organ"].predict_dice(evidence_of(x)) for x in fresh]
    covered = np.mean([i.low <= x.dice <= i.high for i, x in zip(found, fresh, strict=True)])
    assert 0.84 <= covered <= 0.99


def test_a_calibration_survives_its_file(calibration: Calibration, tmp_path: Path) -> None:
    calibration.write(tmp_path)
    again = read_calibration(tmp_path)
    assert again == calibration


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"evidence": ["other"]}'])
def test_a_damaged_calibration_is_refused(damage: str, tmp_path: Path) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(damage)
    with pytest.raises(InvalidModel):
        read_calibration(tmp_path)


def test_criteria_state_their_miss_rate_and_abstain_without_a_score(calibration: Calibration) -> None:
    rule = next(c for c in calibration.criteria if c.code == "PREDICTED_DICE")
    assert "upper bound" in rule.source
    missing = Finding(stage="qc", code="PREDICTED_DICE", value=None, segment="Organ")
    assert judge(missing, rule) is Outcome.NOT_ASSESSABLE
    bad = dataclasses.replace(missing, value=0.3, low=0.2, high=0.4)
    assert judge(bad, rule) is Outcome.REJECT
    assert judge(dataclasses.replace(bad, high=0.8), rule) is Outcome.REVIEW
    assert judge(dataclasses.replace(bad, value=0.95, low=0.92, high=0.97), rule) is Outcome.ACCEPT


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    table = lines(persons=2, each=2)
    table[0] = dataclasses.replace(table[0], agreement=0.5)
    write_table(table, tmp_path / "t.csv")
    again = read_table(tmp_path / "t.csv")
    assert again == table


def test_evidence_of_a_perfect_mask_beats_that_of_any_other() -> None:
    truth = np.zeros((16, 16, 16), bool)
    truth[4:12, 4:12, 4:12] = True
    probability = truth.astype(np.float32)

    def gather(mask: np.ndarray) -> np.ndarray:
        return gather_evidence(
            mask, truth, probability, spacing=(1.0, 1.0, 1.0), shape_z=0.0, image_distance=1.0
        ).as_vector()

    best = gather(truth)
    assert best[0] == best[1] == best[2] == 1.0
    for other in (np.zeros_like(truth), ~truth, np.roll(truth, 3, axis=0), np.ones_like(truth)):
        found = gather(other)
        assert np.isfinite(found).all()
        assert (found <= best + 1e-12).all()
        assert found[0] < 0.7


def test_two_empty_masks_agree() -> None:
    empty = np.zeros((8, 8, 8), bool)
    found = gather_evidence(
        empty, empty, np.zeros((8, 8, 8), np.float32), spacing=(1.0, 1.0, 1.0), shape_z=20.0, image_distance=math.inf
    )
    assert found.overlap == found.surface_dice == 1.0
    assert np.isfinite(found.as_vector()).all()
