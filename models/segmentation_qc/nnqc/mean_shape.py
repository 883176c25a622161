"""The mean shape: what a pseudo ground truth is worth that never looks at the image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dicom_sr.segmentation import Mask
from models.preprocess import canonical_view, restore_view
from models.segmentation.cases import LabelledVolume
from models.segmentation_qc.structures import StructurePlan
from models.segmentation_qc.table import masks_of

Share = npt.NDArray[np.float32]
T = TypeVar("T", bound=np.generic)


def mean_shape(cases: Iterable[LabelledVolume], plan: StructurePlan, *, size: tuple[int, int, int]) -> dict[str, Share]:
    """Average experts' masks, the centres of their images laid on each other.

    Parameters
    ----------
    cases : iterable of LabelledVolume
        Training images.
    plan : StructurePlan
        Structures.
    size : tuple of int, (z, y, x)
        Grid of the average, canonical axes.

    Returns
    -------
    dict of str to numpy.ndarray, (z, y, x), float32
        By segment label the share of the masks that hold each voxel.
    """
    sums = {label: np.zeros(size, dtype=np.float32) for label in plan.labels}
    count = 0
    for case in cases:
        labels, _ = canonical_view(case.expert.astype(np.uint8), case.volume.grid)
        for label, mask in masks_of(labels, plan).items():
            sums[label] += centred(mask.astype(np.float32), size)
        count += 1
    return {label: (total / max(count, 1)).astype(np.float32) for label, total in sums.items()}


def laid_on(shapes: dict[str, Share], case: LabelledVolume) -> dict[str, Mask]:
    """Lay the mean shape on the middle of an image; returns masks (z, y, x) on its grid."""
    turned, _ = canonical_view(case.volume.voxels, case.volume.grid)
    return {
        label: restore_view(centred(share >= 0.5, turned.shape), case.volume.grid) for label, share in shapes.items()
    }


def centred(values: npt.NDArray[T], shape: tuple[int, ...]) -> npt.NDArray[T]:
    """Cut or pad with zeros to `shape`, the centre staying the centre."""
    laid: npt.NDArray[T] = np.zeros(shape, dtype=values.dtype)
    source, target = [], []
    for have, want in zip(values.shape, shape, strict=True):
        common = min(have, want)
        source.append(slice((have - common) // 2, (have - common) // 2 + common))
        target.append(slice((want - common) // 2, (want - common) // 2 + common))
    laid[tuple(target)] = values[tuple(source)]
    return laid
