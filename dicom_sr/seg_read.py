"""Read any segmentation object to masks on the grid of its source: tolerant of what real editors write, not resampled.

What is odd about an object is data (`seg_content`); only what cannot be read at all is an exception, `UnreadableSeg`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from pydicom.dataset import Dataset

from dicom_sr.errors import GeometryMismatch
from dicom_sr.seg_block import crop
from dicom_sr.seg_content import (
    MAX_SEGMENT_NUMBER,
    SegConflict,
    SegConflictCode,
    SegContent,
    SegWarning,
    SegWarningCode,
)
from dicom_sr.seg_errors import UnreadableReason, UnreadableSeg, refusing
from dicom_sr.seg_header import DeclaredSegment, SegHeader, read_seg_header
from dicom_sr.seg_kind import SegKind
from dicom_sr.seg_layers import LayerPacker, Patch, require_layers
from dicom_sr.seg_open import open_seg, parse_seg
from dicom_sr.seg_pixels import Frame, PixelFrames, open_pixels
from dicom_sr.seg_placement import Placement, place_frames
from dicom_sr.segmentation import Layers
from dicom_sr.source import SourceSeries
from dicom_sr.volume import Grid

__all__ = [
    "DeclaredSegment",
    "SegConflict",
    "SegConflictCode",
    "SegContent",
    "SegHeader",
    "SegWarning",
    "SegWarningCode",
    "UnreadableReason",
    "UnreadableSeg",
    "open_seg",
    "parse_seg",
    "read_seg",
    "read_seg_header",
]

#: Frames per (segment, plane) beyond which an object is refused before anything is decoded.
_MAX_REPEATS = 4


def read_seg(ds: Dataset, source: SourceSeries, *, header: SegHeader | None = None) -> SegContent:
    """Read a segmentation object onto the grid of `source`.

    Parameters
    ----------
    ds : pydicom.Dataset
        From `open_seg`, or any dataset with Pixel Data.
    source : SourceSeries
        The series whose grid the masks are wanted on.
    header : SegHeader, optional
        The header of `ds` when it was read before.

    Returns
    -------
    SegContent
        With every warning and conflict counted.

    Raises
    ------
    UnreadableSeg
        If the object cannot be read; nothing is allocated before its declared size was checked.
    GeometryMismatch
        If the source has no grid.

    References
    ----------
    PS3.3 C.8.20.2 (Segmentation Image), C.7.6.16 (functional groups).
    """
    if source.grid is None:
        raise GeometryMismatch("the source series is not a regular volume, so nothing can lie on its grid")
    header = read_seg_header(ds) if header is None else header
    _require_plausible_count(header, source.grid)
    with refusing(UnreadableReason.UNDECODABLE_PIXELS, "the frames cannot be decoded"):
        pixels = open_pixels(ds, header)
        reading = _Reading(header=header, source=source, grid=source.grid, pixels=pixels)
        return reading.content()


def _require_plausible_count(header: SegHeader, grid: Grid) -> None:
    most = _MAX_REPEATS * max(grid.shape) * max(1, len(header.segments))
    if header.frames.count > most:
        raise UnreadableSeg(UnreadableReason.TOO_LARGE, "there are far more frames than segments and planes")


class _Reading:
    """One reading of one object: places, decodes and packs its frames, counting what is odd."""

    def __init__(self, *, header: SegHeader, source: SourceSeries, grid: Grid, pixels: PixelFrames) -> None:
        self._header = header
        self._source = source
        self._grid = grid
        self._pixels = pixels
        self._warnings: Counter[SegWarningCode] = Counter()
        self._conflicts: Counter[SegConflictCode] = Counter()
        padding = header.pixel_padding_value
        self._background = {0} if padding is None else {0, padding}
        numbers = {segment.number for segment in header.foreground} - self._background
        self._declared = frozenset(number for number in numbers if 0 < number <= MAX_SEGMENT_NUMBER)
        self._is_declared = np.isin(np.arange(MAX_SEGMENT_NUMBER + 1), list(self._declared))
        self._usual_bytes = bytes([0, *(number for number in self._declared if number < 256)])
        self._is_background = np.isin(np.arange(MAX_SEGMENT_NUMBER + 1), list(self._background))

    def content(self) -> SegContent:
        """Read everything."""
        header = self._header
        placement = place_frames(header.frames, self._source, self._grid, rows=header.rows, columns=header.columns)
        self._look_at_header()
        self._look_at_places(placement)
        placed = [i for i, plane in enumerate(placement.planes) if plane >= 0]
        if header.kind is SegKind.LABELMAP:
            layers, layers_of = self._read_labels(placement, placed)
        else:
            layers, layers_of = self._read_masks(placement, placed)
        return SegContent(
            header=header,
            grid=self._grid,
            layers=layers,
            layers_of=layers_of,
            warnings=tuple(SegWarning(code, count) for code, count in sorted(self._warnings.items()) if count),
            conflicts=tuple(SegConflict(code, count) for code, count in sorted(self._conflicts.items()) if count),
        )

    def _look_at_header(self) -> None:
        header = self._header
        numbers = Counter(segment.number for segment in header.segments)
        foreground = [segment.number for segment in header.foreground]
        self._warnings[SegWarningCode.NO_CHARACTER_SET] += not header.declares_character_set
        self._warnings[SegWarningCode.PADDED_FRAMES] += self._pixels.padded_frames
        self._warnings[SegWarningCode.UNPACKED_BITS] += self._pixels.unpacked_bits
        self._warnings[SegWarningCode.BACKGROUND_SEGMENT] += len(header.segments) - len(foreground)
        self._warnings[SegWarningCode.THRESHOLDED] += header.kind is SegKind.FRACTIONAL
        in_doubt = sum(number in self._background for number in foreground)
        unusable = sum(number not in self._declared for number in foreground) - in_doubt
        self._conflicts[SegConflictCode.BACKGROUND_IN_DOUBT] += in_doubt
        self._conflicts[SegConflictCode.UNDECLARED_SEGMENT] += unusable
        self._conflicts[SegConflictCode.DOUBLED_SEGMENT_NUMBER] += sum(n > 1 for n in numbers.values())

    def _look_at_places(self, placement: Placement) -> None:
        slices_of: dict[str, dict[int | None, int]] = {}
        for z, wanted in enumerate(self._source.slices):
            slices_of.setdefault(wanted.sop_instance_uid, {})[wanted.frame_number] = z
        for plane, layout, references in zip(
            placement.planes, placement.layouts, self._header.frames.sources, strict=True
        ):
            self._conflicts[SegConflictCode.OFF_GRID] += plane < 0
            self._warnings[SegWarningCode.TURNED_FRAMES] += not layout.is_identity
            self._warnings[SegWarningCode.FRAMES_WITHOUT_SOURCE] += not references
            if plane >= 0 and layout.plane_axis == 0:
                self._conflicts[SegConflictCode.PLANE_SOURCE_CONFLICT] += not _agrees(plane, references, slices_of)
        self._warnings[SegWarningCode.SPACING_FROM_SOURCE] += placement.without_spacing

    def _read_masks(self, placement: Placement, placed: list[int]) -> tuple[Layers, dict[int, tuple[int, ...]]]:
        numbers = self._header.frames.segment_numbers
        undeclared = [i for i in range(len(numbers)) if int(numbers[i]) not in self._declared]
        self._conflicts[SegConflictCode.UNDECLARED_SEGMENT] += len(undeclared)
        frames_of: dict[int, list[int]] = {number: [] for number in sorted(self._declared)}
        seen: set[tuple[int, int]] = set()
        for index in placed:
            number = int(numbers[index])
            if number not in self._declared:
                continue
            key = (number, placement.planes[index])
            self._conflicts[SegConflictCode.DOUBLED_PLANE] += key in seen
            seen.add(key)
            frames_of[number].append(index)
        packer = LayerPacker(self._grid.shape, len(frames_of))
        layers_of: dict[int, tuple[int, ...]] = {}
        for number, frames in frames_of.items():
            patches = [patch for index in frames if (patch := self._patch(placement, index)) is not None]
            layers_of[number] = (packer.add(number, patches),)
        return packer.layers(), layers_of

    def _patch(self, placement: Placement, index: int) -> Patch | None:
        if self._header.kind is SegKind.FRACTIONAL:
            half = max(self._header.maximum_fractional_value, 1)
            block = crop(self._pixels.frame(index).astype(np.uint16) * 2 >= half)
        else:
            block = self._pixels.block(index)
        return None if block is None else Patch(placement.planes[index], placement.layouts[index], block)

    def _read_labels(self, placement: Placement, placed: list[int]) -> tuple[Layers, dict[int, tuple[int, ...]]]:
        depth = max(Counter(placement.planes[i] for i in placed).values(), default=1)
        require_layers(depth, self._grid.shape)
        layers = np.zeros((depth, *self._grid.shape), np.uint16)
        used: Counter[int] = Counter()
        for index in placed:
            plane = placement.planes[index]
            layer = used[plane]
            used[plane] += 1
            self._warnings[SegWarningCode.SEVERAL_FRAMES_ON_PLANE] += layer > 0
            frame = self._declared_part(self._pixels.frame(index))
            placement.layouts[index].view(layers[layer], plane)[...] = frame
        return layers, dict.fromkeys(sorted(self._declared), tuple(range(depth)))

    def _declared_part(self, frame: Frame) -> Frame:
        """Return a label frame with background 0 and without undeclared values, whose voxels are counted."""
        if frame.dtype == np.uint8:
            # Deleting bytes is several times faster than looking each up.
            usual = len(frame.tobytes().translate(None, self._usual_bytes)) == 0
        else:
            usual = bool((self._is_declared[frame] | (frame == 0)).all())
        if usual:
            return frame
        declared = self._is_declared[frame]
        self._conflicts[SegConflictCode.UNDECLARED_SEGMENT] += int(
            np.count_nonzero(~declared & ~self._is_background[frame])
        )
        kept = frame.copy()
        kept[~declared] = 0
        return kept


def _agrees(
    plane: int, references: tuple[tuple[str, tuple[int, ...]], ...], slices_of: Mapping[str, Mapping[int | None, int]]
) -> bool:
    """Whether a frame's source images, as far as they are slices of the source, include the plane it lies on."""
    referred: set[int] = set()
    for uid, frames in references:
        slices = slices_of.get(uid, {})
        single = slices.get(None)
        if single is not None:
            referred.add(single)
        else:
            referred |= {slices[frame] for frame in frames if frame in slices} if frames else set(slices.values())
    return not referred or plane in referred
