"""Walk encoded DICOM data elements without building objects (PS3.5 section 7); bounded against hostile lengths.

A segmentation of a hundred organs has thousands of frames and tens of nested elements for each. Walking the bytes costs
about a microsecond an element and never follows a length out of its container.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

from dicom_sr.seg_errors import UnreadableReason, UnreadableSeg

#: Length of an element whose end is marked by a delimiter (PS3.5 section 7.5).
UNDEFINED_LENGTH = 0xFFFFFFFF
#: Sequences nested deeper than this are refused; segmentations use six levels.
MAX_DEPTH = 24

#: Encoded elements: bytes, or a file mapped into memory.
Encoded = bytes | mmap.mmap

_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_SHORT_HEADER = struct.Struct("<HH2sH")
_ITEM_HEADER = struct.Struct("<HHI")
_LENGTH = struct.Struct("<I")


class Header(NamedTuple):
    """Head of one data element: `value` is where its value starts, `length` may be `UNDEFINED_LENGTH`."""

    tag: int
    vr: bytes
    length: int
    value: int


class Element(NamedTuple):
    """One data element: `value` and `value_end` bound its value, `end` is where the next element starts."""

    tag: int
    vr: bytes
    value: int
    value_end: int
    end: int

    @property
    def has_undefined_length(self) -> bool:
        """Whether a delimiter follows the value."""
        return self.end != self.value_end


def is_explicit(data: Encoded, start: int) -> bool:
    """Whether the element at `start` carries an explicit VR, whatever the transfer syntax says."""
    vr = data[start + 4 : start + 6]
    return vr in _SHORT_VRS or vr in _LONG_VRS


def elements(data: Encoded, start: int, stop: int, *, explicit: bool) -> Iterator[Element]:
    """Walk the elements of one dataset, little endian.

    Parameters
    ----------
    data : bytes or mmap.mmap
        Encoded dataset.
    start, stop : int
        Where the dataset lies.
    explicit : bool
        Whether VRs are explicit.

    Yields
    ------
    Element

    Raises
    ------
    UnreadableSeg
        BROKEN_STRUCTURE, if a length leads out of the dataset or sequences nest deeper than `MAX_DEPTH`.
    """
    position = start
    while position < stop:
        head = _header(data, position, stop, explicit)
        if head.length == UNDEFINED_LENGTH:
            value_end = _skip_sequence(data, head.value, stop, explicit=explicit and head.vr != b"UN", depth=1)
            position = value_end + 8
        else:
            position = value_end = head.value + head.length
        yield Element(head.tag, head.vr, head.value, value_end, position)


def fragments(data: bytes) -> list[bytes]:
    """Split encapsulated Pixel Data into its items, the Basic Offset Table first (PS3.5 A.4).

    Raises
    ------
    UnreadableSeg
        BROKEN_STRUCTURE, if the items do not fill the value.
    """
    found = []
    position = 0
    while position < len(data):
        tag, length, value = _item(data, position, len(data))
        if tag == _SEQUENCE_END:
            break
        if length == UNDEFINED_LENGTH:
            raise _broken("a fragment of Pixel Data has no length")
        position = value + length
        found.append(data[value:position])
    return found


def collect_items(
    data: bytes, *, explicit: bool, sequences: frozenset[int], leaves: frozenset[int]
) -> Iterator[list[tuple[int, bytes]]]:
    """Collect for each item of an encoded sequence value the wanted values, in one pass.

    Parameters
    ----------
    data : bytes
        Value of the sequence, little endian.
    explicit : bool
        Whether VRs are explicit.
    sequences : frozenset of int
        Tags of the nested sequences to enter; all others are passed over.
    leaves : frozenset of int
        Tags of the values to collect, in the order in which they stand; of a sequence, the encoded items.

    Yields
    ------
    list of (tag, value)
        One list for each item.

    Raises
    ------
    UnreadableSeg
        BROKEN_STRUCTURE, as `elements`.
    """
    collector = _Collector(data=data, explicit=explicit, sequences=sequences, leaves=leaves)
    position = 0
    while position < len(data):
        tag, length, value = _item(data, position, len(data))
        if tag == _SEQUENCE_END:
            return
        found: list[tuple[int, bytes]] = []
        position = collector.item(value, length, len(data), found, depth=1)
        yield found


class _Collector:
    """State of one `collect_items` pass."""

    def __init__(self, *, data: bytes, explicit: bool, sequences: frozenset[int], leaves: frozenset[int]) -> None:
        self._data = data
        self._explicit = explicit
        self._sequences = sequences
        self._leaves = leaves

    def item(self, value: int, length: int, stop: int, found: list[tuple[int, bytes]], *, depth: int) -> int:
        """Collect from the item whose content starts at `value`; return where the next item starts."""
        _require_depth(depth)
        delimited = length == UNDEFINED_LENGTH
        end = stop if delimited else value + length
        position = value
        while position < end:
            if delimited and self._data[position : position + 4] == b"\xfe\xff\x0d\xe0":
                return position + 8
            head = _header(self._data, position, end, self._explicit)
            if head.tag in self._sequences:
                position = self._sequence(head, end, found, depth=depth + 1)
            else:
                if head.length == UNDEFINED_LENGTH:
                    explicit = self._explicit and head.vr != b"UN"
                    value_end = _skip_sequence(self._data, head.value, end, explicit=explicit, depth=depth + 1)
                    position = value_end + 8
                else:
                    position = value_end = head.value + head.length
                if head.tag in self._leaves:
                    found.append((head.tag, self._data[head.value : value_end]))
        if delimited:
            raise _broken("an item of undefined length has no end")
        return position

    def _sequence(self, head: Header, stop: int, found: list[tuple[int, bytes]], *, depth: int) -> int:
        delimited = head.length == UNDEFINED_LENGTH
        end = stop if delimited else head.value + head.length
        position = head.value
        while position < end:
            tag, length, value = _item(self._data, position, end)
            if tag == _SEQUENCE_END:
                return value
            position = self.item(value, length, end, found, depth=depth)
        if delimited:
            raise _broken("a sequence of undefined length has no end")
        return position


def _header(data: Encoded, position: int, stop: int, explicit: bool) -> Header:
    value = position + 8
    if value > stop:
        raise _broken("an element header is cut")
    group, number, vr, length = _SHORT_HEADER.unpack_from(data, position)
    if not explicit:
        vr, length = b"", _LENGTH.unpack_from(data, position + 4)[0]
    elif vr in _LONG_VRS:
        value += 4
        if value > stop:
            raise _broken("an element header is cut")
        length = _LENGTH.unpack_from(data, position + 8)[0]
    elif vr not in _SHORT_VRS:
        raise _broken("an element has no value representation")
    if length != UNDEFINED_LENGTH and value + length > stop:
        raise _broken("an element is longer than what holds it")
    return Header(group << 16 | number, vr, length, value)


def _item(data: Encoded, position: int, stop: int) -> tuple[int, int, int]:
    """Read the head of an item or of a sequence's delimiter: tag, length and where the content starts."""
    value = position + 8
    if value > stop:
        raise _broken("an item header is cut")
    group, number, length = _ITEM_HEADER.unpack_from(data, position)
    tag = group << 16 | number
    if tag not in (_ITEM, _SEQUENCE_END):
        raise _broken("a sequence holds something that is not an item")
    if tag == _ITEM and length != UNDEFINED_LENGTH and value + length > stop:
        raise _broken("an item is longer than its sequence")
    return tag, length, value


def _skip_sequence(data: Encoded, start: int, stop: int, *, explicit: bool, depth: int) -> int:
    """Return where the delimiter of a sequence of undefined length starts."""
    _require_depth(depth)
    position = start
    while True:
        tag, length, value = _item(data, position, stop)
        if tag == _SEQUENCE_END:
            return position
        if length == UNDEFINED_LENGTH:
            position = _skip_item(data, value, stop, explicit=explicit, depth=depth)
        else:
            position = value + length


def _skip_item(data: Encoded, start: int, stop: int, *, explicit: bool, depth: int) -> int:
    """Return where the element after the delimiter of an item of undefined length starts."""
    position = start
    while data[position : position + 4] != b"\xfe\xff\x0d\xe0":
        head = _header(data, position, stop, explicit)
        if head.length == UNDEFINED_LENGTH:
            inner = explicit and head.vr != b"UN"
            position = _skip_sequence(data, head.value, stop, explicit=inner, depth=depth + 1) + 8
        else:
            position = head.value + head.length
    return position + 8


def _require_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _broken("sequences are nested too deep")


def _broken(detail: str) -> UnreadableSeg:
    return UnreadableSeg(UnreadableReason.BROKEN_STRUCTURE, detail)
