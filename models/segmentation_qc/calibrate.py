"""Fit the calibration: scorers cross-fitted by patient, conformal intervals, thresholds for a stated miss rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_sr.verdict import Criterion
from models.calibration import clopper_pearson, conformal_by_group, threshold_for_miss_rate
from models.segmentation_qc.calibrated import CalibratedScore, Calibration, StructureCalibration
from models.segmentation_qc.evidence import evidence_names
from models.segmentation_qc.scorer import MonotoneScorer, fit_scorer
from models.segmentation_qc.table import Line

Vector = npt.NDArray[np.float64]

COVERAGE = 0.9
BAD_DICE = 0.7
MISS_RATE = 0.05
_FOLDS = 6
_SPREAD_BINS = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrossFit:
    """A calibrated score and what it says on patients its scorer was not fitted on.

    Parameters
    ----------
    score : CalibratedScore
        Fitted on all patients.
    held_out : numpy.ndarray, (line,), float64
        Predictions by scorers that did not see the line's patient.
    half_width : numpy.ndarray, (line,), float64
        Half-width of the interval around them.
    """

    score: CalibratedScore
    held_out: Vector
    half_width: Vector


def calibrate(lines: Sequence[Line], rules: Sequence[Criterion]) -> Calibration:
    """Fit everything from the table of calibration patients.

    Parameters
    ----------
    lines : sequence of Line
        Candidates of patients that no network was trained on.
    rules : sequence of Criterion
        Criteria of the rules of anatomy, see `rule_criteria`.
    """
    structures: dict[str, StructureCalibration] = {}
    machine: dict[str, StructureCalibration] = {}
    criteria: list[Criterion] = []
    for label in dict.fromkeys(line.label for line in lines):
        own = [line for line in lines if line.label == label]
        made = [line for line in own if line.by_machine]
        structures[label], of_any = _structure(own)
        machine[label], of_machine = _structure(made)
        criteria.append(_dice_criterion(label, {"any origin": (own, of_any), "machine-made": (made, of_machine)}))
    return Calibration(
        structures=structures,
        machine=machine,
        criteria=(*criteria, *rules),
        patients=len({line.person for line in lines}),
        images=len({line.case for line in lines}),
        coverage=COVERAGE,
        evidence=evidence_names(len(lines[0].evidence)),
    )


def _structure(lines: Sequence[Line]) -> tuple[StructureCalibration, CrossFit]:
    overlap = cross_fit(lines, np.array([line.dice for line in lines]))
    closeness = cross_fit(lines, np.array([-math.log1p(line.hd95) for line in lines]))
    return StructureCalibration(dice=overlap.score, closeness=closeness.score), overlap


def cross_fit(lines: Sequence[Line], targets: Vector) -> CrossFit:
    """Fit a scorer in folds of patients, then on all; the interval comes from the held-out errors.

    References
    ----------
    Barber et al., Annals of Statistics 49, 2021 (cross-conformal prediction by held-out folds).
    """
    evidence = np.array([line.evidence for line in lines])
    names = evidence_names(evidence.shape[1])
    weights = sample_weights(lines)
    fold = _folds([line.person for line in lines])
    held_out = np.empty(len(lines))
    for number in range(_FOLDS):
        chosen = fold == number
        if not chosen.any():
            continue
        scorer = fit_scorer(evidence[~chosen], targets[~chosen], weights[~chosen], names=names)
        held_out[chosen] = _clipped(scorer, evidence[chosen], targets)
    at, spread = _spread(held_out, np.abs(held_out - targets))
    local = np.interp(held_out, at, spread)
    errors = (np.abs(held_out - targets) / local).tolist()
    quantile = conformal_by_group(errors, [line.person for line in lines], coverage=COVERAGE)
    score = CalibratedScore(
        scorer=fit_scorer(evidence, targets, weights, names=names),
        spread_at=tuple(round(float(v), 6) for v in at),
        spread=tuple(round(float(v), 6) for v in spread),
        quantile=round(quantile, 6),
    )
    return CrossFit(score=score, held_out=held_out, half_width=quantile * local)


def sample_weights(lines: Sequence[Line]) -> Vector:
    """Weigh lines so that every tenth of the Dice range counts alike: good ones are many, and bad ones are few."""
    bins = np.minimum((np.array([line.dice for line in lines]) * 10).astype(int), 9)
    counts = np.bincount(bins, minlength=10)
    weights = 1.0 / np.sqrt(counts[bins])
    return np.asarray(weights / weights.mean(), np.float64)


def rule_criteria(good: Mapping[str, Sequence[tuple[str, float]]], *, images: int) -> Iterator[Criterion]:
    """Set the bounds of the rules of anatomy outside what good segmentations show.

    Parameters
    ----------
    good : mapping of str to sequence of (str, float)
        By finding code, (segment label, value) of good segmentations of calibration patients.
    images : int
        How many images they are from.
    """
    for code, (share, slack, floor) in RULES.items():
        for label in dict.fromkeys(label for label, _ in good.get(code, ())):
            worst = float(np.quantile([value for segment, value in good[code] if segment == label], share))
            which = "largest" if share == 1 else f"{share:.0%} quantile"
            yield Criterion(
                code=code,
                segment=label,
                review_above=round(max(floor, worst * slack), 4),
                source=f"{which} among good segmentations of {images} calibration images is {worst:.3g}",
            )
    anatomy = "rule of anatomy"
    yield Criterion(code="EMPTY_SEGMENT", reject_above=0.5, source=anatomy)
    yield Criterion(
        code="LABEL_ORDER",
        reject_below=0.0,
        review_below=10.0,
        source="rule of anatomy; good segmentations measure 15 to 23 mm",
    )
    yield Criterion(code="SLICE_GAP", review_above=0.0, source=anatomy)
    yield Criterion(
        code="VOLUME_OUT_OF_RANGE",
        reject_below=-8.0,
        review_below=-3.0,
        review_above=3.0,
        reject_above=8.0,
        source="standard deviations of log volume over the training patients",
    )
    yield Criterion(
        code="OUT_OF_DISTRIBUTION",
        review_above=2.0,
        abstain_above=3.0,
        source=f"overread evaluate image-qc: good crops reach 1.5; {images} calibration images",
    )


# For each rule which good value sets the bound (1 is the worst), how far beyond it the bound lies, and the least bound.
# An end is allowed to be missed in one good segmentation of twenty: otherwise five dropped slices would pass.
RULES = {
    "SECOND_COMPONENT": (1.0, 1.2, 0.005),
    "TOUCHES_BORDER": (1.0, 1.2, 0.005),
    "HOLES": (1.0, 1.2, 0.002),
    "PARTS_OVERLAP": (1.0, 1.0, 0.0),
    "PARTS_DO_NOT_FILL_WHOLE": (1.0, 1.0, 0.0),
    "MISSING_END": (0.95, 1.0, 2.0),
}


def _dice_criterion(label: str, fits: Mapping[str, tuple[Sequence[Line], CrossFit]]) -> Criterion:
    """Accept where the lower bound is high enough that accepted candidates are bad at most as often as stated."""
    threshold, accounts = BAD_DICE, []
    for origin, (lines, fitted) in fits.items():
        low = np.clip(fitted.held_out - fitted.half_width, 0.0, 1.0)
        bad = np.array([line.dice < BAD_DICE for line in lines])
        grid = [round(v, 2) for v in np.arange(BAD_DICE, 0.9, 0.01).tolist()]
        own, missed, accepted, bound = threshold_for_miss_rate(low, bad, miss_rate=MISS_RATE, candidates=grid)
        threshold = max(threshold, own)
        persons = {line.person for line, at in zip(lines, low.tolist(), strict=True) if at >= own}
        failed = {x.person for x, at, no in zip(lines, low.tolist(), bad.tolist(), strict=True) if at >= own and no}
        by_person = clopper_pearson(len(failed), len(persons))[1]
        accounts.append(
            f"{origin}: {missed} of {accepted} candidates (95 % upper bound {bound:.1%}), "
            f"in {len(failed)} of {len(persons)} calibration patients (upper bound {by_person:.1%})"
        )
    return Criterion(
        code="PREDICTED_DICE",
        segment=label,
        reject_below=BAD_DICE,
        review_below=threshold,
        required=True,
        source=f"Dice below {BAD_DICE} accepted by this bound alone, " + "; ".join(accounts),
    )


def _folds(persons: Sequence[str]) -> npt.NDArray[np.int64]:
    number = {person: index % _FOLDS for index, person in enumerate(sorted(set(persons)))}
    return np.array([number[person] for person in persons], np.int64)


def _clipped(scorer: MonotoneScorer, evidence: npt.NDArray[np.float64], targets: Vector) -> Vector:
    found = np.array([scorer.score(row) for row in evidence])
    ceiling = 1.0 if targets.min() >= 0 else 0.0
    return np.asarray(np.clip(found, min(0.0, float(targets.min())), ceiling), np.float64)


def _spread(predicted: Vector, errors: Vector) -> tuple[Vector, Vector]:
    """Typical error (90th percentile) in bins of equal count along the prediction, at least a third of the median."""
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, _SPREAD_BINS)
    at = np.array([float(predicted[p].mean()) for p in parts])
    typical = np.array([float(np.quantile(errors[p], COVERAGE)) for p in parts])
    return at, np.maximum(typical, max(1e-3, float(np.median(typical)) / 3))
