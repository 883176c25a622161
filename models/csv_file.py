"""Tables on disk: written whole or not at all, for the rows of some take an hour to compute."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path


def write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table; what was there before stays until the last row is written.

    Parameters
    ----------
    path : Path
        The file; its folder is made.
    names : sequence of str
        Columns.
    rows : iterable of sequence
        Each is in ``NAME.part.csv`` as soon as it is computed, so that what an interruption leaves can be looked at; it
        is a report like the table, which the seal of a weights folder leaves out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".part{path.suffix}")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow(row)
            stream.flush()
    part.replace(path)
