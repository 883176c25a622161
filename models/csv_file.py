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
        Each row is in ``PATH.part`` as soon as it is computed, so that what an interruption leaves can be looked at.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow(row)
            stream.flush()
    part.replace(path)
