"""Record a person's decision on a case; one transaction with its audit row and what follows from it."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from gateway.domain.case import CaseState, next_state
from gateway.domain.errors import NotFound
from gateway.domain.qc_status import SIGNED, QcStatus, event_of
from gateway.domain.stage_run import StageRunState
from gateway.services import ledger
from gateway.store import audit
from gateway.store.database import Database
from gateway.store.tables import Case, StageRun


def decide(database: Database, *, case_id: str, decision: QcStatus, comment: str, actor: str, at: datetime) -> None:
    """Record `decision` on a case.

    Raises
    ------
    NotFound
        If there is no such case.
    IllegalTransition
        If the decision is not legal now; nothing was changed.
    """
    with database.write() as session:
        case = session.get(Case, case_id)
        if case is None:
            raise NotFound("there is no case with this id")
        record_decision(session, case, decision=decision, comment=comment, actor=actor, at=at)


def record_decision(
    session: Session, case: Case, *, decision: QcStatus, comment: str, actor: str, at: datetime
) -> None:
    """Record a decision in the caller's transaction; see `decide`."""
    before = case.qc_status
    event = event_of(decision, state=case.state, iteration=case.iteration, comment=comment)
    was_held = case.state is CaseState.HELD
    case.state = next_state(case.state, event)
    case.qc_status = decision
    case.qc_comment = comment.strip()
    case.changed_at = at
    session.add(case)
    audit.append(
        session,
        at=at,
        actor=actor,
        action="QC_DECIDED",
        case_id=case.id,
        # The comment is free text and may name the patient, so only its presence is audited here.
        detail={"before": before, "after": decision, "iteration": case.iteration, "comment": bool(comment.strip())},
    )
    if case.generation == 0:
        return
    iteration = ledger.current_iteration(session, case)
    iteration.qc_status = decision
    iteration.qc_comment = comment.strip()
    iteration.qc_by = actor
    iteration.qc_at = at
    session.add(iteration)
    if decision in SIGNED and not was_held:
        _ask_for_signed_report(session, case)


def _ask_for_signed_report(session: Session, case: Case) -> None:
    earlier = session.exec(
        select(StageRun).where(
            StageRun.case_id == case.id,
            StageRun.generation == case.generation,
            StageRun.iteration == case.iteration,
            col(StageRun.stage).startswith("sign_off"),
        )
    ).all()
    session.add(
        StageRun(
            case_id=case.id,
            generation=case.generation,
            iteration=case.iteration,
            stage=ledger.sign_off_stage(len(earlier) + 1).name,
            state=StageRunState.READY,
        )
    )
