"""How unlike the images a pipeline was trained on a given image is: a distance in a few intensity and texture features.

This is what notices another sequence or another body part when a header says nothing, as in converted images.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.volume import Volume
from models.preprocess import canonical_view
from models.registry import find_model, verify

_QUANTILES = (5.0, 25.0, 50.0, 75.0, 95.0)
_SCALES_MM = (1.0, 2.0, 4.0, 8.0)
WEIGHTS_NAME = "image-qc"

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """Distribution of the features over known good images of one target.

    Parameters
    ----------
    mean : numpy.ndarray, (feature,), float64
    precision : numpy.ndarray, (feature, feature), float64
        Inverse of the regularised covariance.
    images : int
        How many images it was fitted on.
    """

    mean: Vector
    precision: npt.NDArray[np.float64]
    images: int

    def distance(self, features: Vector) -> float:
        """Return the Mahalanobis distance per feature: about 1 for a typical image, large for an unlike one."""
        away = features - self.mean
        squared = float(away @ self.precision @ away)
        return float(np.sqrt(max(0.0, squared) / away.size))


def features_of(volume: Volume) -> Vector | None:
    """Describe intensity distribution and texture, whatever the intensity scale.

    Returns
    -------
    numpy.ndarray, (feature,), float64, or None
        None when the image is constant or too small (fewer than 8 voxels along an axis).
    """
    voxels, spacing = canonical_view(volume.voxels, volume.grid)
    low, high = float(np.percentile(voxels, 1.0)), float(np.percentile(voxels, 99.0))
    if min(volume.grid.shape) < 8 or high <= low:
        return None
    scaled: Vector = np.clip((voxels - low) / (high - low), 0.0, 1.0).astype(np.float64)
    quantiles = np.percentile(scaled, _QUANTILES)
    texture = [_band(scaled, spacing, a, b) for a, b in zip((0.0, *_SCALES_MM), _SCALES_MM, strict=False)]
    middle = scaled[tuple(slice(n // 4, n - n // 4) for n in scaled.shape)]
    centre = [float(middle.mean()), float(np.log(middle.std() + 1e-3))]
    return np.array([*quantiles, *texture, *centre, *(_first_minus_second_half(scaled, axis) for axis in (0, 1))])


def fit_reference(features: npt.NDArray[np.float64]) -> Reference:
    """Fit the reference to `features`, (image, feature), with a tenth of the variances added for stability."""
    centred = features - features.mean(0)
    covariance = centred.T @ centred / max(1, len(features) - 1)
    covariance += 0.1 * np.diag(np.diag(covariance) + 1e-6)
    return Reference(mean=features.mean(0), precision=np.linalg.inv(covariance), images=len(features))


def write_reference(reference: Reference, path: Path) -> None:
    """Write a reference as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": reference.images,
        "mean": np.round(reference.mean, 6).tolist(),
        "precision": np.round(reference.precision, 4).tolist(),
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def read_reference(path: Path) -> Reference:
    """Read what `write_reference` wrote."""
    content = json.loads(path.read_text())
    return Reference(
        mean=np.array(content["mean"]), precision=np.array(content["precision"]), images=int(content["images"])
    )


@cache
def shipped_reference(name: str) -> Reference:
    """Return the reference shipped for a target; raises `TamperedWeights` if it is not the one its card names."""
    card = find_model(WEIGHTS_NAME)
    verify(card)
    return read_reference(card.folder / f"{name}.json")


def _first_minus_second_half(scaled: Vector, axis: int) -> float:
    """Compare the halves along head-foot or front-back, which every crop has alike; left and right crops mirror."""
    first, second = np.array_split(scaled, 2, axis=axis)
    return float(first.mean() - second.mean())


def _band(scaled: Vector, spacing: tuple[float, float, float], fine_mm: float, coarse_mm: float) -> float:
    """Log standard deviation of what lies between two Gaussian scales, mm."""
    fine = ndimage.gaussian_filter(scaled, [fine_mm / s / 2.355 for s in spacing]) if fine_mm else scaled
    coarse = ndimage.gaussian_filter(scaled, [coarse_mm / s / 2.355 for s in spacing])
    return float(np.log((fine - coarse).std() + 1e-4))
