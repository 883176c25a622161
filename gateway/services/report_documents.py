"""The documents of an iteration: image-QC SR, segmentation-QC SR, summary picture and PDF."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_sr.audit_tags import apply_audit_tags
from dicom_sr.pdf import summary_pdf
from dicom_sr.qc_report import (
    ContentQualification,
    EditSummary,
    ModelRef,
    PipelineRef,
    PriorDocument,
    QcReport,
    SegmentReport,
    Signature,
)
from dicom_sr.source import SourceSeries
from dicom_sr.sr import image_qc_sr, segmentation_qc_sr
from dicom_sr.summary import summary_sc
from dicom_sr.uids import derive_uid
from dicom_sr.verdict import Verdict
from dicom_sr.volume import Volume
from gateway.domain.keys import digest_of
from gateway.domain.pipeline import OutputKind, StageKind
from gateway.services.catalogue import criteria_version
from gateway.services.draft import Draft, keep_draft
from gateway.services.environment import Environment
from gateway.services.report_context import ReportContext, StageReport, verdict_json
from gateway.services.report_picture import picture
from gateway.services.report_seg import FIRST_SERIES_NUMBER, credits_for, equipment_for, tracking_of
from gateway.store.tables import Output

_PLACE = {
    OutputKind.IMAGE_QC_SR: 6,
    OutputKind.SEG_QC_SR: 7,
    OutputKind.SUMMARY_SC: 8,
    OutputKind.SUMMARY_PDF: 9,
}

#: Titles as series descriptions have them: what a person reads in the list of a viewer.
_TITLE = {
    OutputKind.IMAGE_QC_SR: "image QC report",
    OutputKind.SEG_QC_SR: "segmentation QC report",
    OutputKind.SUMMARY_SC: "summary",
    OutputKind.SUMMARY_PDF: "summary",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A person's decision as a signed report carries it."""

    qc_status: str
    comment: str
    signature: Signature
    at: datetime


def document_outputs(
    env: Environment,
    context: ReportContext,
    series: SourceSeries,
    volume: Volume | None,
    segs: tuple[Draft | Output, ...],
    headline: str,
) -> Iterator[Draft | Output]:
    """Yield the documents the pipeline sends out; the image report is carried over while it has nothing new to say."""
    wanted = context.pipeline.outputs
    if OutputKind.IMAGE_QC_SR in wanted and context.of_kind(StageKind.IMAGE_QC):
        yield _image_report(env, context, series, headline)
    if OutputKind.SEG_QC_SR in wanted and context.segmenting:
        report = qc_report(env, context, OutputKind.SEG_QC_SR, context.segmentation_verdict(), headline, segs=segs)
        yield _keep(env, context, series, report, OutputKind.SEG_QC_SR)
    pictures = tuple(kind for kind in (OutputKind.SUMMARY_SC, OutputKind.SUMMARY_PDF) if kind in wanted)
    if pictures:
        report = qc_report(env, context, OutputKind.SUMMARY_SC, context.verdict(), headline, segs=segs)
        pixels = picture(context, report, volume)
        for kind in pictures:
            own = qc_report(env, context, kind, context.verdict(), headline, segs=segs)
            make = summary_sc if kind is OutputKind.SUMMARY_SC else summary_pdf
            dataset = make(own, pixels, series, equipment_for(env, context))
            yield _tagged(env, context, series, dataset, kind, context.iteration.opened_at)


def signed_report(
    env: Environment,
    context: ReportContext,
    series: SourceSeries,
    segs: tuple[Output, ...],
    headline: str,
    decision: Decision,
) -> Draft:
    """Re-issue the report of an iteration with a person's decision: verified, final, naming the one it follows."""
    kind = OutputKind.SEG_QC_SR if context.segmenting else OutputKind.IMAGE_QC_SR
    verdict = context.segmentation_verdict() if context.segmenting else context.image_verdict()
    report = qc_report(env, context, kind, verdict, headline, segs=segs, decision=decision)
    return _keep(env, context, series, report, kind)


