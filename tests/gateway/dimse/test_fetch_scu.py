"""Studies are fetched from real archives by C-GET and C-MOVE, and from peers that refuse, vanish or never end."""

from __future__ import annotations

import io
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEG2000Lossless, RLELossless
from pynetdicom import AE, StoragePresentationContexts, evt

from gateway.config import Config, NodeConfig, Peer
from gateway.dimse import fetch_scu, retrieve_scu
from gateway.dimse.archive import archive_of
from gateway.dimse.contexts import STORAGE_CLASSES, STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE, TRANSFER_SYNTAXES
from gateway.dimse.fetch_scu import FetchScu
from gateway.domain.errors import GatewayError, IllegalTransition, NotFound, PeerRejected, PeerUnreachable
from gateway.services.fetch import Fetched, Fetcher, FetchOrder, FetchWay, FoundStudy, QueryTooWide, StudyQuery
from gateway.store.tables import AuditEvent, Instance, Study
from tests.support.certificates import Authority, Certificate, make_authority
from tests.support.dcmtk_peer import require_program
from tests.support.instances import EXPLICIT, MR, make_instance, uid
from tests.support.orthanc_peer import OrthancPeer, running_orthanc
from tests.support.ports import free_port, wait_for_port
from tests.support.receiving import ReceivingFolder

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("fetch_scu")]

IMAGES = 3


class Site:
    """A node with its fetcher, and one peer called ORTHANC."""

    def __init__(self, folder: ReceivingFolder, peer_port: int, node_port: int = 0) -> None:
        self.folder = folder
        self.peer_port = peer_port
        self.node_port = node_port or free_port()

    @contextmanager
    def open(self, ours: str = "OVERREAD", **peer: object) -> Iterator[Site]:
        settings = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": self.peer_port, **peer}
        known = (Peer.model_validate(settings),)
        config = NodeConfig(ae_title=ours, peers=known, port=self.node_port, more_ae_titles=("PRIORS",))
        with self.folder.node(**config.model_dump(include={"ae_title", "peers", "port", "more_ae_titles"})) as (
            node,
            port,
        ):
            self.scu = FetchScu(config, node.called_out, lambda: f"127.0.0.1:{port}")
            self.fetcher = Fetcher(config, self.scu, self.folder.database, self.folder.clock)
            yield self

    def fetch(
        self, study: str = "a", *, called: str = "PRIORS", way: FetchWay = FetchWay.ANY, s: float = 20
    ) -> Fetched:
        order = FetchOrder(study_instance_uid=uid(study), called_aet=called, way=way, seconds=s)
        return self.fetcher.fetch("ORTHANC", order, actor="admin")

    @property
    def kept(self) -> list[str]:
        return sorted(row.sop_instance_uid for row in self.folder.rows(Instance))

    @property
    def audit(self) -> list[tuple[str, str]]:
        return [(e.action, e.actor) for e in self.folder.rows(AuditEvent) if e.action != "INSTANCE_RECEIVED"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ReceivingFolder]:
    folder = ReceivingFolder(tmp_path / "data")
    yield folder
    folder.close()


def _images(study: str) -> list[str]:
    return sorted(uid(study, "series", number) for number in range(IMAGES))


def _wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


# --------------------------------------------------------------------------------------------- Orthanc
class Archive:
    """An Orthanc that lets us query, move and get, and knows one more of us that may do nothing."""

    def __init__(self, orthanc: OrthancPeer, node_port: int) -> None:
        self.port, self.node_port = orthanc.dicom_port, node_port


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    node_port = free_port()
    modalities = {
        "priors": {"AET": "PRIORS", "Host": "127.0.0.1", "Port": node_port, "AllowGet": False},
        "us": {"AET": "OVERREAD", "Host": "127.0.0.1", "Port": node_port, "AllowGet": True, "AllowMove": True},
        "moves": {"AET": "MOVES", "Host": "127.0.0.1", "Port": node_port, "AllowGet": False, "AllowMove": True},
        "neither": {"AET": "NEITHER", "Host": "127.0.0.1", "Port": node_port, "AllowGet": False, "AllowMove": False},
    }
    settings = {"DicomCheckCalledAet": True}
    with running_orthanc(tmp_path_factory.mktemp("archive"), modalities=modalities, settings=settings) as orthanc:  # type: ignore[arg-type]
        for study, date in (("a", "20250101"), ("b", "20250301")):
            for number in range(IMAGES):
                orthanc.upload(make_instance(number, study=study, StudyDate=date, StudyDescription="Head"))
        for study, issuer in (("d", "HOSP"), ("e", "OTHER"), ("f", "")):
            born = {"PatientID": "P4", "PatientBirthDate": "19700102", "IssuerOfPatientID": issuer}
            orthanc.upload(make_instance(1, study=study, StudyDate="20240101", **born))
        for number, syntax in enumerate((None, RLELossless, JPEG2000Lossless)):
            orthanc.upload(_compressed(number, syntax))
        yield Archive(orthanc, node_port)


