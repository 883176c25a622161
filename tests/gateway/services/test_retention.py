"""Retention: what goes, what never does, and what the database and the services still say of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import SQLModel, select

from gateway.config import Config, RetentionRule
from gateway.config_rules import broken_rules
from gateway.domain.case import CaseState
from gateway.domain.instance import InstanceKind
from gateway.domain.qc_status import QcStatus
from gateway.services.arrival import Outcome
from gateway.services.holdings import HoldingQuery, find_instances, find_studies, instances_of
from gateway.services.integrity import look
from gateway.services.purge import Purger
from gateway.services.receive import Receiver
from gateway.services.retention import Purgeable, find_purgeable
from gateway.store import audit
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.receive_journal import ReceiveJournal
from gateway.store.tables import AuditEvent, Case, Delivery, Hold, Instance, PurgedBlob, Study
from tests.support.instances import make_instance
from tests.support.memory import memory_folder
from tests.support.seed import NOW, Seed

MONTH = 31 * 24 * 60
RECEIVED = RetentionRule(remove="received", after_days=30)
RESULTS = RetentionRule(remove="results", after_days=30)
UNTAKEN = RetentionRule(remove="received", after_days=30, studies="untaken")


@dataclass
class Store:
    """A data folder with one old, final, delivered study."""

    folder: Path
    now: datetime = NOW
    cases: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.database = Database.in_folder(self.folder)
        self.blobs = BlobStore(self.folder / "blobs")
        self.seed = Seed.on(self.database, self.blobs)
        self.receiver = Receiver(self.database, self.blobs, self.clock, 0, lambda _received: None)

    def clock(self) -> datetime:
        return self.now

    def final_study(self, number: int, *, minutes_ago: float = MONTH, proof: str = "listed") -> Study:
        """A study with a final case of five results, each delivered."""
        study = self.seed.study(number, minutes_ago=minutes_ago)
        case = self.seed.case(study, state=CaseState.FINAL, minutes_ago=minutes_ago, qc_status=QcStatus.PASS)
        self.seed.iteration(case)
        self.cases[number] = case.id
        with self.database.write() as session:
            for delivery in session.exec(select(Delivery).where(Delivery.case_id == case.id)).all():
                audit.append(
                    session,
                    at=case.changed_at,
                    actor="overread",
                    action="DELIVERED",
                    case_id=case.id,
                    subject=delivery.sop_instance_uid,
                    detail={"destination": delivery.destination, "proof": proof},
                )
        return study

    def change(self, table: type[SQLModel], key: object, **values: object) -> None:
        with self.database.write() as session:
            row = session.get_one(table, key)
            for name, value in values.items():
                setattr(row, name, value)
            session.add(row)

    def add(self, *rows: SQLModel) -> None:
        with self.database.write() as session:
            session.add_all(rows)

    def found(self, *rules: RetentionRule) -> list[Purgeable]:
        return list(find_purgeable(self.database, rules, now=self.now))

    def purge(self, *rules: RetentionRule) -> int:
        return Purger(self.database, self.blobs, rules, self.clock, self.receiver.discard_purged).run()


@pytest.fixture
def store() -> Iterator[Store]:
    with memory_folder() as folder:
        store = Store(folder)
        yield store
        store.database.close()


def _blobs(store: Store) -> int:
    return sum(1 for _ in store.blobs.all_digests())


def test_images_of_an_old_final_delivered_study_go_and_everything_about_them_stays_on_record(store: Store) -> None:
    study = store.final_study(1)
    before = _blobs(store)
    (found,) = store.found(RECEIVED)
    assert (found.study_instance_uid, len(found.blobs), found.remove) == (study.study_instance_uid, 2, "received")
    assert _blobs(store) == before
    assert store.purge(RECEIVED) == 2
    assert _blobs(store) == before - 2
    with store.database.read() as session:
        assert len(session.exec(select(Instance)).all()) == 2
        marks = session.exec(select(PurgedBlob)).all()
        (event,) = session.exec(select(AuditEvent).where(AuditEvent.action == "PURGED")).all()
    assert {mark.sha256 for mark in marks} == {sha256 for sha256, _ in found.blobs}
    assert event.subject == study.study_instance_uid
    assert event.detail == {"rule": found.rule, "objects": 2, "bytes": found.size}
    assert found.rule == "data.retention[0]: received of final studies after 30 days"
    state = look(store.database, store.folder / "blobs", now=store.now)
    assert state.purged == 2
    # A seeded iteration names images that never were; nothing else may be missed.
    assert [one.tables for one in state.missing] == [("iteration",)]
    assert store.found(RECEIVED) == []
    assert store.purge(RECEIVED) == 0


def test_what_went_is_offered_no_more_and_its_study_says_so(store: Store) -> None:
    uid = store.final_study(1).study_instance_uid
    assert len(instances_of(store.database, uid)) == 7
    store.purge(RECEIVED)
    assert {one.modality for one in instances_of(store.database, uid)} == {"SEG", "SR", "OT"}
    (study,) = find_studies(store.database, HoldingQuery())
    assert (study.instance_count, study.series_count, study.modalities) == (5, 5, ("OT", "SEG", "SR"))
    store.purge(RECEIVED, RESULTS)
    (study,) = find_studies(store.database, HoldingQuery())
    assert (study.instance_count, study.series_count, study.modalities) == (0, 0, ())
    assert find_instances(store.database, HoldingQuery()) == ()


def test_bytes_that_come_again_are_offered_again(store: Store) -> None:
    content = make_instance(1, pixels=b"abc")
    received = store.receiver.receive(content, door="upload", sender="SCANNER")
    store.change(Study, received.study_instance_uid, closed_revision=1)
    store.now += timedelta(days=31)
    assert store.purge(UNTAKEN) == 1
    assert instances_of(store.database, received.study_instance_uid) == ()
    again = store.receiver.receive(content, door="upload", sender="SCANNER")
    assert again.outcome is Outcome.DUPLICATE
    (offered,) = instances_of(store.database, received.study_instance_uid)
    assert hashlib.sha256(store.blobs.read(offered.sha256)).hexdigest() == offered.sha256
    with store.database.read() as session:
        (back,) = session.exec(select(AuditEvent).where(AuditEvent.action == "PURGED_CAME_AGAIN")).all()
    assert (back.actor, back.subject) == ("SCANNER", received.study_instance_uid)


def test_bytes_that_come_again_through_the_receive_journal_are_there_before_and_after_it_is_settled(
    store: Store,
) -> None:
    journal = ReceiveJournal(store.folder / "journal", store.blobs, store.database, size_mb=16)
    journal.start()
    receiver = Receiver(store.database, store.blobs, store.clock, 0, lambda _received: None, journal=journal)
    content = make_instance(1, pixels=b"abc")
    received = receiver.receive(content, door="upload", sender="SCANNER")
    store.change(Study, received.study_instance_uid, closed_revision=1)
    store.now += timedelta(days=31)
    assert Purger(store.database, store.blobs, (UNTAKEN,), store.clock, receiver.discard_purged).run() == 1
    assert _blobs(store) == 0
    assert receiver.receive(content, door="upload", sender="SCANNER").outcome is Outcome.DUPLICATE
    (offered,) = instances_of(store.database, received.study_instance_uid)
    assert hashlib.sha256(store.blobs.read(offered.sha256)).hexdigest() == offered.sha256
    journal.close()
    assert _blobs(store) == 1
    state = look(store.database, store.folder / "blobs", now=store.now, deep=True)
    assert (state.missing, state.displaced, state.purged) == ((), (), 0)


@pytest.mark.parametrize("state", [state for state in CaseState if state is not CaseState.FINAL])
def test_nothing_goes_of_a_case_that_is_not_final(store: Store, state: CaseState) -> None:
    store.final_study(1)
    store.change(Case, store.cases[1], state=state)
    assert store.found(RECEIVED, RESULTS, UNTAKEN) == []


@pytest.mark.parametrize("state", ["PENDING", "SENT", "DEAD"])
def test_nothing_goes_of_a_study_with_a_delivery_that_has_not_arrived(store: Store, state: str) -> None:
    store.final_study(1)
    store.change(Delivery, 3, state=state)
    assert store.found(RECEIVED, RESULTS) == []


def test_nothing_goes_of_a_study_with_a_held_object(store: Store) -> None:
    uid = store.final_study(1).study_instance_uid
    store.add(Hold(sop_instance_uid="1.2.3", sha256="a" * 64, study_instance_uid=uid, held_at=NOW))
    assert store.found(RECEIVED, RESULTS) == []
    store.change(Hold, 1, state="DISCARDED")
    assert len(store.found(RECEIVED, RESULTS)) == 2


def test_nothing_goes_while_something_of_the_study_waits_to_be_looked_at(store: Store) -> None:
    uid = store.final_study(1).study_instance_uid
    store.change(Study, uid, revision=2)
    assert store.found(RECEIVED, RESULTS) == []


def test_nothing_goes_before_its_time(store: Store) -> None:
    store.final_study(1, minutes_ago=29 * 24 * 60)
    assert store.found(RECEIVED, RESULTS) == []
    store.now += timedelta(days=2)
    assert len(store.found(RECEIVED, RESULTS)) == 2
    store.change(Case, store.cases[1], changed_at=store.now)
    assert store.found(RECEIVED, RESULTS) == []


def test_results_that_no_destination_has_stay(store: Store) -> None:
    store.final_study(1)
    with store.database.write() as session:
        session.delete(session.get_one(Delivery, 1))
    (found,) = store.found(RESULTS)
    assert len(found.blobs) == 4


@pytest.mark.parametrize(
    ("proof", "asked", "goes"),
    [
        ("accepted", "accepted", True),
        ("accepted", "listed", False),
        ("listed", "listed", True),
        ("listed", "committed", False),
        ("committed", "committed", True),
    ],
)
def test_a_delivery_must_be_as_sure_as_the_rule_asks(store: Store, proof: str, asked: str, goes: bool) -> None:
    store.final_study(1, proof=proof)
    rule = RetentionRule(remove="results", after_days=30, proof=asked)  # type: ignore[arg-type]
    assert bool(store.found(rule)) is goes


def test_a_rule_may_ask_for_the_decision(store: Store) -> None:
    store.final_study(1)
    failed = RetentionRule(remove="received", after_days=30, qc_status=(QcStatus.FAIL,))
    assert store.found(failed) == []
    store.change(Case, store.cases[1], qc_status=QcStatus.FAIL)
    assert len(store.found(failed)) == 1


def test_studies_that_no_pipeline_took_have_a_rule_of_their_own(store: Store) -> None:
    store.seed.study(2, minutes_ago=MONTH)
    assert store.found(RECEIVED) == []
    (found,) = store.found(UNTAKEN)
    assert len(found.blobs) == 2


def test_edits_as_received_are_never_removed(store: Store) -> None:
    store.final_study(1)
    store.change(Instance, _one_uid(store), kind=InstanceKind.EDITED_SEG, handled=True)
    (found,) = store.found(RECEIVED)
    assert len(found.blobs) == 1


def _one_uid(store: Store) -> str:
    with store.database.read() as session:
        return session.exec(select(Instance.sop_instance_uid)).first() or ""


def test_a_study_that_somebody_took_up_again_is_left_alone_at_the_last_moment(store: Store) -> None:
    store.final_study(1)
    clock = iter([NOW, NOW - timedelta(days=5)])
    purger = Purger(store.database, store.blobs, (RECEIVED,), lambda: next(clock), store.receiver.discard_purged)
    assert purger.run() == 0
    assert len(store.found(RECEIVED)) == 1


def test_a_purge_that_a_crash_interrupted_is_finished(store: Store) -> None:
    store.final_study(1)
    before = _blobs(store)

    def crash(_sha256: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Purger(store.database, store.blobs, (RECEIVED,), store.clock, crash).run()
    assert _blobs(store) == before
    store.purge(RECEIVED)
    assert _blobs(store) == before - 2


def test_a_blob_that_came_again_between_mark_and_removal_stays(store: Store) -> None:
    store.final_study(1)
    (found,) = store.found(RECEIVED)
    sha256 = found.blobs[0][0]
    store.purge(RECEIVED)
    with store.database.write() as session:
        session.delete(session.get_one(PurgedBlob, sha256))
    store.blobs.location(sha256).write_bytes(b"came again")
    store.receiver.discard_purged(sha256)
    assert store.blobs.location(sha256).is_file()


@pytest.mark.parametrize(
    ("destination", "proof", "fault"),
    [
        ({"read_back": False}, "accepted", ""),
        ({"read_back": False}, "listed", "'listed' needs read_back or commitment at destination pacs"),
        ({}, "listed", ""),
        ({}, "committed", "'committed' needs commitment at destination pacs"),
        ({"commitment": True}, "committed", ""),
    ],
)
def test_a_rule_that_asks_for_a_proof_nobody_gives_is_a_fault_of_the_configuration(
    destination: dict[str, bool], proof: str, fault: str
) -> None:
    pacs = {"name": "pacs", "kind": "dicom", "ae_title": "PACS", "host": "h", **destination}
    rule = {"remove": "results", "after_days": 1, "proof": proof}
    config = Config.model_validate({"destinations": [pacs], "data": {"retention": [rule]}})
    found = [one for one in broken_rules(config) if one.path[:2] == ("data", "retention")]
    assert [one.message for one in found] == ([fault] if fault else [])
