"""Decode one compressed frame to bytes; sizes are compared with the declared ones before a decoder allocates."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise

import jpeg_ls  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
from openjpeg.utils import decode as decode_codestream
from rle.rle import decode_segment  # type: ignore[import-not-found]

from dicom_sr.seg_errors import UnreadableReason, UnreadableSeg, refusing

_BROKEN = "a compressed frame cannot be decoded"


def decode_rle(encoded: bytes, rows: int, columns: int, bits: int) -> bytes:
    """Decode an RLE frame (PS3.5 annex G): 1-bit frames stay packed, 16-bit planes are interleaved little endian.

    Parameters
    ----------
    encoded : bytes
        One frame.
    rows, columns, bits : int
        Declared matrix and Bits Allocated (1, 8 or 16).

    Returns
    -------
    bytes
        Pixels in row order; of a 1-bit frame whatever the segment holds, packed or one byte a pixel.

    Raises
    ------
    UnreadableSeg
        UNDECODABLE_PIXELS.
    """
    planes = 2 if bits == 16 else 1
    pixels = rows * columns
    if len(encoded) > 2 * pixels * planes + 64 + 1024:
        raise _undecodable("a run-length frame is longer than its pixels can be")
    with refusing(UnreadableReason.UNDECODABLE_PIXELS, _BROKEN):
        count, *offsets = struct.unpack_from("<16I", encoded)
        if count != planes:
            raise _undecodable(f"a run-length frame has {count} segments, not {planes}")
        bounds = [*offsets[:planes], len(encoded)]
        decoded = [bytes(decode_segment(encoded[a:b])) for a, b in pairwise(bounds)]
    if planes == 1:
        return decoded[0][: pixels + 1]
    if min(len(plane) for plane in decoded) < pixels:
        raise _undecodable("a run-length frame ends early")
    high, low = (np.frombuffer(plane, np.uint8, pixels) for plane in decoded)
    return np.stack([low, high], axis=-1).tobytes()


def decode_deflated(encoded: bytes, rows: int, columns: int, bits: int) -> bytes:
    """Decode a frame of Deflated Image Frame Compression (PS3.5 A.4.12, RFC 1951); see `decode_rle`."""
    expected = -(-rows * columns * bits // 8)
    with refusing(UnreadableReason.UNDECODABLE_PIXELS, _BROKEN):
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(encoded, expected + 2)


def decode_jpeg_ls(encoded: bytes, rows: int, columns: int, bits: int) -> bytes:
    """Decode a JPEG-LS lossless frame (PS3.5 A.4.3); see `decode_rle`."""
    _require_size(_jpeg_ls_size(encoded), rows, columns)
    with refusing(UnreadableReason.UNDECODABLE_PIXELS, _BROKEN):
        decoded = np.asarray(jpeg_ls.decode(np.frombuffer(encoded, np.uint8)))
    return _label_bytes(decoded, bits)


def decode_jpeg2000(encoded: bytes, rows: int, columns: int, bits: int) -> bytes:
    """Decode a JPEG 2000 or HTJ2K lossless frame (PS3.5 A.4.4, A.4.6); see `decode_rle`."""
    _require_size(_jpeg2000_size(encoded), rows, columns)
    with refusing(UnreadableReason.UNDECODABLE_PIXELS, _BROKEN):
        decoded = np.asarray(decode_codestream(encoded))
    return _label_bytes(decoded, bits)


def _label_bytes(decoded: npt.NDArray[np.generic], bits: int) -> bytes:
    if decoded.dtype.kind != "u" or decoded.dtype.itemsize * 8 > max(bits, 8):
        raise _undecodable("a frame decodes to another pixel type than declared")
    return decoded.astype("<u2" if bits == 16 else np.uint8).tobytes()


def _require_size(found: tuple[int, int, int] | None, rows: int, columns: int) -> None:
    if found != (rows, columns, 1):
        raise _undecodable("a compressed frame declares another matrix than the object")


def _jpeg_ls_size(encoded: bytes) -> tuple[int, int, int] | None:
    """Rows, columns, components of the start-of-frame segment (ITU-T T.87 C.2.2), None when there is none."""
    for marker, body in _marker_segments(encoded):
        if marker == 0xF7 and len(body) >= 6:
            _, rows, columns, components = struct.unpack_from(">BHHB", body)
            return rows, columns, components
    return None


def _jpeg2000_size(encoded: bytes) -> tuple[int, int, int] | None:
    """Rows, columns, components of the SIZ segment (ITU-T T.800 A.5.1), None when absent or oddly tiled."""
    for marker, body in _marker_segments(encoded):
        if marker == 0x51 and len(body) >= 36:
            _, right, bottom, left, top, tile_width, tile_height, _, _, components = struct.unpack_from(">H8IH", body)
            tiles = -(-right // max(tile_width, 1)) * -(-bottom // max(tile_height, 1))
            return (bottom - top, right - left, components) if tiles <= 1024 else None
    return None


def _marker_segments(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk the marker segments that follow the two-byte start marker."""
    position = 2
    while position + 4 <= len(encoded) and encoded[position] == 0xFF:
        marker, length = struct.unpack_from(">xBH", encoded, position)
        yield marker, encoded[position + 4 : position + 2 + length]
        position += 2 + max(length, 2)


def _undecodable(detail: str) -> UnreadableSeg:
    return UnreadableSeg(UnreadableReason.UNDECODABLE_PIXELS, detail)