def _compressed(number: int, syntax: UID | None) -> bytes:
    content = make_instance(number, study="c", side=64, PatientID="P3", StudyDate="20240101")
    if syntax is None:
        return content
    dataset, buffer = dcmread(io.BytesIO(content)), io.BytesIO()
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_candidates_are_listed_without_what_names_the_patient(archive: Archive, folder: ReceivingFolder) -> None:
    with Site(folder, archive.port).open() as site:
        found = site.fetcher.find("ORTHANC", StudyQuery(patient_id="P1"), actor="admin")
        in_march = site.fetcher.find("ORTHANC", StudyQuery(study_date="20250201-"), actor="admin")
        nobody = site.fetcher.find("ORTHANC", StudyQuery(patient_id="P2"), actor="admin")
    assert set(found) == {_study("a", "20250101"), _study("b", "20250301")}
    assert (set(in_march), nobody) == ({_study("b", "20250301")}, ())
    assert site.audit == [("PEER_QUERIED", "admin")] * 3
    assert "P1" not in str([event.detail for event in folder.rows(AuditEvent)])


def test_the_studies_of_a_patient_are_listed_with_whom_the_archive_takes_them_to_be(
    archive: Archive, folder: ReceivingFolder
) -> None:
    peer = Peer(ae_title="ORTHANC", host="127.0.0.1", port=archive.port)
    with Site(folder, archive.port).open() as site:
        listed = site.scu.studies_of_patient(peer, StudyQuery(patient_id="P4", study_date="20230101-20240601"))
        assert site.scu.studies_of_patient(peer, StudyQuery(patient_id="P4", study_date="20240601-20250101")) == ()
    assert {one.study_instance_uid: one.patient.issuer for one in listed} == {
        uid("d"): "HOSP", uid("e"): "OTHER", uid("f"): "",
    }  # fmt: skip
    assert {(one.patient.patient_id, one.patient.birth_date, one.modalities) for one in listed} == {
        ("P4", "19700102", ("MR",))
    }


def _study(name: str, date: str) -> FoundStudy:
    return FoundStudy(
        study_instance_uid=uid(name),
        study_date=date,
        description="Head",
        modalities=("MR",),
        series=1,
        instances=IMAGES,
    )


@pytest.mark.parametrize("key", ["*", "P?", "a\\b", ""])
def test_a_query_for_everything_is_refused(key: str) -> None:
    with pytest.raises(QueryTooWide, match="without wildcards"):
        StudyQuery(patient_id=key)


def test_an_archive_that_allows_it_sends_a_study_on_our_own_association(
    archive: Archive, folder: ReceivingFolder
) -> None:
    with Site(folder, archive.port).open() as site:
        fetched = site.fetch()
        again = site.fetch()
    assert (fetched.service, fetched.status, fetched.completed, fetched.failed) == ("C-GET", 0, IMAGES, 0)
    assert fetched.is_complete
    assert site.kept == _images("a")
    assert {instance.sender for instance in folder.rows(Instance)} == {"ORTHANC"}
    assert {study.called_aet for study in folder.rows(Study)} == {"PRIORS"}
    assert again.is_complete
    transfers = [(t.sender, t.called_aet, t.door, t.counts) for t in folder.transfers]
    assert transfers == [
        ("ORTHANC", "PRIORS", "dicom", {"IMAGE": IMAGES}),
        ("ORTHANC", "PRIORS", "dicom", {"DUPLICATE": IMAGES}),
    ]
    assert site.audit == [("INSTANCES_RECEIVED", "ORTHANC"), ("STUDY_FETCHED", "admin")] * 2


def test_compressed_objects_come_as_the_archive_holds_them(archive: Archive, folder: ReceivingFolder) -> None:
    with Site(folder, archive.port).open() as site:
        assert site.fetch("c").completed == IMAGES
    forms = {row.transfer_syntax_uid for row in folder.rows(Instance)}
    assert forms == {EXPLICIT, str(RLELossless), str(JPEG2000Lossless)}


