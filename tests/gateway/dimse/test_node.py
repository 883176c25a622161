"""The DICOM node with real senders and every kind of bad input: it says what is wrong, goes on and loses nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynetdicom import AE, StoragePresentationContexts

from gateway.config import NodeConfig
from gateway.dimse import front_door, storage_lane
from gateway.dimse import node as node_module
from gateway.dimse.command_set import C_STORE_RQ, Command
from gateway.dimse.node import DicomNode
from gateway.dimse.pdu import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    HEADER,
    RELEASE_REQUEST,
    ProposedContext,
    encode_associate_rq,
)
from gateway.dimse.wire import LAST
from gateway.domain.errors import StorageUnavailable
from gateway.domain.instance import InstanceKind
from gateway.services.arrival import Arrival
from gateway.services.part10 import file_layout
from gateway.services.receive import IncomingInstance
from gateway.store.blobs import BlobStore
from gateway.store.tables import AuditEvent, Hold, Instance, Study
from tests.support.dcmtk_peer import run_scu
from tests.support.instances import EXPLICIT, IMPLICIT, MR, SEG, make_instance, uid
from tests.support.logged import is_logged
from tests.support.raw_association import VERIFICATION, RawAssociation
from tests.support.receiving import ReceivingFolder
from tests.support.requestor import call
from tests.support.shared import shared_data

RLE = "1.2.840.10008.1.2.5"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


@pytest.fixture
def folder(tmp_path: Path) -> ReceivingFolder:
    return ReceivingFolder(tmp_path / "data")


@pytest.fixture
def port(folder: ReceivingFolder) -> Iterator[int]:
    with folder.node() as (_, port):
        yield port


def _dataset(content: bytes) -> bytes:
    return content[file_layout(content).dataset_offset :]


def _is_serving(port: int) -> bool:
    with RawAssociation(port) as association:
        return association.echo() == 0 and association.release()


def _wait_for(condition: object, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def _rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


# ------------------------------------------------------------------------------------------------ real senders
@pytest.mark.peer
def test_echoscu_is_answered_and_a_wrong_title_is_refused_with_a_reason(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert run_scu("echoscu", "-aec", "OVERREAD", "127.0.0.1", port).returncode == 0
    refused = run_scu("echoscu", "-aec", "WRONG", "127.0.0.1", port)
    assert "Called AE Title Not Recognized" in refused.stderr
    assert is_logged(caplog, "it called 'WRONG'")


@pytest.mark.peer
@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
def test_a_real_series_sent_by_dcmtk_is_kept_byte_for_byte(folder: ReceivingFolder, port: int, program: str) -> None:
    files = sorted(shared_data("edited_seg").rglob("mr_*.dcm"))
    assert len(files) == 24
    sent = run_scu(program, "-aec", "OVERREAD", "127.0.0.1", port, *files)
    assert sent.returncode == 0, sent.stderr
    for path in files:
        content = path.read_bytes()
        start = content.index(b"\x08\x00\x18\x00UI") + 8
        name = content[start : start + 64].split(b"\x00")[0].split(b"\x08")[0].decode()
        assert _dataset(folder.kept_bytes(name)) == _dataset(content)
    _wait_for(lambda: folder.transfers)
    assert folder.transfers[0].counts == {"IMAGE": 24}
    assert folder.rows(Study)[0].revision == 24
    assert folder.rows(Study)[0].association_ended_at is not None


@pytest.mark.peer
def test_storescu_sends_a_compressed_segmentation_as_it_is(folder: ReceivingFolder, port: int) -> None:
    path = next(shared_data("edited_seg").rglob("ohif_edited_labelmap_rle.dcm"))
    # dcmtk 3.6.7 does not know label maps, so pynetdicom proposes this one.
    ae = AE("PYND")
    ae.add_requested_context(LABEL_MAP, RLE)
    association = call(ae, port)
    assert association.is_established
    assert association.send_c_store(path).Status == 0
    association.release()
    [instance] = folder.rows(Instance)
    assert (instance.kind, instance.transfer_syntax_uid) == (InstanceKind.EDITED_SEG, RLE)


def test_pynetdicom_may_propose_128_contexts_and_many_objects(
    folder: ReceivingFolder, port: int, tmp_path: Path
) -> None:
    ae = AE("PYND")
    ae.requested_contexts = StoragePresentationContexts[:127]
    ae.add_requested_context("1.2.840.10008.1.1")
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(make_instance(number, pixels=bytes([number])))
    association = call(ae, port)
    assert [association.send_c_store(path).Status for path in paths] == [0] * 5
    assert association.send_c_echo().Status == 0
    association.release()
    assert len(folder.rows(Instance)) == 5


# ------------------------------------------------------------------------------------------------ bookkeeping
def test_studies_of_open_associations_are_known_and_forgotten_at_their_end(folder: ReceivingFolder) -> None:
    with folder.node() as (node, port):
        with RawAssociation(port) as association:
            assert association.store(uid("study", "series", 1), _dataset(make_instance(1))) == 0
            assert node.studies_open() == {uid("study")}
            assert node.open_associations == 1
            assert folder.rows(Study)[0].association_ended_at is None
            association.release()
        _wait_for(lambda: folder.transfers)
        assert node.studies_open() == frozenset()
        assert folder.rows(Study)[0].association_ended_at is not None


@pytest.mark.parametrize(("how", "ended"), [("release", "released"), ("abort", "aborted"), ("reset", "lost")])
def test_the_end_of_an_association_is_audited_with_its_counts(
    folder: ReceivingFolder, port: int, how: str, ended: str
) -> None:
    with RawAssociation(port, calling_aet="CT1") as association:
        assert association.store(uid("study", "series", 1), _dataset(make_instance(1))) == 0
        assert association.store("../../evil", _dataset(make_instance(1))) == 0x0117
        if how == "release":
            association.release()
        elif how == "abort":
            association.wire.send(HEADER.pack(ABORT, 4) + bytes(4))
        else:
            association.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _wait_for(lambda: folder.transfers)
    [event] = folder.rows(AuditEvent)
    assert (event.action, event.actor) == ("INSTANCES_RECEIVED", "CT1")
    assert event.detail["ended"] in ({ended} if how != "reset" else {"lost", "aborted"})
    assert (event.detail["IMAGE"], event.detail["REFUSED"]) == (1, 1)
    assert event.detail["refusals"] == {"INVALID_UID": 1}


def test_an_echo_leaves_no_audit_row(folder: ReceivingFolder, port: int) -> None:
    assert _is_serving(port)
    _wait_for(lambda: folder.transfers)
    assert not folder.rows(AuditEvent)


# ------------------------------------------------------------------------------------------------ negotiation
def test_unknown_classes_and_syntaxes_are_rejected_with_the_right_code_and_explained(
    folder: ReceivingFolder, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    proposals = (("1.2.3.4.5.6", (IMPLICIT,)), (MR, ("1.2.840.10008.1.2.9.99",)), (MR, (EXPLICIT,)))
    with RawAssociation(port, proposals=proposals) as association:
        results = {answer.context_id: answer.result for answer in association.accept.contexts}
        assert results == {1: 3, 3: 4, 5: 0}
    assert is_logged(caplog, "1.2.3.4.5.6 is not offered")
    assert is_logged(caplog, "1.2.840.10008.1.2.9.99")


def test_the_senders_first_usable_syntax_is_accepted_in_each_context(port: int) -> None:
    proposals = ((LABEL_MAP, (RLE, EXPLICIT)), (LABEL_MAP, (IMPLICIT, EXPLICIT)), (VERIFICATION, (IMPLICIT,)))
    with RawAssociation(port, proposals=proposals) as association:
        assert [answer.transfer_syntax for answer in association.accept.contexts] == [RLE, EXPLICIT, IMPLICIT]


def test_an_unknown_caller_is_refused_where_peers_are_listed(folder: ReceivingFolder) -> None:
    with folder.node(peers=({"ae_title": "CT1"},)) as (_, port):
        with RawAssociation(port, calling_aet="STRANGER") as association:
            assert association.answer == (ASSOCIATE_RJ, b"\x00\x01\x01\x03")
        with RawAssociation(port, calling_aet="CT1") as association:
            assert association.answer[0] == ASSOCIATE_AC


def test_one_association_too_many_is_refused_for_the_moment(folder: ReceivingFolder) -> None:
    with folder.node(maximum_associations=2) as (_, port):
        with RawAssociation(port), RawAssociation(port) as second:
            with RawAssociation(port) as third:
                assert third.answer == (ASSOCIATE_RJ, b"\x00\x02\x03\x02")
            assert second.release()
        _wait_for(lambda: len(folder.transfers) == 2)
        assert _is_serving(port)


# ------------------------------------------------------------------------------------------------ C-STORE refused
@pytest.mark.parametrize(
    ("sop_class", "sop_instance", "content", "status"),
    [
        pytest.param(MR, "../../evil", make_instance(1), 0x0117, id="path as UID"),
        pytest.param(SEG, uid("study", "series", 1), make_instance(1), 0xA900, id="class not of the context"),
        pytest.param(MR, "1.2.3.4", make_instance(1), 0xA900, id="UID not of the data set"),
        pytest.param(MR, uid("study", "series", 1), make_instance(1, sop_class=SEG), 0xA900, id="data set of SEG"),
        pytest.param(MR, uid("study", "series", 1), make_instance(1)[:-100], 0xC000, id="truncated"),
        pytest.param(MR, uid("study", "series", 1), make_instance(1, SeriesInstanceUID=None), 0xA900, id="no series"),
        pytest.param(MR, uid("study", "series", 1), make_instance(1)[:500] + bytes(600), 0xC000, id="rubbish"),
    ],
)  # fmt: skip
def test_a_refused_object_leaves_nothing_and_the_association_goes_on(
    folder: ReceivingFolder, port: int, sop_class: str, sop_instance: str, content: bytes, status: int
) -> None:
    with RawAssociation(port) as association:
        assert association.store(sop_instance, _dataset(content), sop_class=sop_class) == status
        assert not folder.rows(Instance)
        assert not folder.leftovers()
        assert association.store(uid("study", "series", 2), _dataset(make_instance(2))) == 0
    assert not list(folder.folder.parent.rglob("*evil*"))


def test_other_pixels_under_a_known_uid_are_a_success_for_the_sender_and_held_here(
    folder: ReceivingFolder, port: int
) -> None:
    with RawAssociation(port) as association:
        for pixels in (b"one", b"one", b"two"):
            assert association.store(uid("study", "series", 1), _dataset(make_instance(1, pixels=pixels))) == 0
        association.release()
    _wait_for(lambda: folder.transfers)
    assert folder.transfers[0].counts == {"IMAGE": 1, "DUPLICATE": 1, "CONFLICT": 1}
    assert len(folder.rows(Hold)) == 1


def test_an_object_larger_than_the_limit_is_passed_over_and_not_buffered(tmp_path: Path) -> None:
    folder = ReceivingFolder(tmp_path, maximum_object_mb=2)
    with folder.node(maximum_object_mb=2) as (_, port), RawAssociation(port) as association:
        before = _rss_mb()
        command = Command(field=C_STORE_RQ, message_id=7, sop_class=MR, sop_instance="1.2.3", has_dataset=True)
        association.wire.send_message(1, command.encode())
        for is_last in [0] * 400 + [LAST]:
            piece = struct.pack(">IBB", 100_002, 1, is_last) + bytes(100_000)
            association.socket.sendall(HEADER.pack(4, len(piece)) + piece)
        assert association.status() == 0xA700
        assert _rss_mb() - before < 20
        assert not folder.leftovers()
        assert association.store(uid("study", "series", 1), _dataset(make_instance(1))) == 0


# ------------------------------------------------------------------------------------------------ not DICOM at all
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        pytest.param(random.Random(1).randbytes(2000), "does not speak DICOM", id="random"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "speaks HTTP", id="HTTP"),
        pytest.param(bytes.fromhex("16030100c8010000c40303") + bytes(190), "speaks TLS", id="TLS"),
        pytest.param(bytes(64), "does not speak DICOM", id="zeros"),
        pytest.param(HEADER.pack(1, 0xFFFFFFF0) + bytes(1000), "longer than 1 MB", id="4 GB request"),
        pytest.param(HEADER.pack(1, 200) + bytes(200), "cannot be read", id="empty request"),
        pytest.param(HEADER.pack(4, 100) + bytes(100), "does not speak DICOM", id="data before association"),
    ],
)
def test_what_is_not_dicom_is_aborted_at_once_and_named(
    port: int, caplog: pytest.LogCaptureFixture, sent: bytes, words: str
) -> None:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(sent)
        answer = connection.recv(16)
    assert answer[0] == ABORT
    assert time.monotonic() - started < 3
    assert is_logged(caplog, words)
    assert _is_serving(port)


@pytest.mark.parametrize("length", [0x7FFFFFFF, 300_000_006, 200_000])
def test_a_pdu_longer_than_agreed_is_aborted_without_buffering_it(port: int, length: int) -> None:
    before = _rss_mb()
    with RawAssociation(port) as association:
        started = time.monotonic()
        association.socket.sendall(HEADER.pack(4, length) + bytes(1000))
        assert association.wire.read_pdu()[0] == ABORT
        assert time.monotonic() - started < 2
    assert _rss_mb() - before < 20
    assert _is_serving(port)


@pytest.mark.parametrize(
    "pdu",
    [
        pytest.param(HEADER.pack(9, 4) + bytes(4), id="unknown PDU"),
        pytest.param(HEADER.pack(4, 6) + struct.pack(">IBB", 500, 1, 3), id="PDV longer than its PDU"),
        pytest.param(HEADER.pack(4, 8) + struct.pack(">IBB", 4, 1, 3) + b"xx", id="command of rubbish"),
        pytest.param(HEADER.pack(1, 68) + bytes(68), id="second association request"),
    ],
)
def test_rubbish_in_an_association_ends_it_and_nothing_else(port: int, pdu: bytes) -> None:
    with RawAssociation(port, seconds=8) as association:
        association.socket.sendall(pdu)
        association.socket.settimeout(8)
        with contextlib.suppress(ConnectionResetError):
            assert association.socket.recv(1) in (b"", bytes([ABORT]))
    assert _is_serving(port)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.floats(min_value=0, max_value=1, exclude_max=True),
    spoiled=st.binary(min_size=1, max_size=12),
    cut=st.floats(min_value=0, max_value=1),
)
def test_any_bytes_spoiled_on_the_wire_are_survived(
    folder: ReceivingFolder, port: int, at: float, spoiled: bytes, cut: float
) -> None:
    content = bytearray(_conversation())
    start = int(at * len(content))
    content[start : start + len(spoiled)] = spoiled
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection, contextlib.suppress(OSError):
        connection.sendall(content[: int(cut * len(content))])
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    assert _is_serving(port)
    assert not folder.leftovers()
    for row in folder.rows(Instance):
        assert folder.kept_bytes(row.sop_instance_uid)


def _conversation() -> bytes:
    """Return what a client says that stores one image and releases."""
    contexts = [ProposedContext(context_id=1, abstract_syntax=MR, transfer_syntaxes=(EXPLICIT,))]
    request = encode_associate_rq(
        called_aet="OVERREAD", calling_aet="FUZZ", contexts=contexts, implementation=("1.2.3", "FUZZ")
    )
    dataset = _dataset(make_instance(1, side=8))
    command = Command(
        field=C_STORE_RQ, message_id=1, sop_class=MR, sop_instance=uid("study", "series", 1), has_dataset=True
    ).encode()
    pieces = [(1, 3, command), (1, 0, dataset[:300]), (1, 2, dataset[300:])]
    pdus = [struct.pack(">IBB", len(piece) + 2, context, control) + piece for context, control, piece in pieces]
    return request + b"".join(HEADER.pack(4, len(pdu)) + pdu for pdu in pdus) + RELEASE_REQUEST


# ------------------------------------------------------------------------------------------------ silence and loss
def test_silent_connections_do_not_block_the_others(port: int) -> None:
    """A hundred of other addresses, and as many of our own as it may have without shutting itself out."""
    others = [("127.0.0.2", 0)] * 50 + [("127.0.0.3", 0)] * 50
    silent = [socket.create_connection(("127.0.0.1", port), source_address=source) for source in others]
    silent += [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    started = time.monotonic()
    assert _is_serving(port)
    assert time.monotonic() - started < 3
    for connection in silent:
        connection.close()


def test_a_silent_connection_is_closed_after_a_while(folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "GREETING_SECONDS", 0.3)
    with folder.node() as (_, port):
        for sent in (b"", b"\x01\x00", HEADER.pack(1, 5000) + bytes(10)):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(sent)
                assert connection.recv(16)[:1] in (b"", bytes([ABORT]))


def test_a_connection_that_asks_for_nothing_does_not_hold_up_the_end(folder: ReceivingFolder) -> None:
    with folder.node() as (node, port), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        assert _can_associate(port)
        started = time.monotonic()
        node.stop(drain_seconds=8.0)
        assert time.monotonic() - started < 4.0
        assert connection.recv(1) == b""


def test_more_silent_connections_than_one_address_may_hold_are_closed(
    folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "MAXIMUM_GREETING_PER_ADDRESS", 3)
    with folder.node() as (_, port):
        silent = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(3)]
        time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as extra:
            assert extra.recv(1) == b""
        for connection in silent:
            connection.close()
        _wait_for(lambda: _can_associate(port))


def _can_associate(port: int) -> bool:
    try:
        return _is_serving(port)
    except Exception:  # noqa: BLE001 - the door may still be closing on us
        return False


@pytest.mark.parametrize("where", [0.0, 0.0001, 0.001, 0.1, 0.5, 0.999])
def test_a_connection_reset_mid_object_leaves_nothing_but_an_audit_row(
    folder: ReceivingFolder, port: int, where: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, begin = threading.Event(), folder.receiver.open

    def noted(arrival: Arrival, syntax: str) -> IncomingInstance:
        begun.set()
        return begin(arrival, syntax)

    monkeypatch.setattr(folder.receiver, "open", noted)
    command = Command(
        field=C_STORE_RQ, message_id=1, sop_class=MR, sop_instance=uid("study", "series", 1), has_dataset=True
    )
    dataset = _dataset(make_instance(1, side=256))
    pieces = [dataset[start : start + 50_000] for start in range(0, len(dataset), 50_000)]
    pdvs = [struct.pack(">IBB", len(p) + 2, 1, LAST if p is pieces[-1] else 0) + p for p in pieces]
    said = b"".join(HEADER.pack(4, len(pdv)) + pdv for pdv in pdvs)
    with RawAssociation(port) as association:
        association.wire.send_message(1, command.encode())
        association.socket.sendall(said[: int(where * len(said))])
        assert begun.wait(10)
        association.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _wait_for(lambda: folder.transfers)
    assert not folder.rows(Instance)
    assert not folder.leftovers()
    assert [row.detail.get("INTERRUPTED") for row in folder.rows(AuditEvent)] == [1]
    assert _is_serving(port)


def test_a_data_set_that_stops_in_the_middle_and_never_ends_is_given_up(
    folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_lane, "PDU_SECONDS", 0.5)
    with folder.node() as (_, port), RawAssociation(port) as association:
        association.socket.sendall(HEADER.pack(4, 1000) + bytes(10))
        started = time.monotonic()
        assert association.status() in ("abort", "lost")
        assert 0.3 < time.monotonic() - started < 5
        _wait_for(lambda: folder.transfers)
        assert _is_serving(port)


def test_an_association_without_a_word_is_given_up(folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_lane, "IDLE_SECONDS", 0.5)
    with folder.node() as (node, port), RawAssociation(port) as association:
        assert association.status() in ("abort", "lost")
        _wait_for(lambda: node.open_associations == 0)


def test_a_pdu_that_drips_in_byte_by_byte_is_given_up(folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_lane, "PDU_SECONDS", 1.0)
    with folder.node() as (node, port), RawAssociation(port) as association:
        started = time.monotonic()
        with contextlib.suppress(OSError):
            association.socket.sendall(HEADER.pack(4, 100_000))
            while node.open_associations:
                association.socket.sendall(b"x")
                time.sleep(0.1)
                assert time.monotonic() - started < 5


# ------------------------------------------------------------------------------------------------ starting, stopping
def test_a_port_in_use_is_named(folder: ReceivingFolder) -> None:
    with folder.node() as (_, port):
        second = DicomNode(NodeConfig(port=port), folder.receiver, lambda _: None)
        with pytest.raises(StorageUnavailable, match=f"127.0.0.1:{port}") as caught:
            second.start()
        assert caught.value.code == "PORT_IN_USE"


def test_stopping_lets_an_open_association_finish(folder: ReceivingFolder) -> None:
    with folder.node() as (node, port), RawAssociation(port) as association:
        stopper = threading.Thread(target=node.stop, args=(10.0,))
        stopper.start()
        _wait_for(lambda: _is_refusing(port))
        assert association.store(uid("study", "series", 1), _dataset(make_instance(1))) == 0
        association.release()
        stopper.join(5)
        assert not stopper.is_alive()
    assert len(folder.rows(Instance)) == 1


def _is_refusing(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


def test_stopping_aborts_an_association_that_does_not_end(folder: ReceivingFolder) -> None:
    with folder.node() as (node, port), RawAssociation(port) as association:
        started = time.monotonic()
        node.stop(0.2)
        assert time.monotonic() - started < 4
        assert association.status() in ("abort", "lost")


# ------------------------------------------------------------------------------------------------ storage in trouble
@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("a small tmpfs cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_answered_a700_and_leaves_nothing_partial(tmp_path: Path, small_disk: Path) -> None:
    folder = ReceivingFolder(tmp_path / "data")
    folder.blobs = BlobStore(small_disk / "blobs")
    folder.receiver._blobs = folder.blobs
    with folder.node() as (_, port), RawAssociation(port) as association:
        statuses = [
            association.store(uid("study", "series", n), _dataset(make_instance(n, side=512, pixels=bytes([n]))))
            for n in range(12)
        ]
        assert statuses.count(0) >= 3
        assert set(statuses) == {0, 0xA700}
        assert not list((small_disk / "blobs" / "incoming").iterdir())
        kept = {row.sha256 for row in folder.rows(Instance)}
        assert kept == set(folder.blobs.all_digests())
        assert len(kept) == statuses.count(0)
        for digest in kept:
            assert folder.blobs.path(digest).stat().st_size > 512 * 512 * 2
        # Room again: the same association goes on.
        folder.blobs.discard(kept.pop())
        assert association.store(uid("study", "series", 99), _dataset(make_instance(99, side=16))) == 0


def test_a_full_disk_under_the_database_is_answered_a700(tmp_path: Path, small_disk: Path) -> None:
    folder = ReceivingFolder(small_disk / "data")
    folder.blobs = BlobStore(tmp_path / "blobs")
    folder.receiver._blobs = folder.blobs
    with folder.node() as (_, port), RawAssociation(port) as association:
        assert association.store(uid("study", "series", 1), _dataset(make_instance(1))) == 0
        free = os.statvfs(small_disk)
        filler = small_disk / "filler"
        filler.write_bytes(bytes(free.f_bavail * free.f_frsize))
        statuses = {
            association.store(uid("study", f"s{n}", n), _dataset(make_instance(n, series=f"s{n}")))
            for n in range(2, 40)
        }
        assert 0xA700 in statuses
        assert statuses <= {0, 0xA700}
        recorded = {row.sha256 for row in folder.rows(Instance)}
        assert recorded == set(folder.blobs.all_digests())
        filler.unlink()
        assert association.store(uid("study", "series", 100), _dataset(make_instance(100))) == 0


def test_a_disk_below_its_reserve_refuses_before_accepting_and_resumes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ReceivingFolder(tmp_path, minimum_free_mb=500)
    monkeypatch.setattr(BlobStore, "free_bytes", lambda _self: 499_000_000)
    with folder.node() as (_, port), RawAssociation(port) as association:
        assert association.store(uid("study", "series", 1), _dataset(make_instance(1))) == 0xA700
        monkeypatch.setattr(BlobStore, "free_bytes", lambda _self: 501_000_000)
        assert association.store(uid("study", "series", 1), _dataset(make_instance(1))) == 0


# ------------------------------------------------------------------------------------------------ no patient data
def test_no_log_line_carries_a_value_of_the_patient(
    folder: ReceivingFolder, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    marks = {"PatientName": "CANARYNAME^X", "PatientID": "CANARYID", "PatientBirthDate": "19230405"}
    good = make_instance(1, **marks)
    with RawAssociation(port) as association:
        for content in (
            good,
            good[:-9],
            make_instance(1, pixels=b"other", **marks),
            make_instance(1, StudyInstanceUID=None, **marks),
        ):
            association.store(uid("study", "series", 1), _dataset(content))
        association.store("CANARYUID", _dataset(good))
        association.wire.send(HEADER.pack(4, 7) + struct.pack(">IBB", 3, 1, LAST) + b"C")
    _wait_for(lambda: folder.transfers)
    text = "\n".join(record.getMessage() + str(record.exc_text or "") for record in caplog.records)
    text += "\n".join(f"{row.detail} {row.subject}" for row in folder.rows(AuditEvent))
    assert "answered 0xC000" in text
    assert "CANARY" not in text
    assert "19230405" not in text
