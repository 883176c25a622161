"""Bad input on an association that also proposes queries, so served by pynetdicom: the same answers as the fast lane's.

The rows are the duties of a receiver as `test_node` has them for the fast lane: what a sender does, and what must come.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.dimse import guarded_socket
from gateway.dimse.archive import archive_of
from gateway.dimse.command_set import C_STORE_RQ, Command
from gateway.dimse.contexts import STUDY_ROOT_FIND
from gateway.dimse.pdu import ABORT, HEADER, ProposedContext, encode_associate_rq
from gateway.dimse.wire import LAST, ConnectionLost
from gateway.services.part10 import file_layout
from gateway.store.blobs import BlobStore
from gateway.store.tables import AuditEvent, Hold, Instance
from tests.support.instances import EXPLICIT, IMPLICIT, MR, SEG, make_instance, uid
from tests.support.raw_association import VERIFICATION, RawAssociation
from tests.support.receiving import ReceivingFolder

PROPOSALS = ((MR, (EXPLICIT,)), (VERIFICATION, (EXPLICIT,)), (STUDY_ROOT_FIND, (EXPLICIT,)))
NAME = uid("study", "series", 1)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ReceivingFolder]:
    folder = ReceivingFolder(tmp_path / "data", maximum_object_mb=2)
    yield folder
    folder.close()


@pytest.fixture
def port(folder: ReceivingFolder) -> Iterator[int]:
    archive = archive_of(Config(), folder.database, folder.blobs, folder.clock)
    with folder.node(archive=archive, maximum_object_mb=2) as (_, port):
        yield port


def _open(port: int) -> RawAssociation:
    return RawAssociation(port, proposals=PROPOSALS)


def _dataset(content: bytes) -> bytes:
    return content[file_layout(content).dataset_offset :]


def _is_serving(port: int) -> bool:
    with _open(port) as association:
        return association.echo() == 0 and association.release()


def _rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _wait_for_transfer(folder: ReceivingFolder) -> None:
    until = time.monotonic() + 10
    while not folder.transfers:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("sop_class", "sop_instance", "content", "status"),
    [
        pytest.param(SEG, NAME, make_instance(1), 0xA900, id="class not of the context"),
        pytest.param(MR, "1.2.3.4", make_instance(1), 0xA900, id="UID not of the data set"),
        pytest.param(MR, NAME, make_instance(1, sop_class=SEG), 0xA900, id="data set of SEG"),
        pytest.param(MR, NAME, make_instance(1)[:-100], 0xC000, id="truncated"),
        pytest.param(MR, NAME, make_instance(1)[:500] + bytes(600), 0xC000, id="rubbish"),
    ],
)
def test_a_refused_object_leaves_nothing_but_its_count_in_the_audit_trail(
    folder: ReceivingFolder, port: int, sop_class: str, sop_instance: str, content: bytes, status: int
) -> None:
    with _open(port) as association:
        assert association.store(sop_instance, _dataset(content), sop_class=sop_class) == status
        assert not folder.rows(Instance)
        assert not folder.leftovers()
        assert association.store(uid("study", "series", 2), _dataset(make_instance(2))) == 0
        association.release()
    _wait_for_transfer(folder)
    [event] = folder.rows(AuditEvent)
    assert (event.detail["REFUSED"], event.detail["IMAGE"], len(event.detail["refusals"])) == (1, 1, 1)


def test_a_path_as_uid_names_nothing(folder: ReceivingFolder, port: int) -> None:
    """The fast lane answers 0x0117; pynetdicom aborts before it is asked."""
    with _open(port) as association:
        assert association.store("../../evil", _dataset(make_instance(1))) in ("abort", 0x0117)
    assert not folder.rows(Instance)
    assert not folder.leftovers()
    assert not list(folder.folder.parent.rglob("*evil*"))
    assert _is_serving(port)


def test_other_pixels_under_a_known_uid_are_kept_beside_and_held(folder: ReceivingFolder, port: int) -> None:
    with _open(port) as association:
        for pixels in (b"one", b"one", b"two"):
            assert association.store(NAME, _dataset(make_instance(1, pixels=pixels))) == 0
        association.release()
    _wait_for_transfer(folder)
    assert folder.transfers[0].counts == {"IMAGE": 1, "DUPLICATE": 1, "CONFLICT": 1}
    assert len(folder.rows(Hold)) == 1


def test_unknown_classes_and_syntaxes_are_rejected_with_the_right_code(port: int) -> None:
    proposals = (
        ("1.2.3.4.5.6", (IMPLICIT,)), (MR, ("1.2.840.10008.1.2.9.99",)), (MR, (EXPLICIT,)), *PROPOSALS[2:],
    )  # fmt: skip
    with RawAssociation(port, proposals=proposals) as association:
        assert {answer.context_id: answer.result for answer in association.accept.contexts} == {1: 3, 3: 4, 5: 0, 7: 0}


@pytest.mark.parametrize(
    ("abstract_syntax", "spoil"),
    [
        # pynetdicom misses the Implementation Class UID when it has read the request.
        pytest.param(MR, (b"R\x00\x00\x05", b"0\x00\x00\x05"), id="item of an unknown type"),
        # It complains while it reads; pydicom's warnings are errors in the tests.
        pytest.param("1.2.840.10008.5.1.4.\x17.1.4", (b"", b""), id="control character in a UID"),
    ],
)
def test_a_request_that_pynetdicom_cannot_read_is_aborted_and_nobody_waits_for_another(
    port: int, abstract_syntax: str, spoil: tuple[bytes, bytes]
) -> None:
    contexts = [
        ProposedContext(context_id=1, abstract_syntax=abstract_syntax, transfer_syntaxes=(EXPLICIT,)),
        ProposedContext(context_id=3, abstract_syntax=STUDY_ROOT_FIND, transfer_syntaxes=(EXPLICIT,)),
    ]
    request = encode_associate_rq(
        called_aet="OVERREAD", calling_aet="RAW", contexts=contexts, implementation=("1.2.3", "RAW")
    )
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.replace(*spoil))
        said = b""
        while piece := connection.recv(100):
            said += piece
    assert said[0] == ABORT
    assert time.monotonic() - started < 5
    assert _is_serving(port)


@pytest.mark.parametrize("length", [0x7FFFFFFF, 300_000_006, 200_000])
def test_a_pdu_longer_than_agreed_is_aborted_without_buffering_it(port: int, length: int) -> None:
    before = _rss_mb()
    with _open(port) as association:
        started = time.monotonic()
        association.socket.sendall(HEADER.pack(4, length) + bytes(1000))
        assert association.wire.read_pdu()[0] == ABORT
        assert time.monotonic() - started < 2
    assert _rss_mb() - before < 20
    assert _is_serving(port)


def test_an_object_larger_than_the_limit_ends_the_association_and_is_not_kept(
    folder: ReceivingFolder, port: int
) -> None:
    """The fast lane passes over the rest and answers 0xA700; pynetdicom would hold all of it, so here it is cut off."""
    with _open(port) as association:
        command = Command(field=C_STORE_RQ, message_id=7, sop_class=MR, sop_instance="1.2.3", has_dataset=True)
        association.wire.send_message(1, command.encode())
        before = _rss_mb()
        piece = struct.pack(">IBB", 100_002, 1, 0) + bytes(100_000)
        with pytest.raises((OSError, ConnectionLost)):
            association.socket.sendall((HEADER.pack(4, len(piece)) + piece) * 200)
        assert _rss_mb() - before < 20
    assert not folder.rows(Instance)
    assert not folder.leftovers()
    assert _is_serving(port)


@pytest.mark.parametrize("where", [0.001, 0.5, 0.999])
def test_a_connection_reset_mid_object_leaves_nothing(folder: ReceivingFolder, port: int, where: float) -> None:
    dataset = _dataset(make_instance(1, side=256))
    piece = struct.pack(">IBB", len(dataset) // 2 + 2, 1, 0) + dataset[: len(dataset) // 2]
    last = struct.pack(">IBB", len(dataset) - len(dataset) // 2 + 2, 1, LAST) + dataset[len(dataset) // 2 :]
    said = HEADER.pack(4, len(piece)) + piece + HEADER.pack(4, len(last)) + last
    command = Command(field=C_STORE_RQ, message_id=1, sop_class=MR, sop_instance=NAME, has_dataset=True)
    with _open(port) as association:
        association.wire.send_message(1, command.encode())
        association.socket.sendall(said[: int(where * len(said))])
        time.sleep(0.1)
        association.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _wait_for_transfer(folder)
    assert not folder.rows(Instance)
    assert not folder.leftovers()
    assert _is_serving(port)


def test_a_pdu_that_stops_in_the_middle_is_given_up(
    folder: ReceivingFolder, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_socket, "PDU_SECONDS", 0.5)
    with _open(port) as association:
        association.socket.sendall(HEADER.pack(4, 1000) + bytes(10))
        started = time.monotonic()
        assert association.status() in ("abort", "lost")
        assert time.monotonic() - started < 6
    assert _is_serving(port)


@pytest.mark.parametrize(
    "pdu",
    [
        pytest.param(HEADER.pack(9, 4) + bytes(4), id="unknown PDU"),
        pytest.param(HEADER.pack(4, 6) + struct.pack(">IBB", 500, 1, 3), id="PDV longer than its PDU"),
        pytest.param(HEADER.pack(4, 8) + struct.pack(">IBB", 4, 1, 3) + b"xx", id="command of rubbish"),
        pytest.param(HEADER.pack(4, 6) + struct.pack(">IBB", 0xFFFFFFFF, 1, 3), id="4 GB PDV"),
    ],
)
def test_rubbish_in_an_association_ends_it_and_nothing_else(port: int, pdu: bytes) -> None:
    with _open(port) as association:
        association.socket.sendall(pdu)
        assert association.status() == "abort"
    assert _is_serving(port)


def test_a_full_disk_is_answered_a700_and_leaves_nothing_partial(tmp_path: Path, folder: ReceivingFolder) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("a small tmpfs cannot be mounted here (needs root)")
    try:
        folder.blobs = BlobStore(small / "blobs")
        folder.receiver._blobs = folder.blobs
        archive = archive_of(Config(), folder.database, folder.blobs, folder.clock)
        with folder.node(archive=archive) as (_, port), _open(port) as association:
            images = [_dataset(make_instance(n, side=512, pixels=bytes([n]))) for n in range(9)]
            statuses = [association.store(uid("study", "series", n), image) for n, image in enumerate(images)]
        assert set(statuses) == {0, 0xA700}
        assert not list((small / "blobs" / "incoming").iterdir())
        assert len(folder.rows(Instance)) == statuses.count(0) == len(set(folder.blobs.all_digests()))
    finally:
        subprocess.run(["umount", "-l", small], check=True)
