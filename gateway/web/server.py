"""The HTTP server in a thread of its own, on a socket that is bound before anybody is told it is ready."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading

import uvicorn
from fastapi import FastAPI

from gateway.domain.errors import GatewayError
from gateway.web.events import EventFeed

#: How long requests in progress may take to finish when the server stops, seconds.
_DRAIN_S = 10


class AddressNotUsable(GatewayError):
    """The HTTP address cannot be listened on."""

    code = "ADDRESS_NOT_USABLE"


class WebServer:
    """Serves one application.

    Parameters
    ----------
    app : FastAPI
        From `create_app`.
    host : str
        Address to listen on.
    port : int
        Port; 0 takes a free one.
    """

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None

    def start(self) -> tuple[str, int]:
        """Listen, serve in the background, and return host and port.

        Raises
        ------
        AddressNotUsable
            If the address is in use or not ours.
        """
        listening = _listen(self._host, self._port)
        config = uvicorn.Config(
            self._app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, name="http")
        self._thread.start()
        host, port = listening.getsockname()[:2]
        return host, port

    def stop(self) -> None:
        """End event streams, let requests in progress finish, and stop."""
        if self._server is None or self._thread is None:
            return
        feed = self._app.state.feed
        assert isinstance(feed, EventFeed)
        feed.close()
        self._server.should_exit = True
        self._thread.join()
        self._server = self._thread = None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        # asyncio turns Nagle's algorithm off only where the protocol is named; else small answers wait 40 ms for ACKs.
        listening = stack.enter_context(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            # The kernel queues callers from here on, so the address is good before the server thread runs.
            listening.listen(128)
        except OSError as error:
            cause = "is in use by another program" if error.errno == errno.EADDRINUSE else "cannot be listened on"
            raise AddressNotUsable(
                f"HTTP address {host}:{port} {cause} ({os.strerror(error.errno or 0)}): set web.port or node.bind"
            ) from None
        stack.pop_all()
        return listening
