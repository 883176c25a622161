"""Results are delivered only when the archive has committed itself: Orthanc, and archives that lie, fail or wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt

from gateway.config import Config
from gateway.dimse import commitment_scu
from gateway.dimse.archive import archive_of
from gateway.dimse.commitment_report import Reference, read_report, write_report
from gateway.dimse.commitment_scu import commitment_askers
from gateway.dimse.contexts import COMMITMENT_INSTANCE, STORAGE_COMMITMENT
from gateway.dimse.courier import dimse_courier
from gateway.services.commitment import CommitmentReport, Commitments
from gateway.services.deliver import Deliverer
from gateway.store.tables import AuditEvent, CommitmentRequest
from tests.support.instances import EXPLICIT, SEG, uid
from tests.support.orthanc_peer import running_orthanc
from tests.support.outbox import Outbox
from tests.support.ports import free_port
from tests.support.requestor import call


@pytest.fixture
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    monkeypatch.setattr(commitment_scu, "LINGER_SECONDS", 0.4)
    return Outbox(tmp_path / "data")


def _config(port: int, ae_title: str = "PACS", **settings: object) -> Config:
    destination = {
        "name": "PACS", "kind": "dicom", "ae_title": ae_title, "host": "127.0.0.1", "port": port,
        "commitment": True, "commitment_seconds": 60.0, "retry_seconds": 5.0, **settings,
    }  # fmt: skip
    return Config.model_validate({"destinations": [destination]})


def _deliverer(outbox: Outbox, config: Config) -> Deliverer:
    couriers = {"PACS": dimse_courier(config.destinations[0], config.node)}
    askers = commitment_askers(config.node, config.destinations)
    return Deliverer(outbox.database, outbox.blobs, config.destinations, couriers, outbox.clock, askers=askers)


def _wait_for(condition: Callable[[], object], seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def _pass(outbox: Outbox, seconds: float) -> None:
    outbox.clock.now += timedelta(seconds=seconds)


@dataclass
class ScriptedArchive:
    """An archive that answers Success to everything, and reports as it is told.

    Parameters
    ----------
    failing : set of str
        SOP Instance UIDs it says it does not have.
    reports : str
        ``same``: on the association of the request. ``new``: on one of its own to `report_port`. ``never``.
    answer : int
        Status of its N-ACTION response.
    """

    failing: set[str] = field(default_factory=set)
    reports: str = "same"
    answer: int = 0
    report_port: int = 0
    stored: list[str] = field(default_factory=list)
    asked: list[tuple[str, list[str]]] = field(default_factory=list)
    port: int = 0

    def store(self, event: evt.Event) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    def action(self, event: evt.Event) -> tuple[int, None]:
        request = event.action_information
        names = [str(item.ReferencedSOPInstanceUID) for item in request.ReferencedSOPSequence]
        self.asked.append((str(request.TransactionUID), names))
        return self.answer, None

    def sent(self, event: evt.Event) -> None:
        """Report after the N-ACTION response has left."""
        if self.reports == "same" and event.message.__class__.__name__ == "N_ACTION_RSP" and self.answer == 0:
            kind, information = self.report()
            event.assoc.send_n_event_report(information, kind, STORAGE_COMMITMENT, COMMITMENT_INSTANCE)

    def report(self, number: int = -1) -> tuple[int, Dataset]:
        transaction, names = self.asked[number]
        failed = {name: 0x0112 for name in names if name in self.failing}
        return write_report(transaction, [Reference(sop_class_uid=SEG, sop_instance_uid=n) for n in names], failed)

    def report_anew(self, number: int = -1) -> int:
        """Open an association as the SCP of the commitment and report; return the status of the answer."""
        kind, information = self.report(number)
        ae = AE("PACS")
        ae.add_requested_context(STORAGE_COMMITMENT, [EXPLICIT])
        role = build_role(STORAGE_COMMITMENT, scp_role=True)
        association = call(ae, self.report_port, ext_neg=[role])
        assert association.is_established
        status, _ = association.send_n_event_report(information, kind, STORAGE_COMMITMENT, COMMITMENT_INSTANCE)
        association.release()
        return int(status.Status)


@contextmanager
def running(archive: ScriptedArchive, *, offers_commitment: bool = True) -> Iterator[ScriptedArchive]:
    ae = AE("PACS")
    ae.add_supported_context(SEG, [EXPLICIT])
    if offers_commitment:
        ae.add_supported_context(STORAGE_COMMITMENT, [EXPLICIT])
    handlers = [
        (evt.EVT_C_STORE, archive.store),
        (evt.EVT_N_ACTION, archive.action),
        (evt.EVT_DIMSE_SENT, archive.sent),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    archive.port = server.server_address[1]
    try:
        yield archive
    finally:
        server.shutdown()


def test_what_the_archive_commits_at_once_is_delivered_with_that_proof(outbox: Outbox) -> None:
    names = [outbox.add(1), outbox.add(2)]
    with running(ScriptedArchive()) as archive:
        deliverer = _deliverer(outbox, _config(archive.port))
        assert deliverer.run_due("PACS") == 2
        assert outbox.states() == ["SENT", "SENT"]
        deliverer.run_due("PACS")
    assert outbox.states() == ["DELIVERED", "DELIVERED"]
    assert outbox.actions() == [("DELIVERED", "committed")] * 2
    assert [asked for _, asked in archive.asked] == [names]
    [request] = outbox.rows(CommitmentRequest)
    assert (request.committed, request.failed, request.destination) == (2, 0, "PACS")


def test_an_object_that_was_acknowledged_and_lost_is_sent_again_in_a_new_transaction(outbox: Outbox) -> None:
    lost, kept = outbox.add(1), outbox.add(2)
    with running(ScriptedArchive(failing={lost})) as archive:
        deliverer = _deliverer(outbox, _config(archive.port))
        deliverer.run_due("PACS")
        deliverer.run_due("PACS")
        assert outbox.states() == ["PENDING", "DELIVERED"]
        assert "no such SOP instance" in outbox.deliveries()[0].last_failure
        deliverer.run_due("PACS")
        assert archive.stored == [lost, kept], "it waits before it tries again"
        archive.failing.clear()
        _pass(outbox, 10)
        deliverer.run_due("PACS")
        deliverer.run_due("PACS")
    assert outbox.states() == ["DELIVERED", "DELIVERED"]
    assert archive.stored == [lost, kept, lost]
    assert [names for _, names in archive.asked] == [[lost, kept], [lost]]
    assert len({transaction for transaction, _ in archive.asked}) == 2


def test_an_object_that_is_never_committed_is_given_up_after_its_attempts_and_kept(outbox: Outbox) -> None:
    name = outbox.add(1)
    with running(ScriptedArchive(failing={name})) as archive:
        deliverer = _deliverer(outbox, _config(archive.port, maximum_attempts=2))
        for _ in range(6):
            deliverer.run_due("PACS")
            _pass(outbox, 700)
    assert outbox.states() == ["DEAD"]
    assert len(archive.stored) == 2
    assert outbox.parcel(name).path.is_file()


def test_a_report_on_a_new_association_counts_after_a_restart_too(outbox: Outbox) -> None:
    outbox.add(1)
    with running(ScriptedArchive(reports="never")) as archive:
        config = _config(archive.port)
        deliverer = _deliverer(outbox, config)
        deliverer.run_due("PACS")
        deliverer.run_due("PACS")
        assert outbox.states() == ["SENT"]
        # A restart in between: everything that knows of the transaction is the database.
        with outbox.node(archive=archive_of(config, outbox.database, outbox.blobs, outbox.clock)) as (_, port):
            archive.report_port = port
            assert archive.report_anew() == 0
    assert outbox.states() == ["DELIVERED"]
    assert [row.detail["reporter"] for row in outbox.rows(AuditEvent) if row.action == "DELIVERED"] == ["PACS"]


def test_a_report_nobody_asked_for_is_refused_and_changes_nothing(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.add(1)
    archive = ScriptedArchive(asked=[("1.2.3", [uid("C1", "out", 1)])])
    node_archive = archive_of(_config(1), outbox.database, outbox.blobs, outbox.clock)
    with outbox.node(archive=node_archive) as (_, archive.report_port):
        assert archive.report_anew() == 0x0112
    assert outbox.states() == ["PENDING"]
    _wait_for(lambda: any("nobody here asked for" in record.getMessage() for record in caplog.records))


def test_silence_is_asked_anew_without_sending_again_and_the_late_report_still_counts(outbox: Outbox) -> None:
    outbox.add(1)
    with running(ScriptedArchive(reports="never")) as archive:
        config = _config(archive.port)
        deliverer = _deliverer(outbox, config)
        for _ in range(2):
            deliverer.run_due("PACS")
        deliverer.run_due("PACS")
        assert len(archive.asked) == 1, "it has its time"
        _pass(outbox, 61)
        deliverer.run_due("PACS")
        assert (len(archive.asked), len(archive.stored)) == (2, 1)
        assert "no storage commitment came" in outbox.deliveries()[0].last_failure
        commitments = Commitments(outbox.database, config.destinations, outbox.clock)
        first, _ = archive.asked[0]
        failed = CommitmentReport(transaction_uid=first, committed=frozenset(), failed={uid("C1", "out", 1): "lost"})
        assert commitments.record(failed, reporter="PACS")
        assert outbox.states() == ["SENT"], "what an old transaction could not do does not matter any more"
        assert commitments.record(read_report(archive.report(0)[1]), reporter="PACS")
    assert outbox.states() == ["DELIVERED"]


def test_later_results_of_a_case_do_not_wait_for_a_commitment(outbox: Outbox) -> None:
    outbox.add(1)
    with running(ScriptedArchive(reports="never")) as archive:
        deliverer = _deliverer(outbox, _config(archive.port))
        for _ in range(2):
            deliverer.run_due("PACS")
        outbox.add(2)
        deliverer.run_due("PACS")
    assert len(archive.stored) == 2


@pytest.mark.parametrize(
    ("archive", "offers", "words"),
    [
        (ScriptedArchive(), False, "does not offer Storage Commitment"),
        (ScriptedArchive(answer=0x0213), True, "0x0213 resource limitation"),
    ],
)
def test_an_archive_that_does_not_take_the_request_is_asked_again_and_costs_no_attempt(
    outbox: Outbox, archive: ScriptedArchive, offers: bool, words: str
) -> None:
    outbox.add(1)
    with running(archive, offers_commitment=offers):
        deliverer = _deliverer(outbox, _config(archive.port))
        for _ in range(4):
            deliverer.run_due("PACS")
            _pass(outbox, 61)
    [row] = outbox.deliveries()
    assert (row.state, row.attempts) == ("SENT", 0)
    assert words in row.last_failure


@pytest.mark.peer
def test_orthanc_commits_what_it_keeps_and_fails_what_it_has_lost(outbox: Outbox, tmp_path: Path) -> None:
    port = free_port()
    kept, lost = outbox.add(1), outbox.add(2)
    modalities = {"node": ["OVERREAD", "127.0.0.1", port]}
    with running_orthanc(tmp_path / "orthanc", modalities=modalities) as orthanc:
        config = _config(orthanc.dicom_port, orthanc.ae_title)
        deliverer = _deliverer(outbox, config)
        archive = archive_of(config, outbox.database, outbox.blobs, outbox.clock)
        with outbox.node(archive=archive, port=port):
            assert deliverer.run_due("PACS") == 2
            orthanc.forget(lost)
            deliverer.run_due("PACS")
            _wait_for(lambda: outbox.states() == ["DELIVERED", "PENDING"])
            _pass(outbox, 30)
            deliverer.run_due("PACS")
            deliverer.run_due("PACS")
            _wait_for(lambda: outbox.states() == ["DELIVERED", "DELIVERED"])
        assert orthanc.instances() == sorted([kept, lost])
