"""The listening socket: takes connections and gives each a thread, without letting silent ones block the others."""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway.domain.errors import StorageUnavailable

logger = logging.getLogger(__name__)

#: Connections of one address that have not yet asked for an association; more are closed at once.
MAXIMUM_GREETING_PER_ADDRESS: Final = 64
#: The same of all addresses together.
MAXIMUM_GREETING: Final = 512
_BACKLOG: Final = 128
_LAST_WORDS_SECONDS: Final = 0.2


class FrontDoor:
    """Accepts TCP connections.

    Parameters
    ----------
    greet : callable
        Reads the request and serves the association, in the connection's own thread. It is given the connection, the
        caller's address and a callable to call once the caller has asked for an association.
    """

    def __init__(self, greet: Callable[[socket.socket, str, Callable[[], None]], None]) -> None:
        self._greet = greet
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self._greeting: Counter[str] = Counter()
        self._silent: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()

    def open(self, host: str, port: int) -> tuple[str, int]:
        """Listen; return the address and port.

        Raises
        ------
        StorageUnavailable
            ``PORT_IN_USE`` if somebody else has the port, or the address is not of this machine.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise StorageUnavailable(
                f"the DICOM node cannot listen on {host}:{port} (node.bind, node.port): {error.strerror}",
                code="PORT_IN_USE",
            ) from None
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="dicom-front-door", daemon=True).start()
        bound = listener.getsockname()
        return str(bound[0]), int(bound[1])

    def close(self) -> None:
        """Take no more connections, and end those that have not asked for anything yet; the others go on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            for connection in self._silent:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float) -> bool:
        """Wait until every connection has ended; return whether they have."""
        with self._lock:
            threads = list(self._threads)
        deadline = threading.Event()
        timer = threading.Timer(seconds, deadline.set)
        timer.daemon = True
        timer.start()
        for thread in threads:
            while thread.is_alive() and not deadline.is_set():
                thread.join(0.05)
        timer.cancel()
        return not any(thread.is_alive() for thread in threads)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                if self._listener is None:
                    return
                # Out of file descriptors: those that are open end sometime, so go on, but not in a hot loop.
                threading.Event().wait(0.1)
                continue
            host = str(address[0])
            with self._lock:
                if self._listener is None:
                    connection.close()
                    return
                mine, all_ = self._greeting[host], self._greeting.total()
                is_welcome = mine < MAXIMUM_GREETING_PER_ADDRESS and all_ < MAXIMUM_GREETING
                if is_welcome:
                    self._greeting[host] += 1
                    self._silent.add(connection)
            if not is_welcome:
                logger.warning("%d connections, %d of them from %s, say nothing: one more was closed", all_, mine, host)
                connection.close()
                continue
            self._start(connection, host)

    def _start(self, connection: socket.socket, host: str) -> None:
        thread = threading.Thread(target=self._serve, args=(connection, host), name="dicom-association", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _serve(self, connection: socket.socket, host: str) -> None:
        greeted = _Once(lambda: self._greeted(connection, host))
        try:
            self._greet(connection, host, greeted)
        except OSError:
            # The peer went away; there is nobody left to tell.
            logger.info("the connection with %s was lost", host)
        except Exception as error:  # noqa: BLE001 - an SCP goes on; the message may quote values
            logger.error("serving %s failed with %s", host, type(error).__name__)
        finally:
            greeted()
            _close(connection)
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _greeted(self, connection: socket.socket, host: str) -> None:
        with self._lock:
            self._silent.discard(connection)
            self._greeting[host] -= 1
            if self._greeting[host] <= 0:
                del self._greeting[host]


def _close(connection: socket.socket) -> None:
    """Close so that the peer gets our last words: unread bytes at close would reset the connection over them."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_LAST_WORDS_SECONDS)
        for _ in range(16):
            if not connection.recv(65536):
                break
    with suppress(OSError):
        connection.close()


class _Once:
    """Calls an action the first time it is called."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def __call__(self) -> None:
        action, self._action = self._action, None
        if action is not None:
            action()
