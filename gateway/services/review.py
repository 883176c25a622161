"""Record a person's decision on a case; one transaction with its audit row and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from sqlmodel import Session, col, select

from gateway.domain.case import CaseState, next_state
from gateway.domain.errors import NotFound
from gateway.domain.pipeline import OutputKind, Pipeline
from gateway.domain.qc_status import SIGNED, QcStatus, event_of
from gateway.domain.stage_run import StageRunState
from gateway.services import ledger
from gateway.store import audit
from gateway.store.database import Database
from gateway.store.tables import Case, StageRun

#: No pipeline known: none sends key object selections.
_NO_PIPELINES: Mapping[str, Pipeline] = MappingProxyType({})


def decide(
    database: Database,
    *,
    case_id: str,
    decision: QcStatus,
    comment: str,
    actor: str,
    at: datetime,
    pipelines: Mapping[str, Pipeline] = _NO_PIPELINES,
) -> None:
    """Record `decision` on a case; `pipelines`, by name, say whether a quarantine is to be told to the archives.

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
        record_decision(session, case, decision=decision, comment=comment, actor=actor, at=at, pipelines=pipelines)


def record_decision(
    session: Session,
    case: Case,
    *,
    decision: QcStatus,
    comment: str,
    actor: str,
    at: datetime,
    pipelines: Mapping[str, Pipeline] = _NO_PIPELINES,
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
    if (decision in SIGNED and not was_held) or _is_told_to_archives(decision, case, pipelines):
        _ask_for_sign_off(session, case)


def _is_told_to_archives(decision: QcStatus, case: Case, pipelines: Mapping[str, Pipeline]) -> bool:
    pipeline = pipelines.get(case.pipeline)
    return decision is QcStatus.QUARANTINED and pipeline is not None and OutputKind.KOS in pipeline.outputs


def _ask_for_sign_off(session: Session, case: Case) -> None:
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
