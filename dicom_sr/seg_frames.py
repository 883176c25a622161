"""Frames of a segmentation object: which there are, and their functional groups as bytes.

One object per frame and macro is what makes common writers slow. Here every slice and every segment contributes one
byte string, and frames join them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement

from dicom_sr.element_bytes import (
    encode_decimals,
    encode_sequence,
    encode_text,
    encode_ul,
    encode_us,
    raw_sequence,
)
from dicom_sr.probabilities import Map, in_steps
from dicom_sr.segmentation import Layers, Segment, Segmentation
from dicom_sr.source import SourceSeries, SourceSlice
from dicom_sr.volume import Grid

PER_FRAME_GROUPS = 0x52009230

#: Probability maps, (z, y, x), by segment number.
Probabilities = Mapping[int, Map]

_DERIVATION_IMAGE = 0x00089124
_SOURCE_IMAGE = 0x00082112
_DERIVATION_CODE = 0x00089215
_FRAME_CONTENT = 0x00209111
_PLANE_POSITION = 0x00209113
_SEGMENT_IDENTIFICATION = 0x0062000A
_CODE_VALUE, _SCHEME, _MEANING = 0x00080100, 0x00080102, 0x00080104


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame: slice of the source grid, and the number of its segment (0 for the whole label map)."""

    z: int
    segment_number: int = 0


def binary_frames(segmentation: Segmentation) -> tuple[Frame, ...]:
    """List the non-empty frames, segment by segment along the slice normal.

    A segmentation without a single voxel keeps one empty frame for each declared segment, in the middle slice: an image
    has at least one frame (Number of Frames (0028,0008) is type 1), and "looked at, nothing found" is a result.
    """
    present = _presence(segmentation.layers)
    frames = [
        Frame(z=int(z), segment_number=segment.number)
        for segment, layer in zip(segmentation.segments, segmentation.layer_of, strict=True)
        for z in np.flatnonzero(present[layer, :, segment.number])
    ]
    return tuple(frames) or _empty_frames(segmentation.segments, segmentation.grid)


def labelmap_frames(segmentation: Segmentation) -> tuple[Frame, ...]:
    """List the slices that hold any segment; the middle slice where none does."""
    filled = np.flatnonzero(segmentation.layers.any(axis=(0, 2, 3)))
    zs = [int(z) for z in filled] or [segmentation.grid.shape[0] // 2]
    return tuple(Frame(z=z) for z in zs)


def probability_frames(maps: Probabilities, segments: Sequence[Segment], grid: Grid) -> tuple[Frame, ...]:
    """List the frames that hold any probability above half a step, segment by segment; see `binary_frames`."""
    frames = [
        Frame(z=int(z), segment_number=segment.number)
        for segment in segments
        if segment.number in maps
        for z in np.flatnonzero(in_steps(maps[segment.number]).any(axis=(1, 2)))
    ]
    return tuple(frames) or _empty_frames(segments, grid)


def functional_groups(frames: Sequence[Frame], source: SourceSeries, grid: Grid) -> RawDataElement:
    """Encode Per-Frame Functional Groups Sequence (5200,9230) for `frames`.

    Parameters
    ----------
    frames : sequence of Frame
        In frame order.
    source : SourceSeries
        Slice z of the grid is its slice z.
    grid : Grid
        Grid of the segmentation.

    References
    ----------
    PS3.3 A.51.5.1; C.7.6.16.2.2 (Frame Content), .3 (Plane Position), .6 (Derivation Image); C.8.20.3.1
    """
    zs = sorted({frame.z for frame in frames})
    rank = {z: i for i, z in enumerate(zs, start=1)}
    derivation = {z: _derivation(source.slices[z]) for z in zs}
    position = {z: _position(source.slices[z], grid, z) for z in zs}
    identification = {
        number: encode_sequence(_SEGMENT_IDENTIFICATION, [encode_us(0x0062000B, number)]) if number else b""
        for number in {frame.segment_number for frame in frames}
    }
    items = []
    for frame in frames:
        index = (frame.segment_number, rank[frame.z]) if frame.segment_number else (rank[frame.z],)
        content = encode_sequence(_FRAME_CONTENT, [encode_ul(0x00209157, *index)])
        items.append(derivation[frame.z] + content + position[frame.z] + identification[frame.segment_number])
    return raw_sequence(PER_FRAME_GROUPS, items)


def _presence(layers: Layers) -> npt.NDArray[np.bool_]:
    """Which label occurs where: (layer, z, label). Looks at the ends of runs only, of which a label plane has few."""
    present = np.zeros((*layers.shape[:2], 65_536), np.bool_)
    for layer, slices in enumerate(layers):
        for z, plane in enumerate(slices):
            flat = plane.reshape(-1)
            present[layer, z, flat[np.flatnonzero(flat[1:] != flat[:-1])]] = True
            present[layer, z, flat[-1]] = True
    return present


def _empty_frames(segments: Sequence[Segment], grid: Grid) -> tuple[Frame, ...]:
    return tuple(Frame(z=grid.shape[0] // 2, segment_number=segment.number) for segment in segments)


def _derivation(source: SourceSlice) -> bytes:
    frame = b"" if source.frame_number is None else encode_text(0x00081160, "IS", str(source.frame_number))
    image = (
        encode_text(0x00081150, "UI", source.sop_class_uid)
        + encode_text(0x00081155, "UI", source.sop_instance_uid)
        + frame
        + encode_text(0x0028135A, "CS", "YES")
        + encode_sequence(0x0040A170, [_code("121322", "Source Image for Image Processing Operation")])
    )
    derivation = encode_sequence(_DERIVATION_CODE, [_code("113076", "Segmentation")])
    return encode_sequence(_DERIVATION_IMAGE, [encode_sequence(_SOURCE_IMAGE, [image]) + derivation])


def _code(value: str, meaning: str) -> bytes:
    return (
        encode_text(_CODE_VALUE, "SH", value) + encode_text(_SCHEME, "SH", "DCM") + encode_text(_MEANING, "LO", meaning)
    )


def _position(source: SourceSlice, grid: Grid, z: int) -> bytes:
    position = source.image_position or grid.image_position_patient(z)
    return encode_sequence(_PLANE_POSITION, [encode_decimals(0x00200032, position)])
