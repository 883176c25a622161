"""The functional groups of a segmentation's frames as one table, read in one pass (PS3.3 C.7.6.16)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence
from pydicom.tag import BaseTag

from dicom_sr.header import number
from dicom_sr.seg_bytes import collect_items
from dicom_sr.seg_errors import UnreadableReason, UnreadableSeg, refusing

#: Largest encoded Per-Frame Functional Groups Sequence: about 1 kB a frame is usual.
MAX_GROUPS_BYTES = 32 * 1024 * 1024

_SHARED_GROUPS = 0x52009229
_PER_FRAME_GROUPS = 0x52009230
_POSITION = 0x00200032
_ORIENTATION = 0x00200037
_SPACING = 0x00280030
_SEGMENT_NUMBER = 0x0062000B
_SOP_CLASS = 0x00081150
_SOP_INSTANCE = 0x00081155
_FRAME_NUMBER = 0x00081160
_LEAVES = frozenset({_POSITION, _ORIENTATION, _SPACING, _SEGMENT_NUMBER, _SOP_CLASS, _SOP_INSTANCE, _FRAME_NUMBER})
#: Plane Position, Plane Orientation, Pixel Measures, Segment Identification, Derivation Image, Source Image Sequence.
_SEQUENCES = frozenset({0x00209113, 0x00209116, 0x00289110, 0x0062000A, 0x00089124, 0x00082112})

Floats = npt.NDArray[np.float64]
#: A source image of a frame: SOP Instance UID and, when given, the frames in it.
SourceReference = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameTable:
    """What the functional groups say of each frame, in the order of the frames in Pixel Data.

    Parameters
    ----------
    positions : numpy.ndarray, (frame, 3), float64
        Image Position (Patient), LPS mm; nan when absent.
    orientations : numpy.ndarray, (frame, 6), float64
        Image Orientation (Patient); nan when absent.
    spacings : numpy.ndarray, (frame, 2), float64
        Pixel Spacing (between rows, between columns), mm; nan when absent.
    segment_numbers : numpy.ndarray, (frame,), int64
        Referenced Segment Number; -1 when absent, as in every label map.
    sources : tuple of tuple of SourceReference
        Source images of each frame.
    names_source_classes : bool
        Whether source images are cited with their SOP Class, as the standard asks and cornerstone adapters do not.
    """

    positions: Floats
    orientations: Floats
    spacings: Floats
    segment_numbers: npt.NDArray[np.int64]
    sources: tuple[tuple[SourceReference, ...], ...]
    names_source_classes: bool

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.sources)

    @property
    def source_uids(self) -> frozenset[str]:
        """SOP Instance UIDs of all source images."""
        return frozenset(uid for references in self.sources for uid, _ in references)


def read_frame_table(dataset: Dataset) -> FrameTable:
    """Read shared and per-frame functional groups.

    Raises
    ------
    UnreadableSeg
        FRAME_COUNT, if Number of Frames and the per-frame items differ; TOO_LARGE; BROKEN_STRUCTURE.
    """
    shared = _Groups()
    for found in _items(dataset, _SHARED_GROUPS):
        shared.take(found)
    declared = number(dataset, "NumberOfFrames")
    per_frame = []
    for found in _items(dataset, _PER_FRAME_GROUPS):
        groups = _Groups(shared)
        groups.take(found)
        per_frame.append(groups)
    if not per_frame and declared in (None, 1.0):
        per_frame = [shared]
    if not per_frame or (declared is not None and declared != len(per_frame)):
        raise UnreadableSeg(
            UnreadableReason.FRAME_COUNT,
            f"{len(per_frame)} frames are described, Number of Frames (0028,0008) says otherwise",
        )
    return FrameTable(
        positions=np.array([groups.position for groups in per_frame], np.float64),
        orientations=np.array([groups.orientation for groups in per_frame], np.float64),
        spacings=np.array([groups.spacing for groups in per_frame], np.float64),
        segment_numbers=np.array([groups.segment_number for groups in per_frame], np.int64),
        sources=tuple(groups.sources for groups in per_frame),
        names_source_classes=all(groups.names_classes for groups in per_frame),
    )


class _Groups:
    """The groups of one frame while they are collected; starts from the shared ones, which its own replace."""

    __slots__ = ("names_classes", "orientation", "position", "segment_number", "sources", "spacing")

    def __init__(self, shared: _Groups | None = None) -> None:
        self.position: tuple[float, ...] = shared.position if shared else _absent(3)
        self.orientation: tuple[float, ...] = shared.orientation if shared else _absent(6)
        self.spacing: tuple[float, ...] = shared.spacing if shared else _absent(2)
        self.segment_number: int = shared.segment_number if shared else -1
        self.names_classes: bool = shared.names_classes if shared else True
        self.sources: tuple[SourceReference, ...] = shared.sources if shared else ()

    def take(self, found: list[tuple[int, bytes]]) -> None:
        """Take the values collected from one item."""
        for tag, value in found:
            if tag == _POSITION:
                self.position = _floats(value, 3)
            elif tag == _ORIENTATION:
                self.orientation = _floats(value, 6)
            elif tag == _SPACING:
                self.spacing = _floats(value, 2)
            elif tag == _SEGMENT_NUMBER and len(value) == 2:
                self.segment_number = struct.unpack("<H", value)[0]
        sources = _sources(found)
        if sources:
            self.sources = sources
            self.names_classes = sum(tag == _SOP_CLASS for tag, _ in found) == len(sources)


def _sources(found: list[tuple[int, bytes]]) -> tuple[SourceReference, ...]:
    sources: list[SourceReference] = []
    for tag, value in found:
        if tag == _SOP_INSTANCE:
            sources.append((value.decode("ascii", "replace").strip(" \0"), ()))
        elif tag == _FRAME_NUMBER and sources:
            sources[-1] = (sources[-1][0], _integers(value))
    return tuple(sources)


def _items(dataset: Dataset, tag: int) -> list[list[tuple[int, bytes]]]:
    encoded, explicit = _encoded_sequence(dataset, tag)
    return list(collect_items(encoded, explicit=explicit, sequences=_SEQUENCES, leaves=_LEAVES))


def _encoded_sequence(dataset: Dataset, tag: int) -> tuple[bytes, bool]:
    """Return the value of a sequence as little endian bytes, and whether their VRs are explicit."""
    if tag not in dataset:
        return b"", True
    element = dataset.get_item(BaseTag(tag))
    if isinstance(element, RawDataElement) and element.is_little_endian:
        value = element.value or b""
        if len(value) > MAX_GROUPS_BYTES:
            raise UnreadableSeg(UnreadableReason.TOO_LARGE, "the functional groups are larger than any this reads")
        return value, not element.is_implicit_VR
    with refusing(UnreadableReason.BROKEN_STRUCTURE, "the functional groups cannot be followed"):
        parsed = dataset[BaseTag(tag)]
        return _encode(parsed), True


def _encode(element: DataElement) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = False
    buffer.is_little_endian = True
    write_sequence(buffer, element, ["iso8859"])
    encoded: bytes = buffer.getvalue()
    return encoded


def _absent(count: int) -> tuple[float, ...]:
    return (float("nan"),) * count


def _floats(value: bytes, count: int) -> tuple[float, ...]:
    try:
        found = tuple(map(float, value.rstrip(b" \0").split(b"\\")))
    except ValueError:
        return _absent(count)
    return found if len(found) == count and all(map(np.isfinite, found)) else _absent(count)


def _integers(value: bytes) -> tuple[int, ...]:
    try:
        return tuple(map(int, value.rstrip(b" \0").split(b"\\")))
    except ValueError:
        return ()
