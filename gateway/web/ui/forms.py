"""What people do on the pages: decide, upload, resolve, retry, sign in and out. Every form answers with a redirect."""

from __future__ import annotations

import asyncio
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from dicom_sr.errors import DicomObjectError
from gateway.domain.errors import GatewayError, IllegalTransition, NotFound, UnacceptableInstance
from gateway.domain.qc_status import QcStatus
from gateway.services import destinations
from gateway.services.case_record import case_record
from gateway.services.edit_outcome import EditOutcome
from gateway.web.access import COOKIE, SESSION_LENGTH, Gatekeeper
from gateway.web.api.cases import receive_edit
from gateway.web.api.instances import receive_upload
from gateway.web.problems import BadRequest, NotSignedIn, problem_of
from gateway.web.request import Decider, Operator, Provided, Resolver, RowNumber, Sender, request_id_of
from gateway.web.services import Services
from gateway.web.ui.pages import case_page, holds_page
from gateway.web.ui.render import Notice, Pages, pages_of
from gateway.web.ui.view import sentence

router = APIRouter(include_in_schema=False)

Rendering = Annotated[Pages, Depends(pages_of)]
#: Pause before a refused sign-in is answered, so that guessing is slow, seconds.
_REFUSAL_S = 0.5


@router.post("/cases/{case_id}/decide", response_class=HTMLResponse)
def decide(
    services: Provided,
    caller: Decider,
    pages: Rendering,
    request: Request,
    case_id: str,
    *,
    qc_status: Annotated[QcStatus, Form()],
    comment: Annotated[str, Form(max_length=10_000)] = "",
) -> Response:
    """Record a decision; a refused one comes back with its comment and the reason."""
    try:
        services.decide(case_id=case_id, decision=qc_status, comment=comment, actor=caller.name, at=services.clock())
    except IllegalTransition as error:
        return _case_again(services, pages, request, case_id, error, comment=comment, reason_wanted=True)
    return _to(f"/cases/{case_id}?notice=decided")


@router.post("/cases/{case_id}/retry")
def retry_case(services: Provided, caller: Operator, case_id: str) -> Response:
    """Run the stuck stages of a case again."""
    services.retry_case(case_id=case_id, actor=caller.name, at=services.clock())
    return _to(f"/cases/{case_id}?notice=retried")


@router.post("/cases/{case_id}/edits")
async def upload_edit(services: Provided, caller: Sender, pages: Rendering, request: Request, case_id: str) -> Response:
    """Take an edit from the case page, whose form may name the stage; a refused file leads back to it."""
    try:
        answer = await receive_edit(services, caller, case_id, request)
    except (UnacceptableInstance, BadRequest, DicomObjectError) as error:
        return await run_in_threadpool(_case_again, services, pages, request, case_id, error)
    if answer.outcome is EditOutcome.HELD:
        return _to(f"/holds?notice=edit-held#hold-{answer.hold_id}")
    return _to(f"/cases/{case_id}?notice=edit-{answer.outcome.lower()}")


@router.post("/uploads")
async def upload(services: Provided, caller: Sender, request: Request) -> Response:
    """Take DICOM files or a zip from the empty worklist."""
    answer = await receive_upload(services, caller, request)
    kept = answer.new + answer.duplicate + answer.conflict
    notice = "upload-refused" if not kept else "upload-partly" if answer.refused else "uploaded"
    return _to(f"/?notice={notice}")


