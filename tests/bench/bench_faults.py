"""Faults in the numbers the tests have no time for: kills under load, and spoiled conversations. Half an hour.

Only when it is named: ``make bench ARGS=faults``. A kill that loses something acknowledged, leaves a file that belongs
to nobody or other bytes than were sent, and a node that dies of what it hears, end the case with an error.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench.row import Row
from tests.support.fuzz_wire import LIMIT, fuzz
from tests.support.kill_node import REPOSITORY, kill_many

KILLS = 200
CASES = 200_000


def run() -> list[Row]:
    """Kill, then fuzz."""
    with tempfile.TemporaryDirectory(dir=REPOSITORY, prefix=".bench-") as scratch:
        killed = kill_many(Path(scratch), kills=KILLS)
    fuzzed = fuzz(CASES)
    return [
        Row(
            what="random kills under load",
            value=killed.kills,
            unit="kills",
            bar=KILLS,
            at_least=True,
            note=f"{killed.acknowledged} instances acknowledged, all there with equal bytes, no orphan; "
            f"{killed.recorded - killed.acknowledged} more were kept whose answer was lost",
        ),
        Row(what="  longest start after a kill", value=killed.slowest_start, unit="s"),
        Row(
            what="spoiled conversations survived",
            value=fuzzed.cases,
            unit="cases",
            bar=CASES,
            at_least=True,
            note="upper layer and C-STORE data",
        ),
        Row(what="  longest answer", value=fuzzed.slowest, unit="s", bar=LIMIT),
        Row(what="  memory grown", value=fuzzed.growth_mb, unit="MB", bar=50.0),
    ]
