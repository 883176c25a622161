"""One case in full: its iterations with stage runs, findings, outputs, edits, as the API and the case page show it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlmodel import Session, col, select

from gateway.domain.case import CaseState
from gateway.domain.errors import NotFound
from gateway.domain.qc_status import QcStatus, legal_decisions
from gateway.domain.stage_run import OUTCOME, StageRunState
from gateway.services.worklist import StudySummary, summarise
from gateway.store.database import Database
from gateway.store.tables import (
    Case,
    Delivery,
    Edit,
    FindingRow,
    Hold,
    Iteration,
    IterationOutput,
    Output,
    StageRun,
    Study,
)

Row = TypeVar("Row")
_Place = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonView:
    """Why a verdict is not ACCEPT."""

    stage: str
    code: str
    segment: str
    outcome: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictView:
    """The machine's judgement: outcome and reasons, worst first."""

    outcome: str
    reasons: tuple[ReasonView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRunView:
    """One stage in one iteration.

    `outcome` is EXECUTED, REUSED, REPLACED, SKIPPED or FAILED, and None while the stage is not settled; `state` says
    then where it stands. `reused_from_iteration` is where the work was done that REUSED saved.
    """

    stage: str
    outcome: str | None
    state: StageRunState
    key: str
    seconds: float
    model_seconds: float
    attempt: int
    model: dict[str, str]
    reused_from_iteration: int | None
    failure_code: str
    failure_detail: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """Where one output went: PENDING, SENT (accepted, not yet proven), DELIVERED or DEAD."""

    id: int
    destination: str
    state: str
    attempts: int
    delivered_at: datetime | None
    last_failure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputView:
    """A DICOM object of an iteration; `delivered` when every destination has it for certain.

    `made_in_iteration` is earlier than the iteration for an output that was carried over unchanged.
    """

    kind: str
    stage: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    delivered: bool
    made_in_iteration: int
    size: int
    sha256: str
    superseded: bool
    deliveries: tuple[DeliveryView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingView:
    """A finding with its interval, and the bounds of the criterion that judged it (empty: informative only)."""

    stage: str
    code: str
    segment: str
    value: float | None
    unit: str
    low: float | None
    high: float | None
    outcome: str
    detail: str
    criterion: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditView:
    """An accepted edit: who replaced which stage's output, and what that changed per segment."""

    id: int
    stage: str
    sop_instance_uid: str
    #: SEG, RTSTRUCT or NIFTI; and the UIDs of the other objects of a set that came in parts.
    format: str
    parts: tuple[str, ...]
    prior_sop_instance_uid: str
    sender: str
    door: str
    evidence: str
    accepted_at: datetime
    changed_voxels: int
    changes: tuple[dict[str, Any], ...]
    editor: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationView:
    """One pass of the case through its pipeline: number 0 of each generation is automatic."""

    generation: int
    number: int
    cause: str
    opened_at: datetime
    finished_at: datetime | None
    verdict: VerdictView | None
    qc_status: QcStatus
    qc_comment: str
    qc_by: str
    qc_at: datetime | None
    superseded: bool
    evidence: tuple[str, ...]
    instance_count: int
    stage_runs: tuple[StageRunView, ...]
    outputs: tuple[OutputView, ...]
    findings: tuple[FindingView, ...]
    edits: tuple[EditView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """A case in full; `legal_decisions` are the QC statuses a person may set now (some need a comment)."""

    id: str
    study_instance_uid: str
    series_instance_uid: str
    pipeline: str
    pipeline_version: str
    generation: int
    iteration: int
    state: CaseState
    state_reason: str
    verdict: VerdictView | None
    qc_status: QcStatus
    qc_assignee: str
    qc_comment: str
    legal_decisions: tuple[QcStatus, ...]
    priority: int
    site: str
    sender: str
    open_holds: int
    opened_at: datetime
    changed_at: datetime
    study: StudySummary
    iterations: tuple[IterationView, ...]

    @property
    def current(self) -> IterationView | None:
        """The iteration the case is in, None before it was opened."""
        place = (self.generation, self.iteration)
        return next((i for i in self.iterations if (i.generation, i.number) == place), None)

    def iteration_at(self, generation: int, number: int) -> IterationView | None:
        """Return one iteration, or None."""
        return next((i for i in self.iterations if (i.generation, i.number) == (generation, number)), None)


def require_case(database: Database, case_id: str) -> None:
    """Refuse an id that names no case.

    Raises
    ------
    NotFound
        If there is no such case.
    """
    with database.read() as session:
        if session.get(Case, case_id) is None:
            raise NotFound("there is no case with this id")


def case_record(database: Database, case_id: str) -> CaseRecord:
    """Return a case in full.

    Raises
    ------
    NotFound
        If there is no such case.
    """
    with database.read() as session:
        case = session.get(Case, case_id)
        if case is None:
            raise NotFound("there is no case with this id")
        study = session.get(Study, case.study_instance_uid)
        assert study is not None
        iterations = _iterations(session, case)
        open_holds = len(session.exec(select(Hold.id).where(Hold.case_id == case_id, Hold.state == "OPEN")).all())
    current = next((i for i in iterations if (i.generation, i.number) == (case.generation, case.iteration)), None)
    return CaseRecord(
        id=case.id,
        study_instance_uid=case.study_instance_uid,
        series_instance_uid=case.series_instance_uid,
        pipeline=case.pipeline,
        pipeline_version=case.pipeline_version,
        generation=case.generation,
        iteration=case.iteration,
        state=case.state,
        state_reason=case.state_reason,
        verdict=current.verdict if current else None,
        qc_status=case.qc_status,
        qc_assignee=case.qc_assignee,
        qc_comment=case.qc_comment,
        legal_decisions=legal_decisions(state=case.state, iteration=case.iteration),
        priority=case.priority,
        site=case.site,
        sender=case.sender,
        open_holds=open_holds,
        opened_at=case.opened_at,
        changed_at=case.changed_at,
        study=summarise(study),
        iterations=iterations,
    )


def _iterations(session: Session, case: Case) -> tuple[IterationView, ...]:
    rows = session.exec(
        select(Iteration).where(Iteration.case_id == case.id).order_by(col(Iteration.generation), col(Iteration.number))
    ).all()
    runs = _runs(session, case.id)
    outputs = _outputs(session, case.id)
    findings = _findings(session, case.id)
    edits = _edits(session, case.id)
    return tuple(
        IterationView(
            generation=row.generation,
            number=row.number,
            cause=row.cause,
            opened_at=row.opened_at,
            finished_at=row.finished_at,
            verdict=_verdict(row.verdict),
            qc_status=row.qc_status,
            qc_comment=row.qc_comment,
            qc_by=row.qc_by,
            qc_at=row.qc_at,
            superseded=row.superseded,
            evidence=tuple(row.evidence),
            instance_count=len(row.inputs),
            stage_runs=runs.get((row.generation, row.number), ()),
            outputs=outputs.get((row.generation, row.number), ()),
            findings=findings.get((row.generation, row.number), ()),
            edits=edits.get((row.generation, row.number), ()),
        )
        for row in rows
    )


def _verdict(stored: Mapping[str, Any]) -> VerdictView | None:
    if not stored:
        return None
    reasons = tuple(
        ReasonView(
            stage=reason.get("stage", ""),
            code=reason.get("code", ""),
            segment=reason.get("segment", ""),
            outcome=reason.get("outcome", ""),
            text=reason.get("text", ""),
        )
        for reason in stored.get("reasons", ())
    )
    return VerdictView(outcome=stored.get("outcome", ""), reasons=reasons)


def _runs(session: Session, case_id: str) -> Mapping[_Place, tuple[StageRunView, ...]]:
    rows = session.exec(select(StageRun).where(StageRun.case_id == case_id).order_by(col(StageRun.id))).all()
    done_in = {row.id: row.iteration for row in rows}
    return _grouped(
        (
            (row.generation, row.iteration),
            StageRunView(
                stage=row.stage,
                outcome=OUTCOME.get(row.state),
                state=row.state,
                key=row.key,
                seconds=row.seconds,
                model_seconds=row.model_seconds,
                attempt=row.attempt,
                model=row.model,
                reused_from_iteration=done_in.get(row.reused_from) if row.reused_from is not None else None,
                failure_code=row.failure_code,
                failure_detail=row.failure_detail,
                started_at=row.started_at,
                finished_at=row.finished_at,
            ),
        )
        for row in rows
    )


def _outputs(session: Session, case_id: str) -> Mapping[_Place, tuple[OutputView, ...]]:
    deliveries: dict[str, list[DeliveryView]] = defaultdict(list)
    for row in session.exec(select(Delivery).where(Delivery.case_id == case_id).order_by(col(Delivery.id))):
        assert row.id is not None
        deliveries[row.sop_instance_uid].append(
            DeliveryView(
                id=row.id,
                destination=row.destination,
                state=row.state,
                attempts=row.attempts,
                delivered_at=row.delivered_at,
                last_failure=row.last_failure,
            )
        )
    rows = session.exec(
        select(IterationOutput, Output)
        .where(IterationOutput.case_id == case_id)
        .join(Output, col(IterationOutput.sop_instance_uid) == Output.sop_instance_uid)
        .order_by(col(Output.made_at), col(Output.kind), col(Output.stage))
    ).all()
    return _grouped(
        ((placed.generation, placed.iteration), _output(output, tuple(deliveries[output.sop_instance_uid])))
        for placed, output in rows
    )


def _output(output: Output, deliveries: tuple[DeliveryView, ...]) -> OutputView:
    return OutputView(
        kind=output.kind,
        stage=output.stage,
        sop_class_uid=output.sop_class_uid,
        sop_instance_uid=output.sop_instance_uid,
        series_instance_uid=output.series_instance_uid,
        delivered=bool(deliveries) and all(delivery.state == "DELIVERED" for delivery in deliveries),
        made_in_iteration=output.iteration,
        size=output.size,
        sha256=output.sha256,
        superseded=output.superseded,
        deliveries=deliveries,
    )


def _findings(session: Session, case_id: str) -> Mapping[_Place, tuple[FindingView, ...]]:
    rows = session.exec(select(FindingRow).where(FindingRow.case_id == case_id).order_by(col(FindingRow.id)))
    return _grouped(
        (
            (row.generation, row.iteration),
            FindingView(
                stage=row.stage,
                code=row.code,
                segment=row.segment,
                value=row.value,
                unit=row.unit,
                low=row.low,
                high=row.high,
                outcome=row.outcome,
                detail=row.detail,
                criterion=row.criterion,
            ),
        )
        for row in rows
    )


def _edits(session: Session, case_id: str) -> Mapping[_Place, tuple[EditView, ...]]:
    rows = session.exec(select(Edit).where(Edit.case_id == case_id).order_by(col(Edit.id)))
    return _grouped(((row.generation, row.iteration), _edit(row)) for row in rows)


def _edit(row: Edit) -> EditView:
    assert row.id is not None
    return EditView(
        id=row.id,
        stage=row.stage,
        sop_instance_uid=row.sop_instance_uid,
        format=row.format,
        parts=tuple(row.parts),
        prior_sop_instance_uid=row.prior_sop_instance_uid,
        sender=row.sender,
        door=row.door,
        evidence=row.evidence,
        accepted_at=row.accepted_at,
        changed_voxels=row.changed_voxels,
        changes=tuple(row.changes),
        editor=row.editor,
    )


def _grouped(pairs: Iterable[tuple[_Place, Row]]) -> Mapping[_Place, tuple[Row, ...]]:
    groups: dict[_Place, list[Row]] = defaultdict(list)
    for place, row in pairs:
        groups[place].append(row)
    return {place: tuple(rows) for place, rows in groups.items()}
