"""What an operator reads and does: deliveries and their retry, the audit trail and its check."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gateway.services import destinations, registers
from gateway.services.destinations import DestinationView
from gateway.services.peer_log import Contact
from gateway.services.registers import AuditRow, ChainCheck, DeliveryRow, UntakenSeries
from gateway.services.workload import Workload, workload
from gateway.web.request import Operator, Provided, RowNumber, Viewer
from gateway.web.services import Services

router = APIRouter(prefix="/api/v1", tags=["operations"])


class PauseOrder(BaseModel):
    """Why a destination is paused."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=2000)


@router.get("/deliveries", operation_id="list_deliveries")
def list_deliveries(
    services: Provided,
    _: Viewer,
    state: Literal["PENDING", "SENT", "DELIVERED", "DEAD", ""] = "",
    destination: str = "",
    case_id: str = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
) -> tuple[DeliveryRow, ...]:
    """Return deliveries, newest first."""
    return registers.list_deliveries(
        services.database, states=(state,) if state else (), destination=destination, case_id=case_id, limit=limit
    )


@router.post("/deliveries/{delivery_id}/retry", operation_id="retry_delivery")
def retry_delivery(services: Provided, caller: Operator, delivery_id: RowNumber) -> DeliveryRow:
    """Send a dead delivery again; deterministic UIDs make that harmless."""
    services.retry_delivery(delivery_id=delivery_id, actor=caller.name, at=services.clock())
    return registers.find_delivery(services.database, delivery_id)


@router.get("/destinations", operation_id="list_destinations")
def list_destinations(services: Provided, _: Viewer) -> tuple[DestinationView, ...]:
    """Return destinations, how far their deliveries are, and which a person paused."""
    return destinations.list_destinations(services.database, services.config.destinations)


@router.post("/destinations/{name}/pause", operation_id="pause_destination")
def pause_destination(services: Provided, caller: Operator, name: str, order: PauseOrder) -> DestinationView:
    """Send nothing to a destination until it is resumed; what is made for it waits."""
    configured = services.config.destinations
    destinations.pause(services.database, configured, name, reason=order.reason, actor=caller.name, at=services.clock())
    return _destination(services, name)


@router.post("/destinations/{name}/resume", operation_id="resume_destination")
def resume_destination(services: Provided, caller: Operator, name: str) -> DestinationView:
    """Send to a paused destination again."""
    destinations.resume(services.database, services.config.destinations, name, actor=caller.name, at=services.clock())
    return _destination(services, name)


def _destination(services: Services, name: str) -> DestinationView:
    found = destinations.list_destinations(services.database, services.config.destinations)
    return next(one for one in found if one.name == name)


@router.get("/peers", operation_id="list_peers")
def list_peers(services: Provided, _: Viewer) -> tuple[Contact, ...]:
    """Return who called the DICOM node, what was agreed on, and why somebody was refused; newest first."""
    return services.node().peers


@router.get("/workload", operation_id="list_workload")
def list_workload(services: Provided, _: Viewer) -> tuple[Workload, ...]:
    """Return who has which cases and who did what."""
    return workload(services.database)


@router.get("/untaken", operation_id="list_untaken")
def list_untaken(
    services: Provided, _: Viewer, study_uid: str = "", limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> tuple[UntakenSeries, ...]:
    """Return why no pipeline took any series of a study, newest first."""
    return registers.list_untaken(services.database, study_uid=study_uid, limit=limit)


@router.get("/audit", operation_id="list_audit")
def list_audit(
    services: Provided,
    _: Viewer,
    case_id: str = "",
    action: str = "",
    before: RowNumber = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> tuple[AuditRow, ...]:
    """Return audit events, newest first; pass the last id as `before` for the next page."""
    return registers.list_audit(services.database, case_id=case_id, action=action, before=before, limit=limit)


@router.get("/audit/verify", operation_id="verify_audit")
def verify_audit(services: Provided, _: Viewer) -> ChainCheck:
    """Check every link of the audit chain."""
    return registers.check_chain(services.database)
