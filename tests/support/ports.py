"""Free loopback ports, and waiting for somebody to listen on one."""

from __future__ import annotations

import random
import socket
import time

#: Below where Linux takes the ports of outgoing connections from: one of those may be gone a moment later.
_FIRST, _LAST = 20_000, 32_000
_random = random.SystemRandom()


def free_port() -> int:
    """Return a loopback TCP port that nobody uses now, and that no outgoing connection will be given."""
    while True:
        port = _random.randrange(_FIRST, _LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_for_port(port: int, *, seconds: float = 20.0) -> None:
    """Wait until somebody listens on a loopback port.

    Raises
    ------
    TimeoutError
        If nobody does in time.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nobody listens on port {port}")
