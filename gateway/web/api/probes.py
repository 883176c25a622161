"""Liveness, readiness, metrics, and the event stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.domain.errors import GatewayError
from gateway.services.registers import newest_audit_id
from gateway.web.events import EventFeed, event_text
from gateway.web.request import Feed, Provided, RowNumber, Viewer

router = APIRouter(tags=["probes"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether the gateway can do its work; `reasons` say why not."""

    ready: bool
    reasons: tuple[str, ...]


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", operation_id="healthz")
def healthz(services: Provided) -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok", "version": services.version}


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", operation_id="readyz", responses={503: {"description": "Not ready; the reasons say why."}})
def readyz(services: Provided, response: Response) -> Readiness:
    """Say whether database, data folder and DICOM node can be used."""
    reasons = list(services.not_ready())
    try:
        newest_audit_id(services.database)
    except GatewayError as error:
        reasons.append(error.detail)
    if reasons:
        response.status_code = 503
    return Readiness(ready=not reasons, reasons=tuple(reasons))


@router.get("/metrics", operation_id="metrics", response_class=Response)
def metrics(request: Request, _: Viewer) -> Response:
    """Return metrics for Prometheus."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/api/v1/events",
    operation_id="stream_events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
def stream_events(
    feed: Feed, _: Viewer, last_event_id: Annotated[RowNumber | None, Header()] = None
) -> StreamingResponse:
    """Stream what happens as server-sent events; `Last-Event-ID` catches up after a break."""
    return StreamingResponse(
        _stream(feed, last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(feed: EventFeed, after: int | None) -> AsyncIterator[bytes]:
    async with aclosing(feed.listen(after)) as events:
        async for event in events:
            yield event_text(event)
