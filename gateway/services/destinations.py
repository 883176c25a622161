"""Destinations as an operator sees and steers them: how far their deliveries are, and whether a person paused them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func
from sqlmodel import col, select

from gateway.config import Destination
from gateway.domain.errors import IllegalTransition, NotFound
from gateway.store import audit
from gateway.store.database import Database
from gateway.store.tables import Delivery, DestinationPause


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationView:
    """A destination: where it is, how many deliveries are how far, and who paused it, why and since when.

    `paused_at` is None while it is not paused; `last_failure` is what it said last of a delivery that has not arrived.
    """

    name: str
    kind: str
    where: str
    seg: str
    waiting: int
    sent: int
    delivered: int
    dead: int
    last_failure: str
    paused_at: datetime | None
    paused_by: str
    pause_reason: str


def list_destinations(database: Database, configured: Sequence[Destination]) -> tuple[DestinationView, ...]:
    """Return the configured destinations in their order."""
    counted = (
        select(Delivery.destination, Delivery.state, func.count())
        .group_by(col(Delivery.destination), col(Delivery.state))
        .order_by(col(Delivery.destination))
    )
    with database.read() as session:
        counts = {(name, state): number for name, state, number in session.exec(counted)}
        pauses = {pause.destination: pause for pause in session.exec(select(DestinationPause))}
        failures = {
            one.name: session.exec(
                select(Delivery.last_failure)
                .where(Delivery.destination == one.name, Delivery.state != "DELIVERED", Delivery.last_failure != "")
                .order_by(col(Delivery.id).desc())
                .limit(1)
            ).first()
            for one in configured
            if any(counts.get((one.name, state)) for state in ("PENDING", "SENT", "DEAD"))
        }
    return tuple(
        DestinationView(
            name=one.name,
            kind=one.kind,
            where=one.url or f"{one.ae_title} at {one.host}:{one.port}",
            seg=one.seg,
            waiting=counts.get((one.name, "PENDING"), 0),
            sent=counts.get((one.name, "SENT"), 0),
            delivered=counts.get((one.name, "DELIVERED"), 0),
            dead=counts.get((one.name, "DEAD"), 0),
            last_failure=failures.get(one.name) or "",
            paused_at=pauses[one.name].paused_at if one.name in pauses else None,
            paused_by=pauses[one.name].paused_by if one.name in pauses else "",
            pause_reason=pauses[one.name].reason if one.name in pauses else "",
        )
        for one in configured
    )


def is_paused(database: Database, destination: str) -> bool:
    """Whether nothing is sent to a destination for now."""
    with database.read() as session:
        return session.get(DestinationPause, destination) is not None


def pause(
    database: Database, configured: Sequence[Destination], destination: str, *, reason: str, actor: str, at: datetime
) -> None:
    """Send nothing to a destination until it is resumed; what is made for it waits, and no attempt is counted.

    Raises
    ------
    NotFound
        If the configuration has no such destination.
    IllegalTransition
        If it is paused already.
    """
    _require(configured, destination)
    with database.write() as session:
        if session.get(DestinationPause, destination) is not None:
            raise IllegalTransition(f"destination '{destination}' is paused already")
        session.add(DestinationPause(destination=destination, reason=reason.strip(), paused_by=actor, paused_at=at))
        # The reason is free text and may name a patient, so only its presence is audited.
        detail = {"reason": bool(reason.strip())}
        audit.append(session, at=at, actor=actor, action="DESTINATION_PAUSED", subject=destination, detail=detail)


def resume(
    database: Database, configured: Sequence[Destination], destination: str, *, actor: str, at: datetime
) -> None:
    """Send to a paused destination again.

    Raises
    ------
    NotFound
        If the configuration has no such destination.
    IllegalTransition
        If it is not paused.
    """
    _require(configured, destination)
    with database.write() as session:
        row = session.get(DestinationPause, destination)
        if row is None:
            raise IllegalTransition(f"destination '{destination}' is not paused")
        session.delete(row)
        audit.append(session, at=at, actor=actor, action="DESTINATION_RESUMED", subject=destination)


def _require(configured: Sequence[Destination], destination: str) -> None:
    if destination not in {one.name for one in configured}:
        raise NotFound("there is no destination of this name in the configuration")
