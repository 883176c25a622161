"""Query, retrieval and storage commitment, asked for by the clients that people use."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from gateway.config import Config, NodeConfig, Peer
from gateway.dimse import commitment_scp
from gateway.dimse.archive import archive_of
from gateway.dimse.commitment_report import ALL_COMMITTED, SOME_FAILED, Reference
from gateway.dimse.contexts import COMMITMENT_INSTANCE, STORAGE_COMMITMENT
from gateway.dimse.find_count import FindCount
from gateway.dimse.node import DicomNode
from gateway.services.announce import announce_commitment
from gateway.services.owed_reports import OwedReports
from gateway.store.tables import Announcement, AuditEvent, Case, Instance, OwedReport
from tests.support.dcmtk_peer import run_scu, running_storescp
from tests.support.instances import EXPLICIT, IMPLICIT, MR, SEG, make_instance, uid
from tests.support.logged import is_logged
from tests.support.orthanc_peer import running_orthanc
from tests.support.outbox import Outbox
from tests.support.ports import free_port
from tests.support.requestor import call

STUDY_FIND, STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """Three studies with three images each, and two results of a case."""
    folder = Outbox(tmp_path / "data")
    people = ("a", "Müller^Zoë", "20250101"), ("b", "Doe^Jane", "20250202"), ("c", "ÅSTRÖM^ÖRN", "20240303")
    for study, name, date in people:
        for number in range(3):
            folder.upload(make_instance(number, study=study, PatientName=name, PatientID=study, StudyDate=date))
    folder.add(1, case="C1")
    folder.add(2, case="C1", sop_class=MR)
    return folder


def _node_port(outbox: Outbox, **settings: object) -> AbstractContextManager[tuple[DicomNode, int]]:
    config = Config.model_validate(settings)
    archive = archive_of(config, outbox.database, outbox.blobs, outbox.clock)
    return outbox.node(archive=archive, peers=config.node.peers)


@pytest.fixture
def port(outbox: Outbox) -> Iterator[int]:
    with _node_port(outbox) as (_, port):
        yield port


def _wait_for(condition: Callable[[], object], seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def _associate(
    port: int, *contexts: tuple[str, list[str]], roles: tuple[str, ...] = (), calling: str = "PYND", **arguments: object
) -> Association:
    ae = AE(calling)
    for abstract, syntaxes in contexts:
        ae.add_requested_context(abstract, syntaxes)
    ext_neg = [build_role(role, scp_role=True) for role in roles]
    association = call(ae, port, ext_neg=ext_neg, **arguments)
    assert association.is_established
    return association


def _find(port: int, level: str, **keys: object) -> list[Dataset]:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    association = _associate(port, (STUDY_FIND, [EXPLICIT]))
    found = [match for status, match in association.send_c_find(query, STUDY_FIND) if status.Status == 0xFF00]
    association.release()
    return [match for match in found if match is not None]


# ------------------------------------------------------------------------------------------------ query
@pytest.mark.parametrize(
    ("keys", "studies"),
    [
        ({}, {"a", "b", "c", "C1"}),
        ({"PatientName": "Doe*"}, {"b"}),
        ({"PatientName": "Müller^Zoë"}, {"a"}),
        ({"PatientName": "ÅSTRÖM^ÖRN"}, {"c"}),
        ({"PatientName": "ÅstrÖm^*"}, {"c"}),
        ({"StudyDate": "20250115-"}, {"b"}),
        ({"StudyDate": "20250101-20250131"}, {"a"}),
        ({"PatientID": "nobody"}, set()),
        ({"StudyInstanceUID": [uid("a"), uid("b")]}, {"a", "b"}),
        ({"ModalitiesInStudy": "SEG"}, {"C1"}),
    ],
)
def test_studies_are_found_by_their_keys(port: int, keys: dict[str, object], studies: set[str]) -> None:
    found = _find(port, "STUDY", **{"StudyInstanceUID": "", "SpecificCharacterSet": "ISO_IR 192", **keys})
    assert {match.StudyInstanceUID for match in found} == {uid(name) for name in studies}


def test_a_match_holds_what_was_asked_for_and_nothing_else(port: int) -> None:
    [match] = _find(
        port,
        "STUDY",
        StudyInstanceUID=uid("a"),
        PatientName="",
        NumberOfStudyRelatedInstances=None,
        ModalitiesInStudy="",
        StudyDescription="",
        ProcedureCodeSequence=[],
    )
    assert str(match.PatientName) == "Müller^Zoë"
    assert (match.NumberOfStudyRelatedInstances, match.ModalitiesInStudy, match.StudyDescription) == (3, "MR", "")
    assert len(match.ProcedureCodeSequence) == 0
    assert "PatientID" not in match


def test_series_and_images_are_found_received_ones_and_results(port: int) -> None:
    [series] = _find(
        port,
        "SERIES",
        StudyInstanceUID=uid("a"),
        SeriesInstanceUID="",
        Modality="",
        NumberOfSeriesRelatedInstances=None,
    )
    assert (series.SeriesInstanceUID, series.Modality, series.NumberOfSeriesRelatedInstances) == (
        uid("a", "series"),
        "MR",
        3,
    )
    images = _find(port, "IMAGE", StudyInstanceUID=uid("a"), SOPInstanceUID="", InstanceNumber="", Rows=None)
    assert sorted((int(i.InstanceNumber), i.SOPInstanceUID, i.Rows) for i in images) == [
        (n, uid("a", "series", n), 16) for n in range(3)
    ]
    results = _find(port, "IMAGE", StudyInstanceUID=uid("C1"), SOPInstanceUID="", SOPClassUID="")
    assert {(i.SOPInstanceUID, i.SOPClassUID) for i in results} == {
        (uid("C1", "out", 1), SEG),
        (uid("C1", "out", 2), MR),
    }


def test_a_patient_is_listed_once(port: int, outbox: Outbox) -> None:
    outbox.upload(make_instance(1, study="a2", PatientID="a"))
    assert len(_find(port, "STUDY", PatientID="a", StudyInstanceUID="")) == 2
    assert [match.PatientID for match in _find(port, "PATIENT", PatientID="a")] == ["a"]


@pytest.mark.parametrize("level", ["", "FRAME"])
def test_a_query_without_a_level_is_refused(port: int, level: str) -> None:
    query = Dataset()
    query.QueryRetrieveLevel = level
    query.StudyInstanceUID = ""
    association = _associate(port, (STUDY_FIND, [IMPLICIT]))
    [(status, _)] = association.send_c_find(query, STUDY_FIND)
    assert status.Status == 0xA900
    association.release()


def test_our_own_count_by_find_works_against_our_own_node(port: int) -> None:
    peer = Peer(ae_title="OVERREAD", host="127.0.0.1", port=port)
    assert FindCount(NodeConfig(ae_title="US")).expected_instances(peer, uid("a")) == 3
    assert FindCount(NodeConfig(ae_title="US")).expected_instances(peer, "1.2.3") is None


def test_without_an_archive_nothing_but_storage_is_offered(tmp_path: Path) -> None:
    with Outbox(tmp_path).node() as (_, port):
        ae = AE("PYND")
        ae.add_requested_context(STUDY_FIND, [EXPLICIT])
        association = call(ae, port)
        assert [context.result for context in association.rejected_contexts] == [3]
        association.abort()


# ------------------------------------------------------------------------------------------------ retrieval
@pytest.mark.peer
def test_findscu_getscu_and_movescu_get_what_the_node_holds(outbox: Outbox, tmp_path: Path) -> None:
    with running_storescp(tmp_path / "moved") as scp, ExitStack() as stack:
        peers = [{"ae_title": "SCP", "host": "127.0.0.1", "port": scp.port}, {"ae_title": "ME"}]
        _, port = stack.enter_context(_node_port(outbox, node={"peers": peers}))
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid('a')}"]
        common = ["-S", "-aet", "ME", "-aec", "OVERREAD", *keys]
        found = run_scu("findscu", *common, "-k", "PatientID", "127.0.0.1", port)
        assert uid("a") in found.stdout + found.stderr
        (tmp_path / "got").mkdir()
        got = run_scu("getscu", *common, "-od", tmp_path / "got", "127.0.0.1", port)
        assert got.returncode == 0, got.stderr
        moved = run_scu("movescu", *common, "-aem", "SCP", "127.0.0.1", port)
        assert moved.returncode == 0, moved.stderr
    for folder in ("got", "moved"):
        files = [dcmread(path) for path in (tmp_path / folder).iterdir()]
        assert {file.SOPInstanceUID for file in files} == {uid("a", "series", n) for n in range(3)}
        assert all(str(file.PatientName) == "Müller^Zoë" for file in files)


@pytest.mark.peer
def test_orthanc_echoes_queries_and_retrieves_the_node(outbox: Outbox, tmp_path: Path) -> None:
    port = free_port()
    modalities = {"node": ["OVERREAD", "127.0.0.1", port]}
    with running_orthanc(tmp_path / "orthanc", modalities=modalities) as orthanc:
        peers = [{"ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.dicom_port}]
        config = Config.model_validate({"node": {"peers": peers, "port": port}})
        archive = archive_of(config, outbox.database, outbox.blobs, outbox.clock)
        with outbox.node(archive=archive, peers=peers, port=port):
            base = f"{orthanc.url}/modalities/node"
            assert requests.post(f"{base}/echo", json={}, timeout=30).status_code == 200
            query = {"Level": "Study", "Query": {"StudyInstanceUID": uid("b")}}
            answer = requests.post(f"{base}/query", json=query, timeout=30).json()
            retrieved = requests.post(
                f"{orthanc.url}{answer['Path']}/retrieve", json={"TargetAet": orthanc.ae_title}, timeout=60
            )
            assert retrieved.status_code == 200, retrieved.text
            assert orthanc.instances() == sorted(uid("b", "series", n) for n in range(3))


def _get(port: int, calling: str, **keys: str) -> tuple[list[int], list[str]]:
    got: list[str] = []

    def keep(event: evt.Event) -> int:
        got.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    query = Dataset()
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    association = _associate(
        port,
        (STUDY_GET, [IMPLICIT]),
        (MR, [EXPLICIT]),
        (SEG, [EXPLICIT]),
        roles=(MR, SEG),
        calling=calling,
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    statuses = [status.Status for status, _ in association.send_c_get(query, STUDY_GET)]
    association.release()
    return statuses, sorted(got)


def test_a_reader_who_takes_results_becomes_the_assignee(outbox: Outbox) -> None:
    with _node_port(outbox, readers=[{"name": "Ann", "ae_title": "ANN_WS"}]) as (_, port):
        keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": uid("C1")}
        statuses, got = _get(port, "ROUTER", **keys)
        assert (statuses[-1], got) == (0, sorted([uid("C1", "out", 1), uid("C1", "out", 2)]))
        assert outbox.rows(Case)[0].qc_assignee == ""
        _get(port, "ANN_WS", **keys)
        assert outbox.rows(Case)[0].qc_assignee == "Ann"
    [event] = [row for row in outbox.rows(AuditEvent) if row.action == "RESULTS_TAKEN"]
    assert (event.actor, event.detail["by"]) == ("Ann", "C_GET")


@pytest.mark.peer
def test_compressed_images_are_given_plain_to_whom_takes_no_other_form(outbox: Outbox, tmp_path: Path) -> None:
    pixels = bytes(range(256)) * 32
    plain = dcmread(io.BytesIO(make_instance(1, study="rle", side=64, pixels=pixels)))
    plain.compress(RLELossless, generate_instance_uid=False)
    plain.save_as(tmp_path / "rle.dcm")
    outbox.upload(tmp_path / "rle.dcm")
    keys = ["-S", "-aet", "ME", "-aec", "OVERREAD", "-k", "QueryRetrieveLevel=STUDY"]
    keys += ["-k", f"StudyInstanceUID={uid('rle')}"]
    (tmp_path / "got").mkdir()
    with ExitStack() as stack:
        implicit = stack.enter_context(running_storescp(tmp_path / "implicit", ["+xi"]))
        rle = stack.enter_context(running_storescp(tmp_path / "rle", ["+xr"]))
        peers = [
            {"ae_title": "IMPLICIT", "host": "127.0.0.1", "port": implicit.port},
            {"ae_title": "RLE", "host": "127.0.0.1", "port": rle.port},
            {"ae_title": "ME"},
        ]
        _, port = stack.enter_context(_node_port(outbox, node={"peers": peers}))
        for target in ("IMPLICIT", "RLE"):
            moved = run_scu("movescu", *keys, "-aem", target, "127.0.0.1", port)
            assert moved.returncode == 0, moved.stderr
        got = run_scu("getscu", *keys, "-od", tmp_path / "got", "127.0.0.1", port)
        assert got.returncode == 0, got.stderr
    syntaxes = {}
    for name in ("implicit", "rle", "got"):
        [file] = (tmp_path / name).iterdir()
        dataset = dcmread(file)
        syntaxes[name] = dataset.file_meta.TransferSyntaxUID.is_compressed
        assert dataset.pixel_array.tobytes() == pixels
    assert syntaxes == {"implicit": False, "rle": True, "got": False}


def test_a_retrieval_that_is_cancelled_ends_with_what_was_sent_until_then(outbox: Outbox, port: int) -> None:
    for number in range(20):
        outbox.upload(make_instance(number, study="long"))
    got: list[str] = []

    def keep(event: evt.Event) -> int:
        got.append(str(event.request.AffectedSOPInstanceUID))
        if len(got) == 2:
            event.assoc.send_c_cancel(7, query_model=STUDY_GET)
        time.sleep(0.02)
        return 0

    association = _associate(
        port, (STUDY_GET, [IMPLICIT]), (MR, [EXPLICIT]), roles=(MR,), evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", uid("long")
    last = [status for status, _ in association.send_c_get(query, STUDY_GET, msg_id=7)][-1]
    association.release()
    assert last.Status == 0xFE00
    assert 2 <= len(got) < 20
    assert last.NumberOfCompletedSuboperations == len(got)


def test_a_retrieval_that_names_nothing_is_refused(port: int) -> None:
    for keys in ({"QueryRetrieveLevel": "STUDY"}, {"QueryRetrieveLevel": "PATIENT", "PatientID": "a*"}):
        statuses, got = _get(port, "X", **keys)
        assert (statuses, got) == ([0xA900], [])


def test_an_instance_whose_file_is_lost_is_a_failed_sub_operation(outbox: Outbox, port: int) -> None:
    lost = outbox.rows(Instance)[0]
    outbox.blobs.path(lost.sha256).unlink()
    statuses, got = _get(port, "X", QueryRetrieveLevel="STUDY", StudyInstanceUID=lost.study_instance_uid)
    assert statuses[-1] == 0xB000
    assert len(got) == 2


@pytest.mark.peer
def test_a_move_to_an_unknown_node_is_refused_with_the_line_that_would_allow_it(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid('a')}"]
    moved = run_scu("movescu", "-S", "-aec", "OVERREAD", *keys, "-aem", "NOWHERE", "127.0.0.1", port)
    assert moved.returncode != 0
    assert is_logged(caplog, "'NOWHERE'", "node.peers")


def test_storage_works_beside_queries_in_one_association(outbox: Outbox, port: int, tmp_path: Path) -> None:
    (tmp_path / "new.dcm").write_bytes(make_instance(7, study="new"))
    association = _associate(port, (STUDY_FIND, [EXPLICIT]), (MR, [EXPLICIT]))
    assert association.send_c_store(tmp_path / "new.dcm").Status == 0
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", uid("new")
    assert [status.Status for status, _ in association.send_c_find(query, STUDY_FIND)] == [0xFF00, 0]
    association.release()
    _wait_for(lambda: outbox.transfers)
    assert outbox.transfers[-1].counts == {"IMAGE": 1}


# ------------------------------------------------------------------------------------------------ commitment
def _request(*names: tuple[str, str]) -> Dataset:
    request = Dataset()
    request.TransactionUID = "1.2.3.4.5"
    request.ReferencedSOPSequence = []
    for sop_class, name in names:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, name
        request.ReferencedSOPSequence.append(item)
    return request


@pytest.mark.parametrize("where", ["same association", "new association"])
def test_what_is_safe_is_committed_and_what_is_not_is_named(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(commitment_scp, "GRACE_SECONDS", 0.3)
    reports: list[tuple[int, Dataset]] = []

    def take(event: evt.Event) -> tuple[int, None]:
        reports.append((event.event_type, event.event_information))
        return 0, None

    requestor = AE("CT1")
    requestor.add_requested_context(STORAGE_COMMITMENT, [EXPLICIT])
    requestor.add_supported_context(STORAGE_COMMITMENT, [EXPLICIT], scu_role=False, scp_role=True)
    server = requestor.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    assert server is not None
    peers = [{"ae_title": "CT1", "host": "127.0.0.1", "port": server.server_address[1]}]
    try:
        with _node_port(outbox, node={"peers": peers}) as (_, port):
            for expected, names in (
                (ALL_COMMITTED, [(MR, uid("a", "series", 0)), (SEG, uid("C1", "out", 1))]),
                (SOME_FAILED, [(MR, uid("a", "series", 0)), (SEG, uid("a", "series", 1)), (MR, "1.2.3")]),
            ):
                association = call(requestor, port, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
                status, _ = association.send_n_action(_request(*names), 1, STORAGE_COMMITMENT, COMMITMENT_INSTANCE)
                assert status.Status == 0
                if where == "new association":
                    association.release()
                _wait_for(lambda: reports)
                if where == "same association":
                    association.release()
                event_type, information = reports.pop()
                assert (event_type, information.TransactionUID) == (expected, "1.2.3.4.5")
    finally:
        server.shutdown()
    assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == [uid("a", "series", 0)]
    failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in information.FailedSOPSequence}
    assert failed == {uid("a", "series", 1): 0x0119, "1.2.3": 0x0112}
    events = [row for row in outbox.rows(AuditEvent) if row.action == "STORAGE_COMMITMENT"]
    assert [row.detail for row in events] == [{"committed": 2, "failed": 0}, {"committed": 1, "failed": 2}]


@pytest.mark.peer
def test_orthanc_asks_for_a_commitment_and_understands_the_report(outbox: Outbox, tmp_path: Path) -> None:
    port = free_port()
    with running_orthanc(tmp_path / "orthanc", modalities={"node": ["OVERREAD", "127.0.0.1", port]}) as orthanc:
        peers = [{"ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.dicom_port}]
        config = Config.model_validate({"node": {"peers": peers}})
        archive = archive_of(config, outbox.database, outbox.blobs, outbox.clock)
        with outbox.node(archive=archive, peers=peers, port=port):
            asked = {"DicomInstances": [[MR, uid("a", "series", 0)], [MR, "1.2.3"]]}
            answer = requests.post(f"{orthanc.url}/modalities/node/storage-commitment", json=asked, timeout=30).json()
            url = f"{orthanc.url}/storage-commitment/{answer['ID']}"
            _wait_for(lambda: requests.get(url, timeout=30).json()["Status"] != "Pending")
            report = requests.get(url, timeout=30).json()
    assert [one["SOPInstanceUID"] for one in report["Success"]] == [uid("a", "series", 0)]
    assert [one["SOPInstanceUID"] for one in report["Failures"]] == ["1.2.3"]


def test_a_report_that_could_not_be_given_is_given_after_a_restart(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment_scp, "GRACE_SECONDS", 0.1)
    listening = free_port()
    settings = {"node": {"peers": [{"ae_title": "CT1", "host": "127.0.0.1", "port": listening}]}}
    with _node_port(outbox, **settings) as (node, port):
        association = _associate(port, (STORAGE_COMMITMENT, [EXPLICIT]), calling="CT1")
        request = _request((MR, uid("a", "series", 0)))
        assert association.send_n_action(request, 1, STORAGE_COMMITMENT, COMMITMENT_INSTANCE)[0].Status == 0
        assert [row.requestor for row in outbox.rows(OwedReport)] == ["CT1"]
        association.release()
        # Nobody listens there, so the first attempt comes to nothing and a later one is planned.
        _wait_for(lambda: [row.attempts for row in outbox.rows(OwedReport)] == [1])
        assert node.report_commitments() == 0
    reports: list[int] = []
    requestor = AE("CT1")
    requestor.add_supported_context(STORAGE_COMMITMENT, [EXPLICIT], scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, lambda event: (reports.append(event.event_type), (0, None))[1])]
    server = requestor.start_server(("127.0.0.1", listening), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        with _node_port(outbox, **settings) as (node, _):
            outbox.clock.now += timedelta(seconds=60)
            assert node.report_commitments() == 1
            assert node.report_commitments() == 0
    finally:
        server.shutdown()
    assert reports == [ALL_COMMITTED]
    assert outbox.rows(OwedReport) == []
    assert [row.actor for row in outbox.rows(AuditEvent) if row.action == "STORAGE_COMMITMENT"] == ["CT1"]


def test_a_requestor_that_never_listens_is_given_up_after_days(outbox: Outbox) -> None:
    peers = [{"ae_title": "CT1", "host": "127.0.0.1", "port": free_port()}]
    config = Config.model_validate({"node": {"peers": peers}})
    scp = commitment_scp.CommitmentScp(archive_of(config, outbox.database, outbox.blobs, outbox.clock))
    owed = OwedReports(outbox.database, outbox.clock)
    owed.owe("1.2.3", "CT1", "OVERREAD", [(MR, uid("a", "series", 0))])
    pauses = []
    for _ in range(4):
        outbox.clock.now = outbox.rows(OwedReport)[0].due_at
        assert scp.report_due() == 1
        pauses.append(round((outbox.rows(OwedReport)[0].due_at - outbox.clock.now).total_seconds()))
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1]
    outbox.clock.now += timedelta(days=4)
    assert scp.report_due() == 1
    assert outbox.rows(OwedReport) == []
    assert [row.action for row in outbox.rows(AuditEvent)][-1] == "STORAGE_COMMITMENT_NOT_REPORTED"


def test_a_file_that_was_lost_is_not_committed(outbox: Outbox) -> None:
    archive = archive_of(Config(), outbox.database, outbox.blobs, outbox.clock)
    scp = commitment_scp.CommitmentScp(archive)
    reference = Reference(sop_class_uid=MR, sop_instance_uid=uid("a", "series", 0))
    assert scp.failures([reference]) == {}
    with outbox.database.read() as session:
        outbox.blobs.path(session.get_one(Instance, uid("a", "series", 0)).sha256).unlink()
    assert scp.failures([reference]) == {uid("a", "series", 0): 0x0112}


def test_a_request_that_names_nothing_or_no_uid_is_refused(port: int, outbox: Outbox) -> None:
    association = _associate(port, (STORAGE_COMMITMENT, [EXPLICIT]))
    two_in_one = _request((MR, "1.2"))
    two_in_one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = ["1.2", "1.3"]
    without_transaction = _request((MR, "1.2"))
    without_transaction.TransactionUID = ""
    for request, action, expected in (
        (_request(), 1, 0x0115),
        (two_in_one, 1, 0x0115),
        (without_transaction, 1, 0x0115),
        (_request((MR, "1.2")), 2, 0x0123),
    ):
        status, _ = association.send_n_action(request, action, STORAGE_COMMITMENT, COMMITMENT_INSTANCE)
        assert status.Status == expected
    association.release()
    assert outbox.rows(OwedReport) == []


def test_a_report_that_cannot_be_written_does_not_keep_the_others_waiting(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    scp = commitment_scp.CommitmentScp(archive_of(Config(), outbox.database, outbox.blobs, outbox.clock))
    owed = OwedReports(outbox.database, outbox.clock)
    for transaction in ("1.1", "1.2"):
        owed.owe(transaction, "CT1", "OVERREAD", [(MR, uid("a", "series", 0))])
    real, seen = commitment_scp.write_report, list[str]()

    def write(transaction: str, *arguments: object) -> object:
        seen.append(transaction)
        if transaction == "1.1":
            raise KeyError(transaction)
        return real(transaction, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(commitment_scp, "write_report", write)
    outbox.clock.now += timedelta(seconds=60)
    assert scp.report_due() == 2
    assert seen == ["1.1", "1.2"]
    assert outbox.rows(OwedReport) == []


def test_a_commitment_of_more_instances_than_fit_into_a_statement_is_taken(outbox: Outbox) -> None:
    names = [uid("a", "series", 0), *(f"1.2.{number}" for number in range(40_000))]
    announce_commitment(outbox.database, transaction_uid="1.9", instances=names, sender="CT1", at=outbox.clock())
    [row] = outbox.rows(Announcement)
    assert (row.study_instance_uid, len(row.instances)) == (uid("a"), 40_001)
