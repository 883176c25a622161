"""Open a segmentation file: bounded in size, depth and inflation, its per-frame groups and pixels left encoded.

A structure set is opened the same way, its contours left encoded.

pydicom builds objects for every element of a sequence whose length is undefined, thousands in a segmentation, and
inflates a deflated file without a limit. Here both large elements are cut out first and kept as bytes.
"""

from __future__ import annotations

import mmap
import zlib
from io import BytesIO
from pathlib import Path

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicom_sr.header import text
from dicom_sr.seg_bytes import UNDEFINED_LENGTH, Element, Encoded, elements, is_explicit
from dicom_sr.seg_errors import UnreadableReason, UnreadableSeg, refusing

#: Largest file, before and after inflation; 100 segments of 512 x 512 x 200 voxels uncompressed are 130 MB.
MAX_FILE_BYTES = 320 * 1024 * 1024
#: Largest header without per-frame groups and pixels: enough for 60,000 referenced instances.
MAX_HEADER_BYTES = 8 * 1024 * 1024

_PER_FRAME_GROUPS = 0x52009230
_PIXEL_DATA = 0x7FE00010
#: ROI Contour Sequence of a structure set.
_ROI_CONTOURS = 0x30060039
_PREAMBLE = 132


def open_seg(path: Path) -> Dataset:
    """Open a DICOM file that claims to be a segmentation.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    pydicom.Dataset
        With `file_meta`; Per-Frame Functional Groups Sequence and Pixel Data as raw elements.

    Raises
    ------
    UnreadableSeg
        If it is no DICOM file, is broken, or is larger than `MAX_FILE_BYTES`.
    OSError
        If the file itself cannot be read.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise _too_large("the file")
    with path.open("rb") as file:
        if path.stat().st_size <= _PREAMBLE:
            return parse_seg(file.read())
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return parse_seg(mapped)


def parse_seg(data: Encoded) -> Dataset:
    """Open a segmentation from the bytes of a DICOM file (PS3.10 section 7); see `open_seg`."""
    if len(data) > MAX_FILE_BYTES:
        raise _too_large("the file")
    if data[128:_PREAMBLE] != b"DICM":
        raise UnreadableSeg(UnreadableReason.NOT_DICOM, "the file does not start as a DICOM file does")
    with refusing(UnreadableReason.BROKEN_STRUCTURE, "the data elements of the file cannot be followed"):
        start = _end_of_meta(data)
        meta = FileMetaDataset(_parse(data[_PREAMBLE:start], explicit=True))
        syntax = text(meta, "TransferSyntaxUID")
        if syntax == ExplicitVRBigEndian:
            raise UnreadableSeg(UnreadableReason.UNSUPPORTED_TRANSFER_SYNTAX, "big endian files are not read")
        if syntax == DeflatedExplicitVRLittleEndian:
            data, start = _inflate(data, start), 0
        dataset = _parse_around_large_elements(data, start, implicit=syntax == ImplicitVRLittleEndian)
        dataset.file_meta = meta
        return dataset


def _end_of_meta(data: Encoded) -> int:
    end = _PREAMBLE
    while data[end : end + 2] == b"\x02\x00":
        end = next(elements(data, end, len(data), explicit=True)).end
    return end


def _inflate(data: Encoded, start: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data[start:], MAX_FILE_BYTES)
    if inflater.unconsumed_tail:
        raise _too_large("the inflated file")
    if not inflater.eof:
        raise UnreadableSeg(UnreadableReason.BROKEN_STRUCTURE, "the deflated file is cut")
    return inflated


def _parse_around_large_elements(data: Encoded, start: int, *, implicit: bool) -> Dataset:
    explicit = is_explicit(data, start) if implicit else True
    small: list[bytes] = []
    large: list[Element] = []
    size = 0
    begin = start
    for element in elements(data, start, len(data), explicit=explicit):
        if element.tag in (_PER_FRAME_GROUPS, _PIXEL_DATA, _ROI_CONTOURS):
            large.append(element)
        else:
            size += element.end - begin
            if size > MAX_HEADER_BYTES:
                raise _too_large("the header")
            small.append(data[begin : element.end])
        begin = element.end
    dataset = _parse(b"".join(small), explicit=explicit)
    for element in large:
        dataset[BaseTag(element.tag)] = _raw(data, element, explicit=explicit)
    return dataset


def _parse(data: bytes, *, explicit: bool) -> Dataset:
    return read_dataset(BytesIO(data), is_implicit_VR=not explicit, is_little_endian=True)


def _raw(data: Encoded, element: Element, *, explicit: bool) -> RawDataElement:
    return RawDataElement(
        BaseTag(element.tag),
        element.vr.decode("ascii") or None,
        UNDEFINED_LENGTH if element.has_undefined_length else element.value_end - element.value,
        data[element.value : element.value_end],
        element.value,
        not explicit,
        True,
        True,
    )


def _too_large(what: str) -> UnreadableSeg:
    return UnreadableSeg(UnreadableReason.TOO_LARGE, f"{what} is larger than any segmentation this gateway reads")
