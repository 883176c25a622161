"""The shipped brain mask: threshold and morphology under a dozen recipes, of which those with a plausible volume vote.

One recipe cannot fit every contrast: too low a threshold keeps dura and marrow, too high a one loses cortex, too small
an erosion leaves a bridge to the scalp. Such failures show in the volume. What is left votes, and how well it agrees is
reported like the agreement of an ensemble.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import ndimage

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.brain.extract import Float32, Recipe, extract_canonical, flattened, largest_piece
from models.metrics import dice
from models.preprocess import PreprocessPlan, prepare
from models.registry import ModelCard
from models.segmentation.segmenter import SegmentationResult, check_region

_PLAN = PreprocessPlan(spacing=(2.0, 2.0, 2.0), lower_percentile=0.0, upper_percentile=100.0)
RECIPES = tuple(
    Recipe(low=low, erode_mm=erode, grow_mm=erode + 3.0) for low in (0.4, 0.5, 0.6) for erode in (3.0, 4.0, 5.0, 6.0)
)
#: Volumes that vote, ml; 20 brains of adults measured here have 1110 to 1452 ml.
PLAUSIBLE_ML = (1000.0, 1700.0)


class ConsensusBrain:
    """Segments the brain of a whole head; see `models.segmentation.segmenter.Segmenter`.

    Parameters
    ----------
    card : ModelCard
        Card whose method is ``consensus``.
    """

    def __init__(self, card: ModelCard) -> None:
        self.digest = card.digest

    def segment(self, volume: Volume, *, region: Mask | None = None) -> SegmentationResult:
        """Segment one image; a region is not looked at."""
        check_region(region, volume.grid, needed=False)
        prepared = prepare(volume, _PLAN)
        spacing = prepared.spacing
        flat = flattened(prepared.voxels - prepared.voxels.min(), spacing)
        drafts = [extract_canonical(flat, spacing, recipe) for recipe in RECIPES]
        voters = plausible(drafts, float(np.prod(spacing)) / 1000.0)
        share: Float32 = np.mean(np.stack(voters), axis=0, dtype=np.float32)
        brain = ndimage.binary_fill_holes(largest_piece(prepared.restore(share[None])[0] > 0.5))
        pairs = [dice(a, b) for a, b in combinations(voters, 2)]
        return SegmentationResult(labels=brain.astype(np.uint16), agreement={1: float(np.mean(pairs))} if pairs else {})


def plausible(drafts: list[Mask], voxel_ml: float) -> list[Mask]:
    """Return the drafts whose volume a brain can have; all of them when none has, for the volume to be seen later."""
    low, high = PLAUSIBLE_ML
    kept = [draft for draft in drafts if low <= float(draft.sum()) * voxel_ml <= high]
    return kept or drafts
