"""The wish that the gateway stops, which a signal may bring at any moment."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager


class StopRequest:
    """Made by a signal or by another thread, waited for by the main thread.

    Neither a `threading.Event` nor a queue: the lock of an event may be held by the very thread that the handler
    interrupts; and a signal in the instant before the main thread falls asleep on any lock does not wake it. Python
    writes a byte for each signal before anything else, and what lies in a socket is there whenever it is read.
    """

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)

    @contextmanager
    def made_by(self, *signals: signal.Signals) -> Iterator[None]:
        """Take these signals as the wish to stop while inside; only the main thread may."""
        previous = {number: signal.signal(number, _take) for number in signals}
        before = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in previous.items():
                signal.signal(number, handler)

    def make(self) -> None:
        """Ask to stop; asking again is nothing new."""
        try:
            self._writing.send(b"\0")
        except BlockingIOError:
            # So many have asked already that there is no room for more.
            return

    def wait(self) -> None:
        """Wait until somebody has asked."""
        self._reading.recv(1)


def _take(_number: int, _frame: object) -> None:
    """Do nothing: that the signal came has been written already."""
