"""Resolve a held object by a person's order: release it to a stage of a case, or discard it (it stays kept)."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from gateway.domain.errors import IllegalTransition, NotFound
from gateway.services.accept_edit import EditOutcome, Release, reconsider, release_hold
from gateway.services.edit_holds import close_hold
from gateway.services.edit_target import require_target
from gateway.services.environment import Environment
from gateway.store.tables import Hold


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
    if action == "discard":
        _discard(env, hold_id, reason=_required(reason), actor=actor, at=at)
        return
    if action != "accept":
        raise IllegalTransition("a hold is resolved by 'accept' or 'discard'")
    with env.database.read() as session:
        hold = _open_hold(session, hold_id)
    release = Release(hold_id=hold_id, case_id=case_id or hold.case_id, stage=stage or hold.stage, actor=actor)
    if not release.case_id or not release.stage:
        raise IllegalTransition("name the case and the stage that this object is an edit of")
    require_target(env, release.case_id, release.stage)
    outcome = release_hold(env, release)
    with env.database.write() as session:
        hold = _open_hold(session, hold_id)
        if outcome is EditOutcome.HELD:
            codes = ", ".join(reason["code"] for reason in hold.reasons)
            raise IllegalTransition(f"this object cannot be released: {codes}")
        close_hold(session, hold, "ACCEPTED", reason=reason, actor=actor, at=at)


def _discard(env: Environment, hold_id: int, *, reason: str, actor: str, at: datetime) -> None:
    with env.database.write() as session:
        hold = _open_hold(session, hold_id)
        close_hold(session, hold, "DISCARDED", reason=reason, actor=actor, at=at)
        rest = _rest_of_set(session, hold)
    if rest is not None:
        # Without the discarded part, such as an older save of the same group, the others may be whole.
        reconsider(env, rest)


def _rest_of_set(session: Session, hold: Hold) -> int | None:
    """Return the newest other part of the set that a hold belongs to, None when it stands alone."""
    if not hold.set_key:
        return None
    rest = session.exec(
        select(Hold.id)
        .where(Hold.set_key == hold.set_key, Hold.state == "OPEN", Hold.id != hold.id)
        .order_by(col(Hold.id).desc())
        .limit(1)
    )
    return rest.first()


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
