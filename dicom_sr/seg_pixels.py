"""Decode the frames of a segmentation one at a time: packed bits, bytes or 16-bit labels, native or compressed.

Real writers pad every BINARY frame to whole bytes although the standard packs bits across frames, and run-length encode
packed bits; both are decoded as what they are. What is lossy, cut or larger than declared is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_sr.header import text
from dicom_sr.seg_block import Block, crop, crop_bits
from dicom_sr.seg_bytes import fragments
from dicom_sr.seg_codecs import decode_deflated, decode_jpeg2000, decode_jpeg_ls, decode_rle
from dicom_sr.seg_errors import UnreadableReason, UnreadableSeg
from dicom_sr.seg_header import SegHeader
from dicom_sr.seg_kind import SegKind

#: Deflated Image Frame Compression (PS3.5 A.4.12); pydicom 3.0.2 has no name for it.
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
#: Voxels decoded from one object at most: 15,000 native frames of 512 x 512, fewer of the slower encodings.
MAX_NATIVE_VOXELS = 4_000_000_000
MAX_COMPRESSED_VOXELS = 600_000_000
#: Encoded bytes decoded at most, where decoding noise is slow (40 ms for a JPEG 2000 frame of 270 kB).
MAX_ENCODED_BYTES = {JPEG2000Lossless: 32_000_000, HTJ2KLossless: 32_000_000, JPEGLSLossless: 160_000_000}

Frame = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
_NATIVE = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian})
_CODECS: dict[str, Callable[[bytes, int, int, int], bytes]] = {
    RLELossless: decode_rle,
    JPEGLSLossless: decode_jpeg_ls,
    JPEG2000Lossless: decode_jpeg2000,
    HTJ2KLossless: decode_jpeg2000,
    DEFLATED_IMAGE_FRAME: decode_deflated,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFrames:
    """The decoder of an object's frames and what was unusual about their packing.

    Parameters
    ----------
    frame : callable
        ``frame(index)`` decodes frame `index` (0-based) to its values, (row, column), uint8 or uint16.
    block : callable
        ``block(index)`` decodes the occupied part of a BINARY frame, None when no pixel is set. Both raise
        UnreadableSeg (UNDECODABLE_PIXELS, UNSUPPORTED_PIXELS) for a broken frame.
    padded_frames : bool
        Whether every BINARY frame is padded to whole bytes.
    unpacked_bits : bool
        Whether a BINARY object spends whole bytes on its pixels.
    """

    frame: Callable[[int], Frame]
    block: Callable[[int], Block | None]
    padded_frames: bool = False
    unpacked_bits: bool = False


def open_pixels(ds: Dataset, header: SegHeader) -> PixelFrames:
    """Prepare the decoding of Pixel Data (7FE0,0010).

    Parameters
    ----------
    ds : pydicom.Dataset
        The object, with `file_meta` (without it, the pixels are taken as native).
    header : SegHeader
        Its header.

    Returns
    -------
    PixelFrames

    Raises
    ------
    UnreadableSeg
        UNSUPPORTED_PIXELS, UNSUPPORTED_TRANSFER_SYNTAX, TOO_LARGE, PIXEL_LENGTH, AMBIGUOUS_PACKING or
        UNDECODABLE_PIXELS. Nothing is allocated before the declared size has been compared with what is there.

    References
    ----------
    PS3.5 section 8.1 and annex A.4; PS3.3 C.7.6.3, C.8.20.2.
    """
    _require_known_pixels(ds, header)
    data = _pixel_bytes(ds)
    meta = getattr(ds, "file_meta", None)
    syntax = text(meta, "TransferSyntaxUID") if meta else ExplicitVRLittleEndian
    voxels = header.frames.count * header.rows * header.columns
    too_many = voxels > (MAX_NATIVE_VOXELS if syntax in _NATIVE else MAX_COMPRESSED_VOXELS)
    if too_many or len(data) > MAX_ENCODED_BYTES.get(UID(syntax), len(data)):
        raise UnreadableSeg(UnreadableReason.TOO_LARGE, f"{voxels} voxels are more than this gateway decodes")
    if syntax in _NATIVE:
        return _native(data, header)
    if syntax not in _CODECS:
        raise UnreadableSeg(
            UnreadableReason.UNSUPPORTED_TRANSFER_SYNTAX,
            "the transfer syntax is lossy or not among those read: uncompressed, deflated, RLE, JPEG-LS or JPEG 2000",
        )
    return _compressed(data, header, _CODECS[syntax])


def _require_known_pixels(ds: Dataset, header: SegHeader) -> None:
    bits = {SegKind.BINARY: (1, 8), SegKind.LABELMAP: (8, 16), SegKind.FRACTIONAL: (8,)}[header.kind]
    if header.bits_allocated not in bits:
        raise UnreadableSeg(UnreadableReason.UNSUPPORTED_PIXELS, f"{header.bits_allocated} bits a pixel are not read")
    if header.rows < 1 or header.columns < 1:
        raise UnreadableSeg(UnreadableReason.UNSUPPORTED_PIXELS, "Rows or Columns are absent")
    if text(ds, "SamplesPerPixel") not in ("", "1"):
        raise UnreadableSeg(UnreadableReason.UNSUPPORTED_PIXELS, "several samples a pixel are not read")


def _pixel_bytes(ds: Dataset) -> bytes:
    tag = Tag("PixelData")
    value = ds.get_item(tag).value if tag in ds else None
    if not isinstance(value, bytes | bytearray) or not value:
        raise UnreadableSeg(UnreadableReason.PIXEL_LENGTH, "there is no Pixel Data")
    return bytes(value)


def _native(data: bytes, header: SegHeader) -> PixelFrames:
    count, pixels = header.frames.count, header.rows * header.columns
    if header.bits_allocated == 1:
        return _native_bits(data, header, count=count, pixels=pixels)
    size = header.bits_allocated // 8
    _require_length(len(data), count * pixels * size)
    values = np.frombuffer(data, np.uint8 if size == 1 else "<u2", count * pixels)
    values = values.reshape(count, header.rows, header.columns)
    return _in_bytes(header, lambda index: values[index])


def _in_bytes(header: SegHeader, frame: Callable[[int], Frame]) -> PixelFrames:
    return PixelFrames(
        frame=frame, block=lambda index: _block(frame(index)), unpacked_bits=header.kind is SegKind.BINARY
    )


def _block(frame: Frame) -> Block | None:
    if frame.max() > 1:
        raise UnreadableSeg(UnreadableReason.UNSUPPORTED_PIXELS, "a BINARY frame holds values other than 0 and 1")
    return crop(frame.astype(np.bool_))


def _native_bits(data: bytes, header: SegHeader, *, count: int, pixels: int) -> PixelFrames:
    packed = np.frombuffer(data, np.uint8)
    shape = (header.rows, header.columns)
    frame_bytes = -(-pixels // 8)
    plain = _fits(len(data), -(-count * pixels // 8))
    padded = _fits(len(data), count * frame_bytes)
    if not plain and not padded:
        _require_length(len(data), -(-count * pixels // 8))
    frame_bits = pixels if plain else frame_bytes * 8
    if plain and padded and pixels % 8 and count > 1:
        frame_bits = _settle_packing(packed, header, count=count, pixels=pixels)
    return PixelFrames(
        frame=lambda index: _unpack(packed, index * frame_bits, shape),
        block=lambda index: crop_bits(packed, index * frame_bits, shape),
        padded_frames=frame_bits != pixels,
    )


def _settle_packing(packed: npt.NDArray[np.uint8], header: SegHeader, *, count: int, pixels: int) -> int:
    """Return the bits from frame to frame where the length of Pixel Data fits both packings.

    Bits that one packing leaves unused are zero under it. Where both stay possible and give different masks, only a
    writer that is known to pad makes the standard's packing doubtful.
    """
    shape = (header.rows, header.columns)
    frame_bits = -(-pixels // 8) * 8
    starts = [(i * pixels, i * frame_bits) for i in range(count)]
    if all(np.array_equal(_unpack(packed, a, shape), _unpack(packed, b, shape)) for a, b in starts):
        return pixels
    if any(_unpack(packed, start + pixels, (1, frame_bits - pixels)).any() for _, start in starts):
        return pixels
    if _unpack(packed, count * pixels, (1, len(packed) * 8 - count * pixels)).any():
        return frame_bits
    if _may_pad(header):
        raise UnreadableSeg(
            UnreadableReason.AMBIGUOUS_PACKING,
            "the frames may or may not be padded to whole bytes, and their writer is known to do both",
        )
    return pixels


def _may_pad(header: SegHeader) -> bool:
    """Whether the object looks like one of cornerstone adapters, which pad; file meta names but the last receiver."""
    anonymous = header.manufacturer.casefold() in ("", "unspecified")
    return anonymous or not header.frames.names_source_classes


def _unpack(packed: npt.NDArray[np.uint8], start: int, shape: tuple[int, int]) -> Frame:
    """Unpack bits from bit `start`, the first pixel in the lowest bit (PS3.5 section 8.1.1)."""
    stop = start + shape[0] * shape[1]
    bits = np.unpackbits(packed[start // 8 : -(-stop // 8)], bitorder="little")
    return bits[start % 8 : start % 8 + stop - start].reshape(shape)


def _compressed(data: bytes, header: SegHeader, codec: Callable[[bytes, int, int, int], bytes]) -> PixelFrames:
    encoded = _frames(fragments(data), header.frames.count)
    shape = (header.rows, header.columns)
    bits = header.bits_allocated
    pixels = header.rows * header.columns

    def values(index: int) -> Frame:
        decoded = codec(encoded[index], header.rows, header.columns, bits)
        return np.frombuffer(decoded, "<u2" if bits == 16 else np.uint8)

    def frame(index: int) -> Frame:
        found = values(index)
        if bits == 1 and _fits(len(found), -(-pixels // 8)):
            return _unpack(found.view(np.uint8), 0, shape)
        if not _fits(len(found), pixels):
            raise UnreadableSeg(UnreadableReason.UNDECODABLE_PIXELS, "a frame decodes to another size than declared")
        return found[:pixels].reshape(shape)

    opened = _in_bytes(header, frame)
    return opened if bits != 1 else replace(opened, unpacked_bits=False)


def _frames(parts: list[bytes], count: int) -> list[bytes]:
    """Join fragments to frames: one fragment a frame, or as the Basic Offset Table says (PS3.5 A.4)."""
    table, *rest = parts or [b""]
    if len(rest) == count:
        return rest
    if count == 1 and rest:
        return [b"".join(rest)]
    offsets = np.frombuffer(table[: len(table) // 4 * 4], "<u4").astype(np.int64)
    starts = np.concatenate([[0], np.cumsum([len(part) + 8 for part in rest], dtype=np.int64)])
    firsts = np.searchsorted(starts, offsets)
    if len(offsets) != count or not np.isin(offsets, starts).all() or not (np.diff(firsts) > 0).all():
        raise UnreadableSeg(UnreadableReason.PIXEL_LENGTH, f"{len(rest)} fragments do not make {count} frames")
    bounds = [*(int(first) for first in firsts), len(rest)]
    return [b"".join(rest[a:b]) for a, b in pairwise(bounds)]


def _fits(actual: int, expected: int) -> bool:
    """Whether a value has the expected length, or that length padded to an even one (PS3.5 section 8.1.1)."""
    return actual in (expected, expected + expected % 2)


def _require_length(actual: int, expected: int) -> None:
    if not _fits(actual, expected):
        raise UnreadableSeg(
            UnreadableReason.PIXEL_LENGTH, f"Pixel Data has {actual} bytes where the frames take {expected}"
        )