@router.post("/holds/{hold_id}/resolve", response_class=HTMLResponse)
def resolve_hold(  # noqa: PLR0913
    services: Provided,
    caller: Resolver,
    pages: Rendering,
    request: Request,
    hold_id: RowNumber,
    *,
    action: Annotated[str, Form(pattern="^(accept|discard)$")],
    reason: Annotated[str, Form(max_length=2000)] = "",
    case_id: Annotated[str, Form(max_length=64)] = "",
    stage: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Release or discard a held object."""
    try:
        services.resolve_hold(
            hold_id=hold_id,
            action=action,
            case_id=case_id.strip() or None,
            stage=stage.strip() or None,
            reason=reason,
            actor=caller.name,
            at=services.clock(),
        )
    except (IllegalTransition, NotFound) as error:
        return holds_page(
            services, pages, request, status=409, notice=_refused(error), failed_hold=hold_id, here="/holds"
        )
    return _to(f"/holds?notice=hold-{action}ed")


@router.post("/deliveries/{delivery_id}/retry")
def retry_delivery(
    services: Provided, caller: Operator, delivery_id: RowNumber, back: Annotated[str, Form()] = "/node"
) -> Response:
    """Send a delivery again."""
    services.retry_delivery(delivery_id=delivery_id, actor=caller.name, at=services.clock())
    target = _own_path(back)
    return _to(f"{target}{'&' if '?' in target else '?'}notice=retried")


@router.post("/destinations/{name}/pause")
def pause_destination(
    services: Provided, caller: Operator, name: str, reason: Annotated[str, Form(max_length=2000)] = ""
) -> Response:
    """Send nothing to a destination for now."""
    configured = services.config.destinations
    destinations.pause(services.database, configured, name, reason=reason, actor=caller.name, at=services.clock())
    return _to("/node?notice=paused")


@router.post("/destinations/{name}/resume")
def resume_destination(services: Provided, caller: Operator, name: str) -> Response:
    """Send to a paused destination again."""
    destinations.resume(services.database, services.config.destinations, name, actor=caller.name, at=services.clock())
    return _to("/node?notice=retried")


@router.get("/sign-in", response_class=HTMLResponse)
def show_sign_in(pages: Rendering, request: Request, next: str = "/") -> Response:
    """Show the sign-in form; where no users are configured, nobody signs in."""
    if request.app.state.gatekeeper.is_local:
        return _to(_own_path(next))
    return pages.page(request, "sign_in.html", next=_own_path(next), failed=False)


@router.post("/sign-in", response_class=HTMLResponse)
async def sign_in(
    services: Provided,
    pages: Rendering,
    request: Request,
    *,
    name: Annotated[str, Form(max_length=200)],
    token: Annotated[str, Form(max_length=2000)],
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Sign in: the cookie is for this site only and no script reads it."""
    gatekeeper = request.app.state.gatekeeper
    assert isinstance(gatekeeper, Gatekeeper)
    try:
        session = gatekeeper.sign_in(name, token, services.clock())
    except NotSignedIn:
        await asyncio.sleep(_REFUSAL_S)
        return pages.page(request, "sign_in.html", status=401, next=_own_path(next), failed=True)
    response = _to(_own_path(next))
    response.set_cookie(
        COOKIE,
        session,
        max_age=int(SESSION_LENGTH.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/sign-out")
def sign_out() -> Response:
    """Forget the sign-in."""
    response = _to("/sign-in")
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _case_again(
    services: Services,
    pages: Pages,
    request: Request,
    case_id: str,
    error: GatewayError | DicomObjectError,
    *,
    comment: str = "",
    reason_wanted: bool = False,
) -> HTMLResponse:
    """Show the page of a case again, with why what was asked on it was refused."""
    case = case_record(services.database, case_id)
    return case_page(
        services,
        pages,
        request,
        case,
        shown=case.current,
        comment=comment,
        reason_wanted=reason_wanted,
        status=problem_of(error, request_id_of(request)).status,
        notice=_refused(error),
        here=f"/cases/{case_id}",
    )


def _refused(error: GatewayError | DicomObjectError) -> Notice:
    return Notice(tone="bad", text=f"{sentence(error.detail)}.")


def _own_path(target: str) -> str:
    """Return a path of this site, ``/`` for anything that could lead elsewhere."""
    is_own = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return quote(target, safe="/?&=#%+-._~:") if is_own else "/"


def _to(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303)
