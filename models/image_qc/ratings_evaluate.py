"""Measure site thresholds on real ratings: ABIDE, 1101 T1w scans of 17 sites by up to three raters.

The score is a logistic model of published image quality metrics, fitted without the site it is judged on. What is
measured is what a threshold of the site's own is worth; the model is not part of the product, since MRIQC's metrics
need a segmentation of tissue.

References
----------
Esteban et al., MRIQC, PLoS ONE 2017, doi 10.1371/journal.pone.0184661 (metrics and ratings).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.csv_file import write_csv
from models.image_qc.balance import balanced
from models.image_qc.grading import fit_logistic
from models.image_qc.site_thresholds import (
    Quality,
    ScorePopulation,
    SiteThreshold,
    fit_population,
    site_threshold,
)

RATINGS_FILE = "abide.tsv"
SCORES_FILE = "site_scores.csv"
_RATERS = ("rater_1", "rater_2", "rater_3")
# Volumes of tissue depend on the person; sizes and intensity summaries name the scanner.
_NOT_METRICS = ("subject_id", "site", *_RATERS)
_NAMES_THE_SCANNER = ("size_", "spacing_", "summary_")
FREE_METRICS = ("efc", "fber", "fwhm_avg", "fwhm_x", "fwhm_y", "fwhm_z", "qi_1", "qi_2")
"""The metrics that need no segmentation of tissue."""
_LIMIT = 2.5
_DRAWS = 20
_RATED = (5, 10, 20, 40)
_COLUMNS = (
    "one threshold for all",
    "site's own where earned",
    "site's own always",
    "one threshold, where decided",
    "one threshold, undecided",
    "site's own, where decided",
    "site's own, undecided",
    "share of sites with their own",
)
_FEWEST = 3

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RatedScans:
    """A table of rated scans.

    Parameters
    ----------
    metrics : numpy.ndarray, (scan, metric), float64
    names : tuple of str, (metric,)
    bad : numpy.ndarray, (scan,), bool
        Whether the mean over the raters is negative.
    sites : tuple of str, (scan,)
    """

    metrics: Matrix
    names: tuple[str, ...]
    bad: npt.NDArray[np.bool_]
    sites: tuple[str, ...]

    def of(self, names: Sequence[str]) -> Matrix:
        """Return the columns of these metrics."""
        return self.metrics[:, [self.names.index(name) for name in names]]


def read_ratings(path: Path) -> RatedScans:
    """Read the table; scans nobody rated are left out."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    rated = [(row, [float(row[r]) for r in _RATERS if row[r] not in ("", "n/a")]) for row in rows]
    kept = [(row, ratings) for row, ratings in rated if ratings]
    names = tuple(n for n in rows[0] if n not in _NOT_METRICS and not n.startswith(_NAMES_THE_SCANNER))
    return RatedScans(
        metrics=np.array([[float(row[name]) for name in names] for row, _ in kept]),
        names=names,
        bad=np.array([np.mean(ratings) < 0 for _, ratings in kept]),
        sites=tuple(row["site"] for row, _ in kept),
    )


def leave_one_site_out(scans: RatedScans, names: Sequence[str]) -> Matrix:
    """Score every scan by a model of the other sites; (scan,), above 0 is bad."""
    where = np.array(scans.sites)
    raw = scans.of(names)
    raw = np.sign(raw) * np.log1p(np.abs(raw))
    scores = np.zeros(len(raw))
    for site in np.unique(where):
        others = where != site
        mean, spread = raw[others].mean(0), raw[others].std(0) + 1e-9
        x = np.c_[np.ones(len(raw)), np.clip((raw - mean) / spread, -_LIMIT, _LIMIT)]
        scores[~others] = x[~others] @ fit_logistic(x, scans.bad, others)
    return scores


