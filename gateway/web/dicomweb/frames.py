"""Frames of a stored instance: as stored when the caller takes that, else native in Explicit VR Little Endian."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from dicom_sr.errors import UndecodablePixels
from gateway.domain.errors import NotFound
from gateway.web.dicomweb.dicom_json import read_header
from gateway.web.dicomweb.media import EXPLICIT_LITTLE, MediaRange
from gateway.web.problems import BadRequest, NotAcceptable

if TYPE_CHECKING:
    import numpy.typing as npt

#: Media type of a compressed frame by transfer syntax (PS3.18 Table 8.7.3-5).
FRAME_MEDIA: Mapping[str, str] = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Frames ready to send: their Content-Type and bytes."""

    content_type: str
    bodies: Sequence[bytes]


def parse_frame_list(text: str) -> tuple[int, ...]:
    """Parse a comma-separated list of 1-based frame numbers.

    Raises
    ------
    BadRequest
        If it is none.
    """
    numbers = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < int(part) < 1 << 31 for part in numbers):
        raise BadRequest("frames are given as numbers from 1, separated by commas")
    return tuple(int(part) for part in numbers)


def read_frames(path: Path, numbers: Sequence[int], ranges: Sequence[MediaRange]) -> Frames:
    """Read frames of a stored instance in the best form the caller accepts.

    Raises
    ------
    NotFound
        If the instance has no such frame.
    NotAcceptable
        If no form fits.
    UndecodablePixels
        If compressed pixels cannot be decoded.
    """
    ds = read_header(path)
    if "Rows" not in ds:
        raise NotFound("this instance has no pixel data")
    count = int(ds.get("NumberOfFrames") or 1)
    if any(number > count for number in numbers):
        raise NotFound(f"this instance has {count} frames")
    syntax = ds.file_meta.TransferSyntaxUID
    for wanted in ranges:
        if syntax.is_compressed and _takes_stored(wanted, str(syntax)):
            octets = wanted.part == "application/octet-stream" or str(syntax) not in FRAME_MEDIA
            kind = "application/octet-stream" if octets else FRAME_MEDIA[str(syntax)]
            return Frames(content_type=f"{kind}; transfer-syntax={syntax}", bodies=_encapsulated(path, numbers, count))
        if _takes_native(wanted):
            native = f"application/octet-stream; transfer-syntax={EXPLICIT_LITTLE}"
            return Frames(content_type=native, bodies=list(_native(ds, path, numbers)))
    raise NotAcceptable("frames are given as application/octet-stream in Explicit VR Little Endian, or as stored")


def _takes_stored(wanted: MediaRange, syntax: str) -> bool:
    if wanted.transfer_syntax and wanted.transfer_syntax not in ("*", syntax):
        return False
    if wanted.part == FRAME_MEDIA.get(syntax):
        return True
    named = wanted.transfer_syntax in ("*", syntax)
    return named and wanted.part in ("*/*", "application/octet-stream", "image/*")


def _takes_native(wanted: MediaRange) -> bool:
    return wanted.part in ("*/*", "application/*", "application/octet-stream") and wanted.transfer_syntax in (
        "",
        "*",
        EXPLICIT_LITTLE,
    )


def _encapsulated(path: Path, numbers: Sequence[int], count: int) -> list[bytes]:
    frames = list(generate_frames(dcmread(path, force=True).PixelData, number_of_frames=count))
    return [frames[number - 1] for number in numbers]


def _native(ds: Dataset, path: Path, numbers: Sequence[int]) -> Iterator[bytes]:
    import numpy as np

    for frame in decoded_frames(path, [number - 1 for number in numbers]):
        if ds.BitsAllocated == 1:
            # Every frame begins with its first pixel, also where frames as stored do not begin on a byte.
            yield np.packbits(frame.astype(np.bool_).ravel(), bitorder="little").tobytes()
        else:
            yield frame.astype(frame.dtype.newbyteorder("<"), copy=False).tobytes()


def decoded_frames(path: Path, indices: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
    """Decode frames (0-based) to their stored values, each (row, column) or (row, column, sample).

    Of an instance that is not compressed only these frames are read.

    Raises
    ------
    UndecodablePixels
        If that is not possible.
    """
    from pydicom.pixels.utils import pixel_array

    from dicom_sr.pixel_decoders import DECODER_FAILURES
    from dicom_sr.series_pixels import decode_frame, read_instance

    if read_header(path).file_meta.TransferSyntaxUID.is_encapsulated:
        instance = read_instance(path)
        for index in indices:
            yield decode_frame(instance, index)
        return
    for index in indices:
        try:
            yield pixel_array(path, index=index, raw=True)
        except DECODER_FAILURES:
            # The decoder's own message may quote attribute values.
            raise UndecodablePixels("the pixels of this instance cannot be decoded") from None
