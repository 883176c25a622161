"""A loop runs its step when woken or when its interval is over, and ends at once when it is asked to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gateway.dispatch.loop import Loop

_LONG_S = 600.0


def _wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def _is_over(loop: Loop) -> bool:
    return not loop._thread.is_alive()


class StoppedJustBeforeItIsCleared(threading.Event):
    """A wake-up flag in the unluckiest moment: the loop is stopped when its thread is about to clear the flag."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop

    def clear(self) -> None:
        self._loop._stopping.set()
        self.set()
        super().clear()


def test_a_stop_is_not_lost_whenever_it_comes() -> None:
    """It was: the gateway's end then waited for the longest interval, an hour."""
    loop = Loop("unlucky", lambda: False, interval_s=_LONG_S)
    loop._wake = StoppedJustBeforeItIsCleared(loop)
    loop._thread.daemon = True
    loop.start()
    _wait_for(lambda: _is_over(loop))


def test_a_loop_that_waits_ends_when_it_is_stopped() -> None:
    steps: list[float] = []
    loop = Loop("waiting", lambda: bool(steps.append(time.monotonic())), interval_s=_LONG_S)
    loop.start()
    _wait_for(lambda: len(steps) == 1)
    loop.stop()
    assert _is_over(loop)


def test_waking_a_loop_while_it_works_makes_it_work_once_more() -> None:
    steps: list[int] = []

    def step() -> bool:
        steps.append(1)
        if len(steps) == 1:
            loop.wake()
        return False

    loop = Loop("woken", step, interval_s=_LONG_S)
    loop.start()
    _wait_for(lambda: len(steps) == 2)
    loop.stop()
    assert len(steps) == 2


def test_a_step_that_has_more_to_do_is_run_again_at_once() -> None:
    steps: list[int] = []

    def step() -> bool:
        steps.append(1)
        return len(steps) < 4

    loop = Loop("busy", step, interval_s=_LONG_S)
    loop.start()
    _wait_for(lambda: len(steps) == 4)
    loop.stop()
