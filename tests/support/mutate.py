"""Break the bytes of a file the way transfers, disks and broken writers do; every mutation follows from its seed."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

Random = np.random.Generator

#: Tags whose values decide how much memory a reader needs: Rows, Columns, Number of Frames, Bits Allocated, Pixel Data.
_SIZES = (b"\x28\x00\x10\x00", b"\x28\x00\x11\x00", b"\x28\x00\x08\x00", b"\x28\x00\x00\x01", b"\xe0\x7f\x10\x00")
_VRS = [b"SQ", b"UN", b"OB", b"DS", b"US", b"UI", b"LO", b"XX", b"\0\0"]


def mutate(data: bytes, seed: int) -> tuple[str, bytes]:
    """Return the kind of mutation that `seed` chooses and the mutated bytes."""
    rng = np.random.default_rng(seed)
    kind = list(_KINDS)[seed % len(_KINDS)]
    mutated = bytearray(data)
    _KINDS[kind](mutated, rng)
    return kind, bytes(mutated)


def _at(data: bytearray, rng: Random, room: int = 1) -> int:
    return int(rng.integers(132, max(len(data) - room, 133)))


def _truncate(data: bytearray, rng: Random) -> None:
    del data[int(rng.integers(0, len(data))) :]


def _flip_bytes(data: bytearray, rng: Random) -> None:
    for _ in range(int(rng.integers(1, 40))):
        data[_at(data, rng)] = int(rng.integers(0, 256))


def _flip_header_bytes(data: bytearray, rng: Random) -> None:
    for _ in range(int(rng.integers(1, 10))):
        data[int(rng.integers(132, min(3000, len(data))))] = int(rng.integers(0, 256))


def _cut(data: bytearray, rng: Random) -> None:
    start = _at(data, rng)
    del data[start : start + int(rng.integers(1, 200))]


def _insert(data: bytearray, rng: Random) -> None:
    start = _at(data, rng)
    data[start:start] = rng.bytes(int(rng.integers(1, 60)))


def _repeat(data: bytearray, rng: Random) -> None:
    start = _at(data, rng)
    part = data[start : start + int(rng.integers(8, 400))]
    data[start:start] = part * int(rng.integers(1, 30))


def _random_length(data: bytearray, rng: Random) -> None:
    for position in _element_starts(data, rng):
        if data[position + 4 : position + 6] in (b"SQ", b"OB", b"OW", b"UN", b"UT"):
            data[position + 8 : position + 12] = struct.pack("<I", int(rng.choice([0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF])))
        else:
            data[position + 6 : position + 8] = struct.pack("<H", int(rng.choice([0, 1, 3, 5, 0xFFFF])))


def _random_vr(data: bytearray, rng: Random) -> None:
    for position in _element_starts(data, rng):
        data[position + 4 : position + 6] = _VRS[int(rng.integers(len(_VRS)))]


def _huge_sizes(data: bytearray, rng: Random) -> None:
    for tag in _SIZES:
        position = data.find(tag)
        if position < 0 or rng.random() < 0.5:
            continue
        if data[position + 4 : position + 6] == b"IS":
            length = struct.unpack_from("<H", data, position + 6)[0]
            data[position + 8 : position + 8 + length] = b"9" * length
        elif data[position + 4 : position + 6] == b"US":
            data[position + 8 : position + 10] = struct.pack("<H", int(rng.choice([0, 1, 8, 16, 0x7FFF, 0xFFFF])))
        else:
            data[position + 8 : position + 12] = struct.pack("<I", int(rng.choice([0, 0x7FFFFFFE, 0xFFFFFFFE])))


def _shuffle_items(data: bytearray, rng: Random) -> None:
    starts = [i for i in range(132, len(data) - 8) if data[i : i + 4] == b"\xfe\xff\x00\xe0"][:2000]
    for _ in range(min(4, len(starts))):
        position = int(rng.choice(starts))
        data[position : position + 4] = (b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\x08\x00\x18\x00")[
            int(rng.integers(3))
        ]


def _replace_numbers(data: bytearray, rng: Random) -> None:
    """Put odd text into decimal strings: positions, spacings, orientations."""
    odd = (b"nan", b"inf", b"1e308", b"-1e999", b"0", b"", b"abc", b"1\\2\\3\\4")
    for tag in (b"\x20\x00\x32\x00", b"\x20\x00\x37\x00", b"\x28\x00\x30\x00", b"\x08\x00\x60\x11"):
        position = data.find(tag, int(rng.integers(132, len(data))))
        if position < 0:
            continue
        length = struct.unpack_from("<H", data, position + 6)[0]
        data[position + 8 : position + 8 + length] = odd[int(rng.integers(len(odd)))][:length].ljust(length)


def _zero_block(data: bytearray, rng: Random) -> None:
    start = _at(data, rng)
    length = min(int(rng.integers(1, 3000)), len(data) - start)
    data[start : start + length] = bytes(length)


def _random_tail(data: bytearray, rng: Random) -> None:
    start = _at(data, rng)
    data[start:] = rng.bytes(len(data) - start)


def _element_starts(data: bytearray, rng: Random) -> list[int]:
    """A few places that look like the start of an element with explicit VR."""
    found = []
    for _ in range(60):
        position = _at(data, rng, 16)
        while position < len(data) - 16:
            if data[position + 4 : position + 6] in (b"SQ", b"OB", b"US", b"DS", b"UI", b"LO", b"CS", b"IS"):
                found.append(position)
                break
            position += 1
        if len(found) >= 3:
            break
    return found


_KINDS: dict[str, Callable[[bytearray, Random], None]] = {
    "truncated": _truncate,
    "bytes flipped": _flip_bytes,
    "header bytes flipped": _flip_header_bytes,
    "part cut out": _cut,
    "part inserted": _insert,
    "part repeated": _repeat,
    "wrong lengths": _random_length,
    "wrong value representations": _random_vr,
    "huge declared sizes": _huge_sizes,
    "delimiters misplaced": _shuffle_items,
    "odd numbers": _replace_numbers,
    "block of zeros": _zero_block,
    "random tail": _random_tail,
}
