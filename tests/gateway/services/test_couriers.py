"""The three couriers against real destinations, and against ones that lose, refuse or are away."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless
from pynetdicom import AE, evt

from gateway.config import Destination, NodeConfig
from gateway.dimse.courier import dimse_courier
from gateway.domain.errors import ConfigurationError, PeerRejected, PeerUnreachable
from gateway.services.courier import Carried, Courier
from gateway.services.courier_http import http_courier
from tests.support.dcmtk_peer import running_storescp
from tests.support.instances import EXPLICIT, IMPLICIT, MR, SEG, uid
from tests.support.orthanc_peer import OrthancPeer, running_orthanc
from tests.support.outbox import Outbox
from tests.support.ports import free_port

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancPeer]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as peer:
        yield peer


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "data")


def _courier(kind: str, orthanc: OrthancPeer) -> Courier:
    if kind == "dicom":
        return _dicom(orthanc.dicom_port, orthanc.ae_title)
    url = orthanc.dicomweb_url if kind == "stow" else orthanc.url
    return http_courier(Destination(name="PACS", kind=kind, url=url))  # type: ignore[arg-type]


def _dicom(port: int, ae_title: str = "PACS") -> Courier:
    destination = Destination(name="PACS", kind="dicom", ae_title=ae_title, host="127.0.0.1", port=port)
    return dimse_courier(destination, NodeConfig())


# ------------------------------------------------------------------------------------------------ real destinations
@pytest.mark.peer
@pytest.mark.parametrize("kind", ["dicom", "stow", "orthanc"])
def test_an_orthanc_gets_every_kind_of_result_proves_it_and_takes_a_resend(
    outbox: Outbox, orthanc: OrthancPeer, kind: str
) -> None:
    names = [outbox.add(n, case=kind, sop_class=c) for n, c in ((1, SEG), (2, MR), (3, LABEL_MAP))]
    parcels = [outbox.parcel(name) for name in names]
    courier = _courier(kind, orthanc)
    for _ in range(2):
        receipts = courier.carry(parcels, read_back=True)
        assert [(r.sop_instance_uid, r.carried) for r in receipts] == [(name, Carried.CONFIRMED) for name in names]
    assert [r.carried for r in courier.look_up(parcels)] == [Carried.CONFIRMED] * 3
    assert set(names) <= set(orthanc.instances())


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["dicom", "stow", "orthanc"])
def test_an_object_the_destination_does_not_hold_is_missing(outbox: Outbox, orthanc: OrthancPeer, kind: str) -> None:
    parcel = outbox.parcel(outbox.add(1, case=f"{kind} missing"))
    [receipt] = _courier(kind, orthanc).look_up([parcel])
    assert receipt.carried is Carried.MISSING
    assert "does not list it" in receipt.detail


@pytest.mark.peer
def test_storescp_offers_no_query_and_so_has_it_when_it_accepted_it(outbox: Outbox, tmp_path: Path) -> None:
    parcel = outbox.parcel(outbox.add(1))
    with running_storescp(tmp_path / "got") as scp:
        [receipt] = _dicom(scp.port).carry([parcel], read_back=True)
    assert receipt.carried is Carried.ACCEPTED
    assert "does not offer C-FIND" in receipt.detail
    [written] = (tmp_path / "got").iterdir()
    assert dcmread(written) == dcmread(parcel.path)


# ------------------------------------------------------------------------------------------------ difficult ones
@contextmanager
def running_scp(
    contexts: list[tuple[str, list[str]]], status: int = 0, got: list[bytes] | None = None
) -> Iterator[int]:
    """A pynetdicom storage SCP that accepts what it is told and answers what it is told."""

    def store(event: evt.Event) -> int:
        if got is not None:
            got.append(event.encoded_dataset(include_meta=True))
        return status

    ae = AE("PACS")
    for abstract, syntaxes in contexts:
        ae.add_supported_context(abstract, syntaxes)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@pytest.mark.parametrize("held", [EXPLICIT, str(RLELossless)])
def test_a_destination_that_takes_implicit_vr_only_gets_it_re_encoded(
    outbox: Outbox, held: str, tmp_path: Path
) -> None:
    name = outbox.add(1, sop_class=MR, pixels=bytes(range(100)))
    parcel = outbox.parcel(name)
    if held != EXPLICIT:
        dataset = dcmread(parcel.path)
        dataset.compress(held, generate_instance_uid=False)
        dataset.save_as(tmp_path / "rle.dcm")
        parcel = replace(parcel, path=tmp_path / "rle.dcm", transfer_syntax_uid=held)
    got: list[bytes] = []
    with running_scp([(MR, [IMPLICIT])], got=got) as port:
        [receipt] = _dicom(port).carry([parcel], read_back=False)
    assert receipt.carried is Carried.ACCEPTED
    (tmp_path / "got.dcm").write_bytes(got[0])
    received = dcmread(tmp_path / "got.dcm")
    assert received.file_meta.TransferSyntaxUID == IMPLICIT
    assert received.SOPInstanceUID == name
    assert bytes(received.pixel_array.tobytes())[:100] == bytes(range(100))


def test_a_class_the_destination_does_not_take_is_refused_and_the_others_are_stored(outbox: Outbox) -> None:
    names = [outbox.add(1, sop_class=LABEL_MAP), outbox.add(2, sop_class=MR)]
    with running_scp([(MR, [EXPLICIT])]) as port:
        receipts = _dicom(port).carry([outbox.parcel(name) for name in names], read_back=False)
    assert [receipt.carried for receipt in receipts] == [Carried.REFUSED, Carried.ACCEPTED]
    assert LABEL_MAP in receipts[0].detail


@pytest.mark.parametrize(
    ("status", "carried"), [(0xA700, Carried.REFUSED), (0xC000, Carried.REFUSED), (0xB000, Carried.ACCEPTED)]
)
def test_the_destinations_status_decides(outbox: Outbox, status: int, carried: Carried) -> None:
    with running_scp([(MR, [EXPLICIT])], status=status) as port:
        [receipt] = _dicom(port).carry([outbox.parcel(outbox.add(1, sop_class=MR))], read_back=False)
    assert receipt.carried is carried
    assert f"0x{status:04X}" in receipt.detail


def test_our_own_node_as_destination_gets_the_bytes_as_they_lie_on_the_disk(outbox: Outbox) -> None:
    parcel = outbox.parcel(outbox.add(1, case="other", sop_class=MR))
    target = Outbox(outbox.folder / "target")
    with target.node(ae_title="PACS") as (_, port):
        [receipt] = _dicom(port).carry([parcel], read_back=False)
    assert receipt.carried is Carried.ACCEPTED
    kept = target.kept_bytes(parcel.sop_instance_uid)
    sent = parcel.path.read_bytes()
    assert sent.endswith(kept[-600:])


@pytest.mark.parametrize("kind", ["dicom", "stow", "orthanc"])
def test_a_destination_that_is_away_is_unreachable(outbox: Outbox, kind: str) -> None:
    parcel = outbox.parcel(outbox.add(1))
    port = free_port()
    away = OrthancPeer(folder=outbox.folder, http_port=port, dicom_port=port)
    courier = _courier(kind, away)
    with pytest.raises(PeerUnreachable):
        courier.carry([parcel], read_back=True)
    with pytest.raises(PeerUnreachable):
        courier.look_up([parcel])


@contextmanager
def running_http(answers: list[tuple[int, object]]) -> Iterator[str]:
    """An HTTP server that gives these answers in turn."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            code, body = answers.pop(0)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _items(tag: str, name: str, reason: int | None = None) -> dict[str, object]:
    item: dict[str, object] = {"00081155": {"vr": "UI", "Value": [name]}}
    if reason is not None:
        item["00081197"] = {"vr": "US", "Value": [reason]}
    return {tag: {"vr": "SQ", "Value": [item]}}


