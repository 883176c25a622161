"""Associations we request: echo, store and find against real peers, and every way a peer can fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.config import ExpectedCount, NodeConfig, Peer
from gateway.dimse.contexts import EXPLICIT_VR_LITTLE_ENDIAN, STUDY_ROOT_FIND, VERIFICATION
from gateway.dimse.find_count import FindCount
from gateway.dimse.pdu import ABORT_BY_USER, associate_rj
from gateway.dimse.scu import RemoteNode, RequestedAssociation, echo
from gateway.dimse.status import is_success
from gateway.domain.errors import PeerRejected, PeerUnreachable
from gateway.services.expected_count import ConfiguredCount, QidoCount
from gateway.services.part10 import file_layout
from tests.support.dcmtk_peer import running_storescp
from tests.support.instances import EXPLICIT, IMPLICIT, MR, make_instance, uid
from tests.support.orthanc_peer import running_orthanc
from tests.support.ports import free_port
from tests.support.receiving import ReceivingFolder


def _remote(port: int, ae_title: str = "OVERREAD", **settings: float) -> RemoteNode:
    return RemoteNode(ae_title=ae_title, host="127.0.0.1", port=port, calling_aet="US", **settings)


@contextmanager
def answering(reply: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that treats its first connection as `reply` says."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                reply(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def test_our_own_node_is_echoed_stored_to_and_released(tmp_path: Path) -> None:
    folder = ReceivingFolder(tmp_path)
    content = make_instance(1)
    with folder.node() as (_, port):
        echo(_remote(port))
        with RequestedAssociation(_remote(port), [(MR, (EXPLICIT,)), (MR, (IMPLICIT,))]) as association:
            [(syntax, context_id), *_] = association.accepted(MR).items()
            assert syntax == EXPLICIT
            status = association.store(
                context_id,
                sop_class=MR,
                sop_instance=uid("study", "series", 1),
                dataset=content[file_layout(content).dataset_offset :],
            )
    assert status == 0
    assert [transfer.counts for transfer in folder.transfers] == [{}, {"IMAGE": 1}]


@pytest.mark.peer
@pytest.mark.parametrize("side", [4, 60, 300])
def test_storescp_writes_what_we_send_whatever_its_size(tmp_path: Path, side: int) -> None:
    content = make_instance(1, side=side, pixels=bytes(range(32)))
    with (
        running_storescp(tmp_path / "got", ["--max-pdu", "4096"]) as scp,
        RequestedAssociation(_remote(scp.port), [(MR, (EXPLICIT,))]) as association,
    ):
        context_id = association.accepted(MR)[EXPLICIT]
        dataset = content[file_layout(content).dataset_offset :]
        assert is_success(
            association.store(context_id, sop_class=MR, sop_instance=uid("study", "series", 1), dataset=dataset)
        )
    [written] = (tmp_path / "got").iterdir()
    assert dcmread(written).PixelData == dcmread_pixels(content)


def dcmread_pixels(content: bytes) -> bytes:
    """Return the last bytes of a file, which are its pixels."""
    side = dcmread_rows(content)
    return content[-2 * side * side :]


def dcmread_rows(content: bytes) -> int:
    """Return Rows of a file in explicit VR little endian."""
    at = content.index(b"\x28\x00\x10\x00US\x02\x00") + 8
    return int.from_bytes(content[at : at + 2], "little")


def test_nobody_at_the_port_is_unreachable_with_advice() -> None:
    with pytest.raises(PeerUnreachable, match="check address and port") as caught:
        echo(_remote(free_port()))
    assert caught.value.retryable


def test_a_peer_that_says_nothing_is_unreachable_in_time() -> None:
    def listen(connection: socket.socket) -> None:
        connection.settimeout(3)
        while connection.recv(65536):
            pass

    with answering(listen) as port, pytest.raises(PeerUnreachable, match="does not answer"):
        echo(_remote(port, connect_seconds=0.3))


@pytest.mark.parametrize(
    ("reason", "words"),
    [((1, 1, 3), "does not know our AE title"), ((1, 1, 7), "AE title we called"), ((2, 3, 2), "no more associations")],
)
def test_a_refused_association_says_why(reason: tuple[int, int, int], words: str) -> None:
    result, source, diagnostic = reason

    def refuse(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(associate_rj(result=result, source=source, reason=diagnostic))
        connection.recv(1)

    with answering(refuse) as port, pytest.raises(PeerRejected, match=words):
        echo(_remote(port))


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", ABORT_BY_USER, b"\x02\x00\x00\x00\x00\x05xxxxx", b""],
    ids=["http", "abort", "broken accept", "closed"],
)  # fmt: skip
def test_a_peer_that_is_no_dicom_node_is_a_named_error(said: bytes) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(said)

    with answering(answer) as port, pytest.raises((PeerRejected, PeerUnreachable)):
        echo(_remote(port))


def test_a_peer_lost_while_sending_is_unreachable(tmp_path: Path) -> None:
    folder = ReceivingFolder(tmp_path)
    with folder.node() as (node, port):
        association = RequestedAssociation(_remote(port), [(MR, (EXPLICIT,))])
        context_id = association.accepted(MR)[EXPLICIT]
        node.stop(0)
        with pytest.raises(PeerUnreachable):
            association.store(context_id, sop_class=MR, sop_instance="1.2.3", dataset=bytes(1_000_000))
        association.abort()


def test_a_service_that_was_not_accepted_is_refused_by_name(tmp_path: Path) -> None:
    with ReceivingFolder(tmp_path).node() as (_, port):
        proposals = [("1.2.3.4", (EXPLICIT,)), (VERIFICATION, (EXPLICIT,))]
        with RequestedAssociation(_remote(port), proposals) as association:
            with pytest.raises(PeerRejected, match="does not offer C-FIND"):
                list(association.find(Dataset()))
            association.echo()


# ------------------------------------------------------------------------------------------------ queries
@pytest.mark.peer
def test_orthanc_is_asked_for_instances_by_find_and_by_qido(tmp_path: Path) -> None:
    with running_orthanc(tmp_path) as orthanc:
        for series, count in (("a", 3), ("b", 2)):
            for number in range(count):
                orthanc.upload(make_instance(number, series=series))
        settings = {"ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.dicom_port}
        peer = Peer(**settings, dicomweb_url=orthanc.dicomweb_url)  # type: ignore[arg-type]
        for counter in (FindCount(NodeConfig(ae_title="US")), QidoCount()):
            assert counter.expected_instances(peer, uid("study")) == 5
            assert counter.expected_instances(peer, "1.2.3.4") is None
        echo(_remote(orthanc.dicom_port, orthanc.ae_title))
        query = Dataset()
        query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", uid("study")
        query.PatientName = ""
        with RequestedAssociation(
            _remote(orthanc.dicom_port, orthanc.ae_title), [(STUDY_ROOT_FIND, (EXPLICIT_VR_LITTLE_ENDIAN,))]
        ) as association:
            [match] = association.find(query)
            assert str(match.PatientName) == "Müller^Zoë"


class _Says:
    def __init__(self, count: int) -> None:
        self._count = count

    def expected_instances(self, peer: Peer, study_instance_uid: str) -> int | None:
        return self._count


@pytest.mark.parametrize(
    ("how", "count"), [(ExpectedCount.NONE, None), (ExpectedCount.FIND, 1), (ExpectedCount.QIDO, 2)]
)
def test_a_peer_is_asked_in_the_way_it_is_configured(how: str, count: int | None) -> None:
    configured = ConfiguredCount(_Says(1), _Says(2))
    assert configured.expected_instances(Peer(ae_title="A", expected_count=ExpectedCount(how)), "1.2.3") == count


def test_a_dicomweb_peer_that_is_away_is_unreachable() -> None:
    peer = Peer(ae_title="A", dicomweb_url=f"http://127.0.0.1:{free_port()}/dicom-web")
    with pytest.raises(PeerUnreachable):
        QidoCount().expected_instances(peer, "1.2.3")
