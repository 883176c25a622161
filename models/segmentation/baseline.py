"""The plain answers a network has to beat: the mean shape of the training patients, cut in two at a fixed place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.errors import UnusableVolume
from models.preprocess import canonical_view, restore_view
from models.segmentation.cases import LabelledVolume

_BOX = (40, 56, 40)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanShape:
    """What a hippocampus crop looks like on average, in canonical axes, as fractions of the crop.

    Parameters
    ----------
    frequency : numpy.ndarray, (z, y, x), float32
        Share of training crops that have hippocampus there, all crops resampled to one box.
    threshold : float
        Frequency above which the baseline says hippocampus: gives the mean training volume.
    anterior_share : float
        Mean share of the length along the posterior-anterior axis that is anterior.
    """

    frequency: npt.NDArray[np.float32]
    threshold: float
    anterior_share: float

    def place(self, volume: Volume) -> Mask:
        """Return the mean shape as a mask on the grid of `volume`."""
        canonical, _ = canonical_view(volume.voxels, volume.grid)
        mask = _resampled(self.frequency, canonical.shape) > self.threshold
        return restore_view(mask, volume.grid)

    def divide(self, mask: Mask, volume: Volume) -> npt.NDArray[np.uint8]:
        """Cut a mask across its posterior-anterior extent at the mean place; 1 is anterior, 2 posterior."""
        canonical, _ = canonical_view(mask, volume.grid)
        rows = np.flatnonzero(canonical.any(axis=(0, 2)))
        parts = np.zeros(canonical.shape, np.uint8)
        if len(rows):
            border = rows[0] + self.anterior_share * (rows[-1] + 1 - rows[0])
            is_anterior = (np.arange(canonical.shape[1]) + 0.5 < border)[None, :, None]
            parts = np.where(canonical, np.where(is_anterior, 1, 2), 0).astype(np.uint8)
        return restore_view(parts, volume.grid)


def mean_shape(cases: Iterable[LabelledVolume]) -> MeanShape:
    """Average the expert masks of training crops (values 1 anterior, 2 posterior).

    Raises
    ------
    UnusableVolume
        If there is no case.
    """
    total = np.zeros(_BOX, np.float64)
    shares, fractions = [], []
    for case in cases:
        expert, _ = canonical_view(case.expert, case.volume.grid)
        total += _resampled((expert > 0).astype(np.float32), _BOX)
        fractions.append(float((expert > 0).mean()))
        rows, front = (np.flatnonzero(m.any(axis=(0, 2))) for m in (expert > 0, expert == 1))
        shares.append((front[-1] + 1 - rows[0]) / len(rows) if len(front) else 0.0)
    if not fractions:
        raise UnusableVolume("the baseline needs training cases")
    frequency = (total / len(fractions)).astype(np.float32)
    threshold = float(np.quantile(frequency, 1 - float(np.mean(fractions))))
    return MeanShape(frequency=frequency, threshold=threshold, anterior_share=float(np.mean(shares)))


def _resampled(values: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    factors = np.array(values.shape) / np.array(shape)
    placed = ndimage.affine_transform(
        values, factors, offset=(factors - 1) / 2, output_shape=shape, order=1, mode="nearest"
    )
    return np.asarray(placed, np.float32)
