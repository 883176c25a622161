"""The database: what is committed survives, what fails is rolled back, writers wait for each other."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel, select

from gateway.domain.errors import StorageFull, StorageUnavailable
from gateway.store import database as database_module
from gateway.store.database import Database
from gateway.store.tables import Cursor

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.in_folder(tmp_path)
    SQLModel.metadata.create_all(opened.engine)
    yield opened
    opened.close()


def _names(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.exec(select(Cursor.name)))


def test_a_write_is_committed_as_a_whole(database: Database) -> None:
    with database.write() as session:
        session.add(Cursor(name="a", changed_at=NOW))
        session.add(Cursor(name="b", changed_at=NOW))
    assert _names(database) == ["a", "b"]


def test_a_write_that_fails_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as session:
            session.add(Cursor(name="a", changed_at=NOW))
            session.flush()
            raise ValueError("changed my mind")

    with pytest.raises(ValueError, match="changed"):
        fail()
    assert _names(database) == []


def test_a_unique_name_cannot_be_taken_twice(database: Database) -> None:
    def add() -> None:
        with database.write() as session:
            session.add(Cursor(name="a", changed_at=NOW))

    add()
    with pytest.raises(IntegrityError):
        add()


def test_times_keep_their_point_and_come_back_in_utc(database: Database) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    with database.write() as session:
        session.add(Cursor(name="a", changed_at=elsewhere))
    with database.read() as session:
        read = session.get_one(Cursor, "a").changed_at
    assert read == NOW
    assert read.utcoffset() == timedelta(0)


def test_sqlite_syncs_fully_and_checks_foreign_keys(database: Database) -> None:
    with database.read() as session:
        values = [
            session.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert values == ["wal", 2, 1]


def test_writers_wait_for_each_other_and_readers_for_nobody(database: Database) -> None:
    entered, done = threading.Event(), threading.Event()

    def slow() -> None:
        with database.write() as session:
            session.add(Cursor(name="slow", changed_at=NOW))
            session.flush()
            entered.set()
            time.sleep(0.3)
        done.set()

    thread = threading.Thread(target=slow)
    thread.start()
    entered.wait(5)
    assert _names(database) == []
    assert not done.is_set()
    with database.write() as session:
        session.add(Cursor(name="second", changed_at=NOW))
    assert done.is_set()
    thread.join()
    assert _names(database) == ["second", "slow"]


def test_a_counter_raised_by_many_threads_loses_nothing(database: Database) -> None:
    with database.write() as session:
        session.add(Cursor(name="n", changed_at=NOW))

    def raise_it() -> None:
        for _ in range(10):
            with database.write() as session:
                session.get_one(Cursor, "n").position += 1

    threads = [threading.Thread(target=raise_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.get_one(Cursor, "n").position == 40


def test_a_database_locked_by_another_process_is_a_named_retryable_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.2)
    database = Database.in_folder(tmp_path)
    SQLModel.metadata.create_all(database.engine)
    other = sqlite3.connect(tmp_path / "overread.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    def add() -> None:
        with database.write() as session:
            session.add(Cursor(name="a", changed_at=NOW))

    with pytest.raises(StorageUnavailable, match="locked") as caught:
        add()
    assert caught.value.retryable
    other.execute("ROLLBACK")
    other.close()
    add()
    assert _names(database) == ["a"]
    database.close()


def test_a_full_disk_is_a_named_error(database: Database) -> None:
    with database.read() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar()

    def fill() -> None:
        with database.write() as session:
            session.execute(text(f"PRAGMA max_page_count={pages}"))
            session.add(Cursor(name="x" * 100_000, changed_at=NOW))

    with pytest.raises(StorageFull, match="free some space"):
        fill()


def test_a_database_that_is_none_is_a_named_error_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "overread.sqlite").write_bytes(b"SECRET" * 1000)
    database = Database.in_folder(tmp_path)
    with pytest.raises(StorageUnavailable, match="not a database") as caught:
        _names(database)
    assert "SECRET" not in caught.value.detail
    database.close()