def test_an_archive_that_allows_no_get_moves_a_study_to_us(archive: Archive, folder: ReceivingFolder) -> None:
    with Site(folder, archive.port, archive.node_port).open("MOVES") as site:
        fetched = site.fetch("b")
        _wait_for(lambda: len(site.kept) == IMAGES)
    assert (fetched.service, fetched.is_complete, fetched.completed) == ("C-MOVE", True, IMAGES)
    assert site.kept == _images("b")
    assert {study.called_aet for study in folder.rows(Study)} == {"PRIORS"}


def test_a_move_is_made_where_it_is_asked_for(archive: Archive, folder: ReceivingFolder) -> None:
    with Site(folder, archive.port, archive.node_port).open() as site:
        assert site.fetch(way=FetchWay.MOVE, called="OVERREAD").service == "C-MOVE"
        _wait_for(lambda: site.kept == _images("a"))


def test_an_archive_that_allows_neither_says_what_to_allow(archive: Archive, folder: ReceivingFolder) -> None:
    with Site(folder, archive.port).open("NEITHER") as site, pytest.raises(GatewayError) as refused:
        site.fetch()
    assert refused.value.code == "ABORTED_AT_ONCE"
    assert "allow retrieval by C-GET or C-MOVE for 'NEITHER' there" in refused.value.detail
    assert site.kept == []


def test_a_study_that_the_archive_does_not_have_is_named_so(archive: Archive, folder: ReceivingFolder) -> None:
    with Site(folder, archive.port).open() as site, pytest.raises(NotFound, match="no study with this") as unknown:
        site.fetch("nowhere")
    assert unknown.value.code == "UNKNOWN_STUDY"
    assert site.audit == [("FETCH_FAILED", "admin")]


def test_what_cannot_be_fetched_is_refused_before_anybody_is_called(folder: ReceivingFolder) -> None:
    with Site(folder, 1).open() as site:
        order = FetchOrder(study_instance_uid=uid("a"), called_aet="OVERREAD")
        with pytest.raises(NotFound, match=r"no such peer in node\.peers \('ORTHANC'\)"):
            site.fetcher.fetch("ELSEWHERE", order, actor="admin")
        with pytest.raises(IllegalTransition, match="no AE title of this gateway"):
            site.fetch(called="SOMEBODY")
        with pytest.raises(GatewayError, match="is not a UID"):
            site.fetcher.fetch("ORTHANC", FetchOrder(study_instance_uid="x", called_aet="OVERREAD"), actor="admin")
    with Site(folder, 1).open(host="") as site, pytest.raises(PeerRejected, match="add host and port"):
        site.fetch()


def test_an_archive_that_knows_us_by_no_such_title_says_so(archive: Archive, folder: ReceivingFolder) -> None:
    with Site(folder, archive.port).open(ae_title="WRONG") as site, pytest.raises(GatewayError) as refused:
        site.fetcher.fetch("WRONG", FetchOrder(study_instance_uid=uid("a"), called_aet="OVERREAD"), actor="admin")
    assert "WRONG" in refused.value.detail


