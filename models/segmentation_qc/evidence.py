"""What speaks for and against a candidate mask: its agreement with the pseudo ground truth and with known anatomy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields

import numpy as np
import numpy.typing as npt

from dicom_sr.segmentation import Mask
from models.metrics import dice, surface_distances

Spacing = tuple[float, float, float]
Vector = npt.NDArray[np.float64]

_FAR_MM = 40.0  # stands for a surface distance that does not exist because one mask is empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Numbers on one candidate mask, each oriented so that larger is better.

    Parameters
    ----------
    overlap : float
        Dice with the pseudo ground truth, 0..1.
    expected_overlap : float
        Dice expected if the network's probabilities were true, 0..1.
    surface_dice : float
        Share of both surfaces within 1 mm of the other, 0..1.
    closeness_95 : float
        Minus the 95th-percentile Hausdorff distance to the pseudo ground truth, mm.
    closeness : float
        Minus the average symmetric surface distance, mm.
    volume_match : float
        Minus the absolute log ratio of the volumes.
    shape_match : float
        Minus the largest absolute z-score of volume and extents against the training patients.
    image_match : float
        Minus the distance of the image from the training images.
    confidence : float
        Dice expected of the pseudo ground truth itself if the network's probabilities were true: how clear the image
        is to the network, whatever the candidate.
    """

    overlap: float
    expected_overlap: float
    surface_dice: float
    closeness_95: float
    closeness: float
    volume_match: float
    shape_match: float
    image_match: float
    confidence: float

    def as_vector(self) -> Vector:
        """Return the numbers in declared order, (evidence,), float64."""
        return np.array(astuple(self), np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionEvidence(Evidence):
    """The same, and what nnQC paints in the same image: once knowing the candidate, once not.

    Parameters
    ----------
    diffusion_overlap : float
        Dice with the mask painted for this candidate, 0..1.
    diffusion_expected : float
        Dice expected if the probabilities painted for this candidate were true, 0..1.
    diffusion_blank_overlap : float
        Dice with the mask painted from the image alone, 0..1.
    diffusion_blank_expected : float
        Dice expected if the probabilities painted from the image alone were true, 0..1.
    diffusion_surface : float
        Share of both surfaces, the candidate's and that of the mask painted for it, within 1 mm of the other, 0..1.
    """

    diffusion_overlap: float
    diffusion_expected: float
    diffusion_blank_overlap: float
    diffusion_blank_expected: float
    diffusion_surface: float


EVIDENCE_NAMES = tuple(f.name for f in fields(Evidence))
DIFFUSION_EVIDENCE_NAMES = tuple(f.name for f in fields(DiffusionEvidence))


def evidence_names(count: int) -> tuple[str, ...]:
    """Return the names of `count` numbers of evidence: those of `Evidence`, or of `DiffusionEvidence`.

    Raises
    ------
    ValueError
        If it is neither.
    """
    for names in (EVIDENCE_NAMES, DIFFUSION_EVIDENCE_NAMES):
        if len(names) == count:
            return names
    raise ValueError(f"no evidence has {count} numbers")


def evidence_from(values: Sequence[float]) -> Evidence:
    """Build evidence from its numbers in declared order; raises ValueError as `evidence_names` does."""
    names = evidence_names(len(values))
    kind = Evidence if names == EVIDENCE_NAMES else DiffusionEvidence
    return kind(**dict(zip(names, values, strict=True)))


def widen(
    evidence: Evidence,
    candidate: Mask,
    *,
    painted: tuple[Mask, npt.NDArray[np.float32]],
    blank: tuple[Mask, npt.NDArray[np.float32]],
    spacing: Spacing,
) -> DiffusionEvidence:
    """Add what nnQC paints.

    Parameters
    ----------
    evidence : Evidence
        Gathered from the second network.
    candidate : numpy.ndarray, (z, y, x), bool
        Mask; may be empty.
    painted, blank : tuple of (mask (z, y, x) bool, probability (z, y, x) float32)
        For this candidate, and from the image alone.
    spacing : tuple of float, (z, y, x)
        mm.
    """
    return DiffusionEvidence(
        **asdict(evidence),
        diffusion_overlap=dice(candidate, painted[0]),
        diffusion_expected=expected_dice(candidate, painted[1]),
        diffusion_blank_overlap=dice(candidate, blank[0]),
        diffusion_blank_expected=expected_dice(candidate, blank[1]),
        diffusion_surface=_surfaces(candidate, painted[0], spacing)[0],
    )


def gather_evidence(
    candidate: Mask,
    pseudo_truth: Mask,
    probability: npt.NDArray[np.float32],
    *,
    spacing: Spacing,
    shape_z: float,
    image_distance: float,
) -> Evidence:
    """Compare a candidate with the pseudo ground truth.

    Parameters
    ----------
    candidate, pseudo_truth : numpy.ndarray, (z, y, x), bool
        Masks on one grid; either may be empty.
    probability : numpy.ndarray, (z, y, x), float32
        The network's probability of the structure.
    spacing : tuple of float, (z, y, x)
        mm.
    shape_z : float
        Largest absolute z-score of the candidate's shape.
    image_distance : float
        Distance of the image from the training images; 1 is typical.
    """
    near, mean, worst = _surfaces(candidate, pseudo_truth, spacing)
    voxels, others = int(candidate.sum()), int(pseudo_truth.sum())
    return Evidence(
        overlap=dice(candidate, pseudo_truth),
        expected_overlap=expected_dice(candidate, probability),
        surface_dice=near,
        closeness_95=-worst,
        closeness=-mean,
        volume_match=-abs(math.log((voxels + 1) / (others + 1))),
        shape_match=-min(shape_z, 20.0),
        image_match=-min(image_distance, 10.0),
        confidence=expected_dice(pseudo_truth, probability),
    )


def expected_dice(mask: Mask, probability: npt.NDArray[np.float32]) -> float:
    """Return the Dice of a mask with a probability map, 0..1; 1 when both are empty."""
    total = float(mask.sum()) + float(probability.sum())
    return 2.0 * float(probability[mask].sum()) / total if total > 1e-6 else 1.0


def _surfaces(a: Mask, b: Mask, spacing: Spacing) -> tuple[float, float, float]:
    """Surface Dice at 1 mm, average symmetric surface distance and HD95, from one computation."""
    if not a.any() or not b.any():
        agree = not a.any() and not b.any()
        return (1.0, 0.0, 0.0) if agree else (0.0, _FAR_MM, _FAR_MM)
    forth, back = surface_distances(a, b, spacing)
    both = np.concatenate([forth, back])
    worst = max(float(np.percentile(forth, 95)), float(np.percentile(back, 95)))
    return float((both <= 1.0).mean()), min(float(both.mean()), _FAR_MM), min(worst, _FAR_MM)
