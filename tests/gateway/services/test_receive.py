"""Receiving an instance: what success promises, what is refused, and what the same UID again means."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from dicom_sr.uids import INSTANCE_CREATOR_UID
from gateway.domain.case import CaseState
from gateway.domain.errors import StorageFull, StorageUnavailable, UnacceptableInstance
from gateway.domain.instance import InstanceKind
from gateway.services import receive as receive_module
from gateway.services.part10 import file_layout
from gateway.services.receive import Arrival, Door, Outcome, Receiver
from gateway.store.database import Database
from gateway.store.tables import AuditEvent, Case, Hold, Instance, Output, Series, Study
from tests.support.instances import EXPLICIT, IMPLICIT, MR, SEG, make_instance, uid
from tests.support.receiving import ReceivingFolder


@pytest.fixture
def folder(tmp_path: Path) -> ReceivingFolder:
    return ReceivingFolder(tmp_path / "data")


def _actions(folder: ReceivingFolder) -> Counter[str]:
    return Counter(row.action for row in folder.rows(AuditEvent))


# ------------------------------------------------------------------------------------------------ what success means
def test_an_image_is_kept_recorded_and_told(folder: ReceivingFolder) -> None:
    content = make_instance(3, pixels=b"abc")
    received = folder.upload(content, called_aet="OVERREAD", peer_address="10.0.0.1")
    assert (received.kind, received.outcome) == (InstanceKind.IMAGE, Outcome.NEW)
    assert folder.new == [received]
    [instance], [series], [study] = folder.rows(Instance), folder.rows(Series), folder.rows(Study)
    assert (instance.sop_instance_uid, instance.rows, instance.door) == (uid("study", "series", 3), 16, "upload")
    assert (series.modality, series.series_number) == ("MR", "1")
    assert (study.patient_name, study.revision, study.closed_revision) == ("Müller^Zoë", 1, 0)
    assert (study.called_aet, study.calling_aet, study.peer_address) == ("OVERREAD", "tester", "10.0.0.1")
    kept = folder.kept_bytes(instance.sop_instance_uid)
    assert kept[file_layout(kept).dataset_offset :] == content[file_layout(content).dataset_offset :]


def test_each_new_image_raises_the_revision_of_its_study_and_a_repeat_does_not(folder: ReceivingFolder) -> None:
    for number in (1, 2, 2, 1, 3):
        folder.upload(make_instance(number))
    assert folder.rows(Study)[0].revision == 3


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({}, InstanceKind.IMAGE),
        ({"sop_class": SEG}, InstanceKind.EDITED_SEG),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.66.7"}, InstanceKind.EDITED_SEG),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.88.33", "side": 0}, InstanceKind.OTHER),
        ({"InstanceCreatorUID": INSTANCE_CREATOR_UID}, InstanceKind.OWN_OUTPUT),
        ({"sop_class": SEG, "InstanceCreatorUID": INSTANCE_CREATOR_UID}, InstanceKind.EDITED_SEG),
    ],
)
def test_an_instance_is_classified(folder: ReceivingFolder, attributes: dict[str, Any], kind: InstanceKind) -> None:
    assert folder.upload(make_instance(**attributes)).kind is kind
    assert folder.rows(Study)[0].revision == (1 if kind is InstanceKind.IMAGE else 0)


def test_only_segmentations_are_audited_one_by_one(folder: ReceivingFolder) -> None:
    for number in range(5):
        folder.upload(make_instance(number))
    folder.upload(make_instance(9, sop_class=SEG), case_hint="C1", stage_hint="hippocampus")
    assert _actions(folder) == {"SEGMENTATION_RECEIVED": 1}
    edit = next(row for row in folder.rows(Instance) if row.kind is InstanceKind.EDITED_SEG)
    assert (edit.case_hint, edit.stage_hint, edit.handled) == ("C1", "hippocampus", False)


def test_a_file_on_disk_is_received_like_bytes(folder: ReceivingFolder, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(make_instance())
    assert folder.upload(path).outcome is Outcome.NEW
    assert folder.upload(path.read_bytes()).outcome is Outcome.DUPLICATE


# ------------------------------------------------------------------------------------------------ the same UID again
def test_the_same_content_again_is_success_and_nothing_new(folder: ReceivingFolder) -> None:
    content = make_instance()
    folder.upload(content)
    before = folder.rows(Instance)[0].model_dump(), folder.rows(Study)[0].model_dump()
    again = folder.upload(content, sender="somebody else")
    assert again.outcome is Outcome.DUPLICATE
    assert before == (folder.rows(Instance)[0].model_dump(), folder.rows(Study)[0].model_dump())
    assert len(folder.new) == 1
    assert not folder.rows(Hold)


@pytest.mark.parametrize("kind", ["file meta", "transfer syntax"])
def test_the_same_data_set_in_another_form_is_a_repeat(folder: ReceivingFolder, kind: str) -> None:
    folder.upload(make_instance(pixels=b"xyz"))
    other = make_instance(pixels=b"xyz", syntax=IMPLICIT)
    if kind == "file meta":
        other = bytearray(make_instance(pixels=b"xyz"))
        other[0:4] = b"TIFF"
    assert folder.upload(bytes(other)).outcome is Outcome.DUPLICATE
    assert not folder.rows(Hold)


def test_other_content_under_a_known_uid_is_kept_on_hold_and_changes_nothing(folder: ReceivingFolder) -> None:
    first, other = make_instance(pixels=b"one"), make_instance(pixels=b"two")
    folder.upload(first)
    with folder.database.write() as session:
        at = folder.clock()
        session.add(
            Case(
                id="C1",
                study_instance_uid=uid("study"),
                pipeline="p",
                state=CaseState.RUNNING,
                opened_at=at,
                changed_at=at,
            )
        )
    before = [row.model_dump() for table in (Instance, Study, Case) for row in folder.rows(table)]
    assert folder.upload(other, sender="SCANNER").outcome is Outcome.CONFLICT
    assert before == [row.model_dump() for table in (Instance, Study, Case) for row in folder.rows(table)]
    [hold] = folder.rows(Hold)
    assert (hold.state, hold.reasons[0]["code"], hold.sender) == ("OPEN", "SAME_UID_OTHER_BYTES", "SCANNER")
    held = folder.blobs.read(hold.sha256)
    assert held[file_layout(held).dataset_offset :] == other[file_layout(other).dataset_offset :]
    assert _actions(folder) == {"CONFLICT_HELD": 1}
    assert len(folder.new) == 1


def test_a_conflict_that_is_sent_again_is_held_once(folder: ReceivingFolder) -> None:
    folder.upload(make_instance(pixels=b"one"))
    for _ in range(3):
        assert folder.upload(make_instance(pixels=b"two")).outcome is Outcome.CONFLICT
    assert folder.upload(make_instance(pixels=b"three")).outcome is Outcome.CONFLICT
    assert len(folder.rows(Hold)) == 2


# ------------------------------------------------------------------------------------------------ our own outputs
@pytest.fixture
def own_output(folder: ReceivingFolder) -> bytes:
    """An output of a case, as the gateway has written it."""
    content = make_instance(50, sop_class=SEG, pixels=b"mask")
    at = folder.clock()
    folder.upload(make_instance(1))
    with folder.database.write() as session:
        session.add(
            Case(
                id="C1",
                study_instance_uid=uid("study"),
                pipeline="p",
                state=CaseState.IN_REVIEW,
                opened_at=at,
                changed_at=at,
            )
        )
    with folder.database.write() as session:
        session.add(
            Output(
                sop_instance_uid=uid("study", "series", 50),
                case_id="C1",
                generation=1,
                iteration=0,
                kind="SEG",
                stage="s",
                sop_class_uid=SEG,
                series_instance_uid=uid("study", "series"),
                study_instance_uid=uid("study"),
                sha256=folder.blobs.put(content),
                made_at=at,
            )
        )
    return content


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_our_output_coming_back_is_noted_and_starts_nothing(
    folder: ReceivingFolder, own_output: bytes, syntax: str
) -> None:
    echo = own_output if syntax == EXPLICIT else make_instance(50, sop_class=SEG, pixels=b"mask", syntax=IMPLICIT)
    received = folder.upload(echo, sender="PACS")
    assert (received.kind, received.outcome) == (InstanceKind.OWN_OUTPUT, Outcome.DUPLICATE)
    assert len(folder.rows(Instance)) == 1
    assert not folder.rows(Hold)
    assert _actions(folder) == {"OWN_ECHO": 1}


def test_other_content_under_our_uid_is_held(folder: ReceivingFolder, own_output: bytes) -> None:
    received = folder.upload(make_instance(50, sop_class=SEG, pixels=b"changed in place"), sender="VIEWER")
    assert received.outcome is Outcome.CONFLICT
    [hold] = folder.rows(Hold)
    assert hold.reasons[0]["code"] == "SAME_UID_OTHER_BYTES"
    assert folder.blobs.read(folder.rows(Output)[0].sha256) == own_output


# ------------------------------------------------------------------------------------------------ what is refused
REFUSED: list[tuple[str, Callable[[], bytes], dict[str, str], str]] = [
    ("text", lambda: b"hello", {}, "UNREADABLE"),
    ("nothing", lambda: b"", {}, "UNREADABLE"),
    ("cut", lambda: make_instance()[:-1], {}, "TRUNCATED_DATASET"),
    ("no study", lambda: make_instance(StudyInstanceUID=None), {}, "MISSING_UID"),
    ("other class", make_instance, {"expected_sop_class": SEG}, "CLASS_NOT_AS_ANNOUNCED"),
    ("other instance", make_instance, {"expected_sop_instance": "1.2.3"}, "UID_NOT_AS_ANNOUNCED"),
]


@pytest.mark.parametrize(("make", "arguments", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused_leaves_nothing_behind(
    folder: ReceivingFolder, make: Callable[[], bytes], arguments: dict[str, str], code: str
) -> None:
    with pytest.raises(UnacceptableInstance) as caught:
        folder.upload(make(), **arguments)
    assert caught.value.code == code
    assert not folder.rows(Instance)
    assert not folder.rows(Study)
    assert not folder.leftovers()
    assert not list(folder.blobs.all_digests())


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "1.2.3/..", "", "1" * 65])
def test_an_announced_uid_that_is_none_is_refused_before_a_file_is_made(
    folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(type(folder.blobs), "open_incoming", lambda _self: pytest.fail("a file was opened"))
    arrival = Arrival(door=Door.DICOM, sender="X", expected_sop_class_uid=MR, expected_sop_instance_uid=name)
    with pytest.raises(UnacceptableInstance) as caught:
        folder.receiver.open(arrival, EXPLICIT)
    assert caught.value.code in {"INVALID_UID", "MISSING_UID"}


def test_an_object_beyond_the_limit_is_refused_while_it_comes(tmp_path: Path) -> None:
    folder = ReceivingFolder(tmp_path, maximum_object_mb=1)
    arrival = Arrival(door=Door.DICOM, sender="X", expected_sop_class_uid=MR, expected_sop_instance_uid="1.2.3")
    incoming = folder.receiver.open(arrival, EXPLICIT)
    incoming.write(bytes(900_000))
    with pytest.raises(UnacceptableInstance) as caught:
        incoming.write(bytes(200_000))
    incoming.close()
    assert caught.value.code == "TOO_LARGE"
    assert not folder.leftovers()


# ------------------------------------------------------------------------------------------------ storage in trouble
def test_too_little_free_space_is_refused_before_anything_is_kept(tmp_path: Path) -> None:
    folder = ReceivingFolder(tmp_path, minimum_free_mb=10**9)
    with pytest.raises(StorageFull, match="minimum_free_mb"):
        folder.upload(make_instance())
    assert not folder.leftovers()


def test_space_that_comes_back_is_used_again(folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ReceivingFolder(folder.folder, minimum_free_mb=100)
    monkeypatch.setattr(type(folder.blobs), "free_bytes", lambda _self: 99_000_000)
    with pytest.raises(StorageFull):
        folder.upload(make_instance())
    monkeypatch.setattr(type(folder.blobs), "free_bytes", lambda _self: 100_000_000)
    assert folder.upload(make_instance()).outcome is Outcome.NEW


@pytest.mark.parametrize("error", [StorageFull, StorageUnavailable])
def test_a_row_that_cannot_be_written_leaves_no_blob_and_the_next_attempt_succeeds(
    folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error("no room")

    with monkeypatch.context() as patch:
        patch.setattr(receive_module, "record_new", fail)
        with pytest.raises(error):
            folder.upload(make_instance())
    assert not list(folder.blobs.all_digests())
    assert not folder.leftovers()
    assert folder.upload(make_instance()).outcome is Outcome.NEW


def test_a_blob_that_another_row_names_survives_a_failed_row(
    folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A held object that is sent as a conflict again while the database fails must stay."""
    folder.upload(make_instance(pixels=b"one"))
    folder.upload(make_instance(pixels=b"two"))

    def fail(*_args: object, **_kwargs: object) -> None:
        raise StorageFull("no room")

    monkeypatch.setattr(receive_module, "record_conflict", fail)
    with pytest.raises(StorageFull):
        folder.upload(make_instance(pixels=b"two"))
    assert folder.blobs.path(folder.rows(Hold)[0].sha256).is_file()


