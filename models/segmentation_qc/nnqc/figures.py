"""The figures of nnQC, from its tables alone: beside the second network, and what it adds to the calibrated score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.calibration import area_under_roc, bootstrap_interval
from models.segmentation_qc.calibrate import BAD_DICE, calibrate
from models.segmentation_qc.calibrated import Calibration
from models.segmentation_qc.evidence import DIFFUSION_EVIDENCE_NAMES, EVIDENCE_NAMES
from models.segmentation_qc.figures import agreement, predictions
from models.segmentation_qc.nnqc.measure import PaintedLine
from models.segmentation_qc.table import Line

Vector = npt.NDArray[np.float64]
Figures = dict[str, Any]

_DRAWS = 500
# Candidates by their true Dice: what is there to lean on when a mask is painted.
_QUALITY = {"useless, below 0.2": (-1.0, 0.2), "bad, 0.2 to 0.7": (0.2, 0.7), "good, above 0.7": (0.7, 2.0)}


def comparison(lines: Sequence[Line], known: Sequence[Line], paintings: Sequence[PaintedLine]) -> Figures:
    """Compare on the same candidates of the same test patients.

    Parameters
    ----------
    lines : sequence of Line
        Candidates of test patients, with `DiffusionEvidence`.
    known : sequence of Line
        Candidates of calibration patients, with `DiffusionEvidence`; both calibrations are fitted to them here.
    paintings : sequence of PaintedLine
        Of the same candidates as `lines`, in the same order.
    """
    plain = [_without(line) for line in lines]
    alone = _refitted([_without(line) for line in known])
    with_nnqc = _refitted(known)
    rows: dict[str, Vector] = {
        "mean shape: Dice with it": np.array([p.mean_overlap for p in paintings]),
        "second network: Dice with its mask": _column(lines, "overlap"),
        "nnQC: Dice with the mask it paints from the image alone": _column(lines, "diffusion_blank_overlap"),
        "nnQC: Dice with the mask it paints for the candidate": _column(lines, "diffusion_overlap"),
        "calibrated scorer without nnQC": predictions(plain, alone, blind=False),
        "calibrated scorer with nnQC": predictions(lines, with_nnqc, blind=False),
    }
    everything = np.ones(len(lines), bool)
    synthetic = np.array([line.source == "synthetic" for line in lines])
    without, with_it = rows["calibrated scorer without nnQC"], rows["calibrated scorer with nnQC"]
    return {
        "all": {name: agreement(lines, row, everything) for name, row in rows.items()},
        "real failures": {name: agreement(lines, row, ~synthetic) for name, row in rows.items()},
        "gain of the scorer by nnQC": gain(lines, without, with_it),
    }


def gain(lines: Sequence[Line], without: Vector, with_it: Vector) -> Figures:
    """Say what the scorer gains, with 95 % intervals by a paired bootstrap over patients; positive is better."""
    truth = np.array([line.dice for line in lines])
    persons: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        persons.setdefault(line.person, []).append(number)
    measures: Mapping[str, Callable[[Vector, Vector], float]] = {
        "pearson_r": lambda t, p: float(np.corrcoef(t, p)[0, 1]),
        "mae_reduction": lambda t, p: -float(np.abs(t - p).mean()),
        "mae_reduction_where_dice_above_0.6": lambda t, p: -float(np.abs(t - p)[t > 0.6].mean()),
        "auc_bad": lambda t, p: area_under_roc(-p, t < BAD_DICE),
    }
    found = {}
    for name, measure in measures.items():

        def difference(chosen: npt.NDArray[np.int64], measure: Callable[[Vector, Vector], float] = measure) -> float:
            return measure(truth[chosen], with_it[chosen]) - measure(truth[chosen], without[chosen])

        everyone = np.arange(len(lines))
        low, high = bootstrap_interval(persons, difference, draws=_DRAWS)
        found[name] = [round(v, 5) for v in (difference(everyone), low, high)]
    return found


def paintings_by_quality(paintings: Sequence[PaintedLine]) -> Figures:
    """Mean Dice of each pseudo ground truth with the experts, by structure and by how good the candidate was."""
    found: Figures = {}
    for label in dict.fromkeys(p.label for p in paintings):
        own = [p for p in paintings if p.label == label]
        found[label] = {
            name: _means([p for p in own if low <= p.dice < high], "dice") for name, (low, high) in _QUALITY.items()
        }
    return found


def error_location(paintings: Sequence[PaintedLine]) -> Figures:
    """How well each source says where a candidate is wrong, by how good the candidate was."""
    return {
        name: {
            measure: _means([p for p in paintings if low <= p.dice < high], measure) for measure in ("error", "worst")
        }
        for name, (low, high) in _QUALITY.items()
    }


def _means(paintings: Sequence[PaintedLine], measure: str) -> Figures:
    columns = {"painted": "nnQC for the candidate", "blank": "nnQC from the image alone", "second": "second network"}
    if measure == "dice":
        columns["mean"] = "mean shape"
    means: Figures = {"candidates": len(paintings)}
    for column, name in columns.items():
        values = [v for p in paintings if not math.isnan(v := float(getattr(p, f"{column}_{measure}")))]
        means[name] = round(float(np.mean(values)), 4) if values else None
    return means


def _column(lines: Sequence[Line], name: str) -> Vector:
    place = DIFFUSION_EVIDENCE_NAMES.index(name)
    return np.array([line.evidence[place] for line in lines])


def _without(line: Line) -> Line:
    return replace(line, evidence=line.evidence[: len(EVIDENCE_NAMES)])


def _refitted(known: Sequence[Line]) -> Calibration:
    return calibrate(known, ())
