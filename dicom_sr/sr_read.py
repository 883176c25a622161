"""Read a quality control report of ours back into the dataclass it was written from."""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_sr import codes, header, sr_items
from dicom_sr import sr_evaluations as evaluations
from dicom_sr.codes import Code
from dicom_sr.errors import UnreadableObject
from dicom_sr.qc_report import ContentQualification, PriorDocument, QcReport, SegmentReport, Signature
from dicom_sr.sr_findings import read_findings
from dicom_sr.timestamps import read_datetime
from dicom_sr.verdict import AssessedFinding, Verdict


def read_qc_sr(ds: Dataset) -> QcReport:
    """Read a report that `sr.image_qc_sr` or `sr.segmentation_qc_sr` wrote; equal to what went in.

    Raises
    ------
    UnreadableObject
        If `ds` is not such a report.
    """
    if header.text(ds, "SOPClassUID") != Comprehensive3DSRStorage:
        raise UnreadableObject("the object is not a Comprehensive 3D SR")
    whole = sr_items.child(ds, codes.QUALITATIVE_EVALUATIONS)
    if whole is None:
        raise UnreadableObject("the report has no qualitative evaluations, so it is not one of this software")
    segments, assessed = _read_groups(ds)
    assessed += read_findings(header.items(whole, "ContentSequence"), "")
    return QcReport(
        sop_instance_uid=_require(ds, "SOPInstanceUID"),
        series_instance_uid=_require(ds, "SeriesInstanceUID"),
        series_number=_require_int(ds, "SeriesNumber"),
        instance_number=_require_int(ds, "InstanceNumber"),
        series_description=header.text(ds, "SeriesDescription"),
        created_at=_read_created_at(ds),
        case_id=evaluations.read_text(whole, codes.CASE),
        pipeline=evaluations.read_pipeline(whole),
        generation=evaluations.read_count(whole, codes.GENERATION),
        iteration=evaluations.read_count(whole, codes.ITERATION),
        stage_keys=evaluations.read_stage_keys(whole),
        models=evaluations.read_models(whole),
        verdict=Verdict(
            outcome=evaluations.read_outcome(whole),
            reasons=evaluations.read_reasons(whole),
            assessed=tuple(assessed),
        ),
        criteria_version=evaluations.read_text(whole, codes.CRITERIA_VERSION),
        segments=tuple(segments),
        completion_evidence=evaluations.read_texts(whole, codes.EVIDENCE),
        qc_status=evaluations.read_qc_status(whole),
        comment=evaluations.read_text(whole, codes.COMMENT),
        edit=evaluations.read_edit(whole),
        signature=_read_signature(ds),
        predecessor=_read_predecessor(ds),
        content_qualification=_read_qualification(ds),
    )


def _require(ds: Dataset, keyword: str) -> str:
    value = header.text(ds, keyword)
    if not value:
        raise UnreadableObject(f"the report has no {keyword}")
    return value


def _require_int(ds: Dataset, keyword: str) -> int:
    value = header.number(ds, keyword)
    if value is None:
        raise UnreadableObject(f"the report has no {keyword}")
    return int(value)


def _read_created_at(ds: Dataset) -> datetime:
    time, _, fraction = header.text(ds, "ContentTime").partition(".")
    date_time = header.text(ds, "ContentDate") + time + (f".{fraction}" if fraction else "")
    return read_datetime(date_time + header.text(ds, "TimezoneOffsetFromUTC"))


def _read_qualification(ds: Dataset) -> ContentQualification:
    given = header.text(ds, "ContentQualification")
    # What is not plainly a product must not serve diagnosis.
    return ContentQualification.PRODUCT if given in ("", "PRODUCT") else ContentQualification.RESEARCH


def _read_groups(ds: Dataset) -> tuple[list[SegmentReport], list[AssessedFinding]]:
    segments: list[SegmentReport] = []
    assessed: list[AssessedFinding] = []
    measurements = sr_items.child(ds, codes.IMAGING_MEASUREMENTS)
    groups = [] if measurements is None else sr_items.children(measurements, codes.MEASUREMENT_GROUP)
    series_of = _series_of_evidence(ds)
    for group in groups:
        segment = _read_segment(group, series_of)
        if segment is not None:
            segments.append(segment)
        label = "" if segment is None else segment.label
        assessed += read_findings(header.items(group, "ContentSequence"), label)
    return segments, assessed


def _read_segment(group: Dataset, series_of: dict[str, str]) -> SegmentReport | None:
    reference = sr_items.child(group, codes.REFERENCED_SEGMENT)
    if reference is None:
        return None
    referenced = header.items(reference, "ReferencedSOPSequence")
    if not referenced:
        raise UnreadableObject("a segment of the report refers to no segmentation")
    stored = referenced[0]
    instance_uid = header.text(stored, "ReferencedSOPInstanceUID")
    return SegmentReport(
        label=sr_items.text_of(sr_items.child(group, codes.SEGMENT)),
        segment_number=_require_int(stored, "ReferencedSegmentNumber"),
        tracking_id=sr_items.text_of(sr_items.child(group, codes.TRACKING_ID)),
        tracking_uid=sr_items.text_of(sr_items.child(group, codes.TRACKING_UID)),
        seg_sop_class_uid=header.text(stored, "ReferencedSOPClassUID"),
        seg_sop_instance_uid=instance_uid,
        seg_series_instance_uid=series_of.get(instance_uid, ""),
        property_type=sr_items.code_of(sr_items.child(group, codes.FINDING)) or Code("", "", ""),
    )


def _series_of_evidence(ds: Dataset) -> dict[str, str]:
    """Return the Series Instance UID by SOP Instance UID of everything listed as evidence."""
    return {
        header.text(instance, "ReferencedSOPInstanceUID"): header.text(series, "SeriesInstanceUID")
        for study in header.items(ds, "CurrentRequestedProcedureEvidenceSequence")
        for series in header.items(study, "ReferencedSeriesSequence")
        for instance in header.items(series, "ReferencedSOPSequence")
    }


def _read_signature(ds: Dataset) -> Signature | None:
    verifying = header.items(ds, "VerifyingObserverSequence")
    if not verifying:
        return None
    return Signature(
        name=header.text(verifying[0], "VerifyingObserverName"),
        role=sr_items.code_of(sr_items.child(ds, codes.PERSON_ROLE)) or codes.ROLE_VERIFYING,
        at=read_datetime(header.text(verifying[0], "VerificationDateTime")),
        organization=header.text(verifying[0], "VerifyingOrganization"),
    )


def _read_predecessor(ds: Dataset) -> PriorDocument | None:
    for study in header.items(ds, "PredecessorDocumentsSequence"):
        for series in header.items(study, "ReferencedSeriesSequence"):
            for instance in header.items(series, "ReferencedSOPSequence"):
                return PriorDocument(
                    sop_class_uid=header.text(instance, "ReferencedSOPClassUID"),
                    sop_instance_uid=header.text(instance, "ReferencedSOPInstanceUID"),
                    series_instance_uid=header.text(series, "SeriesInstanceUID"),
                    study_instance_uid=header.text(study, "StudyInstanceUID"),
                )
    return None
