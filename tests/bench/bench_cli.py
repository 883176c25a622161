"""How quickly the command line answers."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from tests.bench.row import Row, median_seconds

_COMMAND = Path(sys.executable).with_name("overread")
_REPETITIONS = 9


def run() -> list[Row]:
    """Time the verbs that people wait for."""
    return [
        _row("overread --help", "--help", bar=0.3),
        _row("overread version", "version"),
        _row("overread init -", "init", "-"),
    ]


def _row(what: str, *arguments: str, bar: float | None = None) -> Row:
    command = [str(_COMMAND), *arguments]
    subprocess.run(command, capture_output=True, check=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = median_seconds(lambda: subprocess.run(command, capture_output=True, check=True), repetitions=_REPETITIONS)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / _REPETITIONS
    note = f"wall clock, warm files; {busy:.2f} s of CPU"
    return Row(what=what, value=seconds, unit="s", bar=bar, repetitions=_REPETITIONS, note=note)
