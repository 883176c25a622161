"""The attributes of a performed procedure step: encoded to be kept, changed by an N-SET, and told by an N-GET.

References
----------
PS3.4 F.7.2.2, F.8.2; PS3.7 10.1.2, 10.1.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Final

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import VR
from pynetdicom.dsutils import decode, encode

from gateway.domain.errors import UnacceptableInstance

_UNICODE: Final = "ISO_IR 192"


def changed(kept: bytes, modifications: Dataset) -> bytes:
    """Return the attributes of a step after a change, in Explicit VR Little Endian and UTF-8.

    Parameters
    ----------
    kept : bytes
        As they were; empty for a new step.
    modifications : Dataset
        Attributes that take the place of those kept; a sequence is given as a whole.

    Raises
    ------
    UnacceptableInstance
        ``INVALID_VALUE`` if an attribute cannot be read.
    """
    attributes = _read(kept) if kept else Dataset()
    try:
        # Both sides may have character sets of their own.
        modifications.decode()
        attributes.decode()
        attributes.update(modifications)
        _drop_character_sets(attributes)
        attributes.SpecificCharacterSet = _UNICODE
        encoded = encode(attributes, False, True)
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError):
        encoded = None
    if encoded is None:
        raise UnacceptableInstance("an attribute of a procedure step cannot be read", code="INVALID_VALUE")
    return encoded


def chosen(kept: bytes, wanted: Sequence[BaseTag]) -> tuple[Dataset, bool]:
    """Return the wanted attributes of a step, all without a wish, and whether there is each of them."""
    attributes = _read(kept)
    if not wanted:
        return attributes, True
    answer = Dataset()
    for tag in wanted:
        if tag in attributes:
            answer[tag] = attributes[tag]
    is_whole = all(tag in answer for tag in wanted)
    answer.SpecificCharacterSet = _UNICODE
    return answer, is_whole


def _read(kept: bytes) -> Dataset:
    return decode(BytesIO(kept), False, True)


def _drop_character_sets(dataset: Dataset) -> None:
    dataset.pop("SpecificCharacterSet", None)
    for element in dataset:
        for item in element.value if element.VR == VR.SQ else ():
            _drop_character_sets(item)
