"""From scores to calibrated numbers: monotone maps, conformal intervals, exact bounds on a miss rate, bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MonotoneMap:
    """A non-decreasing piecewise linear function.

    Parameters
    ----------
    scores, values : tuple of float
        Knots, both ascending; constant beyond the ends.
    """

    scores: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, score: float) -> float:
        """Map one score."""
        return float(np.interp(score, self.scores, self.values))


def fit_monotone(scores: Vector, targets: Vector, *, least_per_step: int = 5) -> MonotoneMap:
    """Fit the non-decreasing map with the least squared error (isotonic regression), smoothed between its steps.

    Parameters
    ----------
    scores, targets : numpy.ndarray, (sample,), float64
        Finite, at least one sample.
    least_per_step : int
        Steps of the isotonic fit with fewer samples are merged into their neighbours before knots are placed.

    References
    ----------
    Ayer et al., Annals of Mathematical Statistics 26, 1955: pool adjacent violators.
    """
    order = np.argsort(scores, kind="stable")
    blocks = _pool(scores[order], targets[order])
    merged: list[tuple[float, float, int]] = []
    for block in blocks:
        small = merged and merged[-1][2] < least_per_step
        merged.append(_join(merged.pop(), block) if small else block)
    if len(merged) > 1 and merged[-1][2] < least_per_step:
        merged.append(_join(merged.pop(-2), merged.pop(-1)))
    knots = [(score, value) for score, value, _ in merged]
    return MonotoneMap(scores=tuple(k[0] for k in knots), values=tuple(k[1] for k in knots))


def _pool(scores: Vector, targets: Vector) -> list[tuple[float, float, int]]:
    """Pool adjacent violators; returns blocks of (mean score, mean target, count)."""
    blocks: list[tuple[float, float, int]] = []
    for score, target in zip(scores.tolist(), targets.tolist(), strict=True):
        blocks.append((score, target, 1))
        while len(blocks) > 1 and (blocks[-2][1] >= blocks[-1][1] or blocks[-2][0] == blocks[-1][0]):
            blocks.append(_join(blocks.pop(-2), blocks.pop(-1)))
    return blocks


def _join(first: tuple[float, float, int], second: tuple[float, float, int]) -> tuple[float, float, int]:
    count = first[2] + second[2]
    share = second[2] / count
    return (first[0] + (second[0] - first[0]) * share, first[1] + (second[1] - first[1]) * share, count)


def conformal_quantile(nonconformity: Sequence[float], *, coverage: float) -> float:
    """Return the split-conformal quantile: with `n` exchangeable groups, a new one is covered at least `coverage`.

    Parameters
    ----------
    nonconformity : sequence of float
        One value per group (patient).
    coverage : float
        Between 0 and 1.

    Returns
    -------
    float
        The ceil((n + 1) * coverage)-th smallest value; infinity when n is too small for that coverage.

    References
    ----------
    Vovk et al., Algorithmic Learning in a Random World, 2005; Lei et al., JASA 113, 2018.
    """
    rank = math.ceil((len(nonconformity) + 1) * coverage - 1e-9)
    return sorted(nonconformity)[rank - 1] if rank <= len(nonconformity) else math.inf


def conformal_by_group(errors: Sequence[float], groups: Sequence[str], *, coverage: float) -> float:
    """Return the conformal quantile when each patient gives many correlated errors.

    Every patient weighs the same, whatever the number of its errors, and the new patient stands in as one at infinity.

    Parameters
    ----------
    errors : sequence of float
        Nonconformity of each sample.
    groups : sequence of str
        Patient of each sample.
    coverage : float
        Between 0 and 1, for one sample of a new patient.

    Returns
    -------
    float
        Infinity when there are too few patients for that coverage.

    References
    ----------
    Lee, Barber and Willett, arXiv 2306.06342, 2023: hierarchical conformal prediction.
    """
    _, group, counts = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    order = np.argsort(np.asarray(errors, np.float64), kind="stable")
    reached = np.cumsum(1.0 / counts[group[order]]) / (len(counts) + 1)
    position = int(np.searchsorted(reached, coverage - 1e-12))
    return float(errors[int(order[position])]) if position < len(order) else math.inf


def clopper_pearson(failures: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return exact one-sided bounds on a rate: the lower and the upper, each at `confidence`.

    References
    ----------
    Clopper and Pearson, Biometrika 26, 1934.
    """
    if trials <= 0:
        return 0.0, 1.0
    low = 0.0 if failures == 0 else float(special.betaincinv(failures, trials - failures + 1, 1 - confidence))
    high = 1.0 if failures == trials else float(special.betaincinv(failures + 1, trials - failures, confidence))
    return low, high


def threshold_for_miss_rate(
    scores: Vector, is_bad: npt.NDArray[np.bool_], *, miss_rate: float, candidates: Sequence[float]
) -> tuple[float, int, int, float]:
    """Choose the lowest threshold whose accepted samples are bad at most as often as `miss_rate`, with 95 % confidence.

    Parameters
    ----------
    scores : numpy.ndarray, (sample,), float64
        Accepted when at or above the threshold.
    is_bad : numpy.ndarray, (sample,), bool
        Whether accepting the sample is a miss.
    miss_rate : float
        Largest tolerated share of bad samples among the accepted.
    candidates : sequence of float
        Thresholds to try, ascending.

    Returns
    -------
    tuple of (float, int, int, float)
        Threshold, bad accepted, accepted, and the one-sided Clopper-Pearson upper bound. When none suffices, the
        highest candidate with its (too high) bound.
    """
    chosen = (float("nan"), 0, 0, 1.0)
    for threshold in candidates:
        accepted = scores >= threshold
        bad, count = int((accepted & is_bad).sum()), int(accepted.sum())
        chosen = (float(threshold), bad, count, clopper_pearson(bad, count)[1])
        if count and chosen[3] <= miss_rate:
            return chosen
    return chosen


def bootstrap_interval(
    samples: Mapping[str, Sequence[int]],
    statistic: Callable[[npt.NDArray[np.int64]], float],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic, resampling patients and taking all of a patient's samples.

    Parameters
    ----------
    samples : mapping of str to sequence of int
        Sample indices of each patient.
    statistic : callable
        Maps sample indices (repeats allowed) to a number; draws where it is NaN are left out.
    """
    random = np.random.default_rng(seed)
    pools = [np.asarray(indices, np.int64) for _, indices in sorted(samples.items())]
    found = []
    for _ in range(draws):
        chosen = random.integers(len(pools), size=len(pools))
        value = statistic(np.concatenate([pools[i] for i in chosen]))
        if not math.isnan(value):
            found.append(value)
    if not found:
        return math.nan, math.nan
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def area_under_roc(scores: Vector, is_positive: npt.NDArray[np.bool_]) -> float:
    """Return the probability that a positive scores higher than a negative (ties count half); NaN without both."""
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    if not positives or not negatives:
        return math.nan
    _, place, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    return float((ranks[is_positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
