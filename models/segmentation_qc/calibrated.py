"""What calibration found, as one JSON file: scorers, interval widths, and the criteria of the verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dicom_sr.verdict import Criterion
from models.calibration import MonotoneMap
from models.errors import InvalidModel
from models.segmentation_qc.evidence import DIFFUSION_EVIDENCE_NAMES, EVIDENCE_NAMES, Evidence
from models.segmentation_qc.scorer import MonotoneScorer

CALIBRATION_FILE = "calibration.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A prediction and the bounds that hold it with the stated coverage."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedScore:
    """A scorer with a conformal interval whose width depends on the prediction.

    Parameters
    ----------
    scorer : MonotoneScorer
        From evidence to the prediction.
    spread_at, spread : tuple of float
        Typical absolute error where the prediction is `spread_at` (ascending), linear between.
    quantile : float
        Half-width of the interval in units of the spread: the conformal quantile.
    """

    scorer: MonotoneScorer
    spread_at: tuple[float, ...]
    spread: tuple[float, ...]
    quantile: float

    def predict(self, evidence: Evidence, *, least: float, most: float) -> Interval:
        """Predict within `least`..`most`, with the interval cut at the same limits."""
        value = min(most, max(least, self.scorer.score(evidence.as_vector())))
        half = self.quantile * float(np.interp(value, self.spread_at, self.spread))
        return Interval(value=value, low=max(least, value - half), high=min(most, value + half))


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureCalibration:
    """Calibration of one structure: predicted Dice, and closeness = -log(1 + HD95 in mm)."""

    dice: CalibratedScore
    closeness: CalibratedScore

    def predict_dice(self, evidence: Evidence) -> Interval:
        """Predict the Dice with the experts' mask, 0..1."""
        return self.dice.predict(evidence, least=0.0, most=1.0)

    def predict_hd95(self, evidence: Evidence) -> Interval:
        """Predict the 95th-percentile Hausdorff distance to the experts' mask, mm."""
        found = self.closeness.predict(evidence, least=-math.log1p(40.0), most=0.0)
        low, value, high = (math.expm1(-c) for c in (found.high, found.value, found.low))
        return Interval(value=value, low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Everything a verdict needs besides the network.

    Parameters
    ----------
    structures : mapping of str to StructureCalibration
        By segment label, for masks of any origin, fitted on every candidate.
    machine : mapping of str to StructureCalibration
        By segment label, for masks as a segmenting network made them, fitted on real failures of networks: narrower,
        because a network errs in other ways than a person's brush.
    criteria : tuple of Criterion
        Thresholds with their source.
    patients, images : int
        How many calibration patients and images there were.
    coverage : float
        Of the intervals, for instance 0.9.
    evidence : tuple of str
        Names of the evidence that the scorers read, in order.
    """

    structures: Mapping[str, StructureCalibration]
    machine: Mapping[str, StructureCalibration]
    criteria: tuple[Criterion, ...]
    patients: int
    images: int
    coverage: float
    evidence: tuple[str, ...] = EVIDENCE_NAMES

    def structure(self, label: str, *, by_machine: bool) -> StructureCalibration:
        """Return what to use for one segment: `by_machine` says that a network made the mask and nobody edited it."""
        return (self.machine if by_machine else self.structures)[label]

    def write(self, folder: Path) -> None:
        """Write as JSON into a weights folder."""
        content = {"evidence": list(self.evidence), **asdict(self)}
        (folder / CALIBRATION_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_calibration(folder: Path) -> Calibration:
    """Read the calibration of a weights folder.

    Raises
    ------
    InvalidModel
        If it is missing, not what `Calibration.write` wrote, or made for other evidence.
    """
    try:
        raw: dict[str, Any] = json.loads((folder / CALIBRATION_FILE).read_text(encoding="utf-8"))
        evidence = tuple(raw["evidence"])
        if evidence not in (EVIDENCE_NAMES, DIFFUSION_EVIDENCE_NAMES):
            raise InvalidModel(f"{CALIBRATION_FILE} was made for other evidence than this version gathers")
        return Calibration(
            structures=_structures(raw["structures"]),
            machine=_structures(raw["machine"]),
            criteria=tuple(Criterion(**c) for c in raw["criteria"]),
            patients=int(raw["patients"]),
            images=int(raw["images"]),
            coverage=float(raw["coverage"]),
            evidence=evidence,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidModel(f"{CALIBRATION_FILE} is missing or damaged") from error


def _structures(raw: dict[str, Any]) -> dict[str, StructureCalibration]:
    return {
        str(label): StructureCalibration(dice=_score(s["dice"]), closeness=_score(s["closeness"]))
        for label, s in raw.items()
    }


def _score(raw: dict[str, Any]) -> CalibratedScore:
    scorer = raw["scorer"]
    return CalibratedScore(
        scorer=MonotoneScorer(
            names=tuple(scorer["names"]),
            knots=tuple(tuple(float(v) for v in k) for k in scorer["knots"]),
            slopes=tuple(tuple(float(v) for v in s) for s in scorer["slopes"]),
            offset=float(scorer["offset"]),
            link=MonotoneMap(
                scores=tuple(float(v) for v in scorer["link"]["scores"]),
                values=tuple(float(v) for v in scorer["link"]["values"]),
            ),
        ),
        spread_at=tuple(float(v) for v in raw["spread_at"]),
        spread=tuple(float(v) for v in raw["spread"]),
        quantile=float(raw["quantile"]),
    )
