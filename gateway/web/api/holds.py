"""Held objects: what waits for a person and why, and the person's answer."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gateway.services import registers
from gateway.services.registers import HoldView
from gateway.web.request import Provided, Resolver, RowNumber, Viewer

router = APIRouter(prefix="/api/v1/holds", tags=["holds"])


class Resolution(BaseModel):
    """What to do with a held object; a released edit may be given the case and stage it is for."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["accept", "discard"]
    case_id: str | None = None
    stage: str | None = None
    reason: str = Field(default="", max_length=2000)


@router.get("", operation_id="list_holds")
def list_holds(
    services: Provided,
    _: Viewer,
    state: Literal["OPEN", "ACCEPTED", "DISCARDED", ""] = "OPEN",
    case_id: str = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
) -> tuple[HoldView, ...]:
    """Return held objects with their reasons, newest first; open ones unless asked otherwise."""
    return registers.list_holds(services.database, state=state, case_id=case_id, limit=limit)


@router.get("/{hold_id}", operation_id="get_hold")
def get_hold(services: Provided, _: Viewer, hold_id: RowNumber) -> HoldView:
    """Return one held object."""
    return registers.find_hold(services.database, hold_id)


@router.post("/{hold_id}/resolve", operation_id="resolve_hold")
def resolve_hold(services: Provided, caller: Resolver, hold_id: RowNumber, resolution: Resolution) -> HoldView:
    """Release a held object to a case and stage, or discard it; nothing is deleted either way."""
    services.resolve_hold(
        hold_id=hold_id,
        action=resolution.action,
        case_id=resolution.case_id or None,
        stage=resolution.stage or None,
        reason=resolution.reason,
        actor=caller.name,
        at=services.clock(),
    )
    return registers.find_hold(services.database, hold_id)
