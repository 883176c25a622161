"""Choose the Specific Character Set of an object so that every text in it can be encoded.

The source's character set is kept where it suffices, because the patient's name then keeps its very bytes and a system
that compares bytes still sees one patient. Where our own text does not fit, the object becomes ISO_IR 192 (UTF-8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom.charset import convert_encodings, default_encoding, python_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from dicom_sr.header import character_sets

UTF_8 = "ISO_IR 192"
LATIN_1 = "ISO_IR 100"
_TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})


def character_set_of(source: Dataset) -> tuple[str, ...]:
    """Return the character set that explains the texts of `source`: as declared, else UTF-8 or Latin-1 by its bytes."""
    declared = character_sets(source)
    if any(codecs_of(declared)) and all(name in python_encoding for name in declared):
        return declared
    for tag in list(source.keys()):
        element = source.get_item(tag)
        value = element.value if isinstance(element, RawDataElement) and element.VR in _TEXT_VRS else b""
        if value and not _is_utf8(value):
            return (LATIN_1,)
    return (UTF_8,)


def codecs_of(character_set: tuple[str, ...]) -> tuple[str, ...]:
    """Return the Python codecs of the declared sets beyond ASCII; ISO_IR 6 and an empty value declare ASCII alone."""
    names = (python_encoding.get(name, default_encoding) for name in character_set)
    return tuple(name for name in names if name != default_encoding)


def can_encode(text: str, codecs: tuple[str, ...]) -> bool:
    """Whether each character of `text` is ASCII or in one of `codecs`."""
    return text.isascii() or all(letter.isascii() or any(_encodes(letter, c) for c in codecs) for letter in set(text))


def _encodes(letter: str, codec: str) -> bool:
    try:
        letter.encode(codec)
    except (UnicodeError, LookupError):
        return False
    return True


def settle_character_set(dataset: Dataset, preferred: tuple[str, ...] = ()) -> None:
    """Declare the character set of `dataset`: `preferred` (or what it declares) where all texts fit, else ISO_IR 192.

    Raw elements are skipped: the writers of this package put ASCII only into them.
    """
    declared = preferred or character_sets(dataset) or (UTF_8,)
    chosen = list(declared) if _fits(_texts(dataset), declared) else [UTF_8]
    dataset.SpecificCharacterSet = chosen if len(chosen) > 1 else chosen[0]
    dataset.set_original_encoding(False, True, convert_encodings(chosen))


def _fits(values: Iterable[str], declared: tuple[str, ...]) -> bool:
    codecs = codecs_of(declared)
    return all(can_encode(value, codecs) for value in values)


def _texts(dataset: Dataset) -> Iterator[str]:
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if not isinstance(element, DataElement) or element.value is None:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in _TEXT_VRS:
            yield str(element.value) if element.VM <= 1 else "".join(str(value) for value in element.value)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
