"""Ctrl-C and SIGTERM end the demonstration, but not in the instant in which a process starts that nobody knows yet."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interruption:
    """Raises `KeyboardInterrupt` for SIGINT and SIGTERM, at once or after what must not be cut."""

    def __init__(self) -> None:
        self._is_held_back = False
        self._has_come = False

    def listen(self) -> None:
        """Take the signals from now on; only the main thread may."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Let nothing inside be interrupted; a signal that came meanwhile interrupts at the end."""
        self._is_held_back = True
        try:
            yield
        finally:
            self._is_held_back = False
        if self._has_come:
            raise KeyboardInterrupt

    def _take(self, _number: int, _frame: object) -> None:
        self._has_come = True
        if not self._is_held_back:
            raise KeyboardInterrupt
