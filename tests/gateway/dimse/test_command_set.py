"""Command sets: what we write reads back, pynetdicom agrees, what is broken is named."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dsutils import decode as their_decode

from gateway.dimse import command_set
from gateway.dimse.command_set import Command, MalformedCommand

FIELDS = [
    command_set.C_STORE_RQ,
    command_set.C_STORE_RSP,
    command_set.C_ECHO_RQ,
    command_set.C_ECHO_RSP,
    command_set.C_FIND_RQ,
    command_set.C_FIND_RSP,
]
UIDS = st.lists(st.integers(0, 99999), min_size=2, max_size=8).map(lambda parts: ".".join(str(p) for p in parts))


@settings(deadline=None, max_examples=50)
@given(
    field=st.sampled_from(FIELDS),
    message_id=st.integers(0, 0xFFFF),
    uids=st.tuples(UIDS, UIDS),
    status=st.integers(0, 0xFFFF),
    has_dataset=st.booleans(),
)
def test_a_command_reads_back_as_it_was_written(
    field: int, message_id: int, uids: tuple[str, str], status: int, has_dataset: bool
) -> None:
    command = Command(
        field=field,
        message_id=message_id,
        sop_class=uids[0],
        sop_instance=uids[1],
        status=status if field & 0x8000 else 0,
        has_dataset=has_dataset,
    )
    encoded = command.encode()
    assert command_set.decode(encoded) == command
    theirs = their_decode(BytesIO(encoded), True, True)
    assert theirs.CommandGroupLength == len(encoded) - 12
    assert (theirs.CommandField, theirs.AffectedSOPInstanceUID) == (field, uids[1])
    assert list(theirs.keys()) == sorted(theirs.keys())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00\x00\x00\x01", id="cut header"),
        pytest.param(b"\x00\x00\x00\x01\x02\x00\x00\x00\x01", id="cut value"),
        pytest.param(b"\x08\x00\x05\x00\x02\x00\x00\x00AB", id="another group"),
        pytest.param(b"\x00\x00\x00\x01\xff\xff\xff\xff\x01\x00", id="4 GB value"),
        pytest.param(b"\x00\x00\x00\x01\x02\x00\x00\x00\x01\x00", id="no message id"),
    ],
)
def test_a_broken_command_is_named(content: bytes) -> None:
    with pytest.raises(MalformedCommand):
        command_set.decode(content)
