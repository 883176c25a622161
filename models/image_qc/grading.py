"""How degraded an image is, by which artefact: small logistic models on texture features, trained on simulation.

The tier follows Bottani et al. (MedIA 75, 2022): 1 clean, 2 mildly, 3 severely degraded; the artefact is the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicom_sr.volume import Volume
from models.image_qc.artefacts import Artefact
from models.image_qc.likeness import WEIGHTS_NAME, features_of
from models.image_qc.metrics import measure_quality
from models.preprocess import canonical_view
from models.registry import find_model, verify

_LAGS = (2, 4, 8, 12)
_SMALLEST_AXIS = 16
# The least of 3, 10, 30, 100 at which none of twelve drawn crops, which no scanner degraded, is called severe: a weaker
# one tells severe from the rest a little better among scans (.95 for .93 on calibration patients) and is almost certain
# of what it never saw.
_SEVERE_PENALTY = 30.0
_MILD_PENALTY = 3.0
_MILD = "MILD"
# Clean crops of calibration patients, unseen in fitting, reach 0.58.
_SEVERE_PROBABILITY = 0.7

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What the models say of one image.

    Parameters
    ----------
    tier : int
        1 clean, 2 mildly degraded, 3 severely degraded.
    artefact : Artefact or None
        The most probable severe artefact; None below tier 3.
    probability : float
        Probability of a severe artefact, 0..1.
    """

    tier: int
    artefact: Artefact | None
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GradeModel:
    """One logistic model for each severe artefact against all that is not severe; one of mild against clean images.

    Parameters
    ----------
    mean, scale : numpy.ndarray, (feature,), float64
        Of clean training images, and of all.
    weights : mapping of str to numpy.ndarray, (1 + 2 * feature,), float64
        By artefact (or ``MILD``): offset, weights of the scaled features and of their squares.
    """

    mean: Vector
    scale: Vector
    weights: Mapping[str, Vector]

    def grade(self, features: Vector) -> Grade:
        """Grade one image by its `texture_features`."""
        row = _expanded((features - self.mean) / self.scale)
        scores = {name: float(row @ weights) for name, weights in self.weights.items()}
        mild = scores.pop(_MILD)
        worst = max(scores, key=lambda name: scores[name])
        probability = 1.0 / (1.0 + float(np.exp(-np.clip(scores[worst], -30.0, 30.0))))
        if probability > _SEVERE_PROBABILITY:
            return Grade(tier=3, artefact=Artefact(worst), probability=probability)
        return Grade(tier=2 if mild > 0 else 1, artefact=None, probability=probability)


def texture_features(volume: Volume) -> Vector | None:
    """Describe intensity, texture by axis, and correlation over distance.

    Returns
    -------
    numpy.ndarray, (feature,), float64, or None
        None when the image is constant or has fewer than 16 voxels along an axis.
    """
    basic = features_of(volume)
    if basic is None or min(volume.grid.shape) < _SMALLEST_AXIS:
        return None
    voxels, _ = canonical_view(volume.voxels, volume.grid)
    low, high = float(np.percentile(voxels, 1.0)), float(np.percentile(voxels, 99.0))
    scaled: Vector = np.clip((voxels - low) / (high - low), 0.0, 1.0).astype(np.float64)
    metrics = measure_quality(volume, has_air=False)
    measured = [metrics.efc or 0.0, float(np.log(max(metrics.snr or 0.0, 1e-3))), metrics.fwhm_mm or 0.0]
    measured += [metrics.inu or 0.0, metrics.cnr or 0.0]
    return np.concatenate([basic, *(_along(scaled, axis) for axis in range(3)), measured])


