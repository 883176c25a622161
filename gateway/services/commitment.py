"""Storage commitment of what was sent: the transactions asked for, and what each report means for the deliveries.

A transaction is written down before it is asked for, so a report is understood whenever it comes, after a restart too.
Every further asking is a new transaction: archives keep the old ones, and refuse to see one twice.

References
----------
PS3.4 Annex J.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlmodel import Session, col, select

from gateway.config import Destination
from gateway.domain.delivery import DeliveryState, pause
from gateway.services.courier import Parcel
from gateway.services.outbox import bury_row, deliver_row
from gateway.store.database import Database
from gateway.store.tables import CommitmentRequest, Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReport:
    """What a destination said of a transaction.

    Parameters
    ----------
    transaction_uid : str
        Which.
    committed : frozenset of str
        SOP Instance UIDs it has committed itself to keep.
    failed : mapping of str to str
        SOP Instance UIDs it could not commit, with the reason for people.
    """

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, str]


class CommitmentAsker(Protocol):
    """Asks one destination to commit itself."""

    def ask(self, transaction_uid: str, parcels: Sequence[Parcel]) -> CommitmentReport | None:
        """Ask; return the report if it comes at once, None if it is to come later.

        Raises
        ------
        PeerUnreachable, PeerRejected
            It was not asked.
        """
        ...


class Commitments:
    """Writes down what was asked and what was reported; safe to use from many threads.

    Parameters
    ----------
    database : Database
        Deliveries and transactions.
    destinations : iterable of Destination
        From the configuration.
    clock : callable
        Gives the time, with zone.
    """

    def __init__(self, database: Database, destinations: Iterable[Destination], clock: Callable[[], datetime]) -> None:
        self._database = database
        self._destinations = {destination.name: destination for destination in destinations}
        self._clock = clock

    def begin(self, settings: Destination, deliveries: Iterable[Delivery]) -> tuple[str, frozenset[str]]:
        """Open a transaction for deliveries that were accepted; return its UID and the SOP Instance UIDs in it.

        One whose last transaction brought no report in time has failed once more, and is given up after as many
        times as the destination's configuration says.
        """
        transaction, now = f"2.25.{uuid.uuid4().int}", self._clock()
        asked = set()
        with self._database.write() as session:
            for delivery in deliveries:
                row = session.get_one(Delivery, delivery.id)
                if row.state != DeliveryState.SENT:
                    # A report came meanwhile.
                    continue
                if row.transaction_uid:
                    row.attempts += 1
                    row.last_failure = f"no storage commitment came within {settings.commitment_seconds:g} s"
                if row.attempts >= settings.maximum_attempts:
                    bury_row(session, row, now)
                    continue
                row.transaction_uid = transaction
                row.due_at = now + timedelta(seconds=settings.commitment_seconds)
                asked.add(row.sop_instance_uid)
            if asked:
                session.add(CommitmentRequest(transaction_uid=transaction, destination=settings.name, asked_at=now))
        return transaction, frozenset(asked)

    def not_asked(self, transaction_uid: str) -> None:
        """Note that a transaction could not be asked for: its deliveries were never asked, and lose no attempt."""
        with self._database.write() as session:
            for row in session.exec(select(Delivery).where(Delivery.transaction_uid == transaction_uid)):
                row.transaction_uid = ""

    def record(self, report: CommitmentReport, *, reporter: str) -> bool:
        """Take a report; return whether its transaction is known.

        What is committed is delivered, whichever of its transactions says so. What is not is sent again, if the
        report is on its newest transaction.
        """
        now = self._clock()
        with self._database.write() as session:
            request = session.get(CommitmentRequest, report.transaction_uid)
            if request is None:
                return False
            request.answered_at = now
            request.committed, request.failed = len(report.committed), len(report.failed)
            for row in _named(session, request.destination, report.committed):
                if row.state != DeliveryState.DELIVERED:
                    deliver_row(session, row, now, proof="committed", reporter=reporter)
            for row in _named(session, request.destination, frozenset(report.failed)):
                if row.transaction_uid == report.transaction_uid and row.state == DeliveryState.SENT:
                    self._send_again(session, row, report.failed[row.sop_instance_uid], now)
        return True

    def _send_again(self, session: Session, row: Delivery, reason: str, now: datetime) -> None:
        settings = self._destinations.get(row.destination)
        row.attempts += 1
        row.transaction_uid = ""
        row.last_failure = f"it could not commit itself to keep the object: {reason}"
        row.state = DeliveryState.PENDING
        if settings is None:
            return
        row.due_at = now + pause(settings.retry_seconds, row.attempts)
        if row.attempts >= settings.maximum_attempts:
            bury_row(session, row, now)


def _named(session: Session, destination: str, names: frozenset[str]) -> Sequence[Delivery]:
    query = select(Delivery).where(Delivery.destination == destination, col(Delivery.sop_instance_uid).in_(names))
    return session.exec(query.order_by(col(Delivery.id))).all()
