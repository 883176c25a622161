"""What retention took off the disk: offered no more, and offered again when the same bytes come once more."""

from __future__ import annotations

from datetime import datetime

from gateway.store import audit
from gateway.store.database import Database
from gateway.store.tables import PurgedBlob


def is_purged(database: Database, sha256: str) -> bool:
    """Whether retention took a blob off the disk."""
    with database.read() as session:
        return session.get(PurgedBlob, sha256) is not None


def take_back(database: Database, sha256: str, *, sender: str, at: datetime) -> bool:
    """Offer a blob again that is on the disk once more; return whether it had been purged.

    The caller holds the claim on the blob (`services.in_flight.Claims`), so that nobody removes it meanwhile.
    """
    if not is_purged(database, sha256):
        return False
    with database.write() as session:
        row = session.get(PurgedBlob, sha256)
        if row is None:
            return False
        session.delete(row)
        audit.append(
            session,
            at=at,
            actor=sender,
            action="PURGED_CAME_AGAIN",
            subject=row.study_instance_uid,
            detail={"sha256": sha256},
        )
    return True
