"""Put the HTTP application together: routers, error handlers, the guard around all of it."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from dicom_sr.errors import DicomObjectError
from gateway.domain.errors import GatewayError
from gateway.web.access import Gatekeeper
from gateway.web.api import cases, fetches, holds, instances, operations, probes
from gateway.web.dicomweb import qido, stow, wado
from gateway.web.events import EventFeed
from gateway.web.guard import Guard
from gateway.web.metrics import RequestMeter, registry_for
from gateway.web.problems import Fault, Problem, problem_of, problem_of_status, problem_response
from gateway.web.request import request_id_of
from gateway.web.services import Services
from gateway.web.ui import forms, pages, pictures
from gateway.web.ui.render import Assets, Pages, pages_of, static_folder, wants_page

_ROUTERS = (
    cases.router,
    fetches.router,
    holds.router,
    instances.router,
    operations.router,
    probes.router,
    qido.router,
    stow.router,
    wado.router,
    pages.router,
    pictures.router,
    forms.router,
)


def create_app(services: Services) -> FastAPI:
    """Return the application.

    `app.state.feed.close()` ends the event streams, so that a server that stops can drain.

    Raises
    ------
    ConfigurationError
        If a user's token file cannot be read.
    """
    app = FastAPI(
        title="Overread",
        version=services.version,
        description="A DICOM node that over-reads segmentations.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    registry = registry_for(services)
    gatekeeper = Gatekeeper.of(services.config)
    app.state.services = services
    app.state.gatekeeper = gatekeeper
    app.state.registry = registry
    app.state.pages = Pages(is_local=gatekeeper.is_local)
    app.state.feed = EventFeed(services.database, services.event_poll_s)
    for router in _ROUTERS:
        app.include_router(router)
    app.mount("/static", Assets(directory=static_folder()), name="static")
    app.add_exception_handler(GatewayError, _on_error)
    app.add_exception_handler(DicomObjectError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(Guard, gatekeeper=gatekeeper, clock=services.clock, meter=RequestMeter(registry))
    return app


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError | DicomObjectError)
    return await _answer(request, problem_of(error, request_id_of(request)))


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Only where and what: the validator's own text may quote the value that was sent.
    faults = tuple(
        Fault(where=".".join(str(part) for part in fault["loc"]), message=_SAID.get(fault["type"], fault["msg"]))
        for fault in error.errors()
    )
    problem = problem_of_status(
        400, "the request does not fit what this call takes", request_id_of(request), errors=faults
    )
    return await _answer(request, problem)


#: Messages of validators that would quote what was sent.
_SAID = {"json_invalid": "not valid JSON", "value_error": "not a valid value"}


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: "there is nothing at this path", 405: "this path does not take this method"}
    detail = said.get(error.status_code, "the request cannot be served")
    problem = problem_of_status(error.status_code, detail, request_id_of(request))
    return await _answer(request, problem, error.headers)


async def _answer(request: Request, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    if wants_page(request):
        return await run_in_threadpool(pages_of(request).problem, request, problem)
    return problem_response(problem, headers)
