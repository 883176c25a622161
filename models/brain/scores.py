"""One row per head and method: what the figures of the brain mask are made from."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from models.csv_file import write_csv


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainScore:
    """One image under one method.

    Parameters
    ----------
    case, person, site, sequence, reference : str
        As in `models.brain.heads`.
    method : str
        What made the mask.
    dice : float
        0..1.
    hd95, assd : float
        mm; nan when the mask is empty.
    volume_ml, reference_ml : float
        Millilitres.
    """

    case: str
    person: str
    site: str
    sequence: str
    reference: str
    method: str
    dice: float
    hd95: float
    assd: float
    volume_ml: float
    reference_ml: float


_NUMBERS = ("dice", "hd95", "assd", "volume_ml", "reference_ml")


def write_scores(path: Path, scores: Sequence[BrainScore]) -> None:
    """Write rows as CSV, numbers with four digits."""
    rows = (asdict(score) for score in scores)
    written = ([f"{value:.4f}" if name in _NUMBERS else value for name, value in row.items()] for row in rows)
    write_csv(path, [field.name for field in fields(BrainScore)], written)


def read_scores(path: Path) -> list[BrainScore]:
    """Read what `write_scores` wrote."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [BrainScore(**{key: float(row[key]) if key in _NUMBERS else row[key] for key in row}) for row in rows]  # type: ignore[arg-type]
