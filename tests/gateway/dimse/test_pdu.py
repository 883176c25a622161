"""Association PDUs: what we write is what we read, and pynetdicom reads it too; what is broken is named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from gateway.dimse.pdu import (
    HEADER,
    AnsweredContext,
    AssociateRequest,
    MalformedPdu,
    ProposedContext,
    associate_rj,
    encode_associate_ac,
    encode_associate_rq,
    parse_associate_ac,
    parse_associate_rq,
)

UIDS = st.lists(st.integers(0, 99999), min_size=2, max_size=8).map(lambda parts: ".".join(str(p) for p in parts))
TITLES = st.text("ABCXYZ019_-", min_size=1, max_size=16)
IMPLEMENTATION = ("1.2.3", "TEST")


def _contexts(shapes: list[tuple[str, list[str]]]) -> list[ProposedContext]:
    return [
        ProposedContext(context_id=2 * i + 1, abstract_syntax=abstract, transfer_syntaxes=tuple(transfers))
        for i, (abstract, transfers) in enumerate(shapes)
    ]


SHAPES = st.lists(st.tuples(UIDS, st.lists(UIDS, min_size=1, max_size=4)), min_size=1, max_size=128)


@settings(deadline=None, max_examples=30)
@given(called=TITLES, calling=TITLES, shapes=SHAPES)
def test_a_request_reads_back_as_it_was_written(called: str, calling: str, shapes: list[tuple[str, list[str]]]) -> None:
    contexts = _contexts(shapes)
    encoded = encode_associate_rq(
        called_aet=called, calling_aet=calling, contexts=contexts, implementation=IMPLEMENTATION
    )
    kind, length = HEADER.unpack_from(encoded)
    assert (kind, length) == (1, len(encoded) - 6)
    parsed = parse_associate_rq(encoded[6:])
    assert (parsed.called_aet, parsed.calling_aet, list(parsed.contexts)) == (called, calling, contexts)
    assert (parsed.maximum_length, parsed.implementation_class_uid) == (131072, "1.2.3")
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(encoded)
    assert (theirs.called_ae_title.strip(), theirs.calling_ae_title.strip()) == (called, calling)
    assert [item.abstract_syntax for item in theirs.presentation_context] == [c.abstract_syntax for c in contexts]


@settings(deadline=None, max_examples=30)
@given(shapes=SHAPES, results=st.lists(st.integers(0, 4), min_size=128, max_size=128))
def test_an_acceptance_reads_back_as_it_was_written(shapes: list[tuple[str, list[str]]], results: list[int]) -> None:
    request = AssociateRequest(called_aet="A", calling_aet="B", contexts=tuple(_contexts(shapes)))
    answers = [
        AnsweredContext(context_id=c.context_id, result=r, transfer_syntax=c.transfer_syntaxes[0])
        for c, r in zip(request.contexts, results, strict=False)
    ]
    encoded = encode_associate_ac(request, answers, implementation=IMPLEMENTATION)
    parsed = parse_associate_ac(encoded[6:])
    assert (list(parsed.contexts), parsed.maximum_length) == (answers, 131072)
    theirs = A_ASSOCIATE_AC()
    theirs.decode(encoded)
    assert [item.context_id for item in theirs.presentation_context] == [a.context_id for a in answers]


def test_a_rejection_carries_result_source_and_reason() -> None:
    assert associate_rj(result=1, source=2, reason=3) == b"\x03\x00\x00\x00\x00\x04\x00\x01\x02\x03"


@settings(deadline=None, max_examples=50)
@given(junk=st.binary(max_size=400), at=st.integers(0, 200), flips=st.binary(min_size=1, max_size=8))
def test_a_spoiled_request_is_read_or_named_malformed(junk: bytes, at: int, flips: bytes) -> None:
    good = encode_associate_rq(
        called_aet="A", calling_aet="B", contexts=_contexts([("1.2", ["1.3"])] * 3), implementation=IMPLEMENTATION
    )[6:]
    for body in (junk, bytes(68) + junk, good[:at] + flips + good[at + len(flips) :], good[:at]):
        try:
            parsed = parse_associate_rq(body)
        except MalformedPdu:
            continue
        assert all(c.context_id % 2 == 1 for c in parsed.contexts)
        assert parsed.calling_aet.isprintable()


def test_a_title_that_cannot_be_printed_is_made_printable() -> None:
    good = encode_associate_rq(
        called_aet="A", calling_aet="B", contexts=_contexts([("1.2", ["1.3"])]), implementation=IMPLEMENTATION
    )
    body = bytearray(good[6:])
    body[20:24] = b"\x1b[2J"
    assert parse_associate_rq(bytes(body)).calling_aet == "?[2J"


@pytest.mark.parametrize("body", [b"", bytes(67), bytes(68)], ids=["empty", "short", "no context"])
def test_a_request_without_contexts_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedPdu):
        parse_associate_rq(body)
