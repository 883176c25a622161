"""Simulated scans with exact grades: what motion, noise and contrast a real image was given, and images to refuse.

Grades follow Bottani et al. (MedIA 75, 2022): 0 none, 1 moderate, 2 severe, for motion, contrast and noise each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from dicom_sr.volume import Grid, Volume
from models.image_qc.artefacts import Artefact, degrade

# Severities of `artefacts.degrade`. Motion: 0.25-0.45 is 1.0-1.8 mm, 0.6 and more is beyond 2.4 mm root mean square.
# Between the grades lies a gap: nobody can say which of two grades an image on the border has.
SEVERITIES = {1: (0.25, 0.45), 2: (0.6, 1.0)}
_SLAB_MM = 46.0
_TISSUE_LEVEL = 0.1


class Reject(StrEnum):
    """Images that are none of the wanted sequence, made from one that is."""

    INVERTED = "INVERTED"
    NOISE_ONLY = "NOISE_ONLY"
    LABEL_MAP = "LABEL_MAP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grades:
    """How degraded a scan is.

    Parameters
    ----------
    motion, noise, contrast : int
        0 none, 1 moderate, 2 severe.
    reject : bool
        Not the wanted sequence or no image at all; then the other grades mean nothing.
    """

    motion: int = 0
    noise: int = 0
    contrast: int = 0
    reject: bool = False

    @property
    def tier(self) -> int:
        """1 (all grades 0), 2 (some 1, no 2) or 3 (some 2)."""
        return 1 + max(self.motion, self.noise, self.contrast)

    @property
    def worst(self) -> str:
        """Which artefacts have the highest grade, as words; empty for tier 1."""
        grades = {"motion": self.motion, "noise": self.noise, "contrast": self.contrast}
        top = max(grades.values())
        return " and ".join(name for name, grade in grades.items() if grade == top) if top else ""


def random_grades(random: np.random.Generator, tiers: tuple[float, float, float]) -> Grades:
    """Draw grades so that tiers 1, 2 and 3 come with the probabilities `tiers`.

    The artefact that makes the tier is drawn evenly; another one below it joins in a third of the scans.
    """
    worst = int(random.choice(3, p=tiers))
    grades = [0, 0, 0]
    if worst:
        order = random.permutation(3)
        grades[int(order[0])] = worst
        if random.random() < 1 / 3:
            grades[int(order[1])] = int(random.integers(1, worst + 1))
    motion, noise, contrast = grades
    return Grades(motion=motion, noise=noise, contrast=contrast)


def simulated(volume: Volume, grades: Grades, random: np.random.Generator) -> Volume:
    """Degrade a good image as `grades` say: contrast first, then motion, then noise, in the order a scanner adds them.

    Parameters
    ----------
    volume : Volume
        A good image on the grid it was acquired on, since motion and noise happen there.
    grades : Grades
        `reject` is not looked at; see `rejected`.
    random : numpy.random.Generator
        Source of all randomness.
    """
    made = volume
    if grades.contrast:
        severity = _severity(grades.contrast, random)
        compress = random.random() < 0.5
        made = compressed(made, severity) if compress else degrade(made, Artefact.BLUR, severity, random)
    if grades.motion:
        made = degrade(made, Artefact.MOTION, _severity(grades.motion, random), random)
    if grades.noise:
        made = degrade(made, Artefact.NOISE, _severity(grades.noise, random), random)
    return made


def compressed(volume: Volume, severity: float) -> Volume:
    """Bring tissue intensities together around their median by the factor 1 - 0.9 * severity; air stays dark."""
    voxels = volume.voxels.astype(np.float32)
    floor = _TISSUE_LEVEL * float(np.percentile(voxels, 99.0))
    tissue = voxels[voxels > floor]
    middle = float(np.median(tissue)) if tissue.size else 0.0
    share = np.clip(voxels / max(floor, 1e-6) - 1.0, 0.0, 1.0)
    squeezed = middle + (voxels - middle) * (1.0 - 0.9 * severity)
    return replace(volume, voxels=(share * squeezed + (1.0 - share) * voxels).astype(np.float32))


def rejected(volume: Volume, kind: Reject, random: np.random.Generator) -> Volume:
    """Make an image to refuse out of a good one: inverted contrast, nothing but noise, or a map of three labels."""
    voxels = volume.voxels.astype(np.float32)
    match kind:
        case Reject.INVERTED:
            made = float(np.percentile(voxels, 99.5)) - np.minimum(voxels, np.percentile(voxels, 99.5))
        case Reject.NOISE_ONLY:
            made = np.hypot(random.normal(0, 1, voxels.shape), random.normal(0, 1, voxels.shape))
        case Reject.LABEL_MAP:
            made = np.digitize(voxels, np.quantile(voxels, sorted(random.uniform(0.4, 0.95, 2)))).astype(np.float32)
    return replace(volume, voxels=np.asarray(made, np.float32))


def random_slab(volume: Volume, random: np.random.Generator) -> Volume:
    """Cut a slab of about 46 mm along the first axis out of the middle, to degrade less than a whole head."""
    depth, height, width = volume.grid.shape
    size = int(np.ceil(_SLAB_MM / volume.grid.spacing[0]))
    if depth <= size:
        return volume
    margin = min(depth // 10, (depth - size) // 2)
    start = int(random.integers(margin, depth - size - margin + 1))
    affine = volume.grid.affine.copy()
    affine[:3, 3] = (volume.grid.affine @ np.array([start, 0.0, 0.0, 1.0]))[:3]
    voxels = np.ascontiguousarray(volume.voxels[start : start + size])
    return Volume(grid=Grid(shape=(size, height, width), affine=affine), voxels=voxels, modality=volume.modality)


def _severity(grade: int, random: np.random.Generator) -> float:
    low, high = SEVERITIES[grade]
    return float(random.uniform(low, high))
