"""The storage commitments that were asked of us and are not reported yet: kept until they are, over restarts too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import col, select

from gateway.domain.delivery import pause
from gateway.store import audit
from gateway.store.database import Database
from gateway.store.tables import OwedReport

#: Whoever asked gets the report at once; only then is it tried again, seconds.
FIRST_RETRY_S: Final = 30.0
#: A requestor that cannot be reached for so long has asked anew or never will.
GIVEN_UP_AFTER: Final = timedelta(days=3)
_AT_A_TIME: Final = 20


class OwedReports:
    """Writes down what is owed; safe to use from many threads.

    Parameters
    ----------
    database : Database
        Where.
    clock : callable
        Gives the time, with zone.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def owe(
        self, transaction_uid: str, requestor: str, called_aet: str, references: Sequence[tuple[str, str]]
    ) -> OwedReport:
        """Write down a request, before it is answered with success; the same one again starts anew.

        Parameters
        ----------
        transaction_uid : str
            Which.
        requestor, called_aet : str
            Calling and called AE title.
        references : sequence of (str, str)
            SOP Class and Instance UIDs.
        """
        now = self._clock()
        row = OwedReport(
            transaction_uid=transaction_uid,
            requestor=requestor,
            called_aet=called_aet,
            asked_at=now,
            due_at=now + timedelta(seconds=FIRST_RETRY_S),
            instances=[list(reference) for reference in references],
        )
        with self._database.write() as session:
            session.merge(row)
        return row

    def due(self) -> Sequence[OwedReport]:
        """Return what is to be tried again now."""
        with self._database.read() as session:
            query = select(OwedReport).where(col(OwedReport.due_at) <= self._clock())
            return session.exec(query.order_by(col(OwedReport.due_at)).limit(_AT_A_TIME)).all()

    def settle(self, owed: OwedReport, *, committed: int, failed: int, is_reported: bool) -> None:
        """Strike out what was reported, or given up."""
        with self._database.write() as session:
            row = session.get(OwedReport, (owed.transaction_uid, owed.requestor))
            if row is None:
                return
            session.delete(row)
            audit.append(
                session,
                at=self._clock(),
                actor=owed.requestor,
                action="STORAGE_COMMITMENT" if is_reported else "STORAGE_COMMITMENT_NOT_REPORTED",
                subject=owed.transaction_uid,
                detail={"committed": committed, "failed": failed},
            )

    def postpone(self, owed: OwedReport) -> bool:
        """Try again later; return False when that has been done for long enough."""
        now = self._clock()
        if now - owed.asked_at > GIVEN_UP_AFTER:
            return False
        with self._database.write() as session:
            row = session.get(OwedReport, (owed.transaction_uid, owed.requestor))
            if row is not None:
                row.attempts += 1
                row.due_at = now + pause(FIRST_RETRY_S, row.attempts)
        return True
