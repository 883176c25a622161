"""Measures what `make bench` prints: every ``bench_*.py`` beside this file, each with ``run() -> list[Row]``.

Usage: ``python -m tests.bench.run [--json] [--list] [NAME ...]``; names are those of the files without ``bench_``.
Without a name all but the long ones run. Exit code 1 when a goal is missed or a case cannot run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.row import Row

FOLDER = Path(__file__).resolve().parent
#: Cases that take half an hour and so run only when they are named.
LONG = frozenset({"faults"})


def case_names() -> tuple[str, ...]:
    """Return the names of all cases, sorted."""
    return tuple(sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py")))


def measure(name: str) -> list[Row]:
    """Run one case."""
    return list(importlib.import_module(f"tests.bench.bench_{name}").run())


def table(rows: Sequence[Row]) -> str:
    """Lay rows out as text."""
    lines = [("", "what", "measured", "goal", "n", "note")]
    for row in rows:
        goal = "" if row.bar is None else f"{'>=' if row.at_least else '<='} {row.bar:g} {row.unit}"
        mark = "" if row.bar is None else "ok" if row.is_good else "MISSED"
        lines.append((mark, row.what, f"{row.value:.3g} {row.unit}", goal, str(row.repetitions), row.note))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--list", action="store_true", help="only name the cases")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(case_names())
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are: {', '.join(case_names())}")
    if arguments.list:
        print("\n".join(case_names()))
        return 0
    rows: list[Row] = []
    failed = []
    for name in arguments.names or sorted(set(case_names()) - LONG):
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        try:
            rows += measure(name)
        except Exception as error:  # noqa: BLE001 - one case that cannot run must not hide the others
            failed.append(name)
            print(f"{name} could not run: {type(error).__name__}: {error}", file=sys.stderr)
    if arguments.json:
        print(json.dumps([asdict(row) | {"is_good": row.is_good} for row in rows], indent=2))
    else:
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; medians\n")
        print(table(rows))
    return 1 if failed or not all(row.is_good for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
