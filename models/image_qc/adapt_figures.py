"""The table of the adaptation study, one scan under one network in each row, and every figure computed from it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from models.csv_file import write_csv
from models.image_qc.balance import balanced
from models.image_qc.network import Domain

SCANS_FILE = "adaptation_scans.csv"


class Method(StrEnum):
    """How the network was trained."""

    SOURCE_ONLY = "source only"
    TARGET_ONLY = "target only"
    ALIGNED = "aligned, no labels"
    BOTH = "fine-tuned, lambda 0"
    REVERSAL = "fine-tuned against a domain classifier"
    ADAPTED = "adapted"
    EVERY_LABEL = "fine-tuned, every scan labelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One test scan under one network.

    Parameters
    ----------
    seed, labelled : int
        Repetition; graded target scans it had.
    method : str
        A `Method`.
    scan, domain, variant : str
        Real scan it was made from; the sequence it is; kind of reject.
    true_tier, tier : int
        1 to 3; 0 for a scan to refuse, and for one that was refused.
    severe : float
        Probability of tier 3.
    domain_accuracy : float
        Of this network, the same in all its rows: see `domain_accuracy`.
    """

    seed: int
    labelled: int
    method: str
    scan: str
    domain: str
    variant: str
    true_tier: int
    tier: int
    severe: float
    domain_accuracy: float


def figures_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Compute every figure from the table: mean over seeds and standard deviation, balanced accuracies in 0..1."""
    seeds = sorted({row.seed for row in rows})
    figures: dict[str, Any] = {"seeds": len(seeds)}
    for labelled in sorted({row.labelled for row in rows}):
        figures[f"{labelled} labelled scans"] = {
            method: _figures_of_method([r for r in rows if r.labelled == labelled and r.method == method], seeds)
            for method in Method
        }
    return figures


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write the table as CSV."""
    names = [field.name for field in fields(Row)]
    write_csv(path, names, ([_written(value) for value in astuple(row)] for row in rows))


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [
            Row(
                seed=int(row["seed"]),
                labelled=int(row["labelled"]),
                method=row["method"],
                scan=row["scan"],
                domain=row["domain"],
                variant=row["variant"],
                true_tier=int(row["true_tier"]),
                tier=int(row["tier"]),
                severe=float(row["severe"]),
                domain_accuracy=float(row["domain_accuracy"]),
            )
            for row in csv.DictReader(stream)
        ]


def _written(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value


def _figures_of_method(rows: Sequence[Row], seeds: Sequence[int]) -> dict[str, Any]:
    named: Mapping[str, Callable[[Sequence[Row]], float]] = {
        "severe (tier 3 against 1 and 2)": lambda r: _severe(_graded(r, Domain.TARGET)),
        "mild (tier 2 against 1)": lambda r: _mild(_graded(r, Domain.TARGET)),
        "mean of both": lambda r: (_severe(_graded(r, Domain.TARGET)) + _mild(_graded(r, Domain.TARGET))) / 2,
        "reject": _reject,
        "severe on the source sequence": lambda r: _severe(_graded(r, Domain.SOURCE)),
        "domain told from features": lambda r: r[0].domain_accuracy,
    }
    figures = {}
    for name, measure in named.items():
        values = [measure([row for row in rows if row.seed == seed]) for seed in seeds]
        figures[name] = {"mean": round(float(np.mean(values)), 4), "sd": round(float(np.std(values)), 4),
                         "seeds": [round(v, 4) for v in values]}  # fmt: skip
    return figures


def _graded(rows: Sequence[Row], domain: Domain) -> list[Row]:
    return [row for row in rows if row.domain == domain and row.true_tier]


def _severe(rows: Sequence[Row]) -> float:
    """Tier 3 against 1 and 2; a scan that is refused counts as called severe."""
    return balanced([row.tier in (0, 3) for row in rows], [row.true_tier == 3 for row in rows])


def _mild(rows: Sequence[Row]) -> float:
    """Tier 2 against tier 1; a tier 2 scan that is called tier 3 counts as found."""
    rest = [row for row in rows if row.true_tier < 3]
    return balanced([row.tier != 1 for row in rest], [row.true_tier == 2 for row in rest])


def _reject(rows: Sequence[Row]) -> float:
    target = [row for row in rows if row.domain == Domain.TARGET and row.true_tier in (0, 1)]
    return balanced([row.tier == 0 for row in target], [row.true_tier == 0 for row in target])
