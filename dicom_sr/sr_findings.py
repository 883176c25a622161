"""Findings as measurements of a report and back: value, interval, algorithm, criterion and what it said (TID 300).

The shape is what PixelMed's validator and dcmqi take: nothing numeric below a measurement. The bounds of an interval
are measurements of the same concept with a Derivation, right after the finding; the bounds of a criterion lie below
its text; a finding without a number is a code of CID 42.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pydicom.dataset import Dataset

from dicom_sr import codes, sr_items
from dicom_sr.codes import Code
from dicom_sr.finding_codes import finding_code_of, finding_concept
from dicom_sr.qc_report import PipelineRef
from dicom_sr.sr_items import Relation
from dicom_sr.verdict import AssessedFinding, Criterion, Finding, Outcome

_STAGE = "stage="
_BOUNDS = {
    "reject_below": codes.REJECT_BELOW,
    "review_below": codes.REVIEW_BELOW,
    "review_above": codes.REVIEW_ABOVE,
    "reject_above": codes.REJECT_ABOVE,
    "abstain_below": codes.ABSTAIN_BELOW,
    "abstain_above": codes.ABSTAIN_ABOVE,
}
_NON_FINITE = {
    codes.VALUE_UNKNOWN: None,
    codes.NOT_A_NUMBER: math.nan,
    codes.POSITIVE_INFINITY: math.inf,
    codes.NEGATIVE_INFINITY: -math.inf,
}


def finding_items(assessed: AssessedFinding, pipeline: PipelineRef, *, name_segment: bool) -> list[Dataset]:
    """Return the content items of one finding: itself, then the bounds of its interval.

    Parameters
    ----------
    assessed : AssessedFinding
        Finding, criterion and outcome.
    pipeline : PipelineRef
        Named as the algorithm of the measurement (TID 4019).
    name_segment : bool
        Whether the item names the finding's segment, because the group around it does not.
    """
    finding = assessed.finding
    concept = finding_concept(finding.code)
    naming = _naming(finding, name_segment=name_segment)
    children = list(naming)
    if finding.detail:
        children.append(sr_items.text(Relation.PROPERTY, codes.COMMENT, finding.detail))
    if assessed.criterion is not None and assessed.outcome is not None:
        children.append(_criterion_item(assessed.criterion, assessed.outcome, finding.unit))
    children += [
        sr_items.text(Relation.MODIFIER, codes.ALGORITHM_NAME, pipeline.name),
        sr_items.text(Relation.MODIFIER, codes.ALGORITHM_VERSION, pipeline.version),
        sr_items.text(Relation.MODIFIER, codes.ALGORITHM_PARAMETERS, _STAGE + finding.stage),
    ]
    items = [_value_item(concept.code, finding, children)]
    for bound, derivation in ((finding.low, codes.INTERVAL_LOW), (finding.high, codes.INTERVAL_HIGH)):
        if bound is not None and math.isfinite(bound):
            modifier = sr_items.code(Relation.MODIFIER, codes.DERIVATION, derivation)
            items.append(sr_items.number(Relation.CONTAINS, concept.code, bound, finding.unit, modifier, *naming))
    return items


def read_findings(items: Iterable[Dataset], segment: str) -> list[AssessedFinding]:
    """Return the findings among content items, in order; items that are no finding of ours are passed over.

    Parameters
    ----------
    items : iterable of pydicom.Dataset
        Children of a measurement group, or of the evaluations of the whole report.
    segment : str
        Segment Label of the group, empty where it has none.
    """
    found: list[AssessedFinding] = []
    for item in items:
        code = _code_of(item)
        if code is None:
            continue
        side = sr_items.code_of(sr_items.child(item, codes.DERIVATION, Relation.MODIFIER))
        if side is None:
            found.append(_read_finding(item, code, segment))
        elif found:
            found[-1] = _with_bound(found[-1], side, sr_items.number_of(item))
    return found


def outcome_of_code(code: Code | None) -> Outcome | None:
    """Return the verdict outcome a code stands for, or None."""
    if code is None:
        return None
    return next((o for o, known in codes.OUTCOMES.items() if sr_items.same_concept(known, code)), None)


def bounds_sentence(criterion: Criterion) -> str:
    """Return the bounds of a criterion for people, for instance ``reject below 0.5, review outside 0.7 to 0.9``."""
    pairs = (
        ("reject", criterion.reject_below, criterion.reject_above),
        ("review", criterion.review_below, criterion.review_above),
        ("abstain", criterion.abstain_below, criterion.abstain_above),
    )
    named = []
    for word, low, high in pairs:
        if low is not None and high is not None:
            named.append(f"{word} outside {low:.6g} to {high:.6g}")
        elif low is not None or high is not None:
            named.append(f"{word} {'above' if low is None else 'below'} {high if low is None else low:.6g}")
    return ", ".join(named) or "must be measurable"


def _naming(finding: Finding, *, name_segment: bool) -> list[Dataset]:
    """Items that say which finding a measurement is, where its concept alone does not."""
    concept = finding_concept(finding.code)
    found = []
    if concept.method is not None:
        found.append(sr_items.code(Relation.MODIFIER, codes.METHOD, concept.method))
    if concept.code == codes.OTHER_FINDING:
        found.append(sr_items.text(Relation.MODIFIER, codes.FINDING_CODE, finding.code))
    if name_segment and finding.segment:
        found.append(sr_items.text(Relation.MODIFIER, codes.SEGMENT, finding.segment))
    return found


def _value_item(concept: Code, finding: Finding, children: list[Dataset]) -> Dataset:
    value = finding.value
    if value is not None and math.isfinite(value):
        return sr_items.number(Relation.CONTAINS, concept, value, finding.unit, *children)
    unit = sr_items.text(Relation.MODIFIER, codes.UNIT_OF_MISSING, finding.unit)
    return sr_items.code(Relation.CONTAINS, concept, _code_of_non_finite(value), unit, *children)


def _code_of_non_finite(value: float | None) -> Code:
    if value is None:
        return codes.VALUE_UNKNOWN
    if math.isnan(value):
        return codes.NOT_A_NUMBER
    return codes.POSITIVE_INFINITY if value > 0 else codes.NEGATIVE_INFINITY


def _criterion_item(criterion: Criterion, outcome: Outcome, unit: str) -> Dataset:
    children = [sr_items.code(Relation.PROPERTY, codes.CRITERION_OUTCOME, codes.OUTCOMES[outcome])]
    for attribute, name in _BOUNDS.items():
        bound = getattr(criterion, attribute)
        if bound is not None and math.isfinite(bound):
            children.append(sr_items.number(Relation.PROPERTY, name, bound, unit))
    if criterion.required:
        children.append(sr_items.code(Relation.PROPERTY, codes.REQUIRED, codes.YES))
    if criterion.segment:
        children.append(sr_items.text(Relation.PROPERTY, codes.SEGMENT, criterion.segment))
    if criterion.source:
        children.append(sr_items.text(Relation.PROPERTY, codes.REFERENCE_AUTHORITY, criterion.source))
    return sr_items.text(Relation.PROPERTY, codes.CRITERION, bounds_sentence(criterion), *children)


def _code_of(item: Dataset) -> str | None:
    """Return the finding code of a content item, None when it is no finding of ours."""
    if item.get("ValueType") not in ("NUM", "CODE"):
        return None
    name = sr_items.name_of(item)
    if sr_items.same_concept(name, codes.OTHER_FINDING):
        return sr_items.text_of(sr_items.child(item, codes.FINDING_CODE, Relation.MODIFIER)) or None
    return finding_code_of(name, sr_items.code_of(sr_items.child(item, codes.METHOD, Relation.MODIFIER)))


def _read_finding(item: Dataset, code: str, segment: str) -> AssessedFinding:
    named = sr_items.text_of(sr_items.child(item, codes.SEGMENT, Relation.MODIFIER))
    finding = Finding(
        stage=sr_items.text_of(sr_items.child(item, codes.ALGORITHM_PARAMETERS)).removeprefix(_STAGE),
        code=code,
        value=_read_value(item),
        unit=sr_items.text_of(sr_items.child(item, codes.UNIT_OF_MISSING)) or sr_items.unit_of(item) or "1",
        segment=named or segment,
        detail=sr_items.text_of(sr_items.child(item, codes.COMMENT, Relation.PROPERTY)),
    )
    criterion_item = sr_items.child(item, codes.CRITERION, Relation.PROPERTY)
    if criterion_item is None:
        return AssessedFinding(finding=finding, criterion=None, outcome=None)
    outcome = outcome_of_code(sr_items.code_of(sr_items.child(criterion_item, codes.CRITERION_OUTCOME)))
    return AssessedFinding(finding=finding, criterion=_read_criterion(criterion_item, code), outcome=outcome)


def _read_value(item: Dataset) -> float | None:
    if item.get("ValueType") == "NUM":
        return sr_items.number_of(item)
    given = sr_items.code_of(item)
    known: Mapping[Code, float | None] = _NON_FINITE
    return next((v for code, v in known.items() if given is not None and sr_items.same_concept(code, given)), None)


def _read_criterion(item: Dataset, code: str) -> Criterion:
    bounds = {
        attribute: sr_items.number_of(sr_items.child(item, name, Relation.PROPERTY))
        for attribute, name in _BOUNDS.items()
    }
    return Criterion(
        code=code,
        segment=sr_items.text_of(sr_items.child(item, codes.SEGMENT, Relation.PROPERTY)),
        required=sr_items.child(item, codes.REQUIRED, Relation.PROPERTY) is not None,
        source=sr_items.text_of(sr_items.child(item, codes.REFERENCE_AUTHORITY, Relation.PROPERTY)),
        **bounds,
    )


def _with_bound(assessed: AssessedFinding, side: Code, bound: float | None) -> AssessedFinding:
    if sr_items.same_concept(side, codes.INTERVAL_LOW):
        return replace(assessed, finding=replace(assessed.finding, low=bound))
    if sr_items.same_concept(side, codes.INTERVAL_HIGH):
        return replace(assessed, finding=replace(assessed.finding, high=bound))
    return assessed
