"""Walk the top level of an encoded data set to its end: proves it is complete and picks the values to index.

No value is decoded and nothing is copied but the wanted values, so a walk costs microseconds whatever the pixels weigh.

References
----------
PS3.5 sections 7.1 (elements), 7.5 (sequences), A.4 (encapsulated pixel data).
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from struct import Struct

from gateway.domain.errors import UnacceptableInstance

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

#: A deflated data set that grows beyond this is refused: a few kB could otherwise fill the memory.
MAXIMUM_INFLATED = 1 << 30
#: Longest value that is indexed, bytes.
MAXIMUM_INDEXED = 1024
#: Deepest nesting of sequences of undefined length.
MAXIMUM_DEPTH = 64

_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How the elements of a data set are encoded.

    Parameters
    ----------
    explicit : bool
        Whether each element names its VR.
    big_endian : bool
        Byte order.
    """

    explicit: bool
    big_endian: bool


_HEADERS = {False: Struct("<HH2sH"), True: Struct(">HH2sH")}
_LONGS = {False: Struct("<I"), True: Struct(">I")}
#: Read by `_Walk._header`.
_OTHER = (0, 0, b"", 0)
_NEVER_AT_TOP = frozenset((0x0000, 0x0002, 0xFFFE))
_IMPLICIT = Encoding(explicit=False, big_endian=False)


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Return the encoding a transfer syntax stands for; every compressed one is explicit VR little endian."""
    return Encoding(
        explicit=transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN,
        big_endian=transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN,
    )


def walk(dataset: bytes | memoryview, transfer_syntax_uid: str, wanted: Collection[int]) -> dict[int, bytes]:
    """Walk the top-level elements to the end and return the raw values of the wanted ones.

    Parameters
    ----------
    dataset : bytes or memoryview
        The encoded data set, without file meta information.
    transfer_syntax_uid : str
        How it is encoded.
    wanted : collection of int
        Tags as ``0xGGGGEEEE``; values longer than `MAXIMUM_INDEXED` are cut there.

    Raises
    ------
    UnacceptableInstance
        ``TRUNCATED_DATASET`` if it ends inside an element, ``UNREADABLE`` if it is no data set, ``TOO_LARGE`` if it
        inflates beyond `MAXIMUM_INFLATED`.
    """
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        dataset = _inflate(dataset)
    values: dict[int, bytes] = {}
    view = memoryview(dataset)
    try:
        _Walk(view, encoding_of(transfer_syntax_uid)).top_level(wanted, values)
    finally:
        view.release()
    return values


class _Walk:
    """One walk; positions are byte offsets into the view."""

    def __init__(self, view: memoryview, encoding: Encoding) -> None:
        self._view = view
        self._end = len(view)
        self._encoding = encoding

    def top_level(self, wanted: Collection[int], values: dict[int, bytes]) -> None:
        view, end, is_explicit = self._view, self._end, self._encoding.explicit
        unpack = _HEADERS[self._encoding.big_endian].unpack_from
        position = 0
        while position < end:
            # Nearly every element has an explicit VR with a short length: an image has a hundred of them.
            group, element, vr, length = unpack(view, position) if is_explicit and position + 8 <= end else _OTHER
            tag, start = group << 16 | element, position + 8
            if vr not in _SHORT_VRS:
                tag, length, start = self._header(position, self._encoding)
            if tag >> 16 in _NEVER_AT_TOP:
                raise _unreadable("an element that no data set may hold stands at its top level")
            if length == _UNDEFINED:
                position = self._undefined(start, self._nested_encoding(position, tag), 1)
                continue
            position = start + length
            if position > end:
                raise _truncated()
            if tag in wanted:
                values[tag] = bytes(view[start : start + min(length, MAXIMUM_INDEXED)])

    def _header(self, position: int, encoding: Encoding) -> tuple[int, int, int]:
        """Return tag, value length and where the value starts."""
        view, big = self._view, encoding.big_endian
        if position + 8 > self._end:
            raise _truncated()
        group, element, vr, short = _HEADERS[big].unpack_from(view, position)
        tag = group << 16 | element
        if not encoding.explicit or group == 0xFFFE:
            return tag, _LONGS[big].unpack_from(view, position + 4)[0], position + 8
        if vr in _SHORT_VRS:
            return tag, short, position + 8
        if vr not in _LONG_VRS:
            if vr.isalpha() and vr.isupper():
                return tag, short, position + 8
            raise _unreadable("an element names no VR although its transfer syntax says it must")
        if position + 12 > self._end:
            raise _truncated()
        return tag, _LONGS[big].unpack_from(view, position + 8)[0], position + 12

    def _nested_encoding(self, position: int, tag: int) -> Encoding:
        # PS3.5 6.2.2 note 2: a value of VR UN and undefined length is a sequence in implicit VR little endian.
        is_unknown = self._encoding.explicit and bytes(self._view[position + 4 : position + 6]) == b"UN"
        return _IMPLICIT if is_unknown and tag >> 16 != 0xFFFE else self._encoding

    def _undefined(self, position: int, encoding: Encoding, depth: int) -> int:
        """Pass the items of a sequence or of encapsulated pixel data; return the position after its delimiter."""
        if depth > MAXIMUM_DEPTH:
            raise _unreadable("its sequences are nested too deeply")
        while True:
            tag, length, start = self._header(position, encoding)
            if tag == _SEQUENCE_END:
                return start
            if tag != _ITEM:
                raise _unreadable("something other than an item stands in a sequence")
            position = self._item(start, encoding, depth) if length == _UNDEFINED else start + length
            if position > self._end:
                raise _truncated()

    def _item(self, position: int, encoding: Encoding, depth: int) -> int:
        """Pass the elements of an item of undefined length; return the position after its delimiter."""
        while True:
            at = position
            tag, length, start = self._header(position, encoding)
            if tag == _ITEM_END:
                return start
            if length == _UNDEFINED:
                inner = encoding if encoding is _IMPLICIT else self._nested_encoding(at, tag)
                position = self._undefined(start, inner, depth + 1)
            else:
                position = start + length
            if position > self._end:
                raise _truncated()


def _inflate(dataset: bytes | memoryview) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(dataset, MAXIMUM_INFLATED)
    except zlib.error:
        raise _unreadable("its transfer syntax says deflated, and it is not") from None
    if inflater.unconsumed_tail:
        raise UnacceptableInstance("the deflated data set grows beyond 1 GB", code="TOO_LARGE")
    if not inflater.eof:
        raise _truncated()
    return inflated


def _truncated() -> UnacceptableInstance:
    return UnacceptableInstance("the data set ends inside an element: send it again", code="TRUNCATED_DATASET")


def _unreadable(why: str) -> UnacceptableInstance:
    return UnacceptableInstance(f"this is not a readable data set: {why}", code="UNREADABLE")
