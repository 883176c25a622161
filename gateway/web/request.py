"""What every route takes from its request: the services, the caller, the request id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from pydantic import Field

from gateway.web.access import Identity, Permission, is_loopback
from gateway.web.events import EventFeed
from gateway.web.problems import NotSignedIn
from gateway.web.services import Services


def services_of(request: Request) -> Services:
    """Return the services of the running application."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


def feed_of(request: Request) -> EventFeed:
    """Return the event feed of the running application."""
    feed = request.app.state.feed
    assert isinstance(feed, EventFeed)
    return feed


def request_id_of(request: Request) -> str:
    """Return the id of this request."""
    return str(request.state.request_id)


def base_url_of(request: Request) -> str:
    """Return the URL under which the caller reaches this server, without a slash at the end.

    Some DICOMweb clients leave the port out of their Host header; on loopback the port we listen on is put back.
    """
    url = request.base_url
    _, port = request.scope.get("server") or ("", None)
    if url.port is None and port not in (None, 80, 443) and is_loopback(url.hostname or ""):
        url = url.replace(port=port)
    return str(url).rstrip("/")


def require(permission: Permission) -> Callable[[Request], Identity]:
    """Return a dependency that gives the caller when they have `permission`."""

    def caller(request: Request) -> Identity:
        identity = request.state.identity
        if not isinstance(identity, Identity):
            raise NotSignedIn("a bearer token or a sign-in is needed")
        identity.require(permission)
        return identity

    return caller


#: A number the database can hold; a larger one names nothing, and SQLite would choke on it.
RowNumber = Annotated[int, Field(ge=0, le=2**63 - 1)]
Provided = Annotated[Services, Depends(services_of)]
Feed = Annotated[EventFeed, Depends(feed_of)]
Viewer = Annotated[Identity, Depends(require(Permission.READ))]
Taker = Annotated[Identity, Depends(require(Permission.TAKE))]
Sender = Annotated[Identity, Depends(require(Permission.SEND))]
Decider = Annotated[Identity, Depends(require(Permission.DECIDE))]
Resolver = Annotated[Identity, Depends(require(Permission.RESOLVE))]
Operator = Annotated[Identity, Depends(require(Permission.OPERATE))]
