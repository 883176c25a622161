"""The indexed attributes of a received instance."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import UnacceptableInstance
from gateway.services.part10 import file_layout
from gateway.services.received_header import ReceivedHeader, read_header
from tests.support.instances import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, MR, make_instance, uid


def _header(content: bytes) -> ReceivedHeader:
    layout = file_layout(content)
    return read_header(content[layout.dataset_offset :], layout.transfer_syntax_uid)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_identity_and_size_are_read_in_every_encoding(syntax: str) -> None:
    header = _header(make_instance(7, syntax=syntax, NumberOfFrames=3, Modality="MR"))
    assert header.sop_class_uid == MR
    assert header.sop_instance_uid == uid("study", "series", 7)
    assert (header.study_instance_uid, header.series_instance_uid) == (uid("study"), uid("study", "series"))
    assert (header.rows, header.columns, header.number_of_frames) == (16, 16, 3)
    assert header.has_pixels
    assert header.patient_name == "Müller^Zoë"


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Buc^Jérôme"),
        ("ISO_IR 144", "Люкceмбypг"),  # noqa: RUF001
        ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    ],
)
def test_names_are_decoded_by_their_character_set(character_set: str | list[str], name: str) -> None:
    assert _header(make_instance(SpecificCharacterSet=character_set, PatientName=name)).patient_name == name


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_without_identity_is_refused(keyword: str) -> None:
    with pytest.raises(UnacceptableInstance) as caught:
        _header(make_instance(**{keyword: None}))
    assert caught.value.code == "MISSING_UID"


@pytest.mark.parametrize("value", ["../../evil", "1.2.3/4", "1..2", "1.2.", "1" * 65, "1.2.3\\1.2.4", "evil"])
@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_a_uid_that_is_none_is_refused_and_not_quoted(keyword: str, value: str) -> None:
    content = make_instance()
    right = {
        "SOPInstanceUID": uid("study", "series", 1),
        "StudyInstanceUID": uid("study"),
        "SeriesInstanceUID": uid("study", "series"),
    }[keyword]
    layout = file_layout(content)
    wrong = value.encode().ljust(len(right), b"\x00")[: max(len(right), len(value))]
    dataset = content[layout.dataset_offset :]
    if len(wrong) > len(right):
        old = b"UI" + (len(right) + len(right) % 2).to_bytes(2, "little") + right.encode() + b"\x00" * (len(right) % 2)
        new = b"UI" + (len(wrong) + len(wrong) % 2).to_bytes(2, "little") + wrong + b"\x00" * (len(wrong) % 2)
        dataset = dataset.replace(old, new)
    else:
        dataset = dataset.replace(right.encode() + b"\x00" * (len(right) % 2), wrong + b"\x00" * (len(right) % 2), 1)
    with pytest.raises(UnacceptableInstance) as caught:
        read_header(dataset, EXPLICIT)
    assert caught.value.code == "INVALID_UID"
    assert value not in caught.value.detail


def test_leading_zeros_in_a_uid_are_forgiven() -> None:
    content = make_instance(SeriesInstanceUID="1.2.303")
    dataset = content[file_layout(content).dataset_offset :].replace(b"1.2.303", b"1.2.003")
    assert read_header(dataset, EXPLICIT).series_instance_uid == "1.2.003"


@settings(deadline=None, max_examples=50)
@given(
    raw=st.binary(max_size=64),
    character_set=st.sampled_from(["", "ISO_IR 192", "\\ISO 2022 IR 87", "ISO 2022 IR 149", "X"]),
)
def test_any_bytes_in_a_name_give_printable_text(raw: bytes, character_set: str) -> None:
    content = make_instance(SpecificCharacterSet="ISO_IR 6", PatientName="N" * 64)
    name = raw.ljust(64, b" ")
    dataset = content[file_layout(content).dataset_offset :].replace(b"N" * 64, name)
    term = character_set.encode().ljust(len(character_set) + len(character_set) % 2)
    declared = b"\x08\x00\x05\x00CS" + len(term).to_bytes(2, "little") + term
    dataset = dataset.replace(b"\x08\x00\x05\x00CS\x08\x00ISO_IR 6", declared, 1)
    text = read_header(dataset, EXPLICIT).patient_name
    assert text == "" or (text.isprintable() and len(text) <= 256)


@pytest.mark.parametrize("frames", ["", "abc", "-3", "12345678901"])
def test_a_number_of_frames_that_is_none_counts_as_one(frames: str) -> None:
    content = make_instance(NumberOfFrames=1)
    dataset = content[file_layout(content).dataset_offset :]
    term = frames.encode().ljust(len(frames) + len(frames) % 2)
    new = b"\x28\x00\x08\x00IS" + len(term).to_bytes(2, "little") + term
    assert read_header(dataset.replace(b"\x28\x00\x08\x00IS\x02\x001 ", new), EXPLICIT).number_of_frames == 1
