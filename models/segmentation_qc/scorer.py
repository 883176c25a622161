"""A score that can only rise with better evidence: additive, monotone, small enough to read."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from models.calibration import MonotoneMap, fit_monotone

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MonotoneScorer:
    """Sum of one non-decreasing piecewise linear function per piece of evidence, then one non-decreasing map.

    Parameters
    ----------
    names : tuple of str
        Evidence it reads, in order.
    knots : tuple of tuple of float
        For each evidence the ascending places where its slope may change; it is constant beyond them.
    slopes : tuple of tuple of float
        For each evidence the slope between neighbouring knots; none is negative.
    offset : float
        Value where every evidence is at its lowest knot.
    link : MonotoneMap
        From the sum to the predicted quantity.
    """

    names: tuple[str, ...]
    knots: tuple[tuple[float, ...], ...]
    slopes: tuple[tuple[float, ...], ...]
    offset: float
    link: MonotoneMap

    def score(self, evidence: Vector) -> float:
        """Score one vector of evidence, (evidence,)."""
        total = self.offset
        for value, knots, slopes in zip(evidence.tolist(), self.knots, self.slopes, strict=True):
            total += sum(
                slope * min(max(value - low, 0.0), high - low)
                for low, high, slope in zip(knots[:-1], knots[1:], slopes, strict=True)
            )
        return self.link(total)


def fit_scorer(
    evidence: Matrix, targets: Vector, weights: Vector, *, names: tuple[str, ...], pieces: int = 5
) -> MonotoneScorer:
    """Fit by non-negative least squares on hinge functions, then isotonic regression.

    Parameters
    ----------
    evidence : numpy.ndarray, (sample, evidence), float64
        Larger is better in every column.
    targets : numpy.ndarray, (sample,), float64
        Quantity to predict; rises with evidence.
    weights : numpy.ndarray, (sample,), float64
        Importance of each sample, positive.
    names : tuple of str
        Names of the columns.
    pieces : int
        Linear pieces per evidence, cut at its quantiles.
    """
    knots = [_knots(column, pieces) for column in evidence.T]
    columns = [_hinges(column, k) for column, k in zip(evidence.T, knots, strict=True)]
    design = np.concatenate([np.ones((len(targets), 1)), *columns], axis=1)
    scale = np.maximum(np.abs(design).max(axis=0), 1e-12)
    root = np.sqrt(weights)
    lowest = float(targets.min())
    found, _ = nnls(design / scale * root[:, None], (targets - lowest) * root)
    coefficients = found / scale
    slopes: list[tuple[float, ...]] = []
    used = 1
    for k in knots:
        slopes.append(tuple(float(f"{c:.6g}") for c in coefficients[used : used + len(k) - 1]))
        used += len(k) - 1
    plain = MonotoneScorer(
        names=names,
        knots=tuple(tuple(float(f"{v:.6g}") for v in k) for k in knots),
        slopes=tuple(slopes),
        offset=float(f"{coefficients[0] + lowest:.6g}"),
        link=MonotoneMap(scores=(-1e6, 1e6), values=(-1e6, 1e6)),
    )
    sums = np.array([plain.score(row) for row in evidence])
    link = fit_monotone(sums, targets, least_per_step=max(5, len(targets) // 40))
    rounded = MonotoneMap(
        scores=tuple(float(f"{s:.6g}") for s in link.scores), values=tuple(float(f"{v:.6g}") for v in link.values)
    )
    return MonotoneScorer(
        names=names, knots=plain.knots, slopes=plain.slopes, offset=plain.offset, link=_extended(rounded)
    )


def _extended(link: MonotoneMap) -> MonotoneMap:
    """Carry the map on beyond its last knots with slope 1: isotonic ends are means and would cut the best and worst."""
    if len(link.scores) < 2:
        return link
    return MonotoneMap(
        scores=(link.scores[0] - 1.0, *link.scores, link.scores[-1] + 1.0),
        values=(link.values[0] - 1.0, *link.values, link.values[-1] + 1.0),
    )


def _knots(column: Vector, pieces: int) -> list[float]:
    quantiles = np.quantile(column, np.linspace(0.0, 1.0, pieces + 1))
    distinct = [float(quantiles[0])]
    for value in quantiles[1:].tolist():
        if value > distinct[-1] + 1e-6:
            distinct.append(float(value))
    return distinct if len(distinct) > 1 else [distinct[0], distinct[0] + 1.0]


def _hinges(column: Vector, knots: list[float]) -> Matrix:
    return np.stack([np.clip(column - low, 0.0, high - low) for low, high in pairwise(knots)], 1)
