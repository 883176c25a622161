"""Header reading: any value of any encoding as text or numbers, absent where it says nothing, never a warning."""

from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_sr.character_set import can_encode, character_set_of, codecs_of, settle_character_set
from dicom_sr.header import character_sets, items, number, numbers, text, texts


def raw(keyword, vr, value):
    tag = Tag(keyword)
    return RawDataElement(tag, vr, len(value), value, 0, False, True)


def encoded(keyword, vr, value, character_set=None):
    ds = Dataset()
    if character_set is not None:
        ds.SpecificCharacterSet = character_set
    ds[Tag(keyword)] = raw(keyword, vr, value)
    return ds


@pytest.mark.parametrize(
    ("character_set", "value", "expected"),
    [
        (None, b"Miller^Ann ", "Miller^Ann"),
        (None, "Müller".encode(), "Müller"),
        (None, "Müller".encode("latin-1"), "Müller"),
        ("ISO_IR 6", "Müller".encode("latin-1"), "Müller"),
        ("ISO_IR 100", "Müller".encode("latin-1"), "Müller"),
        ("ISO_IR 192", "山田^太郎".encode(), "山田^太郎"),
        ("ISO_IR 144", "Иванов".encode("iso8859_5"), "Иванов"),
        (["", "ISO 2022 IR 87"], "Yamada=山田".encode("iso2022_jp"), "Yamada=山田"),
        (["", "ISO 2022 IR 149"], b"Hong=\x1b$)C\xc8\xab", "Hong=홍"),
        ("GB18030", "王".encode("gb18030"), "王"),
        ("NONSENSE", b"Miller", "Miller"),
        ("NONSENSE", b"M\xfcller", "Müller"),
        ("ISO_IR 192", b"M\xfcller", "M\ufffdller"),
    ],
)
def test_a_name_in_any_character_set_is_text(character_set, value, expected, recwarn):
    assert text(encoded("PatientName", "PN", value, character_set), "PatientName") == expected
    assert not recwarn.list


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "expected"),
    [
        ("ImageType", "CS", b"ORIGINAL\\PRIMARY", ("ORIGINAL", "PRIMARY")),
        ("ImageType", "CS", b"", ()),
        ("Rows", "US", b"\x00\x02", ("512",)),
        ("RecommendedDisplayCIELabValue", "US", b"\x01\x00\x02\x00\x03\x00", ("1", "2", "3")),
        ("PatientComments", "LT", b"a\\b", ("a\\b",)),
        ("PixelSpacing", "DS", b"0.5 \\1.25", ("0.5", "1.25")),
    ],
)
def test_values_of_any_representation_are_texts(keyword, vr, value, expected):
    assert texts(encoded(keyword, vr, value), keyword) == expected


def test_values_set_by_hand_read_like_values_of_a_file():
    ds = Dataset()
    ds.ImageType, ds.Rows, ds.PixelSpacing, ds.PatientName = ["A", "B"], 512, [0.5, 1.25], "Müller"
    ds.ReferencedSeriesSequence = [Dataset()]

    assert texts(ds, "ImageType") == ("A", "B")
    assert numbers(ds, "PixelSpacing") == (0.5, 1.25)
    assert (number(ds, "Rows"), text(ds, "PatientName")) == (512, "Müller")
    assert len(items(ds, "ReferencedSeriesSequence")) == 1
    assert texts(ds, "ReferencedSeriesSequence") == ()


@pytest.mark.parametrize("value", [b"abc ", b"1e999 ", b"nan ", b"1\\x ", b""])
def test_what_is_no_number_is_absent(value):
    assert numbers(encoded("SliceThickness", "DS", value), "SliceThickness") == ()
    assert number(encoded("SliceThickness", "DS", value), "SliceThickness") is None


def test_an_absent_attribute_is_empty():
    assert (text(Dataset(), "PatientID"), number(Dataset(), "Rows"), items(Dataset(), "SourceImageSequence")) == (
        "",
        None,
        (),
    )


def test_items_inherit_the_character_set_around_them():
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    item = Dataset()
    item.IssuerOfPatientID = "Zürich"
    ds.OtherPatientIDsSequence = [item]
    buffer = io.BytesIO()
    ds.save_as(buffer, implicit_vr=False, little_endian=True)

    read = pydicom.dcmread(io.BytesIO(buffer.getvalue()), force=True)

    assert text(items(read, "OtherPatientIDsSequence")[0], "IssuerOfPatientID") == "Zürich"


@pytest.mark.parametrize(
    ("declared", "value", "expected"),
    [
        ("ISO_IR 100", b"x", ("ISO_IR 100",)),
        (None, b"x", ("ISO_IR 192",)),
        (None, "ü".encode(), ("ISO_IR 192",)),
        (None, "ü".encode("latin-1"), ("ISO_IR 100",)),
        ("ISO_IR 6", "ü".encode("latin-1"), ("ISO_IR 100",)),
        ("NONSENSE", b"x", ("ISO_IR 192",)),
    ],
)
def test_the_character_set_that_explains_a_source(declared, value, expected):
    assert character_set_of(encoded("PatientName", "PN", value, declared)) == expected


@pytest.mark.parametrize(
    ("preferred", "name", "chosen"),
    [
        (("ISO_IR 100",), "Müller", "ISO_IR 100"),
        (("ISO_IR 100",), "山田", "ISO_IR 192"),
        (("ISO_IR 6",), "Müller", "ISO_IR 192"),
        (("", "ISO 2022 IR 87"), "Yamada=山田", ["", "ISO 2022 IR 87"]),
        (("", "ISO 2022 IR 87"), "Müller", "ISO_IR 192"),
        ((), "山田", "ISO_IR 192"),
    ],
)
def test_text_that_does_not_fit_makes_the_object_utf_8(preferred, name, chosen):
    ds = Dataset()
    item = Dataset()
    item.PersonName = name
    ds.VerifyingObserverSequence = [item]

    settle_character_set(ds, preferred)

    assert ds.SpecificCharacterSet == chosen
    assert can_encode(name, codecs_of(character_sets(ds)))