# ----------------------------------------------------------------------------------------------- dcmtk
@pytest.fixture(scope="module")
def dcmqrscp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A dcmqrscp that knows no move destination, and holds study a."""
    program = require_program("dcmqrscp")
    folder = tmp_path_factory.mktemp("dcmqrscp")
    store = folder / "store"
    store.mkdir()
    port = free_port()
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\nHostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nORTHANC {store} RW (200, 1024mb) ANY\nAETable END\n"
    )
    files = []
    for number in range(IMAGES):
        files.append(store / f"image{number}.dcm")
        files[-1].write_bytes(make_instance(number, study="a"))
    subprocess.run([require_program("dcmqridx"), str(store), *map(str, files)], check=True, capture_output=True)
    process = subprocess.Popen(
        [program, "-c", str(folder / "dcmqrscp.cfg")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def test_dcmqrscp_sends_a_study_on_our_own_association(dcmqrscp: int, folder: ReceivingFolder) -> None:
    with Site(folder, dcmqrscp).open() as site:
        fetched = site.fetch()
    assert (fetched.service, fetched.completed, fetched.is_complete) == ("C-GET", IMAGES, True)
    assert site.kept == _images("a")


def test_a_move_to_a_title_that_the_peer_does_not_know_says_where_to_register_it(
    dcmqrscp: int, folder: ReceivingFolder
) -> None:
    with Site(folder, dcmqrscp).open() as site, pytest.raises(PeerRejected) as refused:
        site.fetch(way=FetchWay.MOVE)
    assert refused.value.code == "MOVE_DESTINATION_UNKNOWN"
    assert "does not know 'PRIORS' as a destination of C-MOVE: register it there" in refused.value.detail
    assert f"(127.0.0.1:{site.node_port})" in refused.value.detail


# --------------------------------------------------------------------------------- peers that misbehave
@contextmanager
def _scripted(get: Callable[[evt.Event], object] | None = None, *, moves: object = None) -> Iterator[int]:
    ae = AE("ORTHANC")
    ae.add_supported_context(STUDY_ROOT_FIND, [EXPLICIT])
    handlers: list[object] = [(evt.EVT_C_FIND, _one_match)]
    if get is not None:
        ae.add_supported_context(STUDY_ROOT_GET, [EXPLICIT])
        handlers.append((evt.EVT_C_GET, get))
    if moves is not None:
        ae.add_supported_context(STUDY_ROOT_MOVE, [EXPLICIT])
        handlers.append((evt.EVT_C_MOVE, moves))
    for context in StoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), [EXPLICIT], scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def _one_match(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
    match = Dataset()
    match.QueryRetrieveLevel, match.StudyInstanceUID, match.SOPClassesInStudy = "STUDY", uid("a"), [MR]
    yield 0xFF00, match


def _dataset(number: int) -> Dataset:
    return dcmread(io.BytesIO(make_instance(number, study="a")))


def test_a_peer_that_dies_midway_leaves_what_it_sent_and_a_sentence(folder: ReceivingFolder) -> None:
    def dying(event: evt.Event) -> Iterator[object]:
        yield IMAGES
        yield 0xFF00, _dataset(0)
        event.assoc.abort()
        yield 0xFF00, _dataset(1)

    with (
        _scripted(dying) as port,
        Site(folder, port).open() as site,
        pytest.raises(PeerUnreachable, match="what came until then is kept"),
    ):
        site.fetch(way=FetchWay.GET)
    assert site.kept == [uid("a", "series", 0)]
    assert [transfer.counts for transfer in folder.transfers] == [{"IMAGE": 1}]
    assert site.audit == [("INSTANCES_RECEIVED", "ORTHANC"), ("FETCH_FAILED", "admin")]


def test_what_takes_too_long_is_cancelled_and_kept_as_far_as_it_came(folder: ReceivingFolder) -> None:
    def endless(event: evt.Event) -> Iterator[object]:
        yield 60_000
        for number in range(60_000):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            time.sleep(0.02)
            yield 0xFF00, _dataset(number)

    with _scripted(endless) as port, Site(folder, port).open() as site:
        fetched = site.fetch(s=0.5)
    assert (fetched.status, fetched.is_complete) == (0xFE00, False)
    assert 0 < fetched.completed == len(site.kept)
    assert "took too long. Fetch it again with more time" in fetched.sentence
    assert site.audit[-1] == ("STUDY_FETCHED_IN_PART", "admin")


def test_a_silent_peer_that_ignores_the_cancel_is_left(
    folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieve_scu, "CANCEL_SECONDS", 0.3)
    released = threading.Event()

    def silent(event: evt.Event) -> Iterator[object]:
        released.wait(10)
        yield 0
        yield 0xFE00, None

    with _scripted(silent) as port, Site(folder, port).open() as site:
        with pytest.raises(PeerUnreachable) as late:
            site.fetch(s=0.3)
        released.set()
    assert late.value.code == "TOOK_TOO_LONG"


def test_a_refused_get_is_tried_as_a_move_and_the_last_answer_is_told(folder: ReceivingFolder) -> None:
    def refusing(event: evt.Event) -> Iterator[object]:
        yield 1
        yield 0xA702, None

    def nowhere(event: evt.Event) -> Iterator[object]:
        yield None, None

    with _scripted(refusing, moves=nowhere) as port, Site(folder, port).open() as site:
        with pytest.raises(PeerRejected) as refused:
            site.fetch()
        with pytest.raises(PeerRejected, match=r"it could not send the instances\. See our log") as got:
            site.fetch(way=FetchWay.GET)
    assert (refused.value.code, got.value.code) == ("MOVE_DESTINATION_UNKNOWN", "NOTHING_SENT")


def test_an_instance_that_we_refuse_makes_the_fetch_incomplete(folder: ReceivingFolder) -> None:
    def with_a_wrong_one(event: evt.Event) -> Iterator[object]:
        yield 2
        yield 0xFF00, _dataset(0)
        wrong = _dataset(1)
        wrong.SOPInstanceUID = "1.2.x"
        yield 0xFF00, wrong

    with _scripted(with_a_wrong_one) as port, Site(folder, port).open() as site:
        fetched = site.fetch()
    assert (fetched.completed, fetched.failed, fetched.is_complete) == (1, 1, False)
    assert "1 failed" in fetched.sentence
    assert len(site.kept) == 1


def test_a_fetch_in_progress_is_ended_when_the_gateway_stops_and_is_not_begun_twice(folder: ReceivingFolder) -> None:
    begun, released = threading.Event(), threading.Event()
    errors: list[GatewayError] = []

    def waiting(event: evt.Event) -> Iterator[object]:
        begun.set()
        released.wait(10)
        yield 0

    def fetch(site: Site) -> None:
        try:
            site.fetch()
        except GatewayError as error:
            errors.append(error)

    with _scripted(waiting) as port, Site(folder, port).open() as site:
        thread = threading.Thread(target=fetch, args=(site,))
        thread.start()
        assert begun.wait(10)
        with pytest.raises(IllegalTransition, match="being fetched from there already"):
            site.fetch()
        site.scu.stop()
        thread.join(5)
        assert not thread.is_alive()
        released.set()
    assert [type(error) for error in errors] == [PeerUnreachable]


def test_classes_of_the_study_are_proposed_first_in_every_form_and_never_too_many() -> None:
    rare = "1.2.840.10008.5.1.4.1.1.66.7"
    proposed = fetch_scu._storage_contexts([rare, "1.2.3"])
    assert proposed[: len(TRANSFER_SYNTAXES)] == [(rare, (syntax,)) for syntax in TRANSFER_SYNTAXES]
    classes = [storage_class for storage_class, _ in proposed]
    assert "1.2.3" not in classes
    assert MR in classes
    many = fetch_scu._storage_contexts(sorted(STORAGE_CLASSES)[:20])
    assert len(set(many)) == len(many) <= len(proposed) == 127


def test_what_orthanc_could_not_transcode_for_a_get_is_told_and_moved_instead(
    archive: Archive, folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One context for all transfer syntaxes: Orthanc breaks off and writes its answer's identifier into the command.
    one_each = [(MR, tuple(TRANSFER_SYNTAXES))]
    monkeypatch.setattr(fetch_scu, "_storage_contexts", lambda _: one_each)
    with Site(folder, archive.port, archive.node_port).open() as site:
        with pytest.raises(PeerRejected, match="0xC000 unable to process") as refused:
            site.fetch("c", way=FetchWay.GET)
        assert site.fetch("c").service == "C-MOVE"
        _wait_for(lambda: len(site.kept) == IMAGES)
    assert refused.value.code == "NOTHING_SENT"


# ------------------------------------------------------------------------------------------------- TLS
def test_a_peer_that_speaks_tls_is_queried_and_sends_by_tls(folder: ReceivingFolder, tmp_path: Path) -> None:
    root = make_authority(tmp_path / "ca", "root")
    theirs, ours = root.issue("theirs"), root.issue("ours")
    other = ReceivingFolder(tmp_path / "other")
    for number in range(IMAGES):
        other.upload(make_instance(number, study="a"))
    archive = archive_of(Config(), other.database, other.blobs, other.clock)
    with other.node(archive=archive, ae_title="ORTHANC", tls=_tls(root, theirs)) as (_, port):
        peer = Peer(ae_title="ORTHANC", host="127.0.0.1", port=port, tls=True)
        config = NodeConfig.model_validate({"peers": (peer,), "port": free_port(), "tls": _tls(root, ours)})
        with folder.node(**config.model_dump()) as (node, _):
            scu = FetchScu(config, node.called_out, lambda: "")
            found = scu.find(peer, StudyQuery(study_instance_uid=uid("a")))
            fetched = scu.fetch(peer, FetchOrder(study_instance_uid=uid("a"), called_aet="OVERREAD"))
            plain = peer.model_copy(update={"tls": False})
            with pytest.raises(GatewayError):
                scu.find(plain, StudyQuery(study_instance_uid=uid("a")))
    other.close()
    assert [study.instances for study in found] == [IMAGES]
    assert (fetched.service, fetched.completed, fetched.is_complete) == ("C-GET", IMAGES, True)
    assert sorted(row.sop_instance_uid for row in folder.rows(Instance)) == _images("a")


def _tls(root: Authority, own: Certificate) -> dict[str, object]:
    return {"certificate_file": own.certificate, "key_file": own.key, "ca_file": root.root}
