"""Thresholds of a quality score for each site, from a few rated scans, and a band in which nothing is decided.

Scanner software, coil or protocol move the score of good and bad scans alike, so a site's threshold is the common one
moved by an offset. The offset is estimated from the site's rated scans and shrunk towards 0 by how much sites differ at
all; its uncertainty is the band. A site keeps the common threshold until its rated scans hold enough of both classes
and are told apart better by its own: measured on ABIDE, moving it on less evidence than that does harm
(`overread evaluate image-qc`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import ModelError

_FEWEST_OF_A_SITE = 3
_BAND = 1.0
_LEAST_GAIN = 0.05
_DECIMALS = 4

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class UnusableRatings(ModelError):
    """Ratings from which no threshold can be found: none of one class, or scores that are not finite."""

    code = "UNUSABLE_RATINGS"


class Quality(StrEnum):
    """What a site's threshold says of a score."""

    ACCEPTABLE = "ACCEPTABLE"
    BAD = "BAD"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePopulation:
    """How a score is distributed over sites that were rated well; a higher score is a worse image.

    Parameters
    ----------
    threshold : float
        The common threshold: best mean balanced accuracy over these sites.
    good, bad : float
        Mean score of acceptable and of bad scans.
    good_spread, bad_spread : float
        Standard deviations within a site.
    between : float
        Standard deviation of the sites' offsets.
    """

    threshold: float
    good: float
    bad: float
    good_spread: float
    bad_spread: float
    between: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteThreshold:
    """The threshold of one site.

    Parameters
    ----------
    threshold : float
        A score above it is bad.
    uncertainty : float
        Standard deviation of the threshold; within this distance nothing is decided.
    rated : int
        How many rated scans it rests on; 0 for a site nobody rated.
    own : bool
        Whether the common threshold was moved.
    """

    threshold: float
    uncertainty: float
    rated: int
    own: bool

    def judge(self, score: float) -> Quality:
        """Say on which side of the threshold a score is, or that it is too close."""
        if abs(score - self.threshold) <= _BAND * self.uncertainty:
            return Quality.UNDECIDED
        return Quality.BAD if score > self.threshold else Quality.ACCEPTABLE


def fit_population(scores: Scores, bad: Flags, sites: Sequence[str]) -> ScorePopulation:
    """Describe the rated scans of many sites.

    Parameters
    ----------
    scores : numpy.ndarray, (scan,), float64
        Higher is worse; best on a logarithmic scale, where sites shift it.
    bad : numpy.ndarray, (scan,), bool
        How each scan was rated.
    sites : sequence of str, (scan,)
        Where each comes from.

    Raises
    ------
    UnusableRatings
        If scores are not finite or no site has three scans of each class.
    """
    _check(scores, bad)
    where = np.array(sites)
    counts = {site: (int(_of(where, site, bad).sum()), int(_of(where, site, ~bad).sum())) for site in np.unique(where)}
    mixed = [site for site, both in counts.items() if min(both) >= _FEWEST_OF_A_SITE]
    if not mixed:
        raise UnusableRatings("no site has three acceptable and three bad scans")
    good_mean, bad_mean = float(scores[~bad].mean()), float(scores[bad].mean())
    enough = [site for site, (_, good) in counts.items() if good >= _FEWEST_OF_A_SITE]
    offsets = [float(scores[_of(where, s, ~bad)].mean()) - good_mean for s in enough]
    return ScorePopulation(
        threshold=_best_threshold(scores, bad, [where == s for s in mixed]),
        good=good_mean,
        bad=bad_mean,
        good_spread=_within(scores, [_of(where, s, ~bad) for s in enough]),
        bad_spread=_within(scores, [_of(where, s, bad) for s in mixed]),
        between=float(np.std(offsets)),
    )


def site_threshold(population: ScorePopulation, scores: Scores, bad: Flags, *, always: bool = False) -> SiteThreshold:
    """Move the common threshold to one site by its rated scans, which may all be of one class.

    The offset is the posterior mean of a normal model: every rated scan says how far it lies from the mean of its
    class, weighed by the spread of that class; the prior is normal around 0 with the spread between sites.

    Parameters
    ----------
    population : ScorePopulation
        From other sites.
    scores, bad : numpy.ndarray, (scan,)
        Of this site; empty for a site nobody rated, which has the common threshold and the widest band.
    always : bool
        Move the threshold however little speaks for it: to measure what the rule is worth.

    Raises
    ------
    UnusableRatings
        If scores are not finite.
    """
    _check(scores, bad)
    spread = np.where(bad, population.bad_spread, population.good_spread)
    distance = scores - np.where(bad, population.bad, population.good)
    precision = float((1.0 / spread**2).sum()) + 1.0 / population.between**2
    moved = population.threshold + float((distance / spread**2).sum()) / precision
    own = always or _earned(scores, bad, population.threshold, moved)
    return SiteThreshold(
        threshold=round(moved if own else population.threshold, _DECIMALS),
        uncertainty=round(1.0 / math.sqrt(precision), _DECIMALS),
        rated=int(scores.size),
        own=own,
    )


def _earned(scores: Scores, bad: Flags, common: float, moved: float) -> bool:
    """Whether the site's rated scans speak for its own threshold."""
    if min(int(bad.sum()), int((~bad).sum())) < _FEWEST_OF_A_SITE:
        return False
    return _balanced(scores > moved, bad) > _balanced(scores > common, bad) + _LEAST_GAIN


def write_site_thresholds(sites: Mapping[str, SiteThreshold], path: Path) -> None:
    """Write as JSON, by site name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema": 1, "sites": {name: asdict(site) for name, site in sorted(sites.items())}}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_site_thresholds(path: Path) -> Mapping[str, SiteThreshold]:
    """Read what `write_site_thresholds` wrote.

    Raises
    ------
    UnusableRatings
        If the file cannot be read or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sites = {
            str(name): SiteThreshold(
                threshold=float(site["threshold"]),
                uncertainty=float(site["uncertainty"]),
                rated=int(site["rated"]),
                own=bool(site["own"]),
            )
            for name, site in content["sites"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableRatings("the file of site thresholds cannot be read or holds something else") from error
    if not all(
        math.isfinite(s.threshold) and math.isfinite(s.uncertainty) and s.uncertainty >= 0 for s in sites.values()
    ):
        raise UnusableRatings("a site's threshold is not a finite number")
    return sites


def _check(scores: Scores, bad: Flags) -> None:
    if scores.size != bad.size or not np.isfinite(scores).all():
        raise UnusableRatings("every rated scan needs one finite score")


def _of(where: npt.NDArray[np.str_], site: str, flags: Flags) -> Flags:
    chosen: Flags = (where == site) & flags
    return chosen


def _within(scores: Scores, groups: Sequence[Flags]) -> float:
    squares = np.concatenate([(scores[group] - scores[group].mean()) ** 2 for group in groups])
    return float(np.sqrt(squares.mean()))


def _best_threshold(scores: Scores, bad: Flags, sites: Sequence[Flags]) -> float:
    """Find the threshold with the highest mean balanced accuracy over sites; the middle one where several are."""
    cuts = np.quantile(scores, np.linspace(0.01, 0.99, 197))
    means = np.array([np.mean([_balanced(scores[s] > cut, bad[s]) for s in sites]) for cut in cuts])
    best = cuts[means >= means.max() - 1e-9]
    return float(best[len(best) // 2])


def _balanced(said: Flags, true: Flags) -> float:
    return (float(said[true].mean()) + float((~said[~true]).mean())) / 2
