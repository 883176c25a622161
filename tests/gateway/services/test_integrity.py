"""The look at the store: blobs without rows, rows without blobs, damage; and the repair that deletes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import SQLModel, select

from gateway.commands.check_store import StoreOrder, check_store
from gateway.config import Config
from gateway.services.blob_references import blob_columns
from gateway.services.integrity import StoreState, look, put_aside
from gateway.store.journal_segment import JournalSegment
from gateway.store.tables import AuditEvent, Hold, Instance, PurgedBlob
from tests.support.instances import make_instance
from tests.support.memory import memory_folder
from tests.support.receiving import ReceivingFolder

LATER = timedelta(days=1)


@pytest.fixture
def store() -> Iterator[ReceivingFolder]:
    with memory_folder() as folder:
        store = ReceivingFolder(folder)
        for number in (1, 2):
            store.upload(make_instance(number, pixels=bytes([number]) * 8))
        yield store
        store.database.close()


def _look(store: ReceivingFolder, *, deep: bool = False) -> StoreState:
    return look(store.database, store.folder / "blobs", now=store.clock() + LATER * 3650, deep=deep)


def _location(store: ReceivingFolder, number: int = 0) -> Path:
    return store.blobs.location(store.rows(Instance)[number].sha256)


def test_a_whole_store_has_nothing_to_say(store: ReceivingFolder) -> None:
    state = _look(store, deep=True)
    assert (state.blobs, state.size) == (2, sum(row.size for row in store.rows(Instance)))
    assert (state.displaced, state.missing, state.half_received, state.unsettled, state.purged) == ((), (), 0, 0, 0)


def test_a_blob_that_no_row_names_is_an_orphan_once_it_is_old(store: ReceivingFolder) -> None:
    orphan = store.blobs.location(store.blobs.put(b"nobody"))
    assert _look(store).orphans == (orphan,)
    young = orphan.stat().st_mtime
    os.utime(orphan, (young, (store.clock() + LATER * 3650).timestamp()))
    state = _look(store)
    assert (state.orphans, state.unsettled) == ((), 1)


def test_a_row_whose_blob_is_gone_is_named_with_its_table(store: ReceivingFolder) -> None:
    lost = _location(store)
    lost.unlink()
    (missing,) = _look(store).missing
    assert (missing.sha256, missing.tables) == (lost.name, ("instance",))


def test_what_retention_removed_is_not_missing(store: ReceivingFolder) -> None:
    lost = _location(store)
    lost.unlink()
    with store.database.write() as session:
        session.add(PurgedBlob(sha256=lost.name, study_instance_uid="1.2", size=1, rule="r", purged_at=store.clock()))
    state = _look(store)
    assert (state.missing, state.purged) == ((), 1)


def test_what_the_receive_journal_holds_is_not_missing(store: ReceivingFolder) -> None:
    kept = _location(store)
    journal = store.folder / "journal"
    journal.mkdir()
    segment = JournalSegment.create(journal / "00000001.journal", 1 << 20, 1)
    content = kept.read_bytes()
    segment.append(b"d", content, bytes.fromhex(kept.name))
    segment.close()
    kept.unlink()
    state = look(store.database, store.folder / "blobs", now=store.clock(), journal=journal)
    assert (state.missing, state.journaled) == ((), 1)
    (line,) = check_store(Config(), store.folder, StoreOrder(repair=True))
    assert "the receive journal holds 1 objects that a crash left: start the gateway first" in line.detail


def test_only_a_deep_look_finds_bytes_that_changed(store: ReceivingFolder) -> None:
    damaged = _location(store)
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    assert _look(store).damaged == ()
    assert _look(store, deep=True).damaged == (damaged,)


def test_files_that_are_no_blobs_and_half_received_ones_are_told_apart(store: ReceivingFolder) -> None:
    stranger = store.folder / "blobs" / "ab" / "notes.txt"
    stranger.write_text("x")
    misplaced = store.folder / "blobs" / "ab" / ("c" * 64)
    misplaced.write_text("x")
    (store.folder / "blobs" / "incoming" / "half").write_text("x")
    state = _look(store)
    assert set(state.strangers) == {stranger, misplaced}
    assert state.half_received == 1


def test_a_repair_moves_and_deletes_nothing_and_is_audited(store: ReceivingFolder) -> None:
    orphan = store.blobs.location(store.blobs.put(b"nobody"))
    files = _look(store).displaced
    quarantine = store.folder / "quarantine"
    target = put_aside(store.database, files, quarantine, actor="ann", at=store.clock())
    assert target is not None
    assert (target / orphan.name).read_bytes() == b"nobody"
    assert not orphan.exists()
    (event,) = [row for row in store.rows(AuditEvent) if row.action == "STORE_REPAIRED"]
    assert (event.actor, event.detail) == ("ann", {"files_put_aside": 1})
    assert put_aside(store.database, _look(store).displaced, quarantine, actor="ann", at=store.clock()) is None


def test_a_damaged_blob_that_was_put_aside_comes_back_by_sending_it_again(store: ReceivingFolder) -> None:
    damaged = _location(store)
    damaged.write_bytes(b"rot")
    put_aside(store.database, _look(store, deep=True).displaced, store.folder / "q", actor="ann", at=store.clock())
    assert len(_look(store).missing) == 1
    for number in (1, 2):
        store.upload(make_instance(number, pixels=bytes([number]) * 8))
    state = _look(store, deep=True)
    assert (state.missing, state.displaced) == ((), ())


def test_files_of_one_name_are_both_kept_aside(store: ReceivingFolder) -> None:
    folders = [store.folder / "blobs" / name for name in ("ab", "cd")]
    for folder in folders:
        (folder / "same").write_text(folder.name)
    target = put_aside(store.database, [f / "same" for f in folders], store.folder / "q", actor="a", at=store.clock())
    assert target is not None
    assert sorted(path.read_text() for path in target.iterdir()) == ["ab", "cd"]


def test_every_column_that_names_a_blob_counts(store: ReceivingFolder) -> None:
    names = {f"{column.table.name}.{column.name}" for column in blob_columns()}
    assert {"instance.sha256", "output.sha256", "artifact.sha256", "edit.sha256", "hold.sha256"} <= names
    assert not any(name.startswith("purged_blob") for name in names)
    every = {c.name for table in SQLModel.metadata.sorted_tables for c in table.columns if "sha256" in c.name}
    assert every == {column.name for column in blob_columns()}
    with store.database.write() as session:
        sha256 = store.blobs.put(b"held")
        session.add(Hold(sop_instance_uid="1.2", sha256=sha256, held_at=store.clock()))
    with store.database.read() as session:
        assert len(session.exec(select(Hold)).all()) == 1
    assert _look(store).orphans == ()
