"""The table of what the node offers."""

from __future__ import annotations

import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from gateway.dimse.contexts import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_CLASSES,
    TRANSFER_SYNTAXES,
    choose_transfer_syntax,
)

RLE, JPEG_2000, MPEG2 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.100"
PLAIN = {
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
}


def test_every_standard_storage_class_is_offered_label_maps_included() -> None:
    assert len(STORAGE_CLASSES) >= 170
    assert {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"} <= STORAGE_CLASSES


@pytest.mark.parametrize("syntax", sorted(TRANSFER_SYNTAXES))
def test_what_is_offered_can_be_decoded_here(syntax: str) -> None:
    assert UID(syntax).is_transfer_syntax
    assert syntax in PLAIN or get_decoder(UID(syntax)).is_available


def test_what_cannot_be_decoded_is_not_offered() -> None:
    assert MPEG2 not in TRANSFER_SYNTAXES


@pytest.mark.parametrize(
    ("proposed", "chosen"),
    [
        ([IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN], EXPLICIT_VR_LITTLE_ENDIAN),
        ([RLE, EXPLICIT_VR_LITTLE_ENDIAN], RLE),
        ([EXPLICIT_VR_LITTLE_ENDIAN, JPEG_2000], EXPLICIT_VR_LITTLE_ENDIAN),
        ([EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN], EXPLICIT_VR_BIG_ENDIAN),
        ([IMPLICIT_VR_LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN], DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
        ([MPEG2, IMPLICIT_VR_LITTLE_ENDIAN], IMPLICIT_VR_LITTLE_ENDIAN),
        ([MPEG2], None),
        ([], None),
    ],
)
def test_the_senders_own_form_is_chosen_and_implicit_vr_last(proposed: list[str], chosen: str | None) -> None:
    assert choose_transfer_syntax(proposed) == chosen
