"""A thread that does one thing whenever it is woken, and otherwise once in a while."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from gateway.domain.errors import GatewayError

log = structlog.get_logger(__name__)

_PAUSE_AFTER_FAULT_S = 2.0


class Loop:
    """Calls `step` again and again.

    Parameters
    ----------
    name : str
        Of the thread, for logs.
    step : callable
        Does what there is to do; returns whether there may be more to do at once.
    interval_s : float
        Longest pause without a wake-up, s.
    """

    def __init__(self, name: str, step: Callable[[], bool], *, interval_s: float) -> None:
        self._name = name
        self._step = step
        self._interval_s = interval_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there may be something to do."""
        self._wake.set()

    def stop(self) -> None:
        """Let the step in progress end, then end the thread."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            # Cleared before anything is looked at: who wakes or stops after this is noticed now or by the wait below.
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                more = self._step()
            except GatewayError as error:
                log.error("loop goes on after a fault", loop=self._name, code=error.code, detail=error.detail)
                self._stopping.wait(_PAUSE_AFTER_FAULT_S)
                more = False
            except Exception as error:  # noqa: BLE001 - a loop must outlive any fault; the message may quote values
                log.error("loop goes on after an unexpected fault", loop=self._name, kind=type(error).__name__)
                self._stopping.wait(_PAUSE_AFTER_FAULT_S)
                more = False
            if not more:
                self._wake.wait(self._interval_s)
