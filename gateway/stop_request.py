"""The wish that the gateway stops, which a signal may bring at any moment."""

from __future__ import annotations

from queue import SimpleQueue


class StopRequest:
    """Made by a signal handler or another thread, waited for by the main thread.

    Not a `threading.Event`: its lock may be held by the very thread that the handler interrupts, on its way into or out
    of the wait, and then both stand for ever. `SimpleQueue.put` may interrupt anything, itself included.
    """

    def __init__(self) -> None:
        self._made: SimpleQueue[None] = SimpleQueue()

    def make(self) -> None:
        """Ask to stop; asking again is nothing new."""
        self._made.put(None)

    def wait(self) -> None:
        """Wait until somebody has asked."""
        self._made.get()
