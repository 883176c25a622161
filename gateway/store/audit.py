"""The audit chain: every row hashes the one before, so a changed or missing row shows (ADR 0006: no patient data)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlmodel import Session, col, select

from gateway.domain.keys import Json, digest_of
from gateway.store.tables import AuditEvent

#: What the first row of a chain names as its predecessor.
GENESIS = "0" * 64


def append(
    session: Session,
    *,
    at: datetime,
    actor: str,
    action: str,
    case_id: str = "",
    subject: str = "",
    detail: Mapping[str, Json] | None = None,
) -> AuditEvent:
    """Append one event to the chain inside the caller's write transaction.

    Parameters
    ----------
    session : Session
        From `Database.write`: the write lock makes the chain linear.
    at : datetime
        When, with zone.
    actor : str
        AE title, user, or ``overread``.
    action : str
        What happened, for instance ``EDIT_ACCEPTED``.
    case_id, subject : str
        What it is about; a SOP Instance UID is allowed, a patient's attribute never.
    detail : mapping
        Further facts, JSON values, free of patient data.
    """
    last = session.exec(select(AuditEvent).order_by(col(AuditEvent.id).desc()).limit(1)).first()
    event = AuditEvent(
        at=at,
        actor=actor,
        action=action,
        case_id=case_id,
        subject=subject,
        detail=dict(detail or {}),
        previous=last.hash if last else GENESIS,
        hash="",
    )
    event.hash = chain_hash(event)
    session.add(event)
    session.flush()
    return event


def chain_hash(event: AuditEvent) -> str:
    """SHA-256 (hex) over an event's content and its predecessor's hash."""
    return digest_of(
        {
            "at": event.at.isoformat(timespec="microseconds"),
            "actor": event.actor,
            "action": event.action,
            "case": event.case_id,
            "subject": event.subject,
            "detail": event.detail,
            "previous": event.previous,
        }
    )


def head(session: Session) -> str:
    """Return the hash of the newest event, or `GENESIS`."""
    last = session.exec(select(AuditEvent).order_by(col(AuditEvent.id).desc()).limit(1)).first()
    return last.hash if last else GENESIS


def first_broken_link(session: Session) -> int | None:
    """Return the id of the first event whose hash or predecessor does not fit, None when the chain is whole."""
    previous = GENESIS
    for event in session.exec(select(AuditEvent).order_by(col(AuditEvent.id))):
        if event.previous != previous or event.hash != chain_hash(event):
            return event.id
        previous = event.hash
    return None
