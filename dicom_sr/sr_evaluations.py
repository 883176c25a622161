"""What a report says as a whole, as content items and back: verdict, reasons, a person's decision, provenance.

All of it lies in the Qualitative Evaluations container of TID 1500, as codes and texts.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_sr import codes, sr_items
from dicom_sr.codes import Code
from dicom_sr.errors import InvalidObject, UnreadableObject
from dicom_sr.finding_codes import finding_code_of, finding_concept
from dicom_sr.qc_report import EditSummary, ModelRef, PipelineRef, QcReport
from dicom_sr.sr_findings import outcome_of_code
from dicom_sr.sr_items import Relation
from dicom_sr.verdict import Outcome, Reason

_IN, _OF = Relation.CONTAINS, Relation.PROPERTY


def evaluations(report: QcReport) -> list[Dataset]:
    """Return the content items of everything but findings and segments.

    Raises
    ------
    InvalidObject
        If the QC status is not one of `codes.QC_STATUSES`.
    """
    items = [sr_items.code(_IN, codes.VERDICT, codes.OUTCOMES[report.verdict.outcome])]
    items += [_reason_item(reason) for reason in report.verdict.reasons]
    if report.qc_status is not None:
        if report.qc_status not in codes.QC_STATUSES:
            raise InvalidObject("the QC status of the report has no code")
        items.append(sr_items.code(_IN, codes.QC_STATUS, codes.QC_STATUSES[report.qc_status]))
    if report.comment:
        items.append(sr_items.text(_IN, codes.COMMENT, report.comment))
    return [*items, *_provenance(report)]


def _provenance(report: QcReport) -> list[Dataset]:
    items = [
        sr_items.text(_IN, codes.CASE, report.case_id),
        sr_items.text(
            _IN, codes.PIPELINE, report.pipeline.name, *_named(codes.ALGORITHM_VERSION, report.pipeline.version)
        ),
        sr_items.text(_IN, codes.GENERATION, str(report.generation)),
        sr_items.text(_IN, codes.ITERATION, str(report.iteration)),
    ]
    if report.criteria_version:
        items.append(sr_items.text(_IN, codes.CRITERIA_VERSION, report.criteria_version))
    items += [
        sr_items.text(_IN, codes.STAGE, stage, sr_items.text(_OF, codes.STAGE_KEY, key))
        for stage, key in report.stage_keys.items()
    ]
    items += [
        sr_items.text(
            _IN,
            # Not Algorithm Name: TID 4019 allows one in a container, and a case runs several networks.
            codes.MODEL,
            model.name,
            *_named(codes.ALGORITHM_VERSION, model.version),
            *_named(codes.MODEL_DIGEST, model.digest),
        )
        for model in report.models
    ]
    items += [sr_items.text(_IN, codes.EVIDENCE, evidence) for evidence in report.completion_evidence]
    if report.edit is not None:
        items.append(_edit_item(report.edit))
    return items


def read_outcome(container: Dataset) -> Outcome:
    """Return the verdict's outcome.

    Raises
    ------
    UnreadableObject
        If there is none that is known.
    """
    outcome = outcome_of_code(sr_items.code_of(sr_items.child(container, codes.VERDICT)))
    if outcome is None:
        raise UnreadableObject("the report has no verdict that this software knows")
    return outcome


def read_reasons(container: Dataset) -> tuple[Reason, ...]:
    """Return the reasons of the verdict, in order."""
    return tuple(_read_reason(item) for item in sr_items.children(container, codes.VERDICT_REASON))


def read_qc_status(container: Dataset) -> str | None:
    """Return the name of the QC status, or None."""
    code = sr_items.code_of(sr_items.child(container, codes.QC_STATUS))
    if code is None:
        return None
    return next((name for name, known in codes.QC_STATUSES.items() if sr_items.same_concept(known, code)), None)


def read_text(container: Dataset, name: Code) -> str:
    """Return the text of the first item with that name, empty when absent."""
    return sr_items.text_of(sr_items.child(container, name))


def read_texts(container: Dataset, name: Code) -> tuple[str, ...]:
    """Return the texts of all items with that name."""
    return tuple(sr_items.text_of(item) for item in sr_items.children(container, name))


def read_count(container: Dataset, name: Code) -> int:
    """Return a count that is written as text.

    Raises
    ------
    UnreadableObject
        If it is absent or no count.
    """
    value = read_text(container, name)
    if not (value.isascii() and value.isdigit()):
        raise UnreadableObject(f"the report has no {name.meaning.lower()}")
    return int(value)


def read_pipeline(container: Dataset) -> PipelineRef:
    """Return the pipeline; empty parts when absent."""
    item = sr_items.child(container, codes.PIPELINE)
    return PipelineRef(name=sr_items.text_of(item), version=_read_version(item))


def read_stage_keys(container: Dataset) -> dict[str, str]:
    """Return the stage run key by stage."""
    return {
        sr_items.text_of(item): sr_items.text_of(sr_items.child(item, codes.STAGE_KEY))
        for item in sr_items.children(container, codes.STAGE)
    }


def read_models(container: Dataset) -> tuple[ModelRef, ...]:
    """Return the models that took part."""
    return tuple(
        ModelRef(
            name=sr_items.text_of(item),
            version=_read_version(item),
            digest=sr_items.text_of(sr_items.child(item, codes.MODEL_DIGEST)),
        )
        for item in sr_items.children(container, codes.MODEL)
    )


def read_edit(container: Dataset) -> EditSummary | None:
    """Return the accepted edit, or None."""
    item = sr_items.child(container, codes.EDIT)
    if item is None:
        return None
    return EditSummary(
        stage=sr_items.text_of(item),
        sender=sr_items.text_of(sr_items.child(item, codes.EDIT_SENDER)),
        voxels_changed=int(sr_items.number_of(sr_items.child(item, codes.EDIT_VOXELS)) or 0),
        sop_instance_uid=sr_items.text_of(sr_items.child(item, codes.EDIT_OBJECT)),
    )


def _edit_item(edit: EditSummary) -> Dataset:
    return sr_items.text(
        _IN,
        codes.EDIT,
        edit.stage,
        *_named(codes.EDIT_SENDER, edit.sender),
        sr_items.number(_OF, codes.EDIT_VOXELS, edit.voxels_changed, "{voxels}"),
        sr_items.uid_reference(_OF, codes.EDIT_OBJECT, edit.sop_instance_uid),
    )


def _reason_item(reason: Reason) -> Dataset:
    concept = finding_concept(reason.code)
    properties = [sr_items.code(_OF, codes.CRITERION_OUTCOME, codes.OUTCOMES[reason.outcome])]
    if concept.method is not None:
        properties.append(sr_items.code(_OF, codes.METHOD, concept.method))
    if concept.code == codes.OTHER_FINDING:
        properties.append(sr_items.text(_OF, codes.FINDING_CODE, reason.code))
    properties += _named(codes.STAGE, reason.stage) + _named(codes.SEGMENT, reason.segment)
    properties += _named(codes.COMMENT, reason.text)
    return sr_items.code(_IN, codes.VERDICT_REASON, concept.code, *properties)


def _read_reason(item: Dataset) -> Reason:
    outcome = outcome_of_code(sr_items.code_of(sr_items.child(item, codes.CRITERION_OUTCOME)))
    code = sr_items.code_of(item)
    if outcome is None or code is None:
        raise UnreadableObject("a reason of the verdict has no outcome or no finding")
    named = sr_items.text_of(sr_items.child(item, codes.FINDING_CODE))
    method = sr_items.code_of(sr_items.child(item, codes.METHOD))
    return Reason(
        stage=sr_items.text_of(sr_items.child(item, codes.STAGE)),
        code=named or finding_code_of(code, method) or code.value,
        segment=sr_items.text_of(sr_items.child(item, codes.SEGMENT)),
        outcome=outcome,
        text=sr_items.text_of(sr_items.child(item, codes.COMMENT)),
    )


def _named(name: Code, value: str) -> list[Dataset]:
    return [sr_items.text(_OF, name, value)] if value else []


def _read_version(item: Dataset | None) -> str:
    return "" if item is None else sr_items.text_of(sr_items.child(item, codes.ALGORITHM_VERSION))
