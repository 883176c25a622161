"""What became of a received edit: accepted, held, ignored, or not dealt with yet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlmodel import Session, col, select

from gateway.domain.instance import EDIT_KINDS
from gateway.services.worklist import Explained
from gateway.store.database import Database
from gateway.store.tables import AuditEvent, Edit, Hold, Instance, Output

_NOT_OURS = "nothing that it cites is here: neither its study nor any image"


class EditOutcome(StrEnum):
    """What became of a received edit."""

    ACCEPTED = "ACCEPTED"
    HELD = "HELD"
    IGNORED = "IGNORED"
    PENDING = "PENDING"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditResult:
    """What became of a received edit; `iteration` is the one it started, `reasons` say why it is held or ignored."""

    outcome: EditOutcome
    case_id: str = ""
    stage: str = ""
    iteration: int | None = None
    hold_id: int | None = None
    reasons: tuple[Explained, ...] = ()


def edit_outcome(database: Database, sop_instance_uid: str, *, is_conflict: bool = False) -> EditResult:
    """Look up what became of the edit with this SOP Instance UID.

    Parameters
    ----------
    is_conflict : bool
        Whether the caller's bytes were kept beside another version of that UID: then only their hold counts.
    """
    with database.read() as session:
        hold = session.exec(
            select(Hold)
            .where(Hold.sop_instance_uid == sop_instance_uid, Hold.state == "OPEN")
            .order_by(col(Hold.id).desc())
            .limit(1)
        ).first()
        edit = session.exec(
            select(Edit).where(Edit.sop_instance_uid == sop_instance_uid).order_by(col(Edit.id).desc()).limit(1)
        ).first()
        instance = session.get(Instance, sop_instance_uid)
        is_echo = session.get(Output, sop_instance_uid) is not None
        if edit is None and hold is None:
            edit = _edit_of_part(session, sop_instance_uid)
        if edit is None and hold is None and (instance is None or instance.handled):
            last = session.exec(
                select(AuditEvent)
                .where(AuditEvent.subject == sop_instance_uid)
                .order_by(col(AuditEvent.id).desc())
                .limit(1)
            ).first()
        else:
            last = None
    if edit is not None and not is_conflict:
        return EditResult(
            outcome=EditOutcome.ACCEPTED, case_id=edit.case_id, stage=edit.stage, iteration=edit.iteration
        )
    if hold is not None:
        reasons = tuple(Explained(code=r.get("code", ""), detail=r.get("detail", "")) for r in hold.reasons)
        return EditResult(
            outcome=EditOutcome.HELD, case_id=hold.case_id, stage=hold.stage, hold_id=hold.id, reasons=reasons
        )
    if is_echo:
        return _ignored("OWN_ECHO", "this is an object the gateway made itself, unchanged")
    if last is not None or (instance is not None and (instance.handled or instance.kind not in EDIT_KINDS)):
        action = last.action if last else "NOTHING_TO_DO"
        return _ignored(action, _NOT_OURS if action.endswith("NOT_OURS") else "it changes nothing")
    return EditResult(outcome=EditOutcome.PENDING)


def _edit_of_part(session: Session, sop_instance_uid: str) -> Edit | None:
    """Return the edit that an object was accepted in as a part of a set."""
    edit_id = session.exec(
        select(Hold.edit_id)
        .where(Hold.sop_instance_uid == sop_instance_uid, col(Hold.edit_id).is_not(None))
        .order_by(col(Hold.id).desc())
        .limit(1)
    ).first()
    return session.get(Edit, edit_id) if edit_id else None


def _ignored(code: str, detail: str) -> EditResult:
    return EditResult(outcome=EditOutcome.IGNORED, reasons=(Explained(code=code, detail=detail),))
