"""Measure the shipped segmenters on patients that no network was trained on.

Three questions: how good is the whole-hippocampus mask; how good are its parts when the predicted mask is divided (end
to end, what a user gets); how good are they when the expert's mask is divided (the second network alone). Per case in a
CSV, in summary with a bootstrap 95 % interval over persons in ``metrics.json``, beside two plain baselines.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from dicom_sr.segmentation import Mask
from models.card import METRICS_FILE
from models.csv_file import write_csv
from models.errors import UnusableVolume
from models.metrics import assd, dice, hd95, surface_dice, volume_ml
from models.registry import ModelCard, find_model
from models.segmentation.baseline import MeanShape, mean_shape
from models.segmentation.cases import LabelledVolume, case_names, read_cases
from models.segmentation.segmenter import Segmenter, load_segmenter
from models.segmentation.task import HIPPOCAMPUS, SUBFIELDS
from models.split import Split, person_of, split_patients

CASES_FILE = "cases.csv"
_RESAMPLES = 2000
NETWORK, NETWORK_EXPERT = "network", "network, expert region"
MEAN_SHAPE, MIDDLE_CUT, MIDDLE_CUT_EXPERT = "mean shape", "middle cut", "middle cut, expert region"
_BASELINE_OF = {(NETWORK, True): MEAN_SHAPE, (NETWORK, False): MIDDLE_CUT, (NETWORK_EXPERT, False): MIDDLE_CUT_EXPERT}


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScore:
    """One label of one case under one method.

    Parameters
    ----------
    case, person : str
        Names that the split is made of.
    method : str
        ``network`` and its baselines ``mean shape`` (whole) and ``middle cut`` (parts of the predicted mask), or
        ``network, expert region`` and its baseline ``middle cut, expert region``.
    label : str
        Segment label.
    dice, surface_dice : float
        0..1; surface Dice at 1 mm.
    hd95, assd : float
        mm; nan when one mask is empty.
    volume_ml, expert_ml : float
        Volumes, millilitres.
    agreement : float
        Mean pairwise Dice of the ensemble's members; nan where there is no ensemble.
    """

    case: str
    person: str
    method: str
    label: str
    dice: float
    surface_dice: float
    hd95: float
    assd: float
    volume_ml: float
    expert_ml: float
    agreement: float


def evaluate(
    data: Path, out: Path | None = None, *, split: Split = Split.TEST, folders: Sequence[Path] = ()
) -> dict[str, Any]:
    """Evaluate the two hippocampus models.

    Parameters
    ----------
    data : Path
        Folder with ``images`` and ``labels``.
    out : Path, optional
        Folder for ``metrics.json`` and ``cases.csv``; None: the two shipped weights folders, each with its own labels.
    split : Split
        Patients to measure on.
    folders : sequence of Path
        Looked through for the two models before the shipped ones.

    Returns
    -------
    dict
        What ``metrics.json`` holds.

    Raises
    ------
    ModelError
        If models or data are missing or unusable.
    """
    cards = (find_model(HIPPOCAMPUS.name, folders), find_model(SUBFIELDS.name, folders))
    divided = split_patients(case_names(data))
    names = divided[split]
    if not names:
        raise UnusableVolume(f"the folder holds no case of the {split} split")
    baseline = mean_shape(read_cases(data, divided[Split.TRAIN]))
    segmenters = (load_segmenter(cards[0]), load_segmenter(cards[1]))
    scores = [s for case in read_cases(data, names) for s in _case_scores(case, segmenters, baseline)]
    if out is not None:
        return write_report(out, scores, cards=cards, split=split)
    for card in cards:
        own = [score for score in scores if score.label in card.labels]
        write_report(card.folder, own, cards=cards, split=split)
    return summary(scores, cards=cards, split=split)


def write_report(
    folder: Path, scores: Sequence[CaseScore], *, cards: Sequence[ModelCard], split: Split
) -> dict[str, Any]:
    """Write ``cases.csv``, then ``metrics.json`` from the rows as they stand in it; returns the latter's content."""
    written = ([f"{value:.5f}" if isinstance(value, float) else value for value in astuple(s)] for s in scores)
    write_csv(folder / CASES_FILE, [field.name for field in fields(CaseScore)], written)
    report = summary(read_scores(folder / CASES_FILE), cards=cards, split=split)
    (folder / METRICS_FILE).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def read_scores(path: Path) -> list[CaseScore]:
    """Read the rows of ``cases.csv``."""
    texts = ("case", "person", "method", "label")
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [CaseScore(**{key: value if key in texts else float(value) for key, value in row.items()}) for row in rows]  # type: ignore[arg-type]


def summary(scores: Sequence[CaseScore], *, cards: Sequence[ModelCard], split: Split) -> dict[str, Any]:
    """Summarise case scores per method and label.

    Returns
    -------
    dict
        ``results``: per method and label the mean of each metric with its 95 % interval (percentile bootstrap over
        persons, 2000 resamples, fixed seed), counts of cases and persons, and how many distances did not exist.
        ``gain_over_baseline``: per method and label the mean difference in Dice to the plain baseline, paired by case.
    """
    groups = sorted({(score.method, score.label) for score in scores})
    return {
        "split": str(split),
        "models": {card.name: {"version": card.version, "digest": card.digest} for card in cards},
        "interval": f"95 % percentile bootstrap over persons, {_RESAMPLES} resamples",
        "results": [
            _group_summary(method, label, [s for s in scores if (s.method, s.label) == (method, label)])
            for method, label in groups
        ],
        "gain_over_baseline": _gains(scores),
    }


