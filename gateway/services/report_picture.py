"""The picture of an iteration: verdict, findings, worst slices, and what an edit changed."""

from __future__ import annotations

from dicom_sr.montage import MontageContent, montage
from dicom_sr.picture_planes import Rgb
from dicom_sr.qc_report import QcReport
from dicom_sr.volume import Volume
from gateway.services.report_context import ReportContext


def picture(context: ReportContext, report: QcReport, volume: Volume | None) -> Rgb:
    """Draw the summary picture of an iteration, (row, column, 3), uint8, without anything that names the patient."""
    iteration = context.iteration
    edited = context.newest_edit
    before = context.prior_segmentations.get(edited.stage.name) if edited else None
    worst: dict[str, tuple[int, ...]] = {}
    for stage in context.stages:
        worst |= stage.worst_slices
    lines = [
        context.pipeline.title or context.pipeline.name,
        f"iteration {iteration.number}, generation {iteration.generation}, case {context.case.id}",
        f"{iteration.opened_at:%Y-%m-%d %H:%M} UTC",
    ]
    if edited is not None and edited.edit is not None:
        lines.append(f"{edited.stage.name} edited by {edited.edit.sender}: {edited.edit.changed_voxels} voxels")
    return montage(
        MontageContent(
            verdict=report.verdict,
            lines=tuple(lines),
            volume=volume,
            segmentations=tuple(s.segmentation for s in context.segmenting if s.segmentation is not None),
            worst_slices=worst,
            before=before,
            after=edited.segmentation if edited and before is not None else None,
            content_qualification=report.content_qualification,
        )
    )
