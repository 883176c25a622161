"""The file around a data set: read whoever wrote it, written in one form only."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from gateway.domain.errors import UnacceptableInstance
from gateway.services.part10 import file_layout, file_meta
from tests.support.instances import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, MR, make_instance, uid


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_the_layout_of_a_written_file_is_found(syntax: str) -> None:
    content = make_instance(syntax=syntax)
    layout = file_layout(content)
    meta = dcmread(io.BytesIO(content)).file_meta
    assert layout.transfer_syntax_uid == syntax
    assert layout.dataset_offset == 128 + 4 + 12 + meta.FileMetaInformationGroupLength


def test_the_group_length_is_not_trusted() -> None:
    content = bytearray(make_instance())
    right = file_layout(bytes(content))
    content[140:144] = b"\x01\x00\x00\x00"
    assert file_layout(bytes(content)) == right


@settings(deadline=None, max_examples=25)
@given(tail=st.integers(min_value=1, max_value=99), syntax=st.sampled_from([EXPLICIT, IMPLICIT, DEFLATED]))
def test_our_file_meta_is_read_by_pydicom_and_by_ourselves(tail: int, syntax: str) -> None:
    instance = f"{uid('x')[:50]}.{tail}"
    meta = file_meta(sop_class_uid=MR, sop_instance_uid=instance, transfer_syntax_uid=syntax)
    parsed = dcmread(io.BytesIO(meta), force=False).file_meta
    assert (parsed.MediaStorageSOPInstanceUID, parsed.MediaStorageSOPClassUID) == (instance, MR)
    assert parsed.TransferSyntaxUID == syntax
    assert file_layout(meta).dataset_offset == len(meta)


def test_our_file_meta_is_the_same_in_every_version_of_the_gateway() -> None:
    """A change here would turn every resend of what is kept already into a conflict."""
    meta = file_meta(sop_class_uid="1.2.3", sop_instance_uid="1.2.4", transfer_syntax_uid=EXPLICIT)
    assert hashlib.sha256(meta).hexdigest() == "8c74409343b86b633c77a288fd42a76bb85f82fe03b970b699c6d007d5879c18"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(132), id="no prefix"),
        pytest.param(bytes(128) + b"DICM", id="no meta"),
        pytest.param(make_instance()[:150], id="meta cut"),
        pytest.param(bytes(128) + b"DICM\x02\x00\x10\x00UI\xff\x00" + b"1.2", id="value cut"),
    ],
)
def test_what_is_no_dicom_file_is_refused(content: bytes) -> None:
    with pytest.raises(UnacceptableInstance) as caught:
        file_layout(content)
    assert caught.value.code == "UNREADABLE"
