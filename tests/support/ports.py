"""Free loopback ports, and waiting for somebody to listen on one."""

from __future__ import annotations

import socket
import time


def free_port() -> int:
    """Return a loopback TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
