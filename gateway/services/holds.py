"""Resolve a held object by a person's order: release it to a stage of a case, or discard it (it stays kept)."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from gateway.domain.errors import IllegalTransition, NotFound
from gateway.services.accept_edit import EditOutcome, Release, handle_edit
from gateway.services.environment import Environment
from gateway.store import audit
from gateway.store.tables import Case, Hold


def resolve(
    env: Environment,
    *,
    hold_id: int,
    action: str,
    case_id: str | None,
    stage: str | None,
    reason: str,
    actor: str,
    at: datetime,
) -> None:
    """Resolve a hold.

    Parameters
    ----------
    env : Environment
        The gateway.
    hold_id : int
        The hold.
    action : str
        ``accept`` or ``discard``.
    case_id, stage : str or None
        Where an accepted edit belongs; what the hold itself names when None.
    reason : str
        Why; needed to discard.
    actor : str
        Who.
    at : datetime
        When.

    Raises
    ------
    NotFound
        If there is no such hold, case or stage.
    IllegalTransition
        If it was resolved before, lacks a reason, or cannot be released: the answer says why.
    """
    with env.database.write() as session:
        hold = _open_hold(session, hold_id)
        if action == "discard":
            _close(session, hold, "DISCARDED", reason=_required(reason), actor=actor, at=at)
            return
    if action != "accept":
        raise IllegalTransition("a hold is resolved by 'accept' or 'discard'")
    release = Release(hold_id=hold_id, case_id=case_id or hold.case_id, stage=stage or hold.stage, actor=actor)
    _require_target(env, release)
    outcome = handle_edit(env, hold.sop_instance_uid, sha256=hold.sha256, release=release)
    with env.database.write() as session:
        hold = _open_hold(session, hold_id)
        if outcome is EditOutcome.HELD:
            codes = ", ".join(reason["code"] for reason in hold.reasons)
            raise IllegalTransition(f"this object cannot be released: {codes}")
        _close(session, hold, "ACCEPTED", reason=reason, actor=actor, at=at)


def _open_hold(session: Session, hold_id: int) -> Hold:
    hold = session.get(Hold, hold_id)
    if hold is None:
        raise NotFound("there is no held object with this number")
    if hold.state != "OPEN":
        raise IllegalTransition(f"this held object was resolved before: {hold.state}")
    return hold


def _required(reason: str) -> str:
    if not reason.strip():
        raise IllegalTransition("discarding a held object needs a reason")
    return reason.strip()


def _require_target(env: Environment, release: Release) -> None:
    if not release.case_id or not release.stage:
        raise IllegalTransition("name the case and the stage that this object is an edit of")
    with env.database.read() as session:
        case = session.get(Case, release.case_id)
    if case is None:
        raise NotFound("there is no case with this id")
    if release.stage not in {stage.name for stage in env.pipeline(case.pipeline).editable_stages}:
        raise NotFound(f"pipeline '{case.pipeline}' has no editable stage '{release.stage}'")


def _close(session: Session, hold: Hold, state: str, *, reason: str, actor: str, at: datetime) -> None:
    hold.state = state
    hold.resolved_at = at
    hold.resolved_by = actor
    hold.resolution_reason = reason
    session.add(hold)
    audit.append(
        session,
        at=at,
        actor=actor,
        action=f"HOLD_{state}",
        case_id=hold.case_id,
        subject=hold.sop_instance_uid,
        # The reason is free text and may name the patient, so only its presence is audited here.
        detail={"hold": hold.id, "reason": bool(reason)},
    )