def test_a_locked_database_is_a_named_retryable_error(folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(_session: Session, *_args: object, **_kwargs: object) -> None:
        raise OperationalError("INSERT", {}, Exception("database is locked"))

    monkeypatch.setattr(receive_module, "record_new", locked)
    with pytest.raises(StorageUnavailable) as caught:
        folder.upload(make_instance())
    assert caught.value.retryable
    assert not list(folder.blobs.all_digests())


def test_an_fsync_that_fails_is_no_success(folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageUnavailable):
            folder.upload(make_instance())
    assert not folder.rows(Instance)
    assert not folder.leftovers()


def test_a_blob_that_was_lost_is_healed_by_a_repeat(folder: ReceivingFolder) -> None:
    content = make_instance()
    folder.upload(content)
    digest = folder.rows(Instance)[0].sha256
    folder.blobs.path(digest).unlink()
    assert folder.upload(content).outcome is Outcome.DUPLICATE
    assert folder.blobs.path(digest).is_file()


# ------------------------------------------------------------------------------------------------ order and races
def _snapshot(folder: ReceivingFolder) -> list[tuple[object, ...]]:
    times = {"received_at", "first_received_at", "last_received_at"}
    return sorted(
        tuple((name, str(value)) for name, value in row.model_dump().items() if name not in times)
        for table in (Study, Series, Instance)
        for row in folder.rows(table)
    )


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(), repeats=st.integers(min_value=1, max_value=3))
def test_receiving_in_any_order_or_twice_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, seed: int, repeats: int
) -> None:
    contents = [make_instance(n, series=s) for s in ("a", "b") for n in range(3)] + [make_instance(9, sop_class=SEG)]
    straight = ReceivingFolder(tmp_path_factory.mktemp("straight"))
    for content in contents:
        straight.upload(content)
    shuffled = ReceivingFolder(tmp_path_factory.mktemp("shuffled"))
    order = contents * repeats
    random.Random(seed).shuffle(order)
    for content in order:
        shuffled.upload(content)
    assert _snapshot(straight) == _snapshot(shuffled)
    for digest in straight.blobs.all_digests():
        assert straight.blobs.read(digest) == shuffled.blobs.read(digest)


