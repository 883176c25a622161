"""One measured figure beside what it should be."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    what : str
        What was measured.
    value : float
        Median of `repetitions`.
    unit : str
        Unit of value and bar.
    bar : float or None
        Greatest value that is good enough (least one with `at_least`); None where there is no goal.
    at_least : bool
        Whether more is better.
    repetitions : int
        How often it was measured.
    note : str
        What a reader must know to compare it.
    """

    what: str
    value: float
    unit: str
    bar: float | None = None
    at_least: bool = False
    repetitions: int = 1
    note: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the goal is met, or there is none."""
        if self.bar is None:
            return True
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def median_seconds(work: Callable[[], object], *, repetitions: int) -> float:
    """Run `work` so often and return the median of its wall-clock seconds."""
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
