"""Write quality control reports as Comprehensive 3D SR (TID 1500): one about the images, one about the segmentations.

They are two objects because TID 1411 and TID 1501 groups in one report fail the validator that IHE Connectathons use.
Equal arguments give equal bytes.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_sr import codes, sr_items
from dicom_sr.character_set import character_set_of, settle_character_set
from dicom_sr.coded_items import code_item, declare_private_scheme
from dicom_sr.equipment import Equipment
from dicom_sr.errors import InvalidObject
from dicom_sr.finding_codes import finding_concept, quality_reason
from dicom_sr.new_object import header_of, instance_reference, listed_instances, new_object
from dicom_sr.qc_report import PriorDocument, QcReport, SegmentReport, Signature
from dicom_sr.source import SourceSeries
from dicom_sr.sr_context import image_library, language, observers, procedure_reported
from dicom_sr.sr_evaluations import evaluations
from dicom_sr.sr_findings import finding_items
from dicom_sr.sr_items import Relation
from dicom_sr.timestamps import datetime_text, in_zone_of
from dicom_sr.uids import derive_uid
from dicom_sr.verdict import AssessedFinding

_MEASUREMENT_REPORT = "1500"
_IMAGE_GROUP = "1501"
_SEGMENT_GROUP = "1411"


def image_qc_sr(report: QcReport, source: SourceSeries, equipment: Equipment) -> Dataset:
    """Write the report about the images of one series: one TID 1501 group.

    Parameters
    ----------
    report : QcReport
        Without segments.
    source : SourceSeries
        The series that was graded.
    equipment : Equipment
        This installation, the device observer.

    Returns
    -------
    pydicom.Dataset
        With file meta information, ready to save.

    Raises
    ------
    InvalidObject
        If the report declares segments, or the source has no instance.

    References
    ----------
    PS3.3 A.35.13; PS3.16 TID 1500, TID 1501, CID 6044, CID 6135
    """
    if report.segments:
        raise InvalidObject("a report about images declares segments: give those to segmentation_qc_sr")
    return _document(report, source, equipment, [_image_group(report, source)], [])


def segmentation_qc_sr(report: QcReport, source: SourceSeries, equipment: Equipment) -> Dataset:
    """Write the report about segmentations: one TID 1411 group for each declared segment.

    Findings about no declared segment follow the groups, among the evaluations of the whole report.

    Parameters
    ----------
    report : QcReport
        With the segments and where they are stored.
    source : SourceSeries
        The series that was segmented.
    equipment : Equipment
        This installation, the device observer.

    Returns
    -------
    pydicom.Dataset
        With file meta information, ready to save.

    Raises
    ------
    InvalidObject
        If two segments have one label, or the source has no instance.

    References
    ----------
    PS3.3 A.35.13; PS3.16 TID 1500, TID 1411
    """
    labels = [segment.label for segment in report.segments]
    if len(set(labels)) != len(labels):
        raise InvalidObject("two segments of the report have the same label")
    groups = [_segment_group(report, segment, source) for segment in report.segments]
    rest = _finding_items(report, report.assessed_of_no_segment(), name_segment=True)
    return _document(report, source, equipment, groups, rest)


def _document(
    report: QcReport, source: SourceSeries, equipment: Equipment, groups: list[Dataset], more: list[Dataset]
) -> Dataset:
    ds = new_object(header_of(report, sop_class_uid=Comprehensive3DSRStorage, modality="SR"), source, equipment)
    _set_document_general(ds, report, source)
    ds.ValueType = "CONTAINER"
    ds.ConceptNameCodeSequence = [code_item(codes.IMAGING_MEASUREMENT_REPORT)]
    content = [
        language(),
        *observers(equipment, report.signature),
        procedure_reported(source),
        image_library(source),
    ]
    if groups:
        content.append(sr_items.container(Relation.CONTAINS, codes.IMAGING_MEASUREMENTS, groups))
    content.append(sr_items.container(Relation.CONTAINS, codes.QUALITATIVE_EVALUATIONS, [*evaluations(report), *more]))
    sr_items.set_container(ds, content, template=_MEASUREMENT_REPORT)
    declare_private_scheme(ds)
    settle_character_set(ds, character_set_of(source.headers[0]))
    return ds


def _set_document_general(ds: Dataset, report: QcReport, source: SourceSeries) -> None:
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.CompletionFlag = "COMPLETE"
    ds.VerificationFlag = "UNVERIFIED" if report.signature is None else "VERIFIED"
    ds.PreliminaryFlag = "PRELIMINARY" if report.signature is None else "FINAL"
    ds.ContentQualification = report.content_qualification.value
    if report.signature is not None:
        ds.VerifyingObserverSequence = [_verifying_observer(report.signature, source)]
    if report.predecessor is not None:
        ds.PredecessorDocumentsSequence = [_predecessor(report.predecessor)]
    ds.CurrentRequestedProcedureEvidenceSequence = [_evidence(report, source)]


def _verifying_observer(signature: Signature, source: SourceSeries) -> Dataset:
    item = Dataset()
    item.VerifyingOrganization = signature.organization[:64] or "Unspecified"
    item.VerificationDateTime = datetime_text(in_zone_of(source.headers[0], signature.at))
    item.VerifyingObserverName = signature.name
    item.VerifyingObserverIdentificationCodeSequence = []
    return item


def _predecessor(prior: PriorDocument) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = prior.series_instance_uid
    series.ReferencedSOPSequence = [instance_reference(prior.sop_class_uid, prior.sop_instance_uid)]
    study = Dataset()
    study.StudyInstanceUID = prior.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return study


def _evidence(report: QcReport, source: SourceSeries) -> Dataset:
    """Everything the content refers to, by series: the listed source instances, then the SEGs."""
    listed = [(source.series_instance_uid, str(h.SOPClassUID), str(h.SOPInstanceUID)) for h in listed_instances(source)]
    stored = [(s.seg_series_instance_uid, s.seg_sop_class_uid, s.seg_sop_instance_uid) for s in report.segments]
    study = Dataset()
    study.StudyInstanceUID = source.study_instance_uid
    study.ReferencedSeriesSequence = []
    order = {series_uid: place for place, (series_uid, *_) in reversed(list(enumerate([*listed, *stored])))}
    references = sorted(dict.fromkeys([*listed, *stored]), key=lambda reference: order[reference[0]])
    for series_uid, found in groupby(references, key=itemgetter(0)):
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = [instance_reference(sop_class, instance) for _, sop_class, instance in found]
        study.ReferencedSeriesSequence.append(series)
    return study


def _image_group(report: QcReport, source: SourceSeries) -> Dataset:
    tracking_uid = derive_uid("image-quality", source.series_instance_uid)
    items = [
        *_group_context(report, "Image quality", tracking_uid),
        sr_items.code(Relation.CONTAINS, codes.FINDING, codes.IMAGE_QUALITY),
        *_finding_items(report, report.verdict.assessed, name_segment=True),
        sr_items.code(Relation.CONTAINS, codes.QUALITY_STANDARD, codes.INSTITUTIONAL_STANDARD),
    ]
    assessment = codes.IMAGE_ASSESSMENTS.get(report.verdict.outcome)
    if assessment is not None:
        items.append(sr_items.code(Relation.CONTAINS, codes.QUALITY_ASSESSMENT, assessment))
    for reason in dict.fromkeys(quality_reason(r.code) for r in report.verdict.reasons if _is_quality_finding(r.code)):
        items.append(sr_items.code(Relation.CONTAINS, codes.QUALITY_FINDING, reason))
    return sr_items.container(Relation.CONTAINS, codes.MEASUREMENT_GROUP, items, template=_IMAGE_GROUP)


def _is_quality_finding(finding_code: str) -> bool:
    return finding_concept(finding_code).code != codes.OTHER_FINDING


def _segment_group(report: QcReport, segment: SegmentReport, source: SourceSeries) -> Dataset:
    items = [
        *_group_context(report, segment.tracking_id, segment.tracking_uid),
        sr_items.code(Relation.CONTAINS, codes.FINDING, segment.property_type),
        sr_items.image(
            Relation.CONTAINS,
            codes.REFERENCED_SEGMENT,
            segment.seg_sop_class_uid,
            segment.seg_sop_instance_uid,
            segment_number=segment.segment_number,
        ),
        sr_items.uid_reference(Relation.CONTAINS, codes.SOURCE_SERIES, source.series_instance_uid),
        *_finding_items(report, report.assessed_of(segment), name_segment=False),
    ]
    outcome = report.outcome_of(segment)
    if outcome is not None:
        items.append(sr_items.code(Relation.CONTAINS, codes.VERDICT, codes.OUTCOMES[outcome]))
    items.append(sr_items.text(Relation.CONTAINS, codes.SEGMENT, segment.label))
    return sr_items.container(Relation.CONTAINS, codes.MEASUREMENT_GROUP, items, template=_SEGMENT_GROUP)


def _finding_items(report: QcReport, found: tuple[AssessedFinding, ...], *, name_segment: bool) -> list[Dataset]:
    return [item for a in found for item in finding_items(a, report.pipeline, name_segment=name_segment)]


def _group_context(report: QcReport, tracking_id: str, tracking_uid: str) -> list[Dataset]:
    return [
        sr_items.text(Relation.CONTEXT, codes.ACTIVITY_SESSION, f"iteration {report.iteration}"),
        sr_items.text(Relation.CONTEXT, codes.TRACKING_ID, tracking_id),
        sr_items.uid_reference(Relation.CONTEXT, codes.TRACKING_UID, tracking_uid),
    ]
