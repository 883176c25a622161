from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.domain.qc_status import QcStatus
from gateway.domain.stage_run import StageRunState
from gateway.services.case_record import FindingView, IterationView, StageRunView
from gateway.web.ui.findings import findings_of

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_BASIS = "90% interval from 37 calibration patients (54 images) for masks of a network"
_DICE = FindingView(
    stage="qc", code="PREDICTED_DICE", segment="Left", value=0.9, unit="1", low=0.85, high=0.94, outcome="ACCEPT",
    detail=f"predicted Dice of Left is 0.90 (0.85 to 0.94); {_BASIS}", criterion={"review_below": 0.7},
)  # fmt: skip
_HD95 = replace(_DICE, code="PREDICTED_HD95", value=1.2, unit="mm", low=0.8, high=1.7, outcome="", criterion={})
_RULE = FindingView(
    stage="image", code="LOCALIZER", segment="", value=0.0, unit="1", low=None, high=None, outcome="ACCEPT", detail="",
    criterion={"code": "LOCALIZER", "reject_above": 0.5, "source": "rule: 1 is violated"},
)  # fmt: skip


def _iteration(*findings: FindingView) -> IterationView:
    runs = tuple(
        StageRunView(
            stage=stage, outcome="EXECUTED", state=StageRunState.DONE, key="", seconds=1.0, model_seconds=1.0,
            attempt=1, model={}, reused_from_iteration=None, failure_code="", failure_detail="",
            started_at=None, finished_at=None,
        )
        for stage in ("image", "measure", "qc")
    )  # fmt: skip
    return IterationView(
        generation=1, number=0, cause="AUTOMATIC", opened_at=_AT, finished_at=_AT, verdict=None,
        qc_status=QcStatus.NOT_REVIEWED, qc_comment="", qc_by="", qc_at=None, superseded=False, evidence=(),
        instance_count=1, stage_runs=runs, outputs=(), findings=findings, edits=(),
    )  # fmt: skip


def test_predicted_dice_and_hd95_of_a_structure_stand_together_with_what_their_intervals_rest_on() -> None:
    found = findings_of(_iteration(_DICE, _HD95))
    (prediction,) = found.predictions
    assert prediction.segment == "Left"
    assert prediction.dice is not None
    assert (prediction.dice.finding, prediction.hd95) == (_DICE, _HD95)
    assert prediction.basis == _BASIS


def test_structures_with_intervals_of_different_origin_each_say_theirs() -> None:
    edited = replace(_DICE, segment="Right", detail="predicted Dice of Right is 0.9; 90% interval of edited masks")
    found = findings_of(_iteration(_DICE, edited))
    assert [p.basis for p in found.predictions] == [_BASIS, "90% interval of edited masks"]


def test_what_counted_against_the_result_is_repeated_before_the_checks_of_the_stages() -> None:
    broken = replace(_RULE, code="WRONG_SEQUENCE", value=1.0, outcome="REJECT")
    found = findings_of(_iteration(_DICE, _RULE, broken))
    assert [check.finding for check in found.against] == [broken]
    assert [(stage.stage, stage.summary) for stage in found.stages] == [
        ("image", "2 checks, 1 not met"),
        ("qc", "1 check, all met"),
    ]


@pytest.mark.parametrize(("value", "answer"), [(0.0, "no"), (1.0, "yes")])
def test_a_rule_that_is_broken_or_not_is_answered_in_a_word_and_has_no_scale(value: float, answer: str) -> None:
    (check,) = findings_of(_iteration(replace(_RULE, value=value))).stages[0].checks
    assert (check.answer, check.bar) == (answer, None)


def test_a_score_that_happens_to_be_0_or_1_keeps_its_scale() -> None:
    perfect = replace(_DICE, value=1.0)
    (check,) = findings_of(_iteration(perfect)).stages[0].checks
    assert check.answer == ""
    assert check.bar is not None


def test_measures_of_segments_make_one_table_with_a_row_for_each_segment() -> None:
    volume = FindingView(
        stage="measure", code="VOLUME", segment="Left", value=3.0, unit="ml", low=None, high=None, outcome="",
        detail="", criterion={},
    )  # fmt: skip
    extent = replace(volume, code="EXTENT_AP", value=40.0, unit="mm")
    judged = replace(volume, segment="Right", outcome="REVIEW", criterion={"review_above": 2.0})
    right = replace(volume, segment="Right", code="EXTENT_AP", value=41.0, unit="mm")
    (stage,) = findings_of(_iteration(volume, extent, judged, right)).stages
    assert stage.measures is not None
    assert stage.measures.codes == ("VOLUME", "EXTENT_AP")
    assert stage.measures.rows == (("Left", (volume, extent)), ("Right", (None, right)))
    assert [check.finding for check in stage.checks] == [judged]


def test_an_iteration_without_findings_has_none() -> None:
    assert findings_of(_iteration()) == findings_of(None)
