"""The shipped lesion finder: what is bright for its surroundings, where other patients have lesions.

Three strictnesses each give an answer; the middle one is the result, and how well they agree is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file
from scipy import ndimage

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.brain.heads import LesionMask
from models.brain.lesion_synthesis import LIKELY, PLAN, above_surroundings, boxed, likelihood
from models.brain.view import Float32, brain_view
from models.card import WEIGHTS_FILE
from models.errors import InvalidModel
from models.metrics import dice
from models.preprocess import prepare
from models.registry import ModelCard
from models.segmentation.segmenter import SegmentationResult, check_region

_SHAPE = (24, 36, 30)
_SPACING = (3.0, 1.0, 1.0)
_DEEP_MM = 4.0
_LEAST_VOXELS = 4
#: Brightness above the brain's median and above the surroundings, robust spreads of the brain: lax, middle, strict.
STRICTNESS = ((1.7, 1.3), (2.0, 1.6), (2.4, 1.8))


class OutlierLesions:
    """Finds lesions inside a brain; see `models.segmentation.segmenter.Segmenter`.

    Parameters
    ----------
    card : ModelCard
        Card whose method is ``outliers``; its folder holds the map of where lesions are.

    Raises
    ------
    InvalidModel
        If the map is missing or damaged.
    """

    def __init__(self, card: ModelCard) -> None:
        self.digest = card.digest
        try:
            self._likely: Float32 = load_file(card.folder / WEIGHTS_FILE)["likelihood"].astype(np.float32)
        except (OSError, KeyError, safetensors.SafetensorError) as error:
            raise InvalidModel(f"{WEIGHTS_FILE} is missing or damaged") from error

    def segment(self, volume: Volume, *, region: Mask | None = None) -> SegmentationResult:
        """Segment one image inside the brain."""
        check_region(region, volume.grid, needed=True)
        assert region is not None
        prepared = prepare(volume, PLAN)
        brain: Mask = prepared.apply(region.astype(np.uint8)) > 0.5
        if not brain.any():
            return SegmentationResult(labels=np.zeros(volume.grid.shape, np.uint16), agreement={})
        view = brain_view(prepared.voxels, brain)
        inside = view.channels[1] > 0.5
        likely = self._likely_in(inside.shape)
        answers = [find_bright(view.channels[0], inside, likely, limits) for limits in STRICTNESS]
        whole = np.zeros(prepared.voxels.shape, np.float32)
        whole[view.box] = answers[1]
        lesions = (prepared.restore(whole[None])[0] > 0.5) & region
        return SegmentationResult(
            labels=lesions.astype(np.uint16),
            agreement={1: float(np.mean([dice(a, b) for a, b in combinations(answers, 2)]))},
        )

    def likely_places(self, volume: Volume, brain: Mask) -> Mask:
        """Return where in a brain, not empty, enough patients have a lesion nearby, on the grid of `volume`."""
        prepared = prepare(volume, PLAN)
        view = brain_view(prepared.voxels, prepared.apply(brain.astype(np.uint8)) > 0.5)
        whole = np.zeros(prepared.voxels.shape, np.float32)
        whole[view.box] = self._likely_in(view.channels.shape[1:])
        places: Mask = prepared.restore(whole[None])[0] > 0.5
        return places

    def _likely_in(self, size: tuple[int, ...]) -> Mask:
        likely: Mask = _stretched(self._likely, size) > LIKELY
        return likely


def find_bright(scored: Float32, brain: Mask, likely: Mask, limits: tuple[float, float]) -> Mask:
    """Return pieces that are bright in themselves and for their surroundings, deep in the brain, in a likely place.

    Parameters
    ----------
    scored : numpy.ndarray, (z, y, x), float32
        Robust spreads from the brain's median, 0 outside; 3 x 1 x 1 mm.
    brain, likely : numpy.ndarray, (z, y, x), bool
        The brain, and where lesions may be.
    limits : tuple of float
        Least brightness, and least brightness above the mean of what lies within about 8 mm.
    """
    deep = ndimage.distance_transform_edt(brain, sampling=_SPACING) > _DEEP_MM
    bright = ndimage.gaussian_filter(scored, (0.0, 0.6, 0.6))
    found = deep & likely & (bright > limits[0]) & (above_surroundings(scored, brain) > limits[1])
    pieces, _ = ndimage.label(found)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept: Mask = (sizes >= _LEAST_VOXELS)[pieces]
    return kept


def write_likelihood(masks: Sequence[LesionMask], path: Path) -> None:
    """Average where the patients have lesions, brain box upon brain box, and write the map (z, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"likelihood": likelihood([boxed(mask) for mask in masks], _SHAPE).astype(np.float16)}, path)


def _stretched(values: Float32, size: tuple[int, ...]) -> Float32:
    factors = np.array(values.shape) / np.array(size)
    stretched = ndimage.affine_transform(
        values, factors, offset=(factors - 1) / 2, output_shape=size, order=1, mode="nearest"
    )
    return np.asarray(stretched, np.float32)
