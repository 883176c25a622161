"""Every error as RFC 9457 problem details, from one table; no message ever holds patient data or a stack trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from fastapi.responses import JSONResponse

from dicom_sr.errors import DicomObjectError
from gateway.domain.errors import (
    ConfigurationError,
    GatewayError,
    IllegalTransition,
    NotFound,
    PeerRejected,
    PeerUnreachable,
    StageFailed,
    StaleAttempt,
    StorageFull,
    StorageUnavailable,
    UnacceptableInstance,
)
from gateway.services.fetch import QueryTooWide
from gateway.services.worklist import BadCursor


class BadRequest(GatewayError):
    """The request does not say what it must."""

    code = "BAD_REQUEST"


class NotSignedIn(GatewayError):
    """The caller has not said who they are, or not truthfully."""

    code = "NOT_SIGNED_IN"


class NotAllowed(GatewayError):
    """The caller may not do this."""

    code = "NOT_ALLOWED"


class NotAcceptable(GatewayError):
    """No representation fits what the caller accepts."""

    code = "NOT_ACCEPTABLE"


class TooLarge(GatewayError):
    """The request is larger than allowed."""

    code = "TOO_LARGE"


class UnsupportedMedia(GatewayError):
    """The request's media type is not understood here."""

    code = "UNSUPPORTED_MEDIA_TYPE"


#: HTTP status and title by error; the nearest class in the error's ancestry counts.
PROBLEMS: Mapping[type[Exception], tuple[HTTPStatus, str]] = {
    GatewayError: (HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong"),
    ConfigurationError: (HTTPStatus.INTERNAL_SERVER_ERROR, "The configuration does not allow this"),
    NotFound: (HTTPStatus.NOT_FOUND, "Not found"),
    IllegalTransition: (HTTPStatus.CONFLICT, "Not possible now"),
    StaleAttempt: (HTTPStatus.CONFLICT, "Overtaken"),
    UnacceptableInstance: (HTTPStatus.UNPROCESSABLE_ENTITY, "Instance not acceptable"),
    DicomObjectError: (HTTPStatus.UNPROCESSABLE_ENTITY, "Object not readable"),
    StorageFull: (HTTPStatus.INSUFFICIENT_STORAGE, "No room"),
    StorageUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "Storage not available"),
    PeerUnreachable: (HTTPStatus.BAD_GATEWAY, "Peer does not answer"),
    PeerRejected: (HTTPStatus.BAD_GATEWAY, "Peer refused"),
    StageFailed: (HTTPStatus.INTERNAL_SERVER_ERROR, "Stage failed"),
    BadCursor: (HTTPStatus.BAD_REQUEST, "Bad request"),
    BadRequest: (HTTPStatus.BAD_REQUEST, "Bad request"),
    QueryTooWide: (HTTPStatus.BAD_REQUEST, "Bad request"),
    NotSignedIn: (HTTPStatus.UNAUTHORIZED, "Sign in first"),
    NotAllowed: (HTTPStatus.FORBIDDEN, "Not allowed"),
    NotAcceptable: (HTTPStatus.NOT_ACCEPTABLE, "No acceptable form"),
    TooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too large"),
    UnsupportedMedia: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Unsupported media type"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One place of a request that is wrong."""

    where: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Problem details (RFC 9457) with our `code` and the `request_id` that the log has too."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    retryable: bool = False
    errors: tuple[Fault, ...] = ()


def problem_of(error: GatewayError | DicomObjectError, request_id: str) -> Problem:
    """Return the problem an error is answered with."""
    status, title = next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)
    return Problem(
        type=f"urn:overread:problem:{error.code}",
        title=title,
        status=status,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        retryable=error.retryable,
    )


def problem_of_status(status: int, detail: str, request_id: str, *, errors: tuple[Fault, ...] = ()) -> Problem:
    """Return the problem for a bare HTTP status, such as an unknown path or a method not allowed."""
    known = HTTPStatus(status)
    return Problem(
        type=f"urn:overread:problem:{known.name}",
        title=known.phrase,
        status=status,
        detail=detail,
        code=known.name,
        request_id=request_id,
        retryable=status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        errors=errors,
    )


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a problem as ``application/problem+json``."""
    body: dict[str, object] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": problem.request_id,
        "retryable": problem.retryable,
    }
    if problem.errors:
        body["errors"] = [{"where": fault.where, "message": fault.message} for fault in problem.errors]
    sent = dict(headers or {})
    if problem.status == HTTPStatus.UNAUTHORIZED:
        sent["WWW-Authenticate"] = 'Bearer realm="overread"'
    if problem.retryable and problem.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE):
        sent["Retry-After"] = "30"
    return JSONResponse(body, problem.status, sent, media_type="application/problem+json")
