"""The registers an operator reads: held objects, deliveries, the audit trail, what the node holds in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import exists, func
from sqlmodel import col, select

from gateway.domain.errors import NotFound
from gateway.services.worklist import MAXIMUM_LIMIT, Explained, StudySummary, summarise
from gateway.store import audit
from gateway.store.database import Database
from gateway.store.tables import AuditEvent, Case, Delivery, Hold, Instance, NoMatchRow, Output, Series, StageRun, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldView:
    """A held object; `state` is OPEN, ACCEPTED or DISCARDED. `study` is None when the study was never received.

    `format` is SEG, RTSTRUCT or NIFTI of an edit, empty for another object.
    """

    id: int
    format: str
    sop_instance_uid: str
    study_instance_uid: str
    case_id: str
    stage: str
    reasons: tuple[Explained, ...]
    state: str
    sender: str
    door: str
    held_at: datetime
    resolved_at: datetime | None
    resolved_by: str
    resolution_reason: str
    study: StudySummary | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """One output on its way to one destination; `kind` is the kind of output."""

    id: int
    sop_instance_uid: str
    case_id: str
    kind: str
    stage: str
    destination: str
    state: str
    attempts: int
    due_at: datetime
    delivered_at: datetime | None
    last_failure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UntakenSeries:
    """Why a pipeline did not take a series of a study that has no case."""

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    series_description: str
    pipeline: str
    reason: str
    at: datetime
    study: StudySummary


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One link of the audit chain."""

    id: int
    at: datetime
    actor: str
    action: str
    case_id: str
    subject: str
    detail: dict[str, Any]
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainCheck:
    """Whether the audit chain is whole; `first_broken` is the id of the first link that does not fit."""

    whole: bool
    first_broken: int | None
    events: int
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """Totals for metrics and the node page."""

    studies: int
    instances: int
    outputs: int
    stage_runs: dict[str, int]
    deliveries: dict[tuple[str, str], int]
    verdicts: dict[tuple[str, str], int]


def list_holds(
    database: Database, *, state: str = "OPEN", case_id: str = "", sop_instance_uid: str = "", limit: int = 200
) -> tuple[HoldView, ...]:
    """Return held objects, newest first; an empty value does not filter."""
    query = select(Hold, Study).join(Study, col(Hold.study_instance_uid) == Study.study_instance_uid, isouter=True)
    for value, column in (
        (state, col(Hold.state)),
        (case_id, col(Hold.case_id)),
        (sop_instance_uid, col(Hold.sop_instance_uid)),
    ):
        if value:
            query = query.where(column == value)
    query = query.order_by(col(Hold.id).desc()).limit(_clamp(limit))
    with database.read() as session:
        return tuple(_hold(hold, study) for hold, study in session.exec(query))


def find_hold(database: Database, hold_id: int) -> HoldView:
    """Return one held object.

    Raises
    ------
    NotFound
        If there is none.
    """
    with database.read() as session:
        hold = session.get(Hold, hold_id)
        if hold is None:
            raise NotFound("there is no held object with this id")
        return _hold(hold, session.get(Study, hold.study_instance_uid))


def _hold(hold: Hold, study: Study | None) -> HoldView:
    assert hold.id is not None
    return HoldView(
        id=hold.id,
        format=hold.format,
        sop_instance_uid=hold.sop_instance_uid,
        study_instance_uid=hold.study_instance_uid,
        case_id=hold.case_id,
        stage=hold.stage,
        reasons=tuple(Explained(code=r.get("code", ""), detail=r.get("detail", "")) for r in hold.reasons),
        state=hold.state,
        sender=hold.sender,
        door=hold.door,
        held_at=hold.held_at,
        resolved_at=hold.resolved_at,
        resolved_by=hold.resolved_by,
        resolution_reason=hold.resolution_reason,
        study=summarise(study) if study else None,
    )


def list_deliveries(
    database: Database, *, states: Sequence[str] = (), destination: str = "", case_id: str = "", limit: int = 200
) -> tuple[DeliveryRow, ...]:
    """Return deliveries, newest first; an empty value does not filter."""
    query = select(Delivery, Output).join(Output, col(Delivery.sop_instance_uid) == Output.sop_instance_uid)
    if states:
        query = query.where(col(Delivery.state).in_(states))
    for value, column in (
        (destination, col(Delivery.destination)),
        (case_id, col(Delivery.case_id)),
    ):
        if value:
            query = query.where(column == value)
    query = query.order_by(col(Delivery.id).desc()).limit(_clamp(limit))
    with database.read() as session:
        return tuple(_delivery(delivery, output) for delivery, output in session.exec(query))


def _delivery(delivery: Delivery, output: Output) -> DeliveryRow:
    assert delivery.id is not None
    return DeliveryRow(
        id=delivery.id,
        sop_instance_uid=delivery.sop_instance_uid,
        case_id=delivery.case_id,
        kind=output.kind,
        stage=output.stage,
        destination=delivery.destination,
        state=delivery.state,
        attempts=delivery.attempts,
        due_at=delivery.due_at,
        delivered_at=delivery.delivered_at,
        last_failure=delivery.last_failure,
    )


