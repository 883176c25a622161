"""Fingerprint of a data set: what its images and labels are like, in numbers, as JSON with a SHA-256.

It plans the preprocessing of a network, travels with its weights, and says whether a new image is unlike the ones the
network knows. It holds statistics over the data set, nothing of one patient.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.volume import Grid, Volume
from models.errors import FingerprintMismatch, UnusableVolume
from models.preprocess import PreprocessPlan, canonical_view, check_usable

_PROFILE_BINS = 10
_AXES = ("z", "y", "x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Statistics of one number over the cases of a data set.

    Parameters
    ----------
    mean, sd : float
        Mean and standard deviation (ddof 1; 0 for one case).
    low, median, high : float
        Smallest, median and largest value.
    p05, p95 : float
        5th and 95th percentile.
    """

    mean: float
    sd: float
    low: float
    p05: float
    median: float
    p95: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Distribution:
        """Summarise `values`; raises `UnusableVolume` when there is none."""
        if not values:
            raise UnusableVolume("a distribution needs at least one case")
        array = np.asarray(values, dtype=np.float64)
        p05, median, p95 = np.percentile(array, [5, 50, 95])
        sd = array.std(ddof=1) if len(array) > 1 else 0.0
        numbers = (array.mean(), sd, array.min(), p05, median, p95, array.max())
        mean, sd, low, p05, median, p95, high = (float(f"{n:.6g}") for n in numbers)
        return cls(mean=mean, sd=sd, low=low, p05=p05, median=median, p95=p95, high=high)

    def z_score(self, value: float) -> float:
        """Distance of `value` from the mean in standard deviations, at least 1e-6 of the mean's size wide."""
        return (value - self.mean) / max(self.sd, 1e-6 * abs(self.mean), 1e-12)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFingerprint:
    """What the images and labels of a data set are like; all axes canonical (head, posterior, left).

    Parameters
    ----------
    case_count : int
        Images described.
    image : mapping of str to Distribution
        `image_features` of every image.
    labels : mapping of str to mapping of str to Distribution
        For each segment label, `label_features` over the cases where it is not empty.
    area_profile : mapping of str to tuple of float
        For each segment label the mean share of its volume in each tenth of its extent from posterior to anterior.
    """

    case_count: int
    image: Mapping[str, Distribution]
    labels: Mapping[str, Mapping[str, Distribution]]
    area_profile: Mapping[str, tuple[float, ...]]

    def to_json(self) -> str:
        """Write as canonical JSON (sorted keys), ending in a newline."""
        return json.dumps(asdict(self), sort_keys=True, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DatasetFingerprint:
        """Read back what `to_json` wrote; raises `FingerprintMismatch` if it is something else."""
        try:
            raw: dict[str, Any] = json.loads(text)
            return cls(
                case_count=int(raw["case_count"]),
                image={name: Distribution(**values) for name, values in raw["image"].items()},
                labels={
                    label: {name: Distribution(**values) for name, values in features.items()}
                    for label, features in raw["labels"].items()
                },
                area_profile={label: tuple(shares) for label, shares in raw["area_profile"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FingerprintMismatch("the fingerprint file is not one this version wrote") from error

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def plan(self) -> PreprocessPlan:
        """Plan preprocessing: the median spacing of the data set, rounded to 0.05 mm."""
        z, y, x = (max(0.05, round(self.image[f"spacing_{axis}"].median * 20) / 20) for axis in _AXES)
        return PreprocessPlan(spacing=(z, y, x))


def fingerprint_of(
    cases: Iterable[tuple[Volume, npt.NDArray[np.integer]]], *, labels: Sequence[str]
) -> DatasetFingerprint:
    """Describe a data set.

    Parameters
    ----------
    cases : iterable of (Volume, labels (z, y, x))
        Label value n is ``labels[n - 1]``.
    labels : sequence of str
        Segment labels.

    Raises
    ------
    UnusableVolume
        If an image is unusable, or there is no case, or a label never occurs.
    """
    images: list[Mapping[str, float]] = []
    features: dict[str, list[Mapping[str, float]]] = {label: [] for label in labels}
    profiles: dict[str, list[tuple[float, ...]]] = {label: [] for label in labels}
    for volume, values in cases:
        images.append(image_features(volume))
        for number, label in enumerate(labels, start=1):
            mask = values == number
            if mask.any():
                features[label].append(label_features(mask, volume.grid))
                profiles[label].append(area_profile(mask, volume.grid))
    if not images or not all(features.values()):
        raise UnusableVolume("a fingerprint needs at least one image and at least one example of every label")
    return DatasetFingerprint(
        case_count=len(images),
        image=_distributions(images),
        labels={label: _distributions(found) for label, found in features.items()},
        area_profile={
            label: tuple(float(f"{share:.6g}") for share in np.mean(found, axis=0)) for label, found in profiles.items()
        },
    )


def image_features(volume: Volume) -> Mapping[str, float]:
    """Describe one image: size, spacing, extent in mm, and the shape of its histogram, all by canonical axis.

    Histogram features do not depend on the intensity scale: they are z-scores of percentiles, skewness and kurtosis.
    """
    check_usable(volume)
    voxels, spacing = canonical_view(volume.voxels, volume.grid)
    described: dict[str, float] = {}
    for axis, count, step in zip(_AXES, voxels.shape, spacing, strict=True):
        described[f"size_{axis}"] = float(count)
        described[f"spacing_{axis}"] = float(step)
        described[f"extent_mm_{axis}"] = float(count * step)
    values = voxels.astype(np.float64)
    scored = (values - values.mean()) / values.std()
    for percent in (1, 5, 25, 50, 75, 95, 99):
        described[f"intensity_z_p{percent:02d}"] = float(np.percentile(scored, percent))
    described["intensity_skewness"] = float((scored**3).mean())
    described["intensity_kurtosis"] = float((scored**4).mean())
    return described


def label_features(mask: npt.NDArray[np.bool_], grid: Grid) -> Mapping[str, float]:
    """Describe one mask that is not empty: volume, extent, components, place in the image, by canonical axis."""
    turned, spacing = canonical_view(mask, grid)
    where = np.argwhere(turned)
    extent = (where.max(axis=0) - where.min(axis=0) + 1) * np.array(spacing)
    centre = (where.mean(axis=0) + 0.5) / np.array(turned.shape)
    components, count = ndimage.label(turned, np.ones((3, 3, 3)))
    sizes = np.bincount(components.ravel())[1:]
    described = {
        "volume_ml": float(len(where) * grid.voxel_ml),
        "components": float(count),
        "largest_component": float(sizes.max() / sizes.sum()),
    }
    for axis, length, position in zip(_AXES, extent, centre, strict=True):
        described[f"extent_mm_{axis}"] = float(length)
        described[f"centre_{axis}"] = float(position)
    return described


def area_profile(mask: npt.NDArray[np.bool_], grid: Grid) -> tuple[float, ...]:
    """Share of a mask's volume in each tenth of its own extent, from its posterior to its anterior end."""
    turned, _ = canonical_view(mask, grid)
    areas = turned.sum(axis=(0, 2)).astype(np.float64)[::-1]
    used = np.flatnonzero(areas)
    areas = areas[used[0] : used[-1] + 1]
    edges = np.linspace(0, len(areas), _PROFILE_BINS + 1)
    cumulative = np.interp(edges, np.arange(len(areas) + 1), np.concatenate([[0.0], np.cumsum(areas)]))
    return tuple(float(share) for share in np.diff(cumulative) / areas.sum())


def _distributions(cases: Sequence[Mapping[str, float]]) -> dict[str, Distribution]:
    return {name: Distribution.of([case[name] for case in cases]) for name in sorted(cases[0])}