def fit_grades(features: Matrix, artefacts: Sequence[str], severe: npt.NDArray[np.bool_]) -> GradeModel:
    """Fit all models by penalised logistic regression.

    Parameters
    ----------
    features : numpy.ndarray, (image, feature), float64
        `texture_features` of every image.
    artefacts : sequence of str
        Artefact of every image; empty for a clean one.
    severe : numpy.ndarray, (image,), bool
        Whether the artefact is severe.
    """
    kind = np.array(artefacts)
    clean = kind == ""
    mean, scale = features[clean].mean(0), features.std(0) + 1e-6
    rows = _expanded((features - mean) / scale)
    weights = {
        name: fit_logistic(rows, (kind == name) & severe, ~severe | (kind == name), penalty=_SEVERE_PENALTY)
        for name in sorted(set(kind[~clean].tolist()))
    }
    weights[_MILD] = fit_logistic(rows, ~clean, ~severe, penalty=_MILD_PENALTY)
    return GradeModel(mean=mean, scale=scale, weights=weights)


def write_grades(model: GradeModel, path: Path) -> None:
    """Write as JSON."""
    content = {
        "mean": [float(f"{v:.6g}") for v in model.mean],
        "scale": [float(f"{v:.6g}") for v in model.scale],
        "weights": {name: [float(f"{v:.6g}") for v in weights] for name, weights in model.weights.items()},
    }
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


@cache
def shipped_grades(name: str) -> GradeModel:
    """Return the models shipped for a target; raises `TamperedWeights` if they are not those the card names."""
    card = find_model(WEIGHTS_NAME)
    verify(card)
    content = json.loads((card.folder / f"{name}-grades.json").read_text(encoding="utf-8"))
    return GradeModel(
        mean=np.array(content["mean"]),
        scale=np.array(content["scale"]),
        weights={str(key): np.array(values) for key, values in content["weights"].items()},
    )


def _along(scaled: Vector, axis: int) -> Vector:
    """Sharpness along one axis, how peaked it is, and how intensities correlate over distance."""
    first, second = np.diff(scaled, axis=axis), np.diff(scaled, n=2, axis=axis)
    spread = float(np.mean(first**2)) + 1e-12
    values = [
        np.log(first.std() + 1e-4),
        np.log(second.std() + 1e-4),
        np.log(np.median(np.abs(second)) + 1e-4),
        np.sqrt(np.mean(first**4)) / spread,
    ]
    centred = np.moveaxis(scaled - scaled.mean(), axis, 0)
    values += [np.mean(centred[:-lag] * centred[lag:]) / (centred.var() + 1e-12) for lag in _LAGS]
    return np.array([float(v) for v in values])


def _expanded(scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Append squares, limited so that one odd feature cannot decide alone, and put an offset in front."""
    limited = np.clip(scaled, -8.0, 8.0)
    ones = np.ones((*limited.shape[:-1], 1))
    return np.concatenate([ones, limited, limited**2], axis=-1)


def fit_logistic(
    rows: Matrix, positive: npt.NDArray[np.bool_], chosen: npt.NDArray[np.bool_], *, penalty: float = 3.0
) -> Vector:
    """Fit a logistic model with quadratic penalty by Newton's method; both classes weigh the same in sum.

    Parameters
    ----------
    rows : numpy.ndarray, (image, feature), float64
        The first feature is the constant 1, which is hardly penalised.
    positive, chosen : numpy.ndarray, (image,), bool
        The class to tell, and the images to fit on.
    penalty : float
        Of the squared weights, in units of images.

    Returns
    -------
    numpy.ndarray, (feature,), float64
        ``rows @ weights`` is above 0 for the positive class.
    """
    x, y = rows[chosen], positive[chosen].astype(np.float64)
    importance = np.where(y > 0, (1 - y.mean()) / max(y.mean(), 1e-9), 1.0)
    penalties = penalty * np.r_[1e-3, np.ones(x.shape[1] - 1)]
    weights: Vector = np.zeros(x.shape[1])
    for _ in range(40):
        expected = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -30.0, 30.0)))
        gradient = x.T @ (importance * (expected - y)) + penalties * weights
        curvature = (x.T * (importance * expected * (1 - expected))) @ x + np.diag(penalties)
        weights = weights - np.linalg.solve(curvature, gradient)
    return weights
