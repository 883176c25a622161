"""PDUs come off the wire as they were sent, however the network cuts them and wherever their bytes are wanted."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dimse.pdu import DATA_TF, HEADER, MAXIMUM_PDU_LENGTH, RELEASE_REQUEST, RELEASE_RQ, MalformedPdu
from gateway.dimse.wire import LAST, ConnectionLost, Wire, fragments


@contextmanager
def _wire(*, idle_seconds: float = 5.0, pdu_seconds: float = 5.0) -> Iterator[tuple[socket.socket, Wire]]:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as sender:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection, _ = listener.accept()
        with connection:
            yield sender, Wire(connection, idle_seconds=idle_seconds, pdu_seconds=pdu_seconds)


def _data(*values: bytes) -> bytes:
    body = b"".join((len(value) + 2).to_bytes(4, "big") + bytes((7, LAST)) + value for value in values)
    return HEADER.pack(DATA_TF, len(body)) + body


def _read(wire: Wire, *, in_place: bool) -> bytes:
    """Read one P-DATA-TF as the storage lane does; return its fragments behind each other."""
    kind, length = wire.read_header()
    assert kind == DATA_TF
    only = wire.only_fragment(length) if in_place else None
    if only is None:
        return b"".join(bytes(fragment) for _, _, fragment in fragments(wire.read_body(length)))
    context_id, control, size = only
    assert (context_id, control) == (7, LAST)
    wanted = bytearray(size)
    wire.read_fragment(memoryview(wanted))
    return bytes(wanted)


@settings(deadline=None, max_examples=60)
@given(
    pdus=st.lists(st.lists(st.binary(max_size=40), max_size=3), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=20),
    ways=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_what_is_sent_in_any_pieces_is_read_in_its_pdus(
    pdus: list[list[bytes]], cuts: list[int], ways: list[bool]
) -> None:
    stream = b"".join(_data(*values) for values in pdus) + RELEASE_REQUEST
    with _wire() as (sender, wire):
        position, number = 0, 0
        while position < len(stream):
            piece = cuts[number % len(cuts)]
            sender.sendall(stream[position : position + piece])
            position, number = position + piece, number + 1
        found = [_read(wire, in_place=way) for _, way in zip(pdus, ways, strict=False)]
        assert found == [b"".join(values) for values in pdus]
        assert wire.read_pdu()[0] == RELEASE_RQ


def test_pdus_of_the_agreed_length_are_read_behind_each_other_however_late_their_bytes_come() -> None:
    values = [bytes([number]) * (MAXIMUM_PDU_LENGTH - 6) for number in range(12)]
    with _wire() as (sender, wire):

        def send() -> None:
            for number, value in enumerate(values):
                pdu = _data(value)
                sender.sendall(pdu[: 1 + number * 9000])
                time.sleep(0.002)
                sender.sendall(pdu[1 + number * 9000 :])

        thread = threading.Thread(target=send)
        thread.start()
        assert [_read(wire, in_place=number % 3 > 0) for number in range(len(values))] == values
        thread.join()


def test_a_pdu_that_dribbles_is_given_up_after_its_time_though_each_byte_is_in_time() -> None:
    with _wire(pdu_seconds=0.3) as (sender, wire):

        def dribble() -> None:
            for value in _data(bytes(500)):
                try:
                    sender.sendall(bytes((value,)))
                except OSError:
                    return
                time.sleep(0.02)

        thread = threading.Thread(target=dribble)
        thread.start()
        began = time.monotonic()
        with pytest.raises(ConnectionLost, match="slow"):
            _read(wire, in_place=True)
        assert time.monotonic() - began < 3
        sender.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_pdu_longer_than_agreed_is_refused_at_its_header() -> None:
    with _wire() as (sender, wire):
        sender.sendall(HEADER.pack(DATA_TF, MAXIMUM_PDU_LENGTH + 4096))
        with pytest.raises(MalformedPdu, match="longer"):
            wire.read_pdu()


def test_a_peer_that_goes_in_the_middle_of_a_fragment_is_noticed() -> None:
    with _wire() as (sender, wire):
        sender.sendall(_data(bytes(5000))[:3000])
        sender.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionLost, match="closed"):
            _read(wire, in_place=True)
