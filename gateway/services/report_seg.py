"""One SEG for every editable stage: carried over while its masks do not change, else new and citing the old."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from dicom_sr.audit_tags import Credit, CreditPurpose, apply_audit_tags
from dicom_sr.equipment import Equipment
from dicom_sr.seg_description import AlgorithmType, ObjectReference, SegDescription, SegmentAuthor
from dicom_sr.seg_kind import SegKind
from dicom_sr.seg_write import write_seg
from dicom_sr.segmentation import Segmentation
from dicom_sr.source import SourceSeries
from dicom_sr.uids import derive_uid
from gateway.domain.instance import LABEL_MAP_SEGMENTATION_STORAGE
from gateway.domain.pipeline import OutputKind, StageKind
from gateway.services.draft import Draft, destinations_of, keep_draft
from gateway.services.environment import Environment
from gateway.services.report_context import ReportContext, StageReport, tracking_of_case
from gateway.store.tables import Edit, Instance, Output

#: Series numbers of our results start here, so that they sort behind a scanner's own series.
FIRST_SERIES_NUMBER = 9000


def seg_outputs(
    env: Environment, context: ReportContext, series: SourceSeries, headline: str
) -> Iterator[Draft | Output]:
    """Yield each editable stage's SEG in every kind a destination asks for: new (Draft) or carried (Output)."""
    if OutputKind.SEG not in context.pipeline.outputs:
        return
    for place, report in enumerate(context.segmenting):
        if not report.stage.editable or report.segmentation is None:
            continue
        digest = report.segmentation.digest()
        for kind in seg_kinds(env, context, report.segmentation):
            carried = carried_seg(context, OutputKind.SEG, report.stage.name, kind, digest)
            yield carried or _new_seg(env, context, series, report, kind, place, headline)


def tracking_of(context: ReportContext, label: str) -> tuple[str, str]:
    """Return Tracking ID and UID of a segment: the same in every iteration of a case."""
    return tracking_of_case(context.case.id, label)


def equipment_for(env: Environment, context: ReportContext) -> Equipment:
    """Return the gateway's equipment with the software versions of the models that took part."""
    models = {
        f"{model['name']} {model['version']} {model['digest'][:12]}"[:64]
        for report in context.stages
        if (model := report.run.model)
    }
    return replace(env.equipment, software_versions=(*env.equipment.software_versions, *sorted(models)))


def credits_for(context: ReportContext, reports: tuple[StageReport, ...]) -> tuple[Credit, ...]:
    """Return one credit for each stage that ran, and one for the viewer of each edit."""
    found = []
    for report in reports:
        run = report.run
        if report.ran:
            found.append(
                Credit(
                    purpose=CreditPurpose.PROCESSING,
                    manufacturer="Overread",
                    model_name=report.run.model.get("name", report.stage.kind),
                    software_versions=(report.run.model["version"],) if report.run.model else (),
                    at=context.iteration.opened_at,
                    description=f"{run.case_id};{run.stage};{run.generation}.{run.iteration};{run.key[:16]}",
                )
            )
        if report.edit is not None:
            found.append(_editor_credit(report.edit))
    return tuple(found)


def seg_kinds(env: Environment, context: ReportContext, segmentation: Segmentation) -> tuple[SegKind, ...]:
    """Return the forms of SEG that the destinations of a pipeline read best and that can hold these masks."""
    asked = {SegKind(d.seg) for d in destinations_of(env, context.pipeline)} or {SegKind.BINARY}
    if segmentation.overlaps:
        # A label map cannot hold overlapping segments; a viewer that prefers label maps gets what is right instead.
        asked = {SegKind.BINARY}
    return tuple(sorted(asked))