def test_the_same_instance_from_many_senders_at_once_is_new_once(folder: ReceivingFolder) -> None:
    content = make_instance(pixels=b"race")
    outcomes: list[Outcome] = []
    barrier = threading.Barrier(6)

    def send() -> None:
        barrier.wait()
        outcomes.append(folder.upload(content).outcome)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {Outcome.NEW: 1, Outcome.DUPLICATE: 5}
    assert folder.rows(Study)[0].revision == 1
    assert not folder.leftovers()


def test_two_versions_of_an_instance_at_once_give_one_instance_and_one_hold(folder: ReceivingFolder) -> None:
    contents = [make_instance(pixels=b"one"), make_instance(pixels=b"two")]
    outcomes: list[Outcome] = []
    barrier = threading.Barrier(2)

    def send(content: bytes) -> None:
        barrier.wait()
        outcomes.append(folder.upload(content).outcome)

    threads = [threading.Thread(target=send, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {Outcome.NEW: 1, Outcome.CONFLICT: 1}
    assert (len(folder.rows(Instance)), len(folder.rows(Hold))) == (1, 1)


def test_a_uid_that_somebody_else_records_meanwhile_is_looked_at_again(
    folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look and our transaction another process of a cluster may record the same UID."""
    twin = Receiver(Database.in_folder(folder.folder), folder.blobs, folder.clock, 0, lambda _: None)
    real = receive_module.known_version

    def late(_session: Session, _sop_instance_uid: str) -> None:
        monkeypatch.setattr(receive_module, "known_version", real)
        twin.receive(make_instance(pixels=b"theirs"), door="upload", sender="twin")

    monkeypatch.setattr(receive_module, "known_version", late)
    assert folder.upload(make_instance(pixels=b"ours")).outcome is Outcome.CONFLICT
    assert (len(folder.rows(Instance)), len(folder.rows(Hold))) == (1, 1)
