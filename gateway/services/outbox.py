"""What is written when a delivery moves, by whoever moves it."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from gateway.domain.delivery import DeliveryState
from gateway.store import audit
from gateway.store.tables import Delivery


def record_delivery(
    session: Session, row: Delivery, at: datetime, *, action: str, actor: str = "overread", **more: str
) -> None:
    """Write what became of a delivery into the audit trail.

    Parameters
    ----------
    session : Session
        From `Database.write`.
    row : Delivery
        Which.
    at : datetime
        When.
    action, actor : str
        What, and who did it.
    more : str
        Further detail, free of patient data.
    """
    detail: dict[str, str | int] = {"destination": row.destination, "attempts": row.attempts, **more}
    audit.append(
        session, at=at, actor=actor, action=action, case_id=row.case_id, subject=row.sop_instance_uid, detail=detail
    )


def deliver_row(session: Session, row: Delivery, at: datetime, **proof: str) -> None:
    """Call a delivery delivered."""
    row.state, row.delivered_at, row.last_failure = DeliveryState.DELIVERED, at, ""
    record_delivery(session, row, at, action="DELIVERED", **proof)


def bury_row(session: Session, row: Delivery, at: datetime) -> None:
    """Give a delivery up until a person retries it."""
    row.state = DeliveryState.DEAD
    record_delivery(session, row, at, action="DELIVERY_DEAD")
