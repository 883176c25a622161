"""Whether two kept files say the same although their bytes differ, as after a PACS sent an object on re-encoded."""

from __future__ import annotations

from pathlib import Path

import numpy
import pydicom
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite

from dicom_sr.errors import UndecodablePixels
from dicom_sr.header import number
from dicom_sr.pixel_decoders import DECODER_FAILURES
from dicom_sr.series_pixels import decode_frame
from gateway.services.part10 import file_layout

#: Larger files are compared by their bytes only.
MAXIMUM_COMPARED = 256_000_000

#: Elements that follow from the transfer syntax, beside group lengths.
_ENCODING_ONLY = ("PixelData", "DataSetTrailingPadding")


def same_content(first: Path, second: Path) -> bool:
    """Whether two DICOM files hold the same data set, in whatever transfer syntax and file meta information.

    An attribute that differs, or pixels that cannot be decoded, make them different. Pixels are compared as stored,
    frame by frame, by the decoder order of `decode_frame`: gdcm can end the process on frames it dislikes.
    """
    if max(first.stat().st_size, second.stat().st_size) > MAXIMUM_COMPARED:
        return False
    contents = first.read_bytes(), second.read_bytes()
    layouts = tuple(file_layout(content) for content in contents)
    if layouts[0].transfer_syntax_uid == layouts[1].transfer_syntax_uid:
        return contents[0][layouts[0].dataset_offset :] == contents[1][layouts[1].dataset_offset :]
    try:
        return _same_values(pydicom.dcmread(first), pydicom.dcmread(second))
    except (UndecodablePixels, UserWarning, *DECODER_FAILURES):
        return False


def _same_values(first: Dataset, second: Dataset) -> bool:
    if _encoded_without_pixels(first) != _encoded_without_pixels(second):
        return False
    if "PixelData" not in first or "PixelData" not in second:
        return "PixelData" not in first and "PixelData" not in second
    frames = int(number(first, "NumberOfFrames") or 1)
    return all(numpy.array_equal(decode_frame(first, index), decode_frame(second, index)) for index in range(frames))


def _encoded_without_pixels(dataset: Dataset) -> bytes:
    """Encode everything but the pixels in explicit VR little endian, so that encodings no longer differ."""
    rest = Dataset()
    for element in dataset:
        if element.keyword not in _ENCODING_ONLY and element.tag.element != 0:
            rest.add(element)
    buffer = DicomBytesIO()
    dcmwrite(buffer, rest, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()
