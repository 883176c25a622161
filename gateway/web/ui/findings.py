"""The findings of an iteration as a page shows them: predictions, what counted against the result, checks, measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from gateway.services.case_record import FindingView, IterationView
from gateway.web.ui.bars import Bar, bar_of

_DICE, _HD95 = "PREDICTED_DICE", "PREDICTED_HD95"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A finding with its bar; `answer` is ``yes`` or ``no`` where a rule is broken or not, and there is no scale."""

    finding: FindingView
    bar: Bar | None
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """How good one structure's mask is predicted to be, without ground truth, and what the intervals rest on."""

    segment: str
    dice: Check | None
    hd95: FindingView | None
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What was measured without being judged: a row for each segment, a value or None for each of `codes`."""

    codes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[FindingView | None, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFindings:
    """The findings of one stage: judged ones, and measures of segments."""

    stage: str
    checks: tuple[Check, ...]
    measures: Measures | None

    @property
    def summary(self) -> str:
        """How many checks there were and how they came out."""
        judged = [check.finding.outcome for check in self.checks if check.finding.outcome]
        failed = sum(outcome != "ACCEPT" for outcome in judged)
        counted = f"{len(judged)} check{'' if len(judged) == 1 else 's'}"
        if not judged:
            return "informative only"
        return f"{counted}, {failed} not met" if failed else f"{counted}, all met"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything found in an iteration; `against` repeats the checks of the stages that were not met."""

    predictions: tuple[Prediction, ...]
    against: tuple[Check, ...]
    stages: tuple[StageFindings, ...]


def findings_of(shown: IterationView | None) -> Findings:
    """Return the findings of an iteration, stages in the order they ran."""
    order = {run.stage: place for place, run in enumerate(shown.stage_runs)} if shown else {}
    ordered = sorted(shown.findings if shown else (), key=lambda finding: order.get(finding.stage, len(order)))
    stages = tuple(_stage(stage, list(group)) for stage, group in groupby(ordered, key=lambda finding: finding.stage))
    return Findings(
        predictions=_predictions(ordered),
        against=tuple(
            check for stage in stages for check in stage.checks if check.finding.outcome not in ("", "ACCEPT")
        ),
        stages=stages,
    )


def _stage(name: str, findings: Sequence[FindingView]) -> StageFindings:
    measured = [f for f in findings if _is_measure(f)]
    # A table pays from two measures a segment on; a single one reads better as a line.
    tabled = measured if len({f.code for f in measured}) > 1 else []
    return StageFindings(
        stage=name,
        checks=tuple(_check(f) for f in findings if f not in tabled),
        measures=_measures(tabled) if tabled else None,
    )


def _is_measure(finding: FindingView) -> bool:
    # What a prediction says of its calibration would have no room in a table.
    return bool(finding.segment) and not finding.outcome and finding.code not in (_DICE, _HD95)


def _measures(findings: Sequence[FindingView]) -> Measures:
    codes = tuple(dict.fromkeys(f.code for f in findings))
    segments = dict.fromkeys(f.segment for f in findings)
    found = {(f.segment, f.code): f for f in findings}
    return Measures(
        codes=codes, rows=tuple((segment, tuple(found.get((segment, code)) for code in codes)) for segment in segments)
    )


def _check(finding: FindingView) -> Check:
    bounds = {name: value for name, value in finding.criterion.items() if name.endswith(("_above", "_below"))}
    is_rule = finding.value in (0.0, 1.0) and list(bounds.values()) == [0.5]
    if is_rule:
        return Check(finding=finding, bar=None, answer="yes" if finding.value else "no")
    return Check(finding=finding, bar=bar_of(finding), answer="")


def _predictions(findings: Sequence[FindingView]) -> tuple[Prediction, ...]:
    found = {(f.segment, f.code): f for f in findings if f.code in (_DICE, _HD95)}
    segments = dict.fromkeys(segment for segment, _ in found)
    return tuple(
        _prediction(segment, dice=found.get((segment, _DICE)), hd95=found.get((segment, _HD95))) for segment in segments
    )


def _prediction(segment: str, *, dice: FindingView | None, hd95: FindingView | None) -> Prediction:
    # Segmentation QC words it "predicted Dice of X is ...; 90% interval from 37 calibration patients (54 images) ...".
    said = next((f.detail for f in (dice, hd95) if f is not None and "; " in f.detail), "")
    return Prediction(segment=segment, dice=_check(dice) if dice else None, hd95=hd95, basis=said.partition("; ")[2])
