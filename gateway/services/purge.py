"""Take off the disk what retention rules allow; the rows stay, and one audit row a study says what went and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from sqlmodel import col, select

from gateway.config import RetentionRule
from gateway.services.retention import find_purgeable, purgeable
from gateway.store import audit
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import PurgedBlob

_SYSTEM: Final = "overread"
_AT_A_TIME: Final = 1000


class Purger:
    """Applies the rules; one thread.

    Parameters
    ----------
    database, blobs
        Rows and files.
    rules : sequence of RetentionRule
        From the configuration.
    clock : callable
        Gives the time, with zone.
    discard : callable
        Removes a blob unless it came again meanwhile; `Receiver.discard_purged`, which knows what is being received.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        rules: Sequence[RetentionRule],
        clock: Callable[[], datetime],
        discard: Callable[[str], None],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._rules = tuple(rules)
        self._clock = clock
        self._discard = discard
        self._has_finished = False

    def run(self) -> int:
        """Apply every rule to every study; return how many blobs went.

        A blob is marked in the database first: a crash in between leaves a file that the first run removes.

        Raises
        ------
        StorageFull, StorageUnavailable
            If the database cannot be written.
        """
        if not self._has_finished:
            self._finish()
        found = list(find_purgeable(self._database, self._rules, now=self._clock()))
        return sum(self._purge(one.index, one.study_instance_uid) for one in found)

    def _finish(self) -> None:
        """Remove the files of blobs that were marked when a crash came."""
        after = ""
        while True:
            query = select(PurgedBlob.sha256).where(col(PurgedBlob.sha256) > after).order_by(col(PurgedBlob.sha256))
            with self._database.read() as session:
                page = session.exec(query.limit(_AT_A_TIME)).all()
            for sha256 in page:
                if self._blobs.location(sha256).is_file():
                    self._discard(sha256)
            if len(page) < _AT_A_TIME:
                break
            after = page[-1]
        self._has_finished = True

    def _purge(self, index: int, study_instance_uid: str) -> int:
        now = self._clock()
        with self._database.write() as session:
            allowed = purgeable(session, self._rules[index], index, study_instance_uid, now=now)
            if allowed is None:
                # Something changed since it was found: somebody works with the study again.
                return 0
            for sha256, size in allowed.blobs:
                mark = PurgedBlob(
                    sha256=sha256, study_instance_uid=study_instance_uid, size=size, rule=allowed.rule, purged_at=now
                )
                session.merge(mark)
            audit.append(
                session,
                at=now,
                actor=_SYSTEM,
                action="PURGED",
                subject=study_instance_uid,
                detail={"rule": allowed.rule, "objects": len(allowed.blobs), "bytes": allowed.size},
            )
        for sha256, _ in allowed.blobs:
            self._discard(sha256)
        return len(allowed.blobs)
