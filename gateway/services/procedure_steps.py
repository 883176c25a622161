"""Performed procedure steps as modalities told them, to be read back; a step is kept as the DICOM object it is.

What is evidence of completeness in a step is drawn out and kept apart, by `gateway.services.announce`, free of what
describes the person.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlmodel import Session

from gateway.domain.errors import NotFound, UnacceptableInstance
from gateway.store.database import Database
from gateway.store.tables import ProcedureStep

#: Encoded attributes of a step, bytes; ten thousand referenced images take one of these megabytes.
MAXIMUM_STEP: Final = 4_000_000

#: Makes the new encoded attributes of a step of those that were kept; these are empty for a new one.
Change = Callable[[bytes], bytes]


def keep_step(session: Session, source_uid: str, change: Change, *, sender: str, at: datetime) -> None:
    """Keep a step, or change the one that is kept, in the transaction of its announcement.

    Raises
    ------
    UnacceptableInstance
        ``TOO_LARGE``; nothing was changed.
    """
    row = session.get(ProcedureStep, source_uid)
    attributes = change(row.attributes if row is not None else b"")
    if len(attributes) > MAXIMUM_STEP:
        message = f"a procedure step of more than {MAXIMUM_STEP // 1_000_000} MB is not kept"
        raise UnacceptableInstance(message, code="TOO_LARGE")
    if row is None:
        row = ProcedureStep(source_uid=source_uid, sender=sender, begun_at=at, changed_at=at, attributes=attributes)
    row.attributes, row.changed_at = attributes, at
    session.add(row)


def read_step(database: Database, source_uid: str) -> bytes:
    """Return the encoded attributes of a step.

    Raises
    ------
    NotFound
        If no such step was begun here.
    """
    with database.read() as session:
        row = session.get(ProcedureStep, source_uid)
    if row is None:
        raise NotFound("no procedure step with this UID was begun here")
    return row.attributes
