"""The rows of held edits: opened with their reasons, closed by a person or by what followed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlmodel import Session, col, select

from dicom_sr.candidate import Candidate
from dicom_sr.hold import HoldDetail
from gateway.services.edit_object import EditObject
from gateway.store import audit
from gateway.store.tables import Hold

log = structlog.get_logger(__name__)


def open_hold_of(session: Session, edit: EditObject) -> Hold | None:
    """Return the open hold of exactly these bytes under this UID, None when it is not held."""
    return session.exec(
        select(Hold)
        .where(Hold.sop_instance_uid == edit.sop_instance_uid, Hold.sha256 == edit.sha256, Hold.state == "OPEN")
        .order_by(col(Hold.id).desc())
        .limit(1)
    ).first()


def hold_edit(
    session: Session,
    edit: EditObject,
    reasons: Sequence[HoldDetail],
    candidates: Sequence[Candidate],
    *,
    set_key: str,
    others: Sequence[Hold],
    at: datetime,
) -> None:
    """Hold an object, once; where it is held already, say why it is held now.

    Parameters
    ----------
    session : Session
        A write transaction.
    edit : EditObject
        The object.
    reasons : sequence of HoldDetail
        Why.
    candidates : sequence of Candidate
        The outputs that could be meant.
    set_key : str
        Of a part of a set, empty otherwise.
    others : sequence of Hold
        The other parts: they wait for the same.
    at : datetime
        When.
    """
    stated = [
        {"code": str(r.reason), "detail": f"{r.reason.sentence} ({r.detail})" if r.detail else r.reason.sentence}
        for r in reasons
    ]
    cases = {candidate.case_id for candidate in candidates}
    stages = {candidate.stage for candidate in candidates}
    hold = open_hold_of(session, edit) or Hold(
        sop_instance_uid=edit.sop_instance_uid,
        sha256=edit.sha256,
        study_instance_uid=edit.study_instance_uid,
        format=edit.format,
        sender=edit.sender,
        door=edit.door,
        held_at=at,
    )
    hold.set_key = set_key or hold.set_key
    hold.case_id = cases.pop() if len(cases) == 1 else edit.case_hint
    hold.stage = stages.pop() if len(stages) == 1 else edit.stage_hint
    for row in (hold, *others):
        row.reasons = stated
        session.add(row)
    audit.append(
        session,
        at=at,
        actor=edit.sender,
        action="EDIT_HELD",
        case_id=hold.case_id,
        subject=edit.sop_instance_uid,
        detail={"reasons": [str(r.reason) for r in reasons], "parts": len(others) + 1 if hold.set_key else 0},
    )
    log.info("edit held", case=hold.case_id, reasons=[str(r.reason) for r in reasons])


def close_hold(session: Session, hold: Hold, state: str, *, reason: str, actor: str, at: datetime) -> None:
    """Close a hold as ``ACCEPTED`` or ``DISCARDED``, in the caller's write transaction."""
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
