"""The occupied part of a binary frame: most of a frame is background, and work on it should cost what it holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Block(NamedTuple):
    """Rows and columns of a frame outside of which no pixel is set.

    `pixels` has shape (row, column), dtype bool; its first pixel is at `first_row`, `first_column` of the frame.
    """

    first_row: int
    first_column: int
    pixels: npt.NDArray[np.bool_]


def crop(pixels: npt.NDArray[np.bool_], first_row: int = 0) -> Block | None:
    """Return the occupied part of `pixels`, (row, column), whose first row is row `first_row` of a frame.

    Returns
    -------
    Block or None
        None when no pixel is set.
    """
    columns = np.flatnonzero(pixels.any(axis=0))
    if not columns.size:
        return None
    first, last = int(columns[0]), int(columns[-1])
    part = pixels[:, first : last + 1]
    rows = np.flatnonzero(part.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1])
    return Block(first_row + top, first, part[top : bottom + 1])


def crop_bits(packed: npt.NDArray[np.uint8], start: int, shape: tuple[int, int]) -> Block | None:
    """Unpack the occupied part of a bit-packed frame.

    Parameters
    ----------
    packed : numpy.ndarray, (byte,), uint8
        Bits, the first pixel in the lowest bit (PS3.5 section 8.1.1).
    start : int
        Bit at which the frame starts.
    shape : tuple of int, (rows, columns)
        Matrix of the frame.

    Returns
    -------
    Block or None
        None when no pixel is set.
    """
    rows, columns = shape
    stop = start + rows * columns
    occupied = _occupied_bytes(packed[start // 8 : -(-stop // 8)])
    if occupied is None:
        return None
    first_bit = max(occupied[0] * 8 - start % 8, 0)
    last_bit = min(occupied[1] * 8 - start % 8, rows * columns) - 1
    top, bottom = first_bit // columns, max(last_bit, first_bit) // columns
    begin, end = start + top * columns, start + (bottom + 1) * columns
    bits = np.unpackbits(packed[begin // 8 : -(-end // 8)], bitorder="little")
    return crop(bits[begin % 8 : begin % 8 + end - begin].reshape(-1, columns).view(np.bool_), top)


def _occupied_bytes(part: npt.NDArray[np.uint8]) -> tuple[int, int] | None:
    """Bound the bytes that are not 0, to within eight; looking at eight at a time is that much faster."""
    whole = len(part) - len(part) % 8
    words = np.flatnonzero(part[:whole].view(np.uint64))
    tail = bool(part[whole:].any())
    if not words.size:
        return (whole, len(part)) if tail else None
    return int(words[0]) * 8, len(part) if tail else int(words[-1]) * 8 + 8
