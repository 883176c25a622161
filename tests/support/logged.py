"""Waits for a log line: a server answers first and writes its line a moment later, in a thread of its own."""

from __future__ import annotations

import time

import pytest

_LONGEST_S = 5.0


def is_logged(caplog: pytest.LogCaptureFixture, *words: str) -> bool:
    """Whether one line with all of `words` was, or within five seconds is, logged."""
    deadline = time.monotonic() + _LONGEST_S
    while not any(all(word in record.getMessage() for word in words) for record in list(caplog.records)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
