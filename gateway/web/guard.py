"""What happens around every request: an id, who calls and from where, protecting headers, a last net for errors."""

from __future__ import annotations

import secrets
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.domain.errors import GatewayError
from gateway.web.access import (
    COOKIE,
    Credentials,
    Gatekeeper,
    Identity,
    require_local_host,
    require_same_origin,
)
from gateway.web.metrics import RequestMeter
from gateway.web.problems import NotSignedIn, problem_of, problem_of_status, problem_response

log = structlog.get_logger(__name__)

#: Paths that anybody may read: probes, assets without content, and the way in.
_PUBLIC = ("/healthz", "/readyz", "/static/", "/sign-in")

#: No inline script or style, nothing from elsewhere, no framing.
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers would then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """The outermost layer of the application.

    Parameters
    ----------
    app : ASGI application
        What it protects; finds the caller as ``scope["state"]["identity"]`` and ``["request_id"]``.
    gatekeeper : Gatekeeper
        Knows the callers.
    clock : callable
        Gives the time.
    meter : RequestMeter
        Counts requests.
    """

    def __init__(
        self, app: ASGIApp, *, gatekeeper: Gatekeeper, clock: Callable[[], datetime], meter: RequestMeter
    ) -> None:
        self._app = app
        self._gatekeeper = gatekeeper
        self._clock = clock
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other kinds of connection are passed on (lifespan) or not offered (websocket)."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        reply = _Reply(send, request_id)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        try:
            scope["state"]["identity"] = self._admit(scope)
            await self._app(scope, receive, reply)
        except GatewayError as error:
            await self._refuse(error, scope, receive, reply)
        except Exception as error:  # noqa: BLE001 - the last net: nothing of the error may reach a log or a caller
            _log_unforeseen(error, scope, request_id)
            if not reply.has_started:
                problem = problem_of_status(
                    500, "an unforeseen error; the log has it under this request id", request_id
                )
                await problem_response(problem)(scope, receive, reply)
        finally:
            self._meter.count(scope, reply.status, time.perf_counter() - started)

    def _admit(self, scope: Scope) -> Identity | None:
        headers = Headers(scope=scope)
        host, session = headers.get("host", ""), cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if self._gatekeeper.is_local:
            require_local_host(host)
        require_same_origin(
            scope["method"], origin=headers.get("origin", ""), host_header=host, has_cookie=bool(session)
        )
        credentials = Credentials(
            authorization=headers.get("authorization", ""),
            session=session,
            client_host=(scope.get("client") or ("", 0))[0],
        )
        try:
            return self._gatekeeper.identify(credentials, self._clock())
        except NotSignedIn:
            if scope["path"].startswith(_PUBLIC):
                return None
            raise

    async def _refuse(self, error: GatewayError, scope: Scope, receive: Receive, reply: _Reply) -> None:
        if isinstance(error, NotSignedIn) and _wants_page(scope):
            target = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
            await RedirectResponse(f"/sign-in?next={quote(target, safe='')}", 303)(scope, receive, reply)
            return
        await problem_response(problem_of(error, reply.request_id))(scope, receive, reply)


class _Reply:
    """Sends a response with the protecting headers, and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0

    @property
    def has_started(self) -> bool:
        return self.status > 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Request-ID"] = self.request_id
        await self._send(message)


def _wants_page(scope: Scope) -> bool:
    accepted = Headers(scope=scope).get("accept", "")
    return (
        scope["method"] == "GET" and "text/html" in accepted and not scope["path"].startswith(("/api/", "/dicom-web"))
    )


def _log_unforeseen(error: Exception, scope: Scope, request_id: str) -> None:
    """Log where an error arose; its message may quote attribute values, so it is left out."""
    frames = [
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    route = getattr(scope.get("route"), "path", "")
    log.error("unforeseen_error", request_id=request_id, route=route, error=type(error).__name__, at=frames[-6:])
