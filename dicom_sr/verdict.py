"""Findings, criteria, and the verdict as a pure function of both.

A finding is a coded observation with a value, and where known an interval. A criterion is a published threshold.
`decide` compares them; it abstains (NOT_ASSESSABLE) rather than guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What a verdict, or one criterion, says; from best to worst as `severity` orders them."""

    ACCEPT = "ACCEPT"
    REVIEW = "REVIEW"
    NOT_ASSESSABLE = "NOT_ASSESSABLE"
    REJECT = "REJECT"

    @property
    def severity(self) -> int:
        """Rank from 0 (ACCEPT) to 3 (REJECT)."""
        return list(Outcome).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One coded observation.

    Parameters
    ----------
    stage : str
        Stage that made it.
    code : str
        Stable code, for instance ``PREDICTED_DICE``; `dicom_sr.codes` maps it to a coded concept.
    value : float or None
        Measured value; None when it could not be measured (then `detail` says why). A rule that only holds or not
        gives 1 when violated, else 0.
    unit : str
        UCUM unit: ``1``, ``mm``, ``ml``.
    segment : str
        Segment Label it is about; empty when about the whole image.
    low, high : float or None
        Bounds of the interval of `value` where there is one.
    detail : str
        One sentence for people, free of patient data.
    """

    stage: str
    code: str
    value: float | None
    unit: str = "1"
    segment: str = ""
    low: float | None = None
    high: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """A threshold with its source.

    A bound looks at the finding's interval so that a verdict is certain: rejection needs the whole interval beyond
    the bound, acceptance needs the whole interval on the good side.

    Parameters
    ----------
    code : str
        Finding code it judges.
    segment : str
        Segment Label, or empty for every segment.
    reject_below, review_below, review_above, reject_above : float or None
        Bounds; a value on a bound is on its good side.
    abstain_below, abstain_above : float or None
        Beyond these the verdict abstains, for instance for an input unlike the training data.
    required : bool
        Whether a finding without a value (or no finding at all) makes the verdict abstain.
    source : str
        Where the threshold comes from.
    """

    code: str
    segment: str = ""
    reject_below: float | None = None
    review_below: float | None = None
    review_above: float | None = None
    reject_above: float | None = None
    abstain_below: float | None = None
    abstain_above: float | None = None
    required: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssessedFinding:
    """A finding, the criterion that judged it (None: informative only) and what that said."""

    finding: Finding
    criterion: Criterion | None
    outcome: Outcome | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a verdict is not ACCEPT: stage, finding code, segment and a sentence for people."""

    stage: str
    code: str
    segment: str
    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The machine's judgement with its reasons, worst first, and every finding it looked at."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    assessed: tuple[AssessedFinding, ...]


def decide(findings: Iterable[Finding], criteria: Iterable[Criterion]) -> Verdict:
    """Judge `findings` by `criteria`.

    Returns
    -------
    Verdict
        The worst outcome of any criterion, in the order ACCEPT, REVIEW, NOT_ASSESSABLE, REJECT; NOT_ASSESSABLE when no
        criterion could be applied to any finding.
    """
    found = tuple(findings)
    rules = tuple(criteria)
    assessed = tuple(_assess(finding, rules) for finding in found)
    reasons = [_reason(a) for a in assessed if a.outcome not in (None, Outcome.ACCEPT)]
    reasons += [_absent(rule) for rule in rules if rule.required and not any(_applies(rule, f) for f in found)]
    if not reasons and not any(a.outcome for a in assessed):
        reasons = [Reason(stage="", code="NOTHING_ASSESSED", segment="", outcome=Outcome.NOT_ASSESSABLE,
                          text="no criterion could be applied to any finding")]  # fmt: skip
    reasons.sort(key=lambda reason: -reason.outcome.severity)
    outcome = reasons[0].outcome if reasons else Outcome.ACCEPT
    return Verdict(outcome=outcome, reasons=tuple(reasons), assessed=assessed)


def judge(finding: Finding, criterion: Criterion) -> Outcome:
    """Judge one finding by one criterion; see `Criterion` for how intervals count."""
    value = finding.value
    if value is None or math.isnan(value):
        return Outcome.NOT_ASSESSABLE if criterion.required else Outcome.REVIEW
    low = value if finding.low is None else finding.low
    high = value if finding.high is None else finding.high
    if _beyond(high, criterion.reject_below, low, criterion.reject_above):
        return Outcome.REJECT
    if _beyond(value, criterion.abstain_below, value, criterion.abstain_above):
        return Outcome.NOT_ASSESSABLE
    if _beyond(low, criterion.review_below, high, criterion.review_above):
        return Outcome.REVIEW
    if _beyond(low, criterion.reject_below, high, criterion.reject_above):
        return Outcome.REVIEW
    return Outcome.ACCEPT


def _beyond(against_lower: float, lower: float | None, against_upper: float, upper: float | None) -> bool:
    return (lower is not None and against_lower < lower) or (upper is not None and against_upper > upper)


def _applies(criterion: Criterion, finding: Finding) -> bool:
    return criterion.code == finding.code and criterion.segment in ("", finding.segment)


def _assess(finding: Finding, criteria: tuple[Criterion, ...]) -> AssessedFinding:
    judged = [(judge(finding, c), c) for c in criteria if _applies(c, finding)]
    if not judged:
        return AssessedFinding(finding=finding, criterion=None, outcome=None)
    outcome, criterion = max(judged, key=lambda pair: pair[0].severity)
    return AssessedFinding(finding=finding, criterion=criterion, outcome=outcome)


def _reason(assessed: AssessedFinding) -> Reason:
    finding, outcome = assessed.finding, assessed.outcome
    assert outcome is not None
    return Reason(
        stage=finding.stage,
        code=finding.code,
        segment=finding.segment,
        outcome=outcome,
        text=_sentence(finding, assessed.criterion),
    )


def _sentence(finding: Finding, criterion: Criterion | None) -> str:
    """Say value, interval and bounds; a rule that holds or not has nothing to say but its detail."""
    is_rule = finding.value == 1.0 and criterion is not None and 0.5 in (criterion.reject_above, criterion.review_above)
    if finding.detail and (is_rule or finding.value is None):
        return finding.detail
    stated = _stated(finding, criterion)
    return f"{stated}: {finding.detail}" if finding.detail else stated


def _stated(finding: Finding, criterion: Criterion | None) -> str:
    unit = "" if finding.unit == "1" else f" {finding.unit}"
    value = "not measurable" if finding.value is None else f"{finding.value:.3g}{unit}"
    if finding.low is not None and finding.high is not None:
        value += f" ({finding.low:.3g} to {finding.high:.3g})"
    subject = f" of {finding.segment}" if finding.segment else ""
    return f"{finding.code.replace('_', ' ').lower()}{subject} is {value}{_bounds(criterion)}"


def _bounds(criterion: Criterion | None) -> str:
    if criterion is None:
        return ""
    named = {
        "reject below": criterion.reject_below,
        "review below": criterion.review_below,
        "review above": criterion.review_above,
        "reject above": criterion.reject_above,
        "abstain below": criterion.abstain_below,
        "abstain above": criterion.abstain_above,
    }
    given = [f"{name} {bound:g}" for name, bound in named.items() if bound is not None]
    return f" ({', '.join(given)})" if given else ""


def _absent(criterion: Criterion) -> Reason:
    return Reason(
        stage="",
        code=criterion.code,
        segment=criterion.segment,
        outcome=Outcome.NOT_ASSESSABLE,
        text=f"{criterion.code.replace('_', ' ').lower()} is required but was not measured",
    )