def score_ratings(path: Path, folder: Path) -> None:
    """Score every rated scan of the table at `path` by models of the other sites; write ``site_scores.csv``."""
    scans = read_ratings(path)
    scores, free = leave_one_site_out(scans, scans.names), leave_one_site_out(scans, FREE_METRICS)
    rows = zip(scans.sites, scans.bad, scores, free, strict=True)
    written = ([site, int(bad), *(f"{number:.4f}" for number in numbers)] for site, bad, *numbers in rows)
    write_csv(folder / SCORES_FILE, ["site", "bad", "score", "score_without_tissue"], written)


def rating_figures(folder: Path) -> dict[str, Any]:
    """Compute every figure on real ratings from ``site_scores.csv`` in `folder`; see the module."""
    with (folder / SCORES_FILE).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    bad = np.array([row["bad"] == "1" for row in rows])
    scores = np.array([float(row["score"]) for row in rows])
    free = np.array([float(row["score_without_tissue"]) for row in rows])
    where = np.array([row["site"] for row in rows])
    return {
        "scans": len(rows),
        "bad": int(bad.sum()),
        "sites": len(set(where.tolist())),
        "leave_one_site_out": {"all metrics": _ranking(scores, bad), "metrics without tissue": _ranking(free, bad)},
        "site_thresholds": {f"{count} rated scans": _site_figures(where, scores, bad, count) for count in _RATED},
    }


def area_under_curve(scores: Matrix, bad: npt.NDArray[np.bool_]) -> float:
    """Probability that a bad scan scores above a good one."""
    ranks = np.argsort(np.argsort(scores)) + 1.0
    positives, negatives = int(bad.sum()), int((~bad).sum())
    return float((ranks[bad].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _ranking(scores: Matrix, bad: npt.NDArray[np.bool_]) -> Mapping[str, float]:
    said = (scores > 0).tolist()
    return {
        "auc": round(area_under_curve(scores, bad), 4),
        "balanced_accuracy": round(balanced(said, bad.tolist()), 4),
    }


def _site_figures(
    where: npt.NDArray[np.str_], scores: Matrix, bad: npt.NDArray[np.bool_], count: int
) -> Mapping[str, float]:
    """Draw `count` scans of a site to rate, many times, and judge the rest; means over the sites with both classes."""
    rows = []
    for site in np.unique(where):
        here = where == site
        if min(int(bad[here].sum()), int((~bad)[here].sum())) < _FEWEST or here.sum() < count + _FEWEST:
            continue
        population = fit_population(scores[~here], bad[~here], where[~here].tolist())
        random = np.random.default_rng(count)
        drawn = []
        for _ in range(_DRAWS):
            order = random.permutation(np.flatnonzero(here))
            rated, rest = order[:count], order[count:]
            own = site_threshold(population, scores[rated], bad[rated])
            always = site_threshold(population, scores[rated], bad[rated], always=True)
            drawn.append(_judged(population, own, always, scores[rest], bad[rest]))
        rows.append(np.nanmean(np.array(drawn), axis=0))
    means = np.mean(np.array(rows), axis=0)
    return {"sites": len(rows), **{name: round(float(m), 4) for name, m in zip(_COLUMNS, means, strict=True)}}


def _judged(
    population: ScorePopulation,
    own: SiteThreshold,
    always: SiteThreshold,
    scores: Matrix,
    bad: npt.NDArray[np.bool_],
) -> tuple[float, ...]:
    """Return the figures of `_COLUMNS` for the scans of one site that were not rated for its threshold."""
    common = replace(own, threshold=population.threshold, own=False)
    figures = [balanced(scores > one.threshold, bad) for one in (common, own, always)]
    for threshold in (common, own):
        judged = [threshold.judge(float(score)) for score in scores]
        sure = np.array([quality is not Quality.UNDECIDED for quality in judged])
        said = np.array([quality is Quality.BAD for quality in judged])
        figures += [balanced(said[sure], bad[sure]), 1.0 - float(sure.mean())]
    return (*figures, float(own.own))
