"""How far the delivery of a result is, and how long to wait after a failure."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Final

#: Longest pause between two attempts, seconds.
LONGEST_PAUSE_S: Final = 600.0


class DeliveryState(StrEnum):
    """How far a delivery is."""

    PENDING = "PENDING"
    #: Accepted, not yet proven.
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    #: Given up until a person retries it.
    DEAD = "DEAD"


def pause(first_seconds: float, times: int) -> timedelta:
    """Return how long to wait after that many failures: twice as long each time, up to ten minutes.

    Parameters
    ----------
    first_seconds : float
        Pause after the first failure, s.
    times : int
        Failures so far, at least 1.
    """
    return timedelta(seconds=min(first_seconds * 2.0 ** min(times - 1, 30), LONGEST_PAUSE_S))
