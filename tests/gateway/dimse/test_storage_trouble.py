"""The disk and the database fail under a receiving node: never a success for what was not kept, never anything half."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from gateway.domain.errors import StorageFull, StorageUnavailable
from gateway.services.part10 import file_layout
from gateway.services.receive import Receiver
from gateway.store import database as database_module
from gateway.store.journal_segment import JournalSegment
from gateway.store.receive_journal import ReceiveJournal
from gateway.store.tables import Instance
from tests.support.instances import make_instance, uid
from tests.support.raw_association import RawAssociation
from tests.support.receiving import ReceivingFolder


@pytest.fixture(params=[0, 2], ids=["without the journal", "with the journal"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReceivingFolder]:
    opened = ReceivingFolder(tmp_path, journal_mb=request.param)
    yield opened
    opened.close()


def _dataset(number: int, **attributes: Any) -> bytes:
    content = make_instance(number, side=32, pixels=number.to_bytes(4, "little"), **attributes)
    return content[file_layout(content).dataset_offset :]


def _recorded(folder: ReceivingFolder) -> set[str]:
    with folder.database.read() as session:
        return set(session.exec(select(Instance.sop_instance_uid)))


def _check(folder: ReceivingFolder, acknowledged: set[str]) -> None:
    """Check that what was acknowledged is there with its bytes, and that no file belongs to nobody."""
    assert acknowledged <= _recorded(folder)
    for name in _recorded(folder):
        assert folder.kept_bytes(name)
    assert not folder.leftovers()
    assert set(folder.blobs.all_digests()) <= {row.sha256 for row in folder.rows(Instance)}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", ["write", "pwritev", "fsync", "fdatasync", "link", "rename"])
def test_each_call_that_fails_once_is_no_success_or_leaves_no_trace(
    folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """The first, second, third ... call of one kind fails; the sender says the same once more."""
    acknowledged = set[str]()
    real, owner = (Path.rename, Path) if call == "rename" else (getattr(os, call), os)
    left = threading.local()

    def failing(*arguments: Any) -> Any:
        if getattr(left, "calls", None) == 0:
            left.calls = None
            raise OSError(number, os.strerror(number))
        if getattr(left, "calls", None) is not None:
            left.calls -= 1
        return real(*arguments)

    monkeypatch.setattr(owner, call, failing)
    arrival = {"door": "upload", "sender": "tester"}
    for case in range(4):
        # Each case is the first image of a series and the second, which take different ways.
        for place in (1, 2):
            name = uid("study", f"series {case}", place)
            content = make_instance(place, series=f"series {case}", side=32)
            left.calls = case
            try:
                folder.receiver.receive(content, **arrival)  # type: ignore[arg-type]
                acknowledged.add(name)
            except (StorageFull, StorageUnavailable):
                assert name not in _recorded(folder)
            left.calls = None
            _check(folder, acknowledged)
            folder.receiver.receive(content, **arrival)  # type: ignore[arg-type]
            acknowledged.add(name)
    _check(folder, acknowledged)


def test_a_journal_that_does_not_sync_is_answered_with_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ReceivingFolder(tmp_path, journal_mb=2)

    def fail(_segment: JournalSegment) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with folder.node() as (_, port), RawAssociation(port) as association:
        assert association.store(uid("study", "series", 1), _dataset(1)) == 0
        with monkeypatch.context() as patch:
            patch.setattr(JournalSegment, "sync", fail)
            statuses = [association.store(uid("study", "series", n), _dataset(n)) for n in (2, 3)]
        assert all((isinstance(status, int) and 0xA700 <= status <= 0xCFFF) or status == 0x0110 for status in statuses)
        assert _recorded(folder) == {uid("study", "series", 1)}
        assert association.store(uid("study", "series", 2), _dataset(2)) == 0
    _check(folder, {uid("study", "series", n) for n in (1, 2)})
    folder.close()


def test_a_database_locked_by_another_is_a_failure_and_then_goes_on(
    folder: ReceivingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a lock of 30 s, with the patience of the node shortened alike."""
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.2)
    short = ReceivingFolder(folder.folder / "short", journal_mb=folder.journal_mb)
    lock = sqlite3.connect(folder.folder / "short" / "overread.sqlite", isolation_level=None)
    with short.node() as (_, port), RawAssociation(port) as association:
        assert association.store(uid("study", "series", 1), _dataset(1)) == 0
        lock.execute("BEGIN IMMEDIATE")
        assert association.store(uid("study", "series", 2), _dataset(2)) not in (0, "lost", "abort")
        lock.execute("ROLLBACK")
        assert association.store(uid("study", "series", 2), _dataset(2)) == 0
    lock.close()
    _check(short, {uid("study", "series", n) for n in (1, 2)})
    short.close()


def test_four_associations_on_a_slow_disk_share_its_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 20 ms for each sync, four senders together are far from four times as slow as one."""
    folder = ReceivingFolder(tmp_path, journal_mb=2)
    syncs = 0
    real = JournalSegment.sync

    def slow(segment: JournalSegment) -> None:
        nonlocal syncs
        syncs += 1
        time.sleep(0.02)
        real(segment)

    def send(sender: int) -> None:
        with RawAssociation(port, seconds=60) as association:
            for number in range(12):
                assert (
                    association.store(uid("study", "series", sender * 100 + number), _dataset(sender * 100 + number))
                    == 0
                )

    with folder.node() as (_, port):
        # The first image brings the series.
        with RawAssociation(port) as association:
            assert association.store(uid("study", "series", 999), _dataset(999)) == 0
        monkeypatch.setattr(JournalSegment, "sync", slow)
        senders = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
        for thread in senders:
            thread.start()
        for thread in senders:
            thread.join()
    assert len(_recorded(folder)) == 49
    assert syncs <= 32
    folder.close()


@pytest.mark.parametrize("kind", ["MR", "SEG"])
def test_replaying_what_is_there_already_changes_nothing(tmp_path: Path, kind: str) -> None:
    folder = ReceivingFolder(tmp_path, journal_mb=2)
    sop_class = {"sop_class": "1.2.840.10008.5.1.4.1.1.66.4"} if kind == "SEG" else {}
    for number in (1, 2):
        folder.upload(make_instance(number, side=8, **sop_class))  # type: ignore[arg-type]
    before = [row.model_dump() for row in folder.rows(Instance)]
    again = ReceiveJournal(tmp_path / "journal", folder.blobs, folder.database, size_mb=0)
    receiver = Receiver(folder.database, folder.blobs, folder.clock, 0, lambda _received: None)
    assert again.replay(receiver.replay) == 2
    assert [row.model_dump() for row in folder.rows(Instance)] == before
    for row in folder.rows(Instance):
        assert folder.blobs.path(row.sha256).is_file()


def test_replaying_brings_back_rows_and_files_that_a_power_cut_took(tmp_path: Path) -> None:
    folder = ReceivingFolder(tmp_path / "one", journal_mb=2)
    for number in (1, 2, 3):
        folder.upload(make_instance(number, side=8))
    expected = {row.sop_instance_uid: row.model_dump() for row in folder.rows(Instance)}
    folder.database.close()
    # Only the journal was ever synced.
    empty = ReceivingFolder(tmp_path / "two")
    again = ReceiveJournal(tmp_path / "one" / "journal", empty.blobs, empty.database, size_mb=0)
    assert again.replay(empty.receiver.replay) == 3
    assert {row.sop_instance_uid: row.model_dump() for row in empty.rows(Instance)} == expected
    _check(empty, set(expected))
