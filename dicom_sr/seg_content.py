"""What was read from a segmentation object: masks on the grid of its source, and what was odd about it, as data.

Oddities that do not change a mask are warnings, oddities that put a mask in doubt are conflicts. Whether a conflict
holds an edit is decided by `match`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from dicom_sr.seg_block import crop
from dicom_sr.seg_header import SegHeader
from dicom_sr.seg_layers import LayerPacker, Patch
from dicom_sr.seg_placement import SLICE_LAYOUT
from dicom_sr.segmentation import Layers, Mask, Segment, Segmentation
from dicom_sr.volume import Grid

#: Segment Number (0062,0004) is an unsigned 16-bit value.
MAX_SEGMENT_NUMBER = 65535


class SegWarningCode(StrEnum):
    """An oddity that does not change a mask."""

    NO_CHARACTER_SET = "NO_CHARACTER_SET"
    PADDED_FRAMES = "PADDED_FRAMES"
    UNPACKED_BITS = "UNPACKED_BITS"
    SPACING_FROM_SOURCE = "SPACING_FROM_SOURCE"
    BACKGROUND_SEGMENT = "BACKGROUND_SEGMENT"
    SEVERAL_FRAMES_ON_PLANE = "SEVERAL_FRAMES_ON_PLANE"
    TURNED_FRAMES = "TURNED_FRAMES"
    FRAMES_WITHOUT_SOURCE = "FRAMES_WITHOUT_SOURCE"
    THRESHOLDED = "THRESHOLDED"


class SegConflictCode(StrEnum):
    """An oddity that puts a mask in doubt."""

    OFF_GRID = "OFF_GRID"
    PLANE_SOURCE_CONFLICT = "PLANE_SOURCE_CONFLICT"
    DOUBLED_PLANE = "DOUBLED_PLANE"
    UNDECLARED_SEGMENT = "UNDECLARED_SEGMENT"
    DOUBLED_SEGMENT_NUMBER = "DOUBLED_SEGMENT_NUMBER"
    #: A segment has the number 0 or that of the background (Pixel Padding Value) and yet is called something else.
    BACKGROUND_IN_DOUBT = "BACKGROUND_IN_DOUBT"


@dataclass(frozen=True, slots=True)
class SegWarning:
    """A warning and how many frames (or segments) it concerns."""

    code: SegWarningCode
    count: int


@dataclass(frozen=True, slots=True)
class SegConflict:
    """A conflict and how many frames, voxels or segments it concerns."""

    code: SegConflictCode
    count: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegContent:
    """Header and masks of a segmentation object on the grid of its source.

    Parameters
    ----------
    header : SegHeader
        The header.
    grid : Grid
        Grid of the source.
    layers : numpy.ndarray, (layer, z, y, x), uint16
        Segment Numbers of the object; frames with a conflict of place or number are left out.
    layers_of : mapping of int to tuple of int
        For each declared foreground Segment Number the layers that may hold its voxels.
    warnings : tuple of SegWarning
        Oddities without consequence.
    conflicts : tuple of SegConflict
        Oddities that put a mask in doubt.
    """

    header: SegHeader
    grid: Grid
    layers: Layers
    layers_of: Mapping[int, tuple[int, ...]]
    warnings: tuple[SegWarning, ...]
    conflicts: tuple[SegConflict, ...]

    @property
    def masks(self) -> Mapping[int, Mask]:
        """Mask of every declared segment by number, each (z, y, x), bool; for small objects and tests."""
        return {number: self.mask(number) for number in self.layers_of}

    def mask(self, number: int) -> Mask:
        """Mask of one declared segment by its number in the object, (z, y, x), bool."""
        mask = np.zeros(self.grid.shape, np.bool_)
        for layer in self.layers_of[number]:
            mask |= self.layers[layer] == number
        return mask

    def segmentation(self, schema: Sequence[Segment], number_of: Mapping[str, int]) -> Segmentation:
        """Express the masks in another schema.

        Parameters
        ----------
        schema : sequence of Segment
            Segments of the result.
        number_of : mapping of str to int
            For each label of the schema the Segment Number in this object; a label that is absent is an empty segment.

        Returns
        -------
        Segmentation
            Packed in the canonical order of the schema.
        """
        if len(self.layers) == 1:
            return self._renumbered(schema, number_of)
        packer = LayerPacker(self.grid.shape, len(schema))
        layer_of = []
        for segment in schema:
            number = number_of.get(segment.label)
            patches = [] if number is None else self._patches(number)
            layer_of.append(packer.add(segment.number, patches))
        return Segmentation(grid=self.grid, segments=tuple(schema), layers=packer.layers(), layer_of=tuple(layer_of))

    def _renumbered(self, schema: Sequence[Segment], number_of: Mapping[str, int]) -> Segmentation:
        table = np.zeros(MAX_SEGMENT_NUMBER + 1, np.uint16)
        for segment in schema:
            if number_of.get(segment.label) in self.layers_of:
                table[number_of[segment.label]] = segment.number
        same = all(table[number] == number for number in self.layers_of)
        layers = self.layers if same else np.take(table, self.layers)
        return Segmentation(grid=self.grid, segments=tuple(schema), layers=layers, layer_of=(0,) * len(schema))

    def _patches(self, number: int) -> list[Patch]:
        patches = []
        for z in range(self.grid.shape[0]):
            mask = np.zeros(self.grid.shape[1:], np.bool_)
            for layer in self.layers_of.get(number, ()):
                mask |= self.layers[layer, z] == number
            block = crop(mask)
            if block is not None:
                patches.append(Patch(z, SLICE_LAYOUT, block))
        return patches
