"""The brain by threshold and morphology under a dozen recipes, of which those with a plausible volume vote.

One recipe cannot fit every contrast: too low a threshold keeps dura and marrow, too high a one loses cortex, too small
an erosion leaves a bridge to the scalp. Such failures show in the volume. What is left votes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.brain.extract import Float32, Recipe, extract_by_all, flattened, largest_piece
from models.preprocess import Prepared, PreprocessPlan, prepare

PLAN = PreprocessPlan(spacing=(2.0, 2.0, 2.0), lower_percentile=0.0, upper_percentile=100.0)
RECIPES = tuple(
    Recipe(low=low, erode_mm=erode, grow_mm=erode + 3.0) for low in (0.4, 0.5, 0.6) for erode in (3.0, 4.0, 5.0, 6.0)
)
#: Volumes that vote, ml; 20 brains of adults measured here have 1110 to 1452 ml.
PLAUSIBLE_ML = (1000.0, 1700.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drafts:
    """What the recipes make of an image, canonical axes, 2 mm.

    Parameters
    ----------
    prepared : Prepared
        The image, and the way back to its grid.
    flat : numpy.ndarray, (z, y, x), float32
        The image divided by the local mean of the head: about 1 in tissue.
    voters : list of numpy.ndarray, (z, y, x), bool
        Drafts with a volume a brain can have; all of them where none has.
    """

    prepared: Prepared
    flat: Float32
    voters: list[Mask]

    @property
    def share(self) -> Float32:
        """Share of the voters that take a place for brain, 0..1."""
        share: Float32 = np.mean(np.stack(self.voters), axis=0, dtype=np.float32)
        return share


def drafts_of(volume: Volume) -> Drafts:
    """Make the drafts of every recipe.

    Raises
    ------
    UnusableVolume
        If the image is not finite, constant, too thin or sheared.
    """
    prepared = prepare(volume, PLAN)
    spacing = prepared.spacing
    flat = flattened(prepared.voxels - prepared.voxels.min(), spacing)
    drafts = list(extract_by_all(flat, spacing, RECIPES))
    return Drafts(prepared=prepared, flat=flat, voters=plausible(drafts, float(np.prod(spacing)) / 1000.0))


def vote(drafts: Drafts) -> Mask:
    """Return where most voters see brain, one piece without holes, on the grid of the image."""
    brain: Mask = ndimage.binary_fill_holes(largest_piece(drafts.prepared.restore(drafts.share[None])[0] > 0.5))
    return brain


def plausible(drafts: list[Mask], voxel_ml: float) -> list[Mask]:
    """Return the drafts whose volume a brain can have; all of them when none has, for the volume to be seen later."""
    low, high = PLAUSIBLE_ML
    kept = [draft for draft in drafts if low <= float(draft.sum()) * voxel_ml <= high]
    return kept or drafts
