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
#: Conversations that propose query, commitment and procedure steps too; these cost twenty times as much.
SERVICES = 20_000


def run() -> list[Row]:
    """Kill, then fuzz."""
    with tempfile.TemporaryDirectory(dir=REPOSITORY, prefix=".bench-") as scratch:
        killed = kill_many(Path(scratch), kills=KILLS)
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
        *_spoiled("upper layer and C-STORE data", CASES),
        *_spoiled("the same with C-FIND, storage commitment and procedure steps", SERVICES, services=True),
    ]


def _spoiled(note: str, cases: int, *, services: bool = False) -> list[Row]:
    fuzzed = fuzz(cases, services=services)
    survived = fuzzed.cases if not fuzzed.dead_threads else 0
    return [
        Row(what="spoiled conversations survived", value=survived, unit="cases", bar=cases, at_least=True, note=note),
        Row(what="  longest answer", value=fuzzed.slowest, unit="s", bar=LIMIT),
        Row(what="  memory grown", value=fuzzed.growth_mb, unit="MB", bar=50.0),
    ]
