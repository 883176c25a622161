"""Probability maps in the steps of a FRACTIONAL segmentation object (1/255), one segment in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from dicom_sr.segmentation import Segmentation

#: Maximum Fractional Value (0062,000E) of the maps we write: probability 1.
MAXIMUM_FRACTIONAL_VALUE = 255

Steps = npt.NDArray[np.uint8]
#: Probabilities 0..1, or what is in steps of 1/255 already.
Map = npt.NDArray[np.floating] | Steps


def in_steps(values: Map) -> Steps:
    """Return probabilities in steps of 1/255; integers of 8 bits are steps already and come back as they are.

    Parameters
    ----------
    values : numpy.ndarray of any shape, float or uint8
        Floats outside 0..1 are cut.
    """
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    steps: Steps = np.rint(np.clip(values, 0, 1) * np.float32(MAXIMUM_FRACTIONAL_VALUE)).astype(np.uint8)
    return steps


def is_probability(values: Map) -> bool:
    """Whether every value is within 0..1, or in steps already; NaN is not."""
    return values.dtype == np.uint8 or bool(values.min() >= 0 and values.max() <= 1)


class MaskMaps(Mapping[int, Map]):
    """Masks as probabilities 0 and 1 by segment number, each made when it is asked for: never a one-hot array.

    Parameters
    ----------
    segmentation : Segmentation
        Whose masks.
    """

    def __init__(self, segmentation: Segmentation) -> None:
        self._segmentation = segmentation
        self._segments = {segment.number: segment for segment in segmentation.segments}

    def __getitem__(self, number: int) -> Map:
        """Return one mask, (z, y, x), in steps: 0 or 255."""
        mask = self._segmentation.mask(self._segments[number])
        return mask.view(np.uint8) * np.uint8(MAXIMUM_FRACTIONAL_VALUE)

    def __iter__(self) -> Iterator[int]:
        """Iterate over the segment numbers."""
        return iter(self._segments)

    def __len__(self) -> int:
        """Count the segments."""
        return len(self._segments)
