"""Findings as measurements of a report and back: value, interval, algorithm, criterion and what it said (TID 300).

The interval is written as the standard's measurement uncertainty where that is exact, else as private bounds.
"""

from __future__ import annotations

import math

from pydicom.dataset import Dataset

from dicom_sr import codes, sr_items
from dicom_sr.codes import Code
from dicom_sr.errors import UnreadableObject
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


def finding_item(assessed: AssessedFinding, pipeline: PipelineRef, *, name_segment: bool) -> Dataset:
    """Return the NUM item of one finding.

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
    children = []
    if concept.method is not None:
        children.append(sr_items.code(Relation.MODIFIER, codes.METHOD, concept.method))
    if concept.code == codes.OTHER_FINDING:
        children.append(sr_items.text(Relation.MODIFIER, codes.FINDING_CODE, finding.code))
    if name_segment and finding.segment:
        children.append(sr_items.text(Relation.MODIFIER, codes.SEGMENT, finding.segment))
    if finding.value is None or not math.isfinite(finding.value):
        children.append(sr_items.code(Relation.MODIFIER, codes.UNIT_OF_MISSING, codes.unit_code(finding.unit)))
    children += _interval(finding)
    if finding.detail:
        children.append(sr_items.text(Relation.PROPERTY, codes.COMMENT, finding.detail))
    if assessed.criterion is not None and assessed.outcome is not None:
        children += _criterion(assessed.criterion, assessed.outcome, finding.unit)
    children += [
        sr_items.text(Relation.MODIFIER, codes.ALGORITHM_NAME, pipeline.name),
        sr_items.text(Relation.MODIFIER, codes.ALGORITHM_VERSION, pipeline.version),
        sr_items.text(Relation.MODIFIER, codes.ALGORITHM_PARAMETERS, _STAGE + finding.stage),
    ]
    return sr_items.number(Relation.CONTAINS, concept.code, finding.value, finding.unit, *children)


def is_finding_item(item: Dataset) -> bool:
    """Whether a content item is a finding as `finding_item` writes it."""
    return item.get("ValueType") == "NUM" and _code_of(item) is not None


def read_finding(item: Dataset, segment: str) -> AssessedFinding:
    """Return the finding of a NUM item in the group of `segment` (empty: no group).

    Raises
    ------
    UnreadableObject
        If the item is no finding of ours.
    """
    code = _code_of(item)
    if code is None:
        raise UnreadableObject("a measurement of the report is not a finding of this software")
    value = sr_items.number_of(item)
    named = sr_items.text_of(sr_items.child(item, codes.SEGMENT, Relation.MODIFIER))
    finding = Finding(
        stage=sr_items.text_of(sr_items.child(item, codes.ALGORITHM_PARAMETERS)).removeprefix(_STAGE),
        code=code,
        value=value,
        unit=_read_unit(item),
        segment=named or segment,
        low=_read_bound(item, value, codes.INTERVAL_LOW, codes.LOWER_UNCERTAINTY, -1),
        high=_read_bound(item, value, codes.INTERVAL_HIGH, codes.UPPER_UNCERTAINTY, 1),
        detail=sr_items.text_of(sr_items.child(item, codes.COMMENT, Relation.PROPERTY)),
    )
    outcome = _read_outcome(item)
    criterion = None if outcome is None else _read_criterion(item, code)
    return AssessedFinding(finding=finding, criterion=criterion, outcome=outcome)


def outcome_of_code(code: Code | None) -> Outcome | None:
    """Return the verdict outcome a code stands for, or None."""
    if code is None:
        return None
    return next((o for o, known in codes.OUTCOMES.items() if sr_items.same_concept(known, code)), None)


def _interval(finding: Finding) -> list[Dataset]:
    found = []
    sides = (
        (finding.low, codes.INTERVAL_LOW, codes.LOWER_UNCERTAINTY, -1),
        (finding.high, codes.INTERVAL_HIGH, codes.UPPER_UNCERTAINTY, 1),
    )
    for bound, absolute, relative, sign in sides:
        if bound is None:
            continue
        width = None if finding.value is None else sign * (bound - finding.value)
        if width is not None and width >= 0 and math.isfinite(width) and _restored(finding.value, width, sign) == bound:
            found.append(sr_items.number(Relation.PROPERTY, relative, width, finding.unit))
        else:
            found.append(sr_items.number(Relation.PROPERTY, absolute, bound, finding.unit))
    return found


def _restored(value: float | None, width: float, sign: int) -> float | None:
    return None if value is None else value + sign * width


def _read_bound(item: Dataset, value: float | None, absolute: Code, relative: Code, sign: int) -> float | None:
    width = sr_items.number_of(sr_items.child(item, relative, Relation.PROPERTY))
    if width is not None:
        return _restored(value, width, sign)
    return sr_items.number_of(sr_items.child(item, absolute, Relation.PROPERTY))


def _criterion(criterion: Criterion, outcome: Outcome, unit: str) -> list[Dataset]:
    items = [sr_items.code(Relation.PROPERTY, codes.CRITERION_OUTCOME, codes.OUTCOMES[outcome])]
    for attribute, name in _BOUNDS.items():
        bound = getattr(criterion, attribute)
        if bound is not None:
            items.append(sr_items.number(Relation.PROPERTY, name, bound, unit))
    if criterion.required:
        items.append(sr_items.code(Relation.PROPERTY, codes.REQUIRED, codes.YES))
    if criterion.segment:
        items.append(sr_items.text(Relation.PROPERTY, codes.CRITERION_SEGMENT, criterion.segment))
    if criterion.source:
        items.append(sr_items.text(Relation.PROPERTY, codes.REFERENCE_AUTHORITY, criterion.source))
    return items


def _read_criterion(item: Dataset, code: str) -> Criterion:
    bounds = {
        attribute: sr_items.number_of(sr_items.child(item, name, Relation.PROPERTY))
        for attribute, name in _BOUNDS.items()
    }
    return Criterion(
        code=code,
        segment=sr_items.text_of(sr_items.child(item, codes.CRITERION_SEGMENT, Relation.PROPERTY)),
        required=sr_items.child(item, codes.REQUIRED, Relation.PROPERTY) is not None,
        source=sr_items.text_of(sr_items.child(item, codes.REFERENCE_AUTHORITY, Relation.PROPERTY)),
        **bounds,
    )


def _read_outcome(item: Dataset) -> Outcome | None:
    return outcome_of_code(sr_items.code_of(sr_items.child(item, codes.CRITERION_OUTCOME, Relation.PROPERTY)))


def _read_unit(item: Dataset) -> str:
    missing = sr_items.code_of(sr_items.child(item, codes.UNIT_OF_MISSING, Relation.MODIFIER))
    return missing.value if missing is not None else sr_items.unit_of(item) or "1"


def _code_of(item: Dataset) -> str | None:
    name = sr_items.name_of(item)
    if sr_items.same_concept(name, codes.OTHER_FINDING):
        return sr_items.text_of(sr_items.child(item, codes.FINDING_CODE, Relation.MODIFIER)) or None
    return finding_code_of(name, sr_items.code_of(sr_items.child(item, codes.METHOD, Relation.MODIFIER)))
