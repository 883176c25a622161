"""Encode data elements as Explicit VR Little Endian bytes, and walk them, for sequences with thousands of items.

A pydicom object per element costs about 50 us; a segmentation with 4,000 frames has 80,000 elements. Items of such
sequences are encoded here once and set into the dataset as one raw element, which pydicom writes as it is.

References
----------
PS3.5 7.1.2 (explicit VR), 7.5 (sequences; explicit lengths throughout)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag
from pydicom.valuerep import format_number_as_ds

from dicom_sr.errors import UnreadableObject

_LONG_LENGTH_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_ITEM_TAG = b"\xfe\xff\x00\xe0"


def encode_element(tag: int, vr: str, value: bytes) -> bytes:
    """Encode one element; `value` must have even length."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in _LONG_LENGTH_VRS:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def encode_text(tag: int, vr: str, value: str) -> bytes:
    """Encode an ASCII text element, padded to even length (UI by a null, the others by a space)."""
    padding = b"\0" if vr == "UI" else b" "
    encoded = value.encode("ascii")
    return encode_element(tag, vr, encoded + padding * (len(encoded) % 2))


def encode_decimals(tag: int, values: Iterable[float]) -> bytes:
    """Encode Decimal Strings, each of at most 16 characters."""
    return encode_text(tag, "DS", "\\".join(format_number_as_ds(float(value) + 0.0) for value in values))


def encode_us(tag: int, *values: int) -> bytes:
    """Encode unsigned 16-bit integers."""
    return encode_element(tag, "US", struct.pack(f"<{len(values)}H", *values))


def encode_ul(tag: int, *values: int) -> bytes:
    """Encode unsigned 32-bit integers."""
    return encode_element(tag, "UL", struct.pack(f"<{len(values)}I", *values))


def encode_item(content: bytes) -> bytes:
    """Encode one sequence item of explicit length."""
    return _ITEM_TAG + struct.pack("<I", len(content)) + content


def encode_sequence(tag: int, items: Sequence[bytes]) -> bytes:
    """Encode a sequence of explicit length; `items` are contents, not yet items."""
    return encode_element(tag, "SQ", b"".join(encode_item(content) for content in items))


def raw_sequence(tag: int, items: Sequence[bytes]) -> RawDataElement:
    """Wrap encoded items as a raw element, for a dataset whose original encoding is Explicit VR Little Endian."""
    value = b"".join(encode_item(content) for content in items)
    return RawDataElement(BaseTag(tag), "SQ", len(value), value, 0, is_implicit_VR=False, is_little_endian=True)


def walk_items(data: bytes) -> Iterator[bytes]:
    """Yield the content of each item of an encoded sequence value; what this module encodes has explicit lengths.

    Raises
    ------
    UnreadableObject
        If an item is cut or of undefined length.
    """
    position = 0
    while position < len(data):
        if data[position : position + 4] != _ITEM_TAG or position + 8 > len(data):
            raise UnreadableObject("an encoded sequence holds something that is not an item")
        start = position + 8
        position = start + int.from_bytes(data[position + 4 : start], "little")
        if position > len(data):
            raise UnreadableObject("an encoded item is cut or of undefined length")
        yield data[start:position]


def walk_elements(data: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Yield tag, VR and value of each element of an encoded item.

    Raises
    ------
    UnreadableObject
        If an element is cut or of undefined length.
    """
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise UnreadableObject("an encoded element header is cut")
        group, number, vr_bytes, length = struct.unpack_from("<HH2sH", data, position)
        vr = vr_bytes.decode("latin-1")
        start = position + 8
        if vr in _LONG_LENGTH_VRS:
            start += 4
            length = int.from_bytes(data[position + 8 : start], "little")
        position = start + length
        if position > len(data):
            raise UnreadableObject("an encoded element is cut or of undefined length")
        yield group << 16 | number, vr, data[start:position]
