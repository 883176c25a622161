"""Deliver results: the outbox rows that are due, in order, until each destination has proven that it holds them.

Outputs have deterministic UIDs, so sending one again is harmless; what was sent when a crash came is sent again. An
output counts as delivered when the destination lists it, has committed itself to keep it where that is configured, or,
where it cannot be asked, has accepted it. A destination that is away costs no attempt: its deliveries wait, however
long that lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from sqlalchemy import ColumnElement, and_, or_
from sqlmodel import Session, col, select

from gateway.config import Destination
from gateway.domain.delivery import DeliveryState, pause
from gateway.domain.errors import IllegalTransition, NotFound, PeerRejected, PeerUnreachable
from gateway.services.commitment import CommitmentAsker, Commitments
from gateway.services.courier import Carried, Courier, Parcel, Receipt
from gateway.services.outbox import bury_row, deliver_row, record_delivery
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import Delivery, Output

#: Most objects of one association or request.
BATCH: Final = 50
#: Waiting rows looked at in one go; after a long outage there may be very many.
_LOOKED_AT: Final = 20 * BATCH


class Deliverer:
    """Works through the outbox; one thread for each destination.

    Parameters
    ----------
    database, blobs
        Outbox and files.
    destinations : iterable of Destination
        From the configuration.
    couriers : mapping of str to Courier
        By name of the destination.
    clock : callable
        Gives the time, with zone.
    askers : mapping of str to CommitmentAsker
        For destinations with ``commitment: true``, by name.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        destinations: Iterable[Destination],
        couriers: Mapping[str, Courier],
        clock: Callable[[], datetime],
        *,
        askers: Mapping[str, CommitmentAsker] = MappingProxyType({}),
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._destinations = {destination.name: destination for destination in destinations}
        self._couriers = couriers
        self._askers = askers
        self._commitments = Commitments(database, self._destinations.values(), clock)
        self._clock = clock
        self._times_away = dict.fromkeys(self._destinations, 0)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the destinations."""
        return tuple(self._destinations)

    def run_due(self, destination: str) -> int:
        """Send what is due and look up what was sent; return how many deliveries moved on.

        A destination that does not answer, or refuses to talk to us, is no error here: its rows say so and wait.

        Raises
        ------
        NotFound
            If the configuration has no such destination.
        """
        settings = self._settings(destination)
        due = self._due(destination)
        sent = [row for row in due if row[0].state == DeliveryState.SENT]
        batch = [(delivery, self._parcel(output)) for delivery, output in sent or due]
        if sent and settings.commitment:
            return self._ask_commitment(settings, batch)
        parcels = [parcel for _, parcel in batch if parcel.path.is_file()]
        receipts = [_lost(parcel) for _, parcel in batch if not parcel.path.is_file()]
        courier, read_back = self._couriers[destination], settings.read_back and not settings.commitment
        try:
            if parcels:
                receipts += courier.look_up(parcels) if sent else courier.carry(parcels, read_back=read_back)
                self._times_away[destination] = 0
        except (PeerUnreachable, PeerRejected) as error:
            self._note_away(settings, [delivery for delivery, _ in batch], error.detail)
            return 0
        return self._note_receipts(settings, [delivery for delivery, _ in batch], receipts)

    def _ask_commitment(self, settings: Destination, batch: Sequence[tuple[Delivery, Parcel]]) -> int:
        transaction, asked = self._commitments.begin(settings, [delivery for delivery, _ in batch])
        parcels = [parcel for _, parcel in batch if parcel.sop_instance_uid in asked]
        if not parcels:
            return 0
        try:
            report = self._askers[settings.name].ask(transaction, parcels)
            self._times_away[settings.name] = 0
        except (PeerUnreachable, PeerRejected) as error:
            self._commitments.not_asked(transaction)
            self._note_away(settings, [delivery for delivery, _ in batch], error.detail)
            return 0
        if report is not None:
            self._commitments.record(report, reporter=str(settings.ae_title))
        return len(parcels)

    def next_due(self, destination: str) -> datetime | None:
        """Return when something is due next, None when nothing is waiting."""
        with self._database.read() as session:
            return session.exec(
                select(Delivery.due_at).where(_waiting(destination)).order_by(col(Delivery.due_at)).limit(1)
            ).first()

    def retry(self, delivery_id: int, *, actor: str) -> None:
        """Take up a dead delivery again, because a person says so.

        Raises
        ------
        NotFound
            If there is no such delivery.
        IllegalTransition
            If it is not dead.
        """
        with self._database.write() as session:
            delivery = session.get(Delivery, delivery_id)
            if delivery is None:
                raise NotFound(f"delivery {delivery_id} does not exist")
            if delivery.state != DeliveryState.DEAD:
                raise IllegalTransition(f"delivery {delivery_id} is {delivery.state}; only a DEAD one can be retried")
            delivery.state, delivery.attempts, delivery.due_at = DeliveryState.PENDING, 0, self._clock()
            record_delivery(session, delivery, self._clock(), action="DELIVERY_RETRIED", actor=actor)

    def _settings(self, destination: str) -> Destination:
        try:
            return self._destinations[destination]
        except KeyError:
            raise NotFound(f"destination '{destination}' is not in the configuration") from None

    def _due(self, destination: str) -> Sequence[tuple[Delivery, Output]]:
        """Return due rows in the order they were written; those behind an earlier one that still waits are left."""
        now = self._clock()
        with self._database.read() as session:
            rows = session.exec(
                select(Delivery, Output)
                .join(Output, col(Output.sop_instance_uid) == col(Delivery.sop_instance_uid))
                .where(_waiting(destination))
                .where(or_(col(Delivery.state) == DeliveryState.PENDING, col(Delivery.due_at) <= now))
                .order_by(col(Delivery.id))
                .limit(_LOOKED_AT)
            ).all()
        blocked: set[str] = set()
        due = []
        for delivery, output in rows:
            if delivery.due_at > now and delivery.attempts == 0 and delivery.state == DeliveryState.PENDING:
                blocked.add(delivery.case_id)
            if delivery.due_at <= now and delivery.case_id not in blocked:
                due.append((delivery, output))
        return due[:BATCH]

    def _parcel(self, output: Output) -> Parcel:
        return Parcel(
            sop_instance_uid=output.sop_instance_uid,
            sop_class_uid=output.sop_class_uid,
            series_instance_uid=output.series_instance_uid,
            study_instance_uid=output.study_instance_uid,
            transfer_syntax_uid=output.transfer_syntax_uid,
            path=self._blobs.location(output.sha256),
        )

    def _note_away(self, settings: Destination, deliveries: Sequence[Delivery], why: str) -> None:
        """Let everything that is due wait, without counting it against the objects."""
        self._times_away[settings.name] += 1
        due_at = self._clock() + pause(settings.retry_seconds, self._times_away[settings.name])
        with self._database.write() as session:
            for delivery in deliveries:
                row = session.get_one(Delivery, delivery.id)
                row.due_at, row.last_failure = due_at, why

    def _note_receipts(self, settings: Destination, deliveries: Sequence[Delivery], receipts: Sequence[Receipt]) -> int:
        by_uid = {receipt.sop_instance_uid: receipt for receipt in receipts}
        moved = 0
        with self._database.write() as session:
            for delivery in deliveries:
                row = session.get_one(Delivery, delivery.id)
                before = row.state
                self._note_receipt(session, settings, row, by_uid[delivery.sop_instance_uid])
                moved += row.state != before
        return moved

    def _note_receipt(self, session: Session, settings: Destination, row: Delivery, receipt: Receipt) -> None:
        now = self._clock()
        row.last_failure = receipt.detail
        match receipt.carried:
            case Carried.CONFIRMED | Carried.ACCEPTED if settings.commitment:
                row.state, row.transaction_uid, row.due_at, row.last_failure = DeliveryState.SENT, "", now, ""
                return
            case Carried.CONFIRMED | Carried.ACCEPTED:
                proof = "listed" if receipt.carried is Carried.CONFIRMED else "accepted"
                deliver_row(session, row, now, proof=proof)
                return
            case Carried.UNSENT | Carried.UNPROVEN:
                if receipt.carried is Carried.UNPROVEN:
                    row.state = DeliveryState.SENT
                row.due_at = now + pause(settings.retry_seconds, 1)
                return
            case Carried.MISSING:
                # Some archives index late, so it is asked once more before it is sent again.
                row.state = DeliveryState.PENDING if row.state == DeliveryState.SENT else DeliveryState.SENT
            case Carried.REFUSED:
                row.state = DeliveryState.PENDING
        row.attempts += 1
        row.due_at = now + pause(settings.retry_seconds, row.attempts)
        if row.attempts >= settings.maximum_attempts:
            bury_row(session, row, now)


def _waiting(destination: str) -> ColumnElement[bool]:
    states = (DeliveryState.PENDING, DeliveryState.SENT)
    return and_(col(Delivery.destination) == destination, col(Delivery.state).in_(states))


def _lost(parcel: Parcel) -> Receipt:
    return Receipt(
        sop_instance_uid=parcel.sop_instance_uid,
        carried=Carried.REFUSED,
        detail="the file of this output is not in the data folder any more: restore it from the backup",
    )
