"""What stands behind the results as SEGs of their own: probability maps, and what the QC network itself segmented.

Neither is a result. Segment Labels, tracking and descriptions are their own, because a viewer that saves an edit keeps
little else: an edit of one of these must never be taken for an edit of the result beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dicom_sr.audit_tags import apply_audit_tags
from dicom_sr.seg_description import AlgorithmType, SegDescription, SegmentAuthor
from dicom_sr.seg_kind import SegKind
from dicom_sr.seg_write import write_probability_seg, write_seg
from dicom_sr.segmentation import Segment
from dicom_sr.source import SourceSeries
from dicom_sr.uids import derive_uid
from gateway.domain.pipeline import OutputKind
from gateway.services.draft import Draft, keep_draft
from gateway.services.environment import Environment
from gateway.services.report_context import ReportContext, StageReport
from gateway.services.report_seg import FIRST_SERIES_NUMBER, carried_seg, credits_for, equipment_for, seg_kinds
from gateway.store.artifacts import probabilities_digest
from gateway.store.tables import Output

_PLACE = 5
_LONGEST_LABEL = 64
#: How the labels of each kind start, so that none is the label of a result.
_MARKS = {OutputKind.PROBABILITY_SEG: "Probability of ", OutputKind.PSEUDO_TRUTH_SEG: "Pseudo truth, no result: "}
_CONTENTS = {
    OutputKind.PROBABILITY_SEG: "probability maps of a network",
    OutputKind.PSEUDO_TRUTH_SEG: "what the QC network itself segmented",
}
_CONTENT_LABELS = {OutputKind.PROBABILITY_SEG: "PROBABILITY", OutputKind.PSEUDO_TRUTH_SEG: "PSEUDO_TRUTH"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """One object to make: what of which stage, in which form, and the words of its series."""

    report: StageReport
    kind: OutputKind
    form: SegKind
    digest: str
    words: str


def evidence_outputs(
    env: Environment, context: ReportContext, series: SourceSeries, headline: str
) -> Iterator[Draft | Output]:
    """Yield the maps and pseudo ground truth the pipeline sends out; what did not change is carried over."""
    for evidence in _evidence(env, context, headline):
        name = evidence.report.stage.name
        carried = carried_seg(context, evidence.kind, name, evidence.form, evidence.digest)
        yield carried or _draft(env, context, series, evidence)


def marked(segments: Sequence[Segment], kind: OutputKind) -> tuple[Segment, ...]:
    """Return the segments numbered from 1 under labels that say what they are, still unique and 64 characters long."""
    found: dict[str, Segment] = {}
    for number, segment in enumerate(segments, 1):
        label = (_MARKS[kind] + segment.label)[:_LONGEST_LABEL]
        if label in found:
            label = f"{label[: _LONGEST_LABEL - 6]}~{number:05d}"
        found[label] = replace(segment, number=number, label=label)
    return tuple(found.values())


def _evidence(env: Environment, context: ReportContext, headline: str) -> Iterator[_Evidence]:
    wanted = context.pipeline.outputs
    for report in context.stages:
        name, truth = report.stage.name, report.pseudo_ground_truth
        if OutputKind.PROBABILITY_SEG in wanted and report.probabilities:
            yield _Evidence(
                report=report,
                kind=OutputKind.PROBABILITY_SEG,
                form=SegKind.FRACTIONAL,
                digest=probabilities_digest(report.probabilities),
                words=f"{headline} | probability {name}",
            )
        if OutputKind.PSEUDO_TRUTH_SEG in wanted and truth is not None:
            words = f"NOT A RESULT it{context.iteration.number} | pseudo ground truth {name}"
            for form in seg_kinds(env, context, truth):
                yield _Evidence(
                    report=report, kind=OutputKind.PSEUDO_TRUTH_SEG, form=form, digest=truth.digest(), words=words
                )


def _draft(env: Environment, context: ReportContext, series: SourceSeries, evidence: _Evidence) -> Draft:
    report = evidence.report
    if evidence.kind is OutputKind.PROBABILITY_SEG:
        told = [segment for segment in report.stage.segments if segment.label in report.probabilities]
        segments = marked(told, evidence.kind)
        maps = {number: report.probabilities[segment.label] for number, segment in enumerate(told, 1)}
        dataset = write_probability_seg(maps, segments, series, _description(env, context, evidence, segments))
    else:
        assert report.pseudo_ground_truth is not None
        numbered = report.pseudo_ground_truth.numbered_from_one()
        segments = marked(numbered.segments, evidence.kind)
        description = _description(env, context, evidence, segments)
        dataset = write_seg(replace(numbered, segments=segments), series, description, kind=evidence.form)
    apply_audit_tags(
        dataset,
        equipment=equipment_for(env, context),
        created_at=context.iteration.opened_at,
        source=series.headers[0],
        credits=credits_for(context, (report,)),
        content_qualification=env.config.content_qualification,
    )
    return keep_draft(env, dataset, kind=evidence.kind, stage=report.stage.name, content_digest=evidence.digest)


def _description(
    env: Environment, context: ReportContext, evidence: _Evidence, segments: tuple[Segment, ...]
) -> SegDescription:
    case, iteration, report = context.case, context.iteration, evidence.report
    stage = report.stage.name
    identity: tuple[str | int, ...] = (
        evidence.kind, case.id, iteration.generation, iteration.number, stage, evidence.form
    )  # fmt: skip
    model = report.run.model or {"name": stage, "version": "1", "digest": ""}
    author = SegmentAuthor(
        algorithm_type=AlgorithmType.AUTOMATIC,
        algorithm_name=model["name"],
        algorithm_version=model["version"],
        parameters=(f"digest={model['digest']}",) if model["digest"] else (),
    )
    return SegDescription(
        sop_instance_uid=derive_uid(*identity, evidence.digest),
        series_instance_uid=derive_uid("series", *identity),
        series_number=FIRST_SERIES_NUMBER + iteration.generation * 100 + iteration.number * 10 + _PLACE,
        instance_number=1,
        series_description=evidence.words[:64],
        content_label=_CONTENT_LABELS[evidence.kind],
        content_description=f"Not for editing: {_CONTENTS[evidence.kind]}",
        created_at=iteration.opened_at,
        tracking={
            segment.label: (f"{case.id} {segment.label}", derive_uid(evidence.kind, case.id, stage, segment.label))
            for segment in segments
        },
        authors={segment.label: author for segment in segments},
        equipment=equipment_for(env, context),
    )
