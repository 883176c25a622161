"""Pack masks that come plane by plane into label layers, in the canonical order of `segmentation.Segmentation`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dicom_sr.seg_block import Block
from dicom_sr.seg_errors import UnreadableReason, UnreadableSeg
from dicom_sr.seg_placement import FrameLayout
from dicom_sr.segmentation import Layers

#: Memory for the layers of one object; one layer is always allowed. A 512 x 512 x 200 layer takes 100 MiB, and an edit
#: is held in memory as it came, in the stage's schema, and beside its prior.
MAX_LAYER_BYTES = 220 * 1024 * 1024


class Patch(NamedTuple):
    """The occupied part of one frame and where the frame lies on the grid."""

    plane: int
    layout: FrameLayout
    block: Block


class LayerPacker:
    """Puts one segment after the other into the first layer it does not overlap.

    Parameters
    ----------
    shape : tuple of int, (z, y, x)
        Shape of the grid.
    segments : int
        How many segments will be added.
    """

    def __init__(self, shape: tuple[int, int, int], segments: int) -> None:
        self._shape = shape
        self._used = 1
        # Zeros cost no memory until they are written, so room for every layer is taken at once and never copied.
        self._layers = np.zeros((min(max(segments, 1), _most_layers(shape)), *shape), np.uint16)

    def add(self, number: int, patches: Sequence[Patch]) -> int:
        """Add the mask of segment `number` and return its layer; an empty mask goes to layer 0.

        Raises
        ------
        UnreadableSeg
            TOO_LARGE, if so many segments overlap that the layers exceed `MAX_LAYER_BYTES`.
        """
        if not patches:
            return 0
        used = self._layers[: self._used]
        index = next((i for i, layer in enumerate(used) if _is_free(layer, patches)), self._used)
        if index == self._used:
            require_layers(index + 1, self._shape)
            self._used += 1
        for patch in patches:
            np.copyto(_target(self._layers[index], patch), np.uint16(number), where=patch.block.pixels)
        return index

    def layers(self) -> Layers:
        """Return the layers, (layer, z, y, x), uint16; the packer must not be used afterwards."""
        return self._layers[: self._used]


def require_layers(count: int, shape: tuple[int, int, int]) -> None:
    """Refuse more layers of a shape (z, y, x) than `MAX_LAYER_BYTES` allow.

    Raises
    ------
    UnreadableSeg
        TOO_LARGE.
    """
    if count > _most_layers(shape):
        raise UnreadableSeg(UnreadableReason.TOO_LARGE, f"{count} overlapping segments are too many on so large a grid")


def _most_layers(shape: tuple[int, int, int]) -> int:
    return max(1, MAX_LAYER_BYTES // (2 * math.prod(shape)))


def _is_free(layer: npt.NDArray[np.uint16], patches: Sequence[Patch]) -> bool:
    return not any(bool(((_target(layer, patch) != 0) & patch.block.pixels).any()) for patch in patches)


def _target(layer: npt.NDArray[np.uint16], patch: Patch) -> npt.NDArray[np.uint16]:
    """View the voxels under a patch."""
    frame = patch.layout.view(layer, patch.plane)
    top, left, pixels = patch.block
    return frame[top : top + pixels.shape[0], left : left + pixels.shape[1]]
