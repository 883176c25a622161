"""Put somebody else's label map onto the grid that was asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.volume import Grid
from models.errors import UnsuitableAnswer

_COVERED_MM = 1.0


def labels_on_grid(answer: Grid, values: npt.NDArray[np.generic], asked: Grid) -> npt.NDArray[np.uint16]:
    """Take each asked voxel from the nearest voxel of the answer; exact when both grids are turns of one another.

    Parameters
    ----------
    answer : Grid
        Grid of `values`.
    values : numpy.ndarray, (z, y, x)
        Labels; integers, also when stored as floats.
    asked : Grid
        Grid to fill.

    Raises
    ------
    UnsuitableAnswer
        If a value is not a label, or the answer does not cover the asked image to within a voxel and 1 mm.
    """
    labels = _as_labels(values)
    if answer.is_same_as(asked):
        return labels
    try:
        mapping = np.linalg.inv(answer.affine) @ asked.affine
    except np.linalg.LinAlgError as error:
        raise UnsuitableAnswer("the answer has no usable geometry") from error
    if not _covers(answer, mapping, asked):
        raise UnsuitableAnswer("the answer lies elsewhere than the image, or covers only a part of it")
    matrix, offset = mapping[:3, :3], mapping[:3, 3]
    placed = ndimage.affine_transform(labels, matrix, offset, output_shape=asked.shape, order=0, mode="nearest")
    return np.asarray(placed, np.uint16)


def _as_labels(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint16]:
    numbers = np.asarray(values, np.float64)
    if not np.isfinite(numbers).all() or np.abs(numbers - np.round(numbers)).max(initial=0) > 1e-3:
        raise UnsuitableAnswer("the answer holds values that are not integers")
    if numbers.min(initial=0) < 0 or numbers.max(initial=0) > 65535:
        raise UnsuitableAnswer("the answer holds values outside 0..65535")
    return np.round(numbers).astype(np.uint16)


def _covers(answer: Grid, mapping: npt.NDArray[np.float64], asked: Grid) -> bool:
    far = [n - 1 for n in asked.shape]
    corners = np.array([[z, y, x, 1] for z in (0, far[0]) for y in (0, far[1]) for x in (0, far[2])], np.float64)
    index = (mapping @ corners.T)[:3]
    slack = 1.0 + _COVERED_MM / np.array(answer.spacing)
    last = np.array(answer.shape) - 1
    return bool((index >= -slack[:, None]).all() and (index <= (last + slack)[:, None]).all())