def bootstrap_interval(values: Mapping[str, Sequence[float]]) -> tuple[float, float, float]:
    """Mean of all values and the 95 % percentile interval when persons are drawn anew.

    Parameters
    ----------
    values : mapping of str to sequence of float
        Values by person; nan are left out.

    Returns
    -------
    tuple of float
        Mean, lower end, upper end; nan when there is no value.
    """
    kept = [[value for value in own if not math.isnan(value)] for _, own in sorted(values.items())]
    sums = np.array([sum(own) for own in kept])
    counts = np.array([len(own) for own in kept])
    if counts.sum() == 0:
        return math.nan, math.nan, math.nan
    chosen = np.random.default_rng(0).integers(len(kept), size=(_RESAMPLES, len(kept)))
    totals = counts[chosen].sum(axis=1)
    means = sums[chosen].sum(axis=1)[totals > 0] / totals[totals > 0]
    low, high = (float(end) for end in np.percentile(means, [2.5, 97.5]))
    return float(sums.sum() / counts.sum()), low, high


def _gains(scores: Sequence[CaseScore]) -> list[dict[str, Any]]:
    found = {(score.case, score.method, score.label): score.dice for score in scores}
    gains: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for score in scores:
        baseline = _BASELINE_OF.get((score.method, score.label in HIPPOCAMPUS.labels))
        plain = found.get((score.case, baseline or "", score.label))
        if baseline is not None and plain is not None:
            by_person = gains.setdefault((score.method, score.label, baseline), {})
            by_person.setdefault(score.person, []).append(score.dice - plain)
    described = []
    for (method, label, baseline), by_person in sorted(gains.items()):
        mean, low, high = (round(value, 4) for value in bootstrap_interval(by_person))
        described.append(
            {"method": method, "label": label, "baseline": baseline, "mean": mean, "low": low, "high": high}
        )
    return described


def _group_summary(method: str, label: str, scores: Sequence[CaseScore]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "method": method,
        "label": label,
        "cases": len(scores),
        "persons": len({score.person for score in scores}),
    }
    for name in ("dice", "surface_dice", "hd95", "assd", "agreement"):
        by_person: dict[str, list[float]] = {}
        for score in scores:
            by_person.setdefault(score.person, []).append(getattr(score, name))
        mean, low, high = bootstrap_interval(by_person)
        if not math.isnan(mean):
            described[name] = {"mean": round(mean, 4), "low": round(low, 4), "high": round(high, 4)}
    described["lowest_dice"] = round(min(score.dice for score in scores), 4)
    described["distance_undefined"] = sum(math.isnan(score.hd95) for score in scores)
    errors = [abs(score.volume_ml - score.expert_ml) / score.expert_ml for score in scores if score.expert_ml > 0]
    described["mean_relative_volume_error"] = round(float(np.mean(errors)), 4) if errors else None
    return described


def _case_scores(
    case: LabelledVolume, segmenters: tuple[Segmenter, Segmenter], baseline: MeanShape
) -> Iterator[CaseScore]:
    whole = HIPPOCAMPUS.truth(case.expert) == 1
    parts = SUBFIELDS.truth(case.expert)
    found = segmenters[0].segment(case.volume)
    mask = found.labels == 1
    yield _score(case, NETWORK, HIPPOCAMPUS.labels[0], mask, whole, found.agreement.get(1, math.nan))
    shape = baseline.place(case.volume)
    yield _score(case, MEAN_SHAPE, HIPPOCAMPUS.labels[0], shape, whole, math.nan)
    for method, region in ((NETWORK, mask), (NETWORK_EXPERT, whole)):
        answer = segmenters[1].segment(case.volume, region=region)
        for value, label in enumerate(SUBFIELDS.labels, start=1):
            agreement = answer.agreement.get(value, math.nan)
            yield _score(case, method, label, answer.labels == value, parts == value, agreement)
    for method, region in ((MIDDLE_CUT, mask), (MIDDLE_CUT_EXPERT, whole)):
        cut = baseline.divide(region, case.volume)
        for value, label in enumerate(SUBFIELDS.labels, start=1):
            yield _score(case, method, label, cut == value, parts == value, math.nan)


def _score(case: LabelledVolume, method: str, label: str, found: Mask, truth: Mask, agreement: float) -> CaseScore:
    spacing = case.volume.grid.spacing
    return CaseScore(
        case=case.name,
        person=person_of(case.name),
        method=method,
        label=label,
        dice=dice(found, truth),
        surface_dice=surface_dice(found, truth, spacing),
        hd95=hd95(found, truth, spacing),
        assd=assd(found, truth, spacing),
        volume_ml=volume_ml(found, spacing),
        expert_ml=volume_ml(truth, spacing),
        agreement=agreement,
    )


def table(report: Mapping[str, Any]) -> Iterator[str]:
    """Lines of plain text that show a report: one per method and label."""
    for row in report["results"]:
        numbers = "  ".join(_interval(row, key) for key in ("dice", "hd95") if key in row)
        yield f"{row['label']:24s} {row['method']:26s} {numbers}  n={row['cases']} ({row['persons']} persons)"
    for row in report["gain_over_baseline"]:
        gain = f"{row['mean']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
        yield f"{row['label']:24s} {row['method']:26s} gains {gain} Dice over {row['baseline']}"


def _interval(row: Mapping[str, Any], key: str) -> str:
    return f"{key} {row[key]['mean']:.3f} ({row[key]['low']:.3f}-{row[key]['high']:.3f})"
