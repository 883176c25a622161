"""What threads that receive at the same time must know of each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Most series remembered.
REMEMBERED_SERIES = 10_000


class RecentSeries:
    """Series whose rows are known to be there, so that not every image has to look; forgotten when there are many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[tuple[str, str]] = set()

    def __contains__(self, series: tuple[str, str]) -> bool:
        """Whether the rows of a study and series are there."""
        with self._lock:
            return series in self._known

    def add(self, series: tuple[str, str]) -> None:
        """Remember that they are; only after they were committed."""
        with self._lock:
            if len(self._known) >= REMEMBERED_SERIES:
                self._known.clear()
            self._known.add(series)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._known.clear()


class Claims:
    """A lock for each blob being kept: none is removed while another thread is about to name it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def of(self, sha256: str) -> Iterator[None]:
        """Hold the claim on one blob."""
        with self._guard:
            lock, users = self._locks.get(sha256, (threading.Lock(), 0))
            self._locks[sha256] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks.pop(sha256)
                if users > 1:
                    self._locks[sha256] = lock, users - 1