NAME = uid("C1", "out", 1)
FOUND = [{"00080018": {"Value": [NAME]}}]


@pytest.mark.parametrize(
    ("answers", "carried"),
    [
        pytest.param(
            [(200, _items("00081199", NAME)), (200, [{"00080018": {"Value": [NAME]}}])], "CONFIRMED", id="there"
        ),
        pytest.param([(200, _items("00081199", NAME)), (200, [])], "MISSING", id="success and lost"),
        pytest.param([(200, _items("00081199", NAME)), (404, b"")], "MISSING", id="success and no such series"),
        pytest.param([(200, _items("00081199", NAME)), (501, b"")], "ACCEPTED", id="no query service"),
        pytest.param([(409, _items("00081198", NAME, 0xA700))], "REFUSED", id="failed"),
        pytest.param([(202, {})], "UNSENT", id="not mentioned"),
    ],
)
def test_what_stow_answers_decides(outbox: Outbox, answers: list[tuple[int, object]], carried: str) -> None:
    outbox.add(1)
    with running_http(answers) as url:
        courier = http_courier(Destination(name="PACS", kind="stow", url=url))
        [receipt] = courier.carry([outbox.parcel(NAME)], read_back=True)
    assert receipt.carried == carried
    assert not answers


@pytest.mark.parametrize(
    ("code", "error"), [(401, PeerRejected), (403, PeerRejected), (400, PeerRejected), (503, PeerUnreachable)]
)
def test_a_dicomweb_server_that_fails_as_a_whole_is_named(outbox: Outbox, code: int, error: type[Exception]) -> None:
    outbox.add(1)
    with running_http([(code, b"no")]) as url, pytest.raises(error):
        http_courier(Destination(name="PACS", kind="stow", url=url)).carry([outbox.parcel(NAME)], read_back=True)


def test_an_orthanc_that_is_lost_half_way_leaves_the_rest_unsent(outbox: Outbox) -> None:
    names = [outbox.add(1), outbox.add(2)]
    stored = {"Status": "Success", "ID": "x"}
    with running_http([(200, stored), (200, [{"Type": "Instance", "ID": "x"}])]) as url:
        courier = http_courier(Destination(name="PACS", kind="orthanc", url=url))
        receipts = courier.carry([outbox.parcel(name) for name in names], read_back=True)
    assert [receipt.carried for receipt in receipts] == [Carried.CONFIRMED, Carried.UNSENT]


@pytest.mark.parametrize("kind", ["dicom", "stow", "orthanc"])
def test_a_destination_without_an_address_is_a_configuration_error(kind: str) -> None:
    destination = Destination.model_validate({"name": "PACS", "kind": kind})
    make = partial(dimse_courier, node=NodeConfig()) if kind == "dicom" else http_courier
    with pytest.raises(ConfigurationError, match="PACS"):
        make(destination)


def test_a_password_stands_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="destination 'PACS'"):
        http_courier(Destination(name="PACS", kind="stow", url="http://x", password_file=tmp_path / "no"))
