"""Walking an encoded data set: complete ones pass whatever their encoding, cut ones never do."""

from __future__ import annotations

import io
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from gateway.domain.errors import UnacceptableInstance
from gateway.services import dataset_walk
from gateway.services.dataset_walk import walk
from gateway.services.part10 import file_layout
from tests.support.instances import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, make_instance
from tests.support.shared import shared_data

SYNTAXES = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)
PATIENT_ID = 0x00100020


def _dataset(content: bytes) -> tuple[bytes, str]:
    layout = file_layout(content)
    return content[layout.dataset_offset :], layout.transfer_syntax_uid


def _nested(depth: int, undefined: bool) -> DicomSequence:
    item = Dataset()
    item.CodeValue = "1"
    if depth:
        item.ConceptCodeSequence = _nested(depth - 1, undefined)
        item["ConceptCodeSequence"].is_undefined_length = undefined
    item.is_undefined_length_sequence_item = undefined
    return DicomSequence([item])


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_wanted_values_are_returned_raw(syntax: str) -> None:
    dataset, _ = _dataset(make_instance(syntax=syntax, PatientID="ABC"))
    assert walk(dataset, syntax, {PATIENT_ID}) == {PATIENT_ID: b"ABC "}


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_sequences_are_passed_whether_their_length_is_defined_or_not(syntax: str, undefined: bool) -> None:
    content = make_instance(syntax=syntax, ProcedureCodeSequence=_nested(5, undefined), PatientID="AB")
    dataset, _ = _dataset(content)
    assert (b"\xff\xff\xff\xff" in dataset) == undefined
    assert walk(dataset, syntax, {PATIENT_ID}) == {PATIENT_ID: b"AB"}


@settings(deadline=None, max_examples=50)
@given(
    syntax=st.sampled_from(SYNTAXES),
    undefined=st.booleans(),
    where=st.floats(min_value=0.0, max_value=1.0, exclude_max=True),
)
def test_a_cut_inside_an_element_is_always_noticed(syntax: str, undefined: bool, where: float) -> None:
    dataset, _ = _dataset(
        make_instance(syntax=syntax, side=4, PatientName="A^B", ProcedureCodeSequence=_nested(2, undefined))
    )
    stop = int(where * len(dataset))
    boundaries = _boundaries(dataset, syntax)
    if stop in boundaries:
        walk(dataset[:stop], syntax, ())
    else:
        with pytest.raises(UnacceptableInstance) as caught:
            walk(dataset[:stop], syntax, ())
        assert caught.value.code == "TRUNCATED_DATASET"


def _boundaries(dataset: bytes, syntax: str) -> set[int]:
    """Return the offsets where a top-level element ends, found by pydicom."""
    if syntax == DEFLATED:
        return set()
    parsed = dcmread(io.BytesIO(make_header(syntax) + dataset), force=True)
    starts = {0}
    for element in parsed:
        fresh = Dataset()
        fresh.add(element)
        buffer = io.BytesIO()
        fresh.save_as(buffer, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG_ENDIAN)
        starts.add(max(starts) + len(buffer.getvalue()))
    assert max(starts) == len(dataset)
    return starts


def make_header(syntax: str) -> bytes:
    """Return preamble and file meta information for a transfer syntax."""
    content = make_instance(syntax=syntax)
    return content[: file_layout(content).dataset_offset]


@pytest.mark.parametrize("keep", [1, 7, 8, 9, 100])
def test_a_deflated_data_set_that_is_cut_is_truncated(keep: int) -> None:
    dataset, _ = _dataset(make_instance(syntax=DEFLATED))
    with pytest.raises(UnacceptableInstance) as caught:
        walk(dataset[: -len(dataset) + keep], DEFLATED, ())
    assert caught.value.code == "TRUNCATED_DATASET"


def test_a_deflated_bomb_is_refused_without_inflating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_walk, "MAXIMUM_INFLATED", 1000)
    deflater = zlib.compressobj(wbits=-15)
    bomb = deflater.compress(bytes(100_000)) + deflater.flush()
    with pytest.raises(UnacceptableInstance) as caught:
        walk(bomb, DEFLATED, ())
    assert caught.value.code == "TOO_LARGE"


@pytest.mark.parametrize(
    "dataset",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="http"),
        pytest.param(bytes(64), id="zeros"),
        pytest.param(b"\x02\x00\x10\x00UI\x00\x00" * 2, id="file meta inside"),
        pytest.param(b"\xfe\xff\x0d\xe0\x00\x00\x00\x00", id="item delimiter at the top"),
        pytest.param(b"\x08\x00\x05\x00\x00\x00\x00\x00", id="no VR"),
    ],
)
def test_what_is_no_data_set_is_refused(dataset: bytes) -> None:
    with pytest.raises(UnacceptableInstance) as caught:
        walk(dataset, EXPLICIT, ())
    assert caught.value.code in {"UNREADABLE", "TRUNCATED_DATASET"}


def test_sequences_nested_without_end_are_refused_and_not_followed_to_the_bottom() -> None:
    level = b"\x08\x00\x32\x10SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(UnacceptableInstance) as caught:
        walk(level * 5000, EXPLICIT, ())
    assert caught.value.code == "UNREADABLE"


@settings(deadline=None, max_examples=50)
@given(junk=st.binary(max_size=300), syntax=st.sampled_from(SYNTAXES))
def test_arbitrary_bytes_end_in_a_named_error_or_a_walk(junk: bytes, syntax: str) -> None:
    codes = []
    try:
        walk(junk, syntax, {PATIENT_ID})
    except UnacceptableInstance as error:
        codes.append(error.code)
    assert set(codes) <= {"UNREADABLE", "TRUNCATED_DATASET"}


def test_unknown_vr_of_undefined_length_holds_an_implicit_sequence() -> None:
    inner = b"\x10\x00\x20\x00\x02\x00\x00\x00AB"
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0\x00\x00\x00\x00"
    unknown = b"\x09\x00\x10\x10UN\x00\x00\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    after = b"\x10\x00\x20\x00LO\x02\x00XY"
    assert walk(unknown + after, EXPLICIT, {PATIENT_ID}) == {PATIENT_ID: b"XY"}


def test_real_objects_of_many_vendors_are_walked_to_their_end() -> None:
    seen = 0
    for folder in ("odd_dicom", "seg_sr", "edited_seg"):
        for path in sorted(shared_data(folder).rglob("*")):
            content = path.read_bytes() if path.is_file() else b""
            if content[128:132] == b"DICM" and "truncated" not in path.name:
                dataset, syntax = _dataset(content)
                walk(dataset, syntax, ())
                seen += 1
    assert seen > 100