def list_untaken(database: Database, *, study_uid: str = "", limit: int = 100) -> tuple[UntakenSeries, ...]:
    """Return why series were not taken, for studies (or one) of which no pipeline took any series; newest first."""
    query = (
        select(NoMatchRow, Series, Study)
        .where(
            NoMatchRow.series_instance_uid == Series.series_instance_uid,
            NoMatchRow.study_instance_uid == Study.study_instance_uid,
            ~exists().where(col(Case.study_instance_uid) == col(NoMatchRow.study_instance_uid)),
        )
        .order_by(col(NoMatchRow.id).desc())
        .limit(_clamp(limit))
    )
    if study_uid:
        query = query.where(NoMatchRow.study_instance_uid == study_uid)
    with database.read() as session:
        return tuple(
            UntakenSeries(
                study_instance_uid=row.study_instance_uid,
                series_instance_uid=row.series_instance_uid,
                modality=series.modality,
                series_description=series.series_description,
                pipeline=row.pipeline,
                reason=row.reason,
                at=row.at,
                study=summarise(study),
            )
            for row, series, study in session.exec(query)
        )


def count_untaken_studies(database: Database) -> int:
    """Return how many studies there are of which no pipeline took any series."""
    query = select(func.count(func.distinct(NoMatchRow.study_instance_uid))).where(
        ~exists().where(col(Case.study_instance_uid) == col(NoMatchRow.study_instance_uid))
    )
    with database.read() as session:
        return session.exec(query).one()


def find_delivery(database: Database, delivery_id: int) -> DeliveryRow:
    """Return one delivery.

    Raises
    ------
    NotFound
        If there is none.
    """
    with database.read() as session:
        delivery = session.get(Delivery, delivery_id)
        output = session.get(Output, delivery.sop_instance_uid) if delivery else None
        if delivery is None or output is None:
            raise NotFound("there is no delivery with this id")
        return _delivery(delivery, output)


def list_audit(
    database: Database, *, case_id: str = "", action: str = "", before: int = 0, limit: int = 100
) -> tuple[AuditRow, ...]:
    """Return audit events, newest first; `before` pages on from the id of the last one shown."""
    query = select(AuditEvent)
    if case_id:
        query = query.where(AuditEvent.case_id == case_id)
    if action:
        query = query.where(AuditEvent.action == action)
    if before:
        query = query.where(col(AuditEvent.id) < before)
    query = query.order_by(col(AuditEvent.id).desc()).limit(_clamp(limit))
    with database.read() as session:
        return tuple(_audit(event) for event in session.exec(query))


def audit_actions(database: Database) -> tuple[str, ...]:
    """Return the kinds of event that occur, each found by one look-up in the index."""
    found: list[str] = []
    with database.read() as session:
        while len(found) < MAXIMUM_LIMIT:
            query = select(func.min(AuditEvent.action)).where(col(AuditEvent.action) > (found[-1] if found else ""))
            following = session.exec(query).one()
            if following is None:
                break
            found.append(following)
    return tuple(found)


def audit_after(database: Database, after: int, *, limit: int = MAXIMUM_LIMIT) -> tuple[AuditRow, ...]:
    """Return the audit events that follow id `after`, oldest first."""
    query = select(AuditEvent).where(col(AuditEvent.id) > after).order_by(col(AuditEvent.id)).limit(limit)
    with database.read() as session:
        return tuple(_audit(event) for event in session.exec(query))


def newest_audit_id(database: Database) -> int:
    """Return the id of the newest audit event, 0 when there is none."""
    with database.read() as session:
        return session.exec(select(func.max(AuditEvent.id))).one() or 0


def _audit(event: AuditEvent) -> AuditRow:
    assert event.id is not None
    return AuditRow(
        id=event.id,
        at=event.at,
        actor=event.actor,
        action=event.action,
        case_id=event.case_id,
        subject=event.subject,
        detail=event.detail,
        hash=event.hash,
    )


def check_chain(database: Database) -> ChainCheck:
    """Check every link of the audit chain."""
    with database.read() as session:
        broken = audit.first_broken_link(session)
        events = session.exec(select(func.count()).select_from(AuditEvent)).one()
        return ChainCheck(whole=broken is None, first_broken=broken, events=events, head=audit.head(session))


def holdings(database: Database) -> Holdings:
    """Count what the node holds, by state."""
    with database.read() as session:
        totals = [session.exec(select(func.count()).select_from(t)).one() for t in (Study, Instance, Output)]
        runs = session.exec(select(StageRun.state, func.count()).group_by(col(StageRun.state))).all()
        deliveries = session.exec(
            select(Delivery.destination, Delivery.state, func.count()).group_by(
                col(Delivery.destination), col(Delivery.state)
            )
        ).all()
        verdicts = session.exec(
            select(Case.pipeline, Case.verdict, func.count()).group_by(col(Case.pipeline), col(Case.verdict))
        ).all()
    return Holdings(
        studies=totals[0],
        instances=totals[1],
        outputs=totals[2],
        stage_runs={str(state): count for state, count in runs},
        deliveries={(destination, state): count for destination, state, count in deliveries},
        verdicts={(pipeline, verdict): count for pipeline, verdict, count in verdicts},
    )


def _clamp(limit: int) -> int:
    return max(1, min(limit, MAXIMUM_LIMIT))
