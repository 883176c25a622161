"""The figures of segmentation QC, computed from the per-candidate tables alone: anyone can compute them again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from dicom_sr.verdict import decide
from models.calibration import area_under_roc, bootstrap_interval, conformal_by_group
from models.segmentation_qc.calibrate import BAD_DICE, COVERAGE, cross_fit
from models.segmentation_qc.calibrated import CalibratedScore, Calibration, Interval, StructureCalibration
from models.segmentation_qc.table import Line, evidence_of, findings_of

Vector = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Figures = dict[str, Any]

_BAND = 0.6
_SENSITIVITY = 0.95
_SPLITS = 300


def all_figures(
    lines: Sequence[Line], known: Sequence[Line], accidents: Sequence[Mapping[str, str]], calibration: Calibration
) -> Figures:
    """Compute every figure.

    Parameters
    ----------
    lines : sequence of Line
        Candidates of test patients.
    known : sequence of Line
        Candidates of calibration patients; used for nothing but the coverage over random splits.
    accidents : sequence of mapping
        ``case``, ``accident``, ``outcome`` of every accident.
    calibration : Calibration
        What ships.
    """
    predicted, blind = (predictions(lines, calibration, blind=blind) for blind in (False, True))
    baseline = np.array([line.evidence[0] for line in lines])
    real = np.array([line.source != "synthetic" for line in lines])
    sets = {"all": np.ones(len(lines), bool), "real failures": real, "synthetic": ~real}
    for label in dict.fromkeys(line.label for line in lines):
        sets[label] = np.array([line.label == label for line in lines])
    return {
        "test_patients": len({line.person for line in lines}),
        "test_images": len({line.case for line in lines}),
        "candidates": len(lines),
        "calibration_patients": calibration.patients,
        "predicted_dice": {
            name: {
                "calibrated scorer": agreement(lines, predicted, chosen),
                "calibrated scorer, origin unknown": agreement(lines, blind, chosen),
                "baseline: Dice with the second network": agreement(lines, baseline, chosen),
            }
            for name, chosen in sets.items()
        },
        "baseline_ensemble_agreement": _ensemble(lines, predicted),
        "predicted_hd95": _hd95(lines, calibration),
        "pseudo_ground_truth_dice": _pseudo_truth(lines),
        "intervals": {
            origin: {label: _intervals(lines, known, structures[label], label, made) for label in structures}
            for origin, structures, made in (
                ("machine-made", calibration.machine, True),
                ("any origin", calibration.structures, False),
            )
        },
        "intervals_as_told": _as_told(lines, known, calibration),
        "verdicts": _verdicts(lines, calibration),
        "accidents_not_accepted": accident_counts(accidents),
    }


def predictions(lines: Sequence[Line], calibration: Calibration, *, blind: bool) -> Vector:
    """Predict the Dice of each line; `blind` forgets that a network made it."""
    chosen = [calibration.structure(line.label, by_machine=line.by_machine and not blind) for line in lines]
    return np.array([s.predict_dice(evidence_of(line)).value for s, line in zip(chosen, lines, strict=True)])


def agreement(lines: Sequence[Line], predicted: Vector, chosen: npt.NDArray[np.bool_]) -> Figures:
    """Compare predicted with true Dice over the chosen lines, each figure with its interval over patients."""
    truth = np.array([line.dice for line in lines])
    index = np.flatnonzero(chosen)
    persons: dict[str, list[int]] = {}
    for position, i in enumerate(index.tolist()):
        persons.setdefault(lines[i].person, []).append(position)
    t, p = truth[index], predicted[index]

    def with_interval(statistic: Callable[[Vector, Vector], float]) -> list[float]:
        value = statistic(t, p)
        low, high = bootstrap_interval(persons, lambda i: statistic(t[i], p[i]), draws=300)
        return [round(v, 4) for v in (value, low, high)]

    return {
        "candidates": len(index),
        "pearson_r": with_interval(_pearson),
        "spearman": with_interval(_spearman),
        "mae": with_interval(_mae),
        "band": {
            "candidates": int((t > _BAND).sum()),
            "pearson_r": with_interval(lambda a, b: _pearson(a[a > _BAND], b[a > _BAND])),
            "mae": with_interval(lambda a, b: _mae(a[a > _BAND], b[a > _BAND])),
        },
        "auc_bad": with_interval(lambda a, b: area_under_roc(-b, a < BAD_DICE)),
        "specificity_at_95_sensitivity": with_interval(_specificity),
    }


def _pearson(truth: Vector, predicted: Vector) -> float:
    if len(truth) < 3 or truth.std() == 0 or predicted.std() == 0:
        return math.nan
    return float(np.corrcoef(truth, predicted)[0, 1])


def _spearman(truth: Vector, predicted: Vector) -> float:
    return _pearson(np.asarray(stats.rankdata(truth)), np.asarray(stats.rankdata(predicted)))


def _mae(truth: Vector, predicted: Vector) -> float:
    return float(np.abs(truth - predicted).mean()) if len(truth) else math.nan


def _specificity(truth: Vector, predicted: Vector) -> float:
    """Share of good candidates kept where the threshold finds 95 % of the bad ones."""
    bad, good = predicted[truth < BAD_DICE], predicted[truth >= BAD_DICE]
    if not len(bad) or not len(good):
        return math.nan
    return float((good > np.quantile(bad, _SENSITIVITY)).mean())


def _ensemble(lines: Sequence[Line], predicted: Vector) -> Figures:
    chosen = [i for i, line in enumerate(lines) if line.agreement is not None]
    truth = np.array([lines[i].dice for i in chosen])
    agreement = np.array([lines[i].agreement or 0.0 for i in chosen])
    return {
        "candidates": len(chosen),
        "pearson_r": round(_pearson(truth, agreement), 4),
        "mae": round(_mae(truth, agreement), 4),
        "auc_bad": round(area_under_roc(-agreement, truth < BAD_DICE), 4),
        "scorer_pearson_r_on_the_same": round(_pearson(truth, predicted[chosen]), 4),
        "scorer_mae_on_the_same": round(_mae(truth, predicted[chosen]), 4),
        "scorer_auc_bad_on_the_same": round(area_under_roc(-predicted[chosen], truth < BAD_DICE), 4),
    }


def _hd95(lines: Sequence[Line], calibration: Calibration) -> Figures:
    truth = np.array([line.hd95 for line in lines])
    found = [
        calibration.structure(line.label, by_machine=line.by_machine).predict_hd95(evidence_of(line)) for line in lines
    ]
    predicted = np.array([interval.value for interval in found])
    covered = [i.low <= line.hd95 <= i.high for i, line in zip(found, lines, strict=True)]
    return {
        "spearman": round(_spearman(truth, predicted), 4),
        "median_absolute_error_mm": round(float(np.median(np.abs(truth - predicted))), 3),
        "coverage": round(float(np.mean(covered)), 4),
    }


def _pseudo_truth(lines: Sequence[Line]) -> Figures:
    clean = [line for line in lines if line.source == "deployed"]
    labels = dict.fromkeys(line.label for line in clean)
    return {
        label: {
            "second network": round(float(np.mean([x.pseudo_truth_dice for x in clean if x.label == label])), 4),
            "deployed segmenter": round(float(np.mean([x.dice for x in clean if x.label == label])), 4),
        }
        for label in labels
    }


def _intervals(
    lines: Sequence[Line], known: Sequence[Line], structure: StructureCalibration, label: str, made: bool
) -> Figures:
    """Coverage of what ships, and over random splits of all patients no network saw, recalibrated on one half."""
    own = [line for line in lines if line.label == label and (line.by_machine or not made)]
    others = [line for line in known if line.label == label and (line.by_machine or not made)]
    found = [structure.predict_dice(evidence_of(line)) for line in own]
    truth = np.array([line.dice for line in own])
    covered = np.array([i.low <= t <= i.high for i, t in zip(found, truth.tolist(), strict=True)])
    width = np.array([i.high - i.low for i in found])
    accepted = np.array([i.value for i in found]) > BAD_DICE
    return {
        "coverage": round(_mean_over_persons(covered, [line.person for line in own]), 4),
        "coverage_where_predicted_above_0.7": round(float(covered[accepted].mean()), 4),
        "mean_width": round(float(width.mean()), 4),
        "mean_width_where_predicted_above_0.7": round(float(width[accepted].mean()), 4),
        "random_splits": _split_coverage(own, others, structure.dice),
    }


def _as_told(lines: Sequence[Line], known: Sequence[Line], calibration: Calibration) -> Figures:
    """Intervals as the gateway asks for them: told which masks a network made, not who made the others.

    Beside it why the interval of any origin is wide: at the same prediction masks of networks and masks from an
    expert's hand err to opposite sides, and how narrow it would be if the latter were told as well.
    """
    found = [
        calibration.structure(line.label, by_machine=line.by_machine).predict_dice(evidence_of(line)) for line in lines
    ]
    figures: Figures = {"every structure": _coverage_and_width(lines, found)}
    for label in calibration.structures:
        chosen = [i for i, line in enumerate(lines) if line.label == label]
        by_hand = [line for line in lines if line.label == label and not line.by_machine]
        told = _told([line for line in known if line.label == label and not line.by_machine])
        figures[label] = {
            **_coverage_and_width([lines[i] for i in chosen], [found[i] for i in chosen]),
            "median_error_of_any_origin_where_predicted_above_0.7": {
                who: _median_error([x for x in lines if x.label == label and x.by_machine is made], calibration)
                for who, made in (("a network's masks", True), ("masks from an expert's", False))
            },
            "masks from an expert's, if that were told": _coverage_and_width(
                by_hand, [told.predict(evidence_of(line), least=0.0, most=1.0) for line in by_hand]
            ),
        }
    return figures


def _told(known: Sequence[Line]) -> CalibratedScore:
    return cross_fit(known, np.array([line.dice for line in known])).score


def _coverage_and_width(lines: Sequence[Line], found: Sequence[Interval]) -> Figures:
    covered = np.array([i.low <= x.dice <= i.high for i, x in zip(found, lines, strict=True)])
    return {
        "coverage": round(_mean_over_persons(covered, [line.person for line in lines]), 4),
        "mean_width": round(float(np.mean([i.high - i.low for i in found])), 4),
    }


def _median_error(lines: Sequence[Line], calibration: Calibration) -> float:
    said = predictions(lines, calibration, blind=True)
    errors = np.array([line.dice for line in lines]) - said
    return round(float(np.median(errors[said > BAD_DICE])), 4)


def _split_coverage(test: Sequence[Line], known: Sequence[Line], score: CalibratedScore) -> Figures:
    """Recalibrate the width on half of the patients, measure on the other half, 300 times.

    Predictions are by scorers that did not see the patient: held out for calibration patients, shipped for the others.
    """
    lines = [*known, *test]
    truth = np.array([line.dice for line in lines])
    shipped = [float(np.clip(score.scorer.score(evidence_of(line).as_vector()), 0.0, 1.0)) for line in test]
    held_out = cross_fit(known, np.array([line.dice for line in known])).held_out if known else np.zeros(0)
    predicted = np.concatenate([held_out, shipped])
    errors = np.abs(predicted - truth) / np.interp(predicted, score.spread_at, score.spread)
    persons = np.array([line.person for line in lines])
    everyone = np.unique(persons)
    random = np.random.default_rng(0)
    rates = []
    for _ in range(_SPLITS):
        inside = np.isin(persons, random.permutation(everyone)[: len(everyone) // 2])
        quantile = conformal_by_group(errors[inside].tolist(), persons[inside].tolist(), coverage=COVERAGE)
        rates.append(_mean_over_persons(errors[~inside] <= quantile, persons[~inside].tolist()))
    low, high = np.percentile(rates, [5, 95])
    return {
        "splits": _SPLITS,
        "patients": len(everyone),
        "mean": round(float(np.mean(rates)), 4),
        "p05": round(float(low), 4),
        "p95": round(float(high), 4),
    }


def _mean_over_persons(covered: npt.NDArray[np.bool_], persons: Sequence[str]) -> float:
    by_person: dict[str, list[bool]] = {}
    for inside, person in zip(covered.tolist(), persons, strict=True):
        by_person.setdefault(person, []).append(inside)
    return float(np.mean([np.mean(inside) for inside in by_person.values()]))


def _verdicts(lines: Sequence[Line], calibration: Calibration) -> Figures:
    """Count outcomes per candidate: what ships on good images, good ones and bad ones of every source."""
    candidates: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        candidates.setdefault((line.case, line.source, line.variant), []).append(line)
    worst = {
        key: (str(decide(findings_of(own, calibration), calibration.criteria).outcome), min(x.dice for x in own))
        for key, own in candidates.items()
    }
    groups = {
        "deployed segmenter, test images as they are": [v for k, v in worst.items() if k[1] == "deployed"],
        "worst structure Dice above 0.8": [v for v in worst.values() if v[1] > 0.8],
        "worst structure Dice 0.7 to 0.8": [v for v in worst.values() if BAD_DICE <= v[1] <= 0.8],
        "worst structure Dice below 0.7": [v for v in worst.values() if v[1] < BAD_DICE],
        "worst structure Dice below 0.6": [v for v in worst.values() if v[1] < _BAND],
    }
    return {name: _counts([outcome for outcome, _ in found]) for name, found in groups.items()}


def accident_counts(accidents: Sequence[Mapping[str, str]]) -> Figures:
    """Count the outcomes of each accident."""
    named = dict.fromkeys(row["accident"] for row in accidents)
    return {name: _counts([row["outcome"] for row in accidents if row["accident"] == name]) for name in named}


def _counts(outcomes: Sequence[str]) -> Figures:
    counted = {name: outcomes.count(name) for name in ("ACCEPT", "REVIEW", "NOT_ASSESSABLE", "REJECT")}
    share = sum(o != "ACCEPT" for o in outcomes) / len(outcomes) if outcomes else math.nan
    return {"candidates": len(outcomes), **counted, "not_accepted": round(share, 4)}