def carried_seg(
    context: ReportContext, output_kind: OutputKind, stage: str, kind: SegKind, digest: str
) -> Output | None:
    """Return the earlier object of this kind and form that shows the same content, or None."""
    for output in context.prior(output_kind, stage):
        same_kind = (output.sop_class_uid == LABEL_MAP_SEGMENTATION_STORAGE) == (kind is SegKind.LABELMAP)
        if same_kind and output.content_digest == digest and output.generation == context.iteration.generation:
            return output
    return None


def _new_seg(
    env: Environment,
    context: ReportContext,
    series: SourceSeries,
    report: StageReport,
    kind: SegKind,
    place: int,
    headline: str,
) -> Draft:
    segmentation = report.segmentation
    assert segmentation is not None
    case, iteration = context.case, context.iteration
    identity = (case.id, iteration.generation, iteration.number, report.stage.name, kind)
    prior = context.prior(OutputKind.SEG, report.stage.name)
    description = SegDescription(
        sop_instance_uid=derive_uid("SEG", *identity, segmentation.digest()),
        series_instance_uid=derive_uid("SEG series", *identity),
        series_number=FIRST_SERIES_NUMBER + iteration.generation * 100 + iteration.number * 10 + place,
        instance_number=1,
        series_description=f"{headline} | SEG {report.stage.name}"[:64],
        content_label=f"SEG_IT{iteration.number:02d}",
        content_description=f"{context.pipeline.name} {report.stage.name}"[:64],
        created_at=iteration.opened_at,
        tracking={segment.label: tracking_of(context, segment.label) for segment in segmentation.segments},
        authors=_authors(report),
        equipment=equipment_for(env, context),
        content_creator_name=report.edit.sender if report.edit else "",
        predecessor=_reference(prior[0]) if prior else None,
        edited_from=_reference(report.edited_from) if report.edited_from else None,
    )
    dataset = write_seg(segmentation.numbered_from_one(), series, description, kind=kind)
    ancestors = tuple(r for r in context.stages if r.stage.kind is StageKind.SEGMENTATION and r.ran)
    apply_audit_tags(
        dataset,
        equipment=description.equipment,
        created_at=iteration.opened_at,
        source=series.headers[0],
        credits=credits_for(context, ancestors),
        operator_name=description.content_creator_name,
        content_qualification=env.config.content_qualification,
    )
    return keep_draft(env, dataset, kind=OutputKind.SEG, stage=report.stage.name, content_digest=segmentation.digest())


def _authors(report: StageReport) -> Mapping[str, SegmentAuthor]:
    """Say per segment whether the network drew it or a person corrected it, from the diff and never from the editor."""
    model = report.run.model or {"name": report.stage.name, "version": "1", "digest": ""}
    changed = {str(change["label"]) for change in report.edit.changes if _is_change(change)} if report.edit else set()
    return {
        segment.label: SegmentAuthor(
            algorithm_type=AlgorithmType.SEMIAUTOMATIC if segment.label in changed else AlgorithmType.AUTOMATIC,
            algorithm_name=model["name"],
            algorithm_version=model["version"],
            parameters=(f"digest={model['digest']}",) if model["digest"] else (),
        )
        for segment in report.stage.segments
    }


def _is_change(change: Mapping[str, object]) -> bool:
    return bool(change.get("voxels_added") or change.get("voxels_removed"))


def _reference(stored: Output | Instance) -> ObjectReference:
    return ObjectReference(
        sop_class_uid=stored.sop_class_uid,
        sop_instance_uid=stored.sop_instance_uid,
        series_instance_uid=stored.series_instance_uid,
    )


def _editor_credit(edit: Edit) -> Credit:
    return Credit(
        purpose=CreditPurpose.MODIFYING,
        manufacturer=str(edit.editor.get("manufacturer", "")),
        model_name=str(edit.editor.get("model_name", "")),
        software_versions=tuple(str(version) for version in edit.editor.get("software_versions", [])),
        at=edit.accepted_at,
        description=f"{edit.case_id};{edit.stage};{edit.generation}.{edit.iteration};edit",
    )
