"""No answer is taken by the wrong thread of an association of pynetdicom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from pynetdicom.association import Association

from gateway.dimse.reactor_checkpoint import ReactorCheckpoint


class SlowReactor(threading.Thread):
    """Like the thread of an association: passes the checkpoint, and a moment later looks for a message."""

    def __init__(self, *, converses: bool = False) -> None:
        super().__init__(daemon=True)
        self.checkpoint = ReactorCheckpoint(cast(Association, self))
        self.looks = 0
        self._kill = False
        self.is_ended = False
        self.converses = converses

    def run(self) -> None:
        while not self.is_ended:
            self.checkpoint.wait()
            time.sleep(0.02)
            self.looks += 1
            if self.converses:
                self.checkpoint.clear()
                self.checkpoint.set()


def _wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(params=[False, True], ids=["listens", "converses itself"])
def reactor(request: pytest.FixtureRequest) -> Iterator[SlowReactor]:
    reactor = SlowReactor(converses=request.param)
    reactor.start()
    yield reactor
    reactor.is_ended = True
    reactor.checkpoint.set()
    reactor.join(5)


def test_nobody_looks_for_messages_once_a_conversation_has_begun(reactor: SlowReactor) -> None:
    for _ in range(10):
        reactor.checkpoint.clear()
        looks = reactor.looks
        time.sleep(0.03)
        assert reactor.looks == looks
        reactor.checkpoint.set()
        time.sleep(0.005)


def test_it_goes_on_after_the_conversation(reactor: SlowReactor) -> None:
    reactor.checkpoint.clear()
    looks = reactor.looks
    reactor.checkpoint.set()
    _wait_for(lambda: reactor.looks > looks)


def test_nobody_waits_for_it_once_the_association_is_to_end() -> None:
    reactor = SlowReactor()
    # Alive, and nowhere near the checkpoint.
    reactor.is_alive = lambda: True  # type: ignore[method-assign]
    closing = threading.Thread(target=reactor.checkpoint.clear, daemon=True)
    closing.start()
    time.sleep(0.1)
    assert closing.is_alive()
    reactor.checkpoint.set()
    reactor._kill = True
    closing.join(5)
    assert not closing.is_alive()


def test_a_thread_that_has_ended_is_not_waited_for() -> None:
    reactor = SlowReactor()
    reactor.is_ended = True
    reactor.start()
    reactor.join()
    reactor.checkpoint.clear()
