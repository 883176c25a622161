"""Encoded elements: pydicom reads what is encoded, and walking undoes encoding."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_sr.element_bytes import (
    encode_decimals,
    encode_element,
    encode_sequence,
    encode_text,
    encode_ul,
    encode_us,
    raw_sequence,
    walk_elements,
    walk_items,
)
from dicom_sr.errors import UnreadableObject


def saved_and_read(element):
    ds = Dataset()
    ds.set_original_encoding(False, True, ["iso8859"])
    ds[element.tag] = element
    buffer = io.BytesIO()
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(buffer)
    return dcmread(io.BytesIO(buffer.getvalue()), force=True)


def test_pydicom_reads_every_kind_of_element():
    item = (
        encode_text(0x00081155, "UI", "1.2.345")
        + encode_us(0x00280010, 512)
        + encode_sequence(0x00209111, [encode_ul(0x00209157, 1, 70_000), b""])
        + encode_decimals(0x00200032, [-0.0, 1 / 3, -123.456])
        + encode_text(0x0028135A, "CS", "YES")
    )

    read = saved_and_read(raw_sequence(0x52009230, [item, item])).PerFrameFunctionalGroupsSequence

    assert len(read) == 2
    assert (read[1].ReferencedSOPInstanceUID, read[1].Rows, read[1].SpatialLocationsPreserved) == (
        "1.2.345",
        512,
        "YES",
    )
    assert list(read[1].FrameContentSequence[0].DimensionIndexValues) == [1, 70_000]
    assert len(read[1].FrameContentSequence[1]) == 0
    assert [float(v) for v in read[1].ImagePositionPatient] == pytest.approx([0, 1 / 3, -123.456])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_decimals_fit_their_sixteen_characters_and_keep_their_value(values):
    ((_, vr, encoded),) = walk_elements(encode_decimals(0x00200037, values))

    parts = encoded.decode().split("\\")
    assert vr == "DS"
    assert all(len(part.rstrip(" ")) <= 16 for part in parts)
    assert [float(part) for part in parts] == pytest.approx(values, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.tuples(st.sampled_from(["LO", "UT", "US", "OB"]), st.binary(max_size=40)), max_size=5)))
def test_walking_undoes_encoding(drawn):
    given_items = [[(0x00100010 + i, vr, v[: len(v) // 2 * 2]) for i, (vr, v) in enumerate(item)] for item in drawn]
    contents = [b"".join(encode_element(*element) for element in item) for item in given_items]

    encoded = raw_sequence(0x52009230, contents).value

    assert [list(walk_elements(content)) for content in walk_items(encoded)] == given_items


@pytest.mark.parametrize("cut", [1, 5, 9, 13])
def test_what_is_cut_is_refused(cut):
    item = encode_text(0x00081155, "UI", "1.2.345")
    encoded = raw_sequence(0x52009230, [item]).value

    with pytest.raises(UnreadableObject):
        list(walk_items(encoded[:-cut]))
    with pytest.raises(UnreadableObject):
        list(walk_elements(item[:-cut]))


def test_what_is_no_item_is_refused():
    with pytest.raises(UnreadableObject):
        list(walk_items(encode_text(0x00081155, "UI", "1.2.345")))