def qc_report(
    env: Environment,
    context: ReportContext,
    kind: OutputKind,
    verdict: Verdict,
    headline: str,
    *,
    segs: tuple[Draft | Output, ...] = (),
    decision: Decision | None = None,
) -> QcReport:
    """Say as plain data what a document of this kind reports."""
    case, iteration = context.case, context.iteration
    created_at = decision.at if decision else iteration.opened_at
    identity = (kind, case.id, iteration.generation, iteration.number, created_at.isoformat())
    prior = context.prior(kind)
    edited = context.newest_edit
    about_segments = kind is not OutputKind.IMAGE_QC_SR
    return QcReport(
        sop_instance_uid=derive_uid(*identity, digest_of(verdict_json(verdict))),
        series_instance_uid=derive_uid("series", *identity),
        series_number=FIRST_SERIES_NUMBER + iteration.generation * 100 + iteration.number * 10 + _PLACE[kind],
        instance_number=1,
        series_description=f"{headline} | {_TITLE[kind]}"[:64],
        created_at=created_at,
        case_id=case.id,
        pipeline=PipelineRef(name=context.pipeline.name, version=context.pipeline.version),
        generation=iteration.generation,
        iteration=iteration.number,
        stage_keys={report.stage.name: report.run.key for report in context.stages if report.run.key},
        models=_models(context, about_segments=about_segments),
        verdict=verdict,
        criteria_version=criteria_version(context.criteria()),
        segments=tuple(_segments(context, segs)) if about_segments else (),
        completion_evidence=tuple(iteration.evidence),
        qc_status=decision.qc_status if decision else None,
        comment=decision.comment if decision else "",
        edit=_edit_summary(edited) if edited and about_segments else None,
        signature=decision.signature if decision else None,
        predecessor=_prior_document(prior[-1]) if prior else None,
        content_qualification=ContentQualification(env.config.content_qualification),
    )


def _image_report(env: Environment, context: ReportContext, series: SourceSeries, headline: str) -> Draft | Output:
    verdict = context.image_verdict()
    report = qc_report(env, context, OutputKind.IMAGE_QC_SR, verdict, headline)
    digest = digest_of(
        {
            "verdict": verdict_json(verdict),
            "generation": context.iteration.generation,
            "criteria": report.criteria_version,
        }
    )
    for output in context.prior(OutputKind.IMAGE_QC_SR):
        if output.content_digest == digest:
            return output
    return _keep(env, context, series, report, OutputKind.IMAGE_QC_SR, content_digest=digest)


def _keep(
    env: Environment,
    context: ReportContext,
    series: SourceSeries,
    report: QcReport,
    kind: OutputKind,
    *,
    content_digest: str = "",
) -> Draft:
    write = image_qc_sr if kind is OutputKind.IMAGE_QC_SR else segmentation_qc_sr
    dataset = write(report, series, equipment_for(env, context))
    return _tagged(env, context, series, dataset, kind, report.created_at, content_digest=content_digest)


def add_audit_tags(
    env: Environment, context: ReportContext, series: SourceSeries, dataset: Dataset, created_at: datetime
) -> None:
    """Give a document of an iteration its audit attributes: every stage that ran takes credit."""
    apply_audit_tags(
        dataset,
        equipment=equipment_for(env, context),
        created_at=created_at,
        source=series.headers[0],
        credits=credits_for(context, context.stages),
        content_qualification=env.config.content_qualification,
    )


def reporting_stage(context: ReportContext) -> str:
    """Return the name of the stage that reports."""
    return context.of_kind(StageKind.REPORT)[0].stage.name


def _tagged(
    env: Environment,
    context: ReportContext,
    series: SourceSeries,
    dataset: Dataset,
    kind: OutputKind,
    created_at: datetime,
    *,
    content_digest: str = "",
) -> Draft:
    add_audit_tags(env, context, series, dataset, created_at)
    return keep_draft(env, dataset, kind=kind, stage=reporting_stage(context), content_digest=content_digest)


def _models(context: ReportContext, *, about_segments: bool) -> tuple[ModelRef, ...]:
    """Return the models that made what a report says: an image report names none of the segmentation's."""
    reports = context.stages if about_segments else context.of_kind(StageKind.IMAGE_QC)
    found = {report.run.model["digest"]: report.run.model for report in reports if report.run.model}
    return tuple(
        ModelRef(name=model["name"], version=model["version"], digest=model["digest"])
        for model in sorted(found.values(), key=lambda model: model["name"])
    )


def _segments(context: ReportContext, segs: tuple[Draft | Output, ...]) -> Iterator[SegmentReport]:
    for report in context.segmenting:
        seg = next((s for s in segs if s.stage == report.stage.name), None)
        if seg is None:
            continue
        for number, segment in enumerate(report.stage.segments, 1):
            tracking_id, tracking_uid = tracking_of(context, segment.label)
            yield SegmentReport(
                label=segment.label,
                segment_number=number,
                tracking_id=tracking_id,
                tracking_uid=tracking_uid,
                seg_sop_class_uid=seg.sop_class_uid,
                seg_sop_instance_uid=seg.sop_instance_uid,
                seg_series_instance_uid=seg.series_instance_uid,
                property_type=segment.property_type,
            )


def _edit_summary(report: StageReport) -> EditSummary | None:
    edit = report.edit
    if edit is None:
        return None
    return EditSummary(
        stage=edit.stage,
        sender=edit.sender,
        voxels_changed=edit.changed_voxels,
        sop_instance_uid=edit.sop_instance_uid,
    )


def _prior_document(output: Output) -> PriorDocument:
    return PriorDocument(
        sop_class_uid=output.sop_class_uid,
        sop_instance_uid=output.sop_instance_uid,
        series_instance_uid=output.series_instance_uid,
        study_instance_uid=output.study_instance_uid,
    )
