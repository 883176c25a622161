"""Everything a report says about one iteration, gathered from the database in one read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlmodel import Session, col, select

from dicom_sr.segmentation import Segmentation
from dicom_sr.uids import derive_uid
from dicom_sr.verdict import Criterion, Finding, Verdict, decide
from gateway.domain.pipeline import OutputKind, Pipeline, Stage, StageKind
from gateway.domain.stage_run import SATISFIED, StageRunState
from gateway.services import ledger
from gateway.services.environment import Environment
from gateway.store.artifacts import Maps
from gateway.store.tables import Case, Edit, Instance, Iteration, IterationOutput, Output, StageRun


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """One stage of the iteration with what it put out."""

    stage: Stage
    run: StageRun
    segmentation: Segmentation | None
    pseudo_ground_truth: Segmentation | None
    probabilities: Maps
    worst_slices: Mapping[str, tuple[int, ...]]
    findings: tuple[Finding, ...]
    criteria: tuple[Criterion, ...]
    #: The edit whose masks stand in for this stage's output, and the object the viewer sent.
    edit: Edit | None
    edited_from: Instance | None

    @property
    def ran(self) -> bool:
        """Whether its outputs are there."""
        return self.run.state in SATISFIED


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContext:
    """One iteration as its reports see it."""

    case: Case
    pipeline: Pipeline
    iteration: Iteration
    stages: tuple[StageReport, ...]
    #: Outputs current in the iteration before (or in this one before sign-off), newest generation first.
    prior_outputs: tuple[Output, ...]
    #: Segmentations of the iteration before, by stage, for before/after pictures.
    prior_segmentations: Mapping[str, Segmentation]

    def of_kind(self, *kinds: StageKind) -> tuple[StageReport, ...]:
        """Return the stages of these kinds."""
        return tuple(report for report in self.stages if report.stage.kind in kinds)

    @property
    def segmenting(self) -> tuple[StageReport, ...]:
        """Stages that put out a segmentation."""
        return tuple(report for report in self.stages if report.segmentation is not None)

    @property
    def newest_edit(self) -> StageReport | None:
        """The stage whose edit started this iteration."""
        return next((r for r in self.stages if r.run.state is StageRunState.REPLACED), None)

    def verdict(self) -> Verdict:
        """Judge the case: every stage that ran."""
        return _judge(self.stages)

    def image_verdict(self) -> Verdict:
        """Judge the image alone."""
        return _judge(self.of_kind(StageKind.IMAGE_QC))

    def segmentation_verdict(self) -> Verdict:
        """Judge the segmentations alone."""
        return _judge(tuple(r for r in self.stages if r.stage.kind is not StageKind.IMAGE_QC))

    def criteria(self) -> tuple[Criterion, ...]:
        """Return every threshold in force."""
        return tuple(criterion for report in self.stages if report.ran for criterion in report.criteria)

    def prior(self, kind: OutputKind, stage: str | None = None) -> tuple[Output, ...]:
        """Return the prior outputs of a kind, and of a stage when one is named."""
        return tuple(o for o in self.prior_outputs if o.kind == kind and (stage is None or o.stage == stage))


def gather(
    session: Session,
    env: Environment,
    case: Case,
    iteration: Iteration,
    *,
    prior_outputs: tuple[Output, ...] | None = None,
) -> ReportContext:
    """Gather what the reports of an iteration say; `prior_outputs` are those of the iteration before unless given."""
    pipeline = env.pipeline(case.pipeline)
    runs = ledger.runs_of(session, case.id, iteration.generation, iteration.number)
    previous = _previous_iteration(session, iteration)
    if prior_outputs is None:
        prior_outputs = current_outputs(session, previous) if previous else ()
    return ReportContext(
        case=case,
        pipeline=pipeline,
        iteration=iteration,
        stages=tuple(_stage_report(session, env, stage, runs[stage.name], iteration) for stage in pipeline.stages),
        prior_outputs=prior_outputs,
        prior_segmentations=_segmentations(session, env, previous) if previous else {},
    )


def current_outputs(session: Session, iteration: Iteration) -> tuple[Output, ...]:
    """Return the outputs that are current in an iteration."""
    rows = session.exec(
        select(Output)
        .join(IterationOutput, col(IterationOutput.sop_instance_uid) == col(Output.sop_instance_uid))
        .where(
            IterationOutput.case_id == iteration.case_id,
            IterationOutput.generation == iteration.generation,
            IterationOutput.iteration == iteration.number,
        )
        .order_by(col(Output.made_at), col(Output.sop_instance_uid))
    )
    return tuple(rows)


def tracking_of_case(case_id: str, label: str) -> tuple[str, str]:
    """Return Tracking ID and UID of a segment of a case."""
    return f"{case_id} {label}", derive_uid("tracking", case_id, label)


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return outcome and reasons as the HTTP contract has them."""
    return {"outcome": verdict.outcome, "reasons": [asdict(reason) for reason in verdict.reasons]}


