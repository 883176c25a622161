"""Tolerant reading of header attributes: any value as text or numbers, without warnings that quote a patient's data.

pydicom validates a value when an attribute is read and puts the value into the warning. These functions decode the raw
element instead; what cannot be decoded is absent, never an exception.
"""

from __future__ import annotations

import math
import struct

from pydicom import config
from pydicom.charset import decode_bytes, default_encoding, python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import Tag
from pydicom.valuerep import validate_value

_BINARY_FORMATS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_ENCODED_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
#: What pydicom raises on bytes it cannot turn into an element; anything else would be our own defect.
CONVERSION_FAILURES = (
    *(BytesLengthException, InvalidDicomError),
    *(ValueError, TypeError, KeyError, AttributeError, NotImplementedError, EOFError, OSError, struct.error),
    *(OverflowError, IndexError, RecursionError),
)
_DELIMITERS = {0x5C, 0x0A, 0x0C, 0x0D, 0x5E, 0x3D}


def text(dataset: Dataset, keyword: str) -> str:
    """Return the whole value of an attribute as text, values joined by a backslash; empty when absent."""
    return "\\".join(texts(dataset, keyword))


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of an attribute as texts, stripped of padding; empty when absent or a sequence."""
    element = _element(dataset, keyword)
    if element is None:
        return ()
    if isinstance(element, RawDataElement):
        return _raw_texts(element, dataset)
    if element.VR == "SQ" or element.value is None:
        return ()
    values = element.value if isinstance(element.value, list | tuple) or element.VM > 1 else [element.value]
    found = tuple(str(value).strip() for value in values)
    return found if any(found) else ()


def legal_texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of an attribute as `texts` does; empty when its VR forbids any of them."""
    found = texts(dataset, keyword)
    try:
        for value in found:
            validate_value(dictionary_VR(keyword), value, config.RAISE)
    except ValueError:
        return ()
    return found


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of an attribute as a finite number, or None."""
    found = numbers(dataset, keyword)
    return found[0] if found else None


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of an attribute as finite numbers; empty when any of them is not a number."""
    found = []
    for value in texts(dataset, keyword):
        try:
            found.append(float(value))
        except ValueError:
            return ()
    return tuple(found) if all(math.isfinite(value) for value in found) else ()


def items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence attribute; empty when absent, not a sequence or not decodable."""
    if keyword not in dataset:
        return ()
    try:
        element = dataset[keyword]
    except CONVERSION_FAILURES:
        return ()
    return tuple(element.value or ()) if element.VR == "SQ" else ()


def character_sets(dataset: Dataset) -> tuple[str, ...]:
    """Return Specific Character Set (0008,0005) of the dataset itself, empty when it declares none."""
    return texts(dataset, "SpecificCharacterSet")


def _element(dataset: Dataset, keyword: str) -> DataElement | RawDataElement | None:
    tag = Tag(keyword)
    try:
        return dataset.get_item(tag) if tag in dataset else None
    except CONVERSION_FAILURES:
        return None


def _raw_texts(element: RawDataElement, dataset: Dataset) -> tuple[str, ...]:
    value = element.value or b""
    vr = element.VR or dictionary_VR(element.tag)
    if vr == "SQ":
        return ()
    if vr in _BINARY_FORMATS or vr == "US or SS":
        return _binary_texts(value, _BINARY_FORMATS.get(vr, "H"), little_endian=element.is_little_endian)
    decoded = _decode(value, dataset) if vr in _ENCODED_VRS else value.decode("latin-1")
    parts = [decoded] if vr in {"LT", "ST", "UT"} else decoded.split("\\")
    found = tuple(part.strip(" \0\r\n\t") for part in parts)
    return found if any(found) else ()


def _binary_texts(value: bytes, letter: str, *, little_endian: bool) -> tuple[str, ...]:
    count = len(value) // struct.calcsize("=" + letter)
    layout = f"{'<' if little_endian else '>'}{count}{letter}"
    return tuple(repr(v) for v in struct.unpack_from(layout, value))


def _decode(value: bytes, dataset: Dataset) -> str:
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    encodings = [python_encoding.get(name, default_encoding) for name in character_sets(dataset)]
    encodings = encodings or _inherited(dataset)
    if set(encodings) <= {default_encoding}:
        return _decode_undeclared(value)
    if b"\x1b" in value and len(encodings) > 1:
        try:
            return decode_bytes(value, encodings, _DELIMITERS)
        except (UnicodeError, LookupError):
            return value.decode("latin-1")
    return value.decode(next(name for name in encodings if name != default_encoding), "replace")


def _inherited(dataset: Dataset) -> list[str]:
    """Python encodings that a sequence item inherits from the dataset around it."""
    known = dataset.original_character_set or ()
    encodings = [known] if isinstance(known, str) else list(known)
    return encodings


def _decode_undeclared(value: bytes) -> str:
    """Decode text that no Specific Character Set explains: UTF-8 where it is valid UTF-8, else Latin-1."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