def _judge(reports: tuple[StageReport, ...]) -> Verdict:
    ran = [report for report in reports if report.ran]
    return decide(_said_once(ran), (criterion for report in ran for criterion in report.criteria))


def _said_once(reports: list[StageReport]) -> Iterator[Finding]:
    """Yield the findings; what quality control says again in its own words is not also taken from the segmenter."""
    graded = [report for report in reports if report.stage.kind is StageKind.SEGMENTATION_QC]
    again = {(finding.code, finding.segment) for report in graded for finding in report.findings}
    for report in reports:
        segmenter = report.stage.kind is StageKind.SEGMENTATION
        yield from (f for f in report.findings if not (segmenter and (f.code, f.segment) in again))


def _previous_iteration(session: Session, iteration: Iteration) -> Iteration | None:
    return session.exec(
        select(Iteration)
        .where(Iteration.case_id == iteration.case_id, col(Iteration.id) < iteration.id)
        .where(col(Iteration.finished_at).is_not(None))
        .order_by(col(Iteration.id).desc())
        .limit(1)
    ).first()


def _segmentations(session: Session, env: Environment, iteration: Iteration) -> dict[str, Segmentation]:
    found = {}
    runs = ledger.runs_of(session, iteration.case_id, iteration.generation, iteration.number)
    for name, run in runs.items():
        segmentation = ledger.load_segmentation(session, env.blobs, run)
        if segmentation is not None:
            found[name] = segmentation
    return found


def _stage_report(session: Session, env: Environment, stage: Stage, run: StageRun, iteration: Iteration) -> StageReport:
    edit = _edit_in_force(session, run, iteration)
    return StageReport(
        stage=stage,
        run=run,
        segmentation=ledger.load_segmentation(session, env.blobs, run),
        pseudo_ground_truth=ledger.load_segmentation(session, env.blobs, run, role=ledger.PSEUDO_GROUND_TRUTH),
        probabilities=ledger.load_probabilities(session, env.blobs, run),
        worst_slices=ledger.load_worst_slices(session, env.blobs, run),
        findings=ledger.load_findings(session, env.blobs, run),
        criteria=env.catalogue.criteria(stage),
        edit=edit,
        edited_from=session.get(Instance, edit.sop_instance_uid) if edit else None,
    )


def _edit_in_force(session: Session, run: StageRun, iteration: Iteration) -> Edit | None:
    """Return the edit that stands in for a stage: of this iteration (REPLACED) or carried (REUSED from no run)."""
    carried = run.state is StageRunState.REUSED and run.reused_from is None
    if run.state is not StageRunState.REPLACED and not carried:
        return None
    return session.exec(
        select(Edit)
        .where(Edit.case_id == run.case_id, Edit.stage == run.stage)
        .where(Edit.generation <= iteration.generation, Edit.iteration <= iteration.number)
        .order_by(col(Edit.id).desc())
        .limit(1)
    ).first()
