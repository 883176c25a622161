"""The audit chain: linear under many writers, and any change to it shows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import SQLModel, col, delete, select, update

from gateway.store import audit
from gateway.store.database import Database
from gateway.store.tables import AuditEvent

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.in_folder(tmp_path)
    SQLModel.metadata.create_all(opened.engine)
    yield opened
    opened.close()


def _append(database: Database, count: int, actor: str = "ann") -> None:
    for number in range(count):
        with database.write() as session:
            audit.append(session, at=NOW, actor=actor, action="ACT", subject=f"1.2.{number}", detail={"n": number})


def _broken(database: Database) -> int | None:
    with database.read() as session:
        return audit.first_broken_link(session)


def test_an_empty_chain_is_whole_and_its_head_is_genesis(database: Database) -> None:
    assert _broken(database) is None
    with database.read() as session:
        assert audit.head(session) == audit.GENESIS


def test_each_event_names_the_hash_of_the_one_before(database: Database) -> None:
    _append(database, 3)
    with database.read() as session:
        events = session.exec(select(AuditEvent).order_by(col(AuditEvent.id))).all()
        assert [event.previous for event in events] == [audit.GENESIS, events[0].hash, events[1].hash]
        assert audit.head(session) == events[-1].hash
    assert _broken(database) is None


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    column=st.sampled_from(["actor", "action", "case_id", "subject", "previous", "hash"]),
    victim=st.integers(min_value=1, max_value=4),
)
def test_a_changed_value_shows_at_its_place(tmp_path_factory: pytest.TempPathFactory, column: str, victim: int) -> None:
    database = Database.in_folder(tmp_path_factory.mktemp("audit"))
    SQLModel.metadata.create_all(database.engine)
    _append(database, 4)
    with database.write() as session:
        session.execute(update(AuditEvent).where(col(AuditEvent.id) == victim).values({column: "forged"}))
    assert _broken(database) == victim
    database.close()


@pytest.mark.parametrize("values", [{"at": NOW.replace(year=2025)}, {"detail": {"n": 99}}])
def test_a_changed_time_or_detail_shows(database: Database, values: dict[str, object]) -> None:
    _append(database, 3)
    with database.write() as session:
        session.execute(update(AuditEvent).where(col(AuditEvent.id) == 2).values(values))
    assert _broken(database) == 2


def test_a_removed_event_shows_at_the_next_one(database: Database) -> None:
    _append(database, 4)
    with database.write() as session:
        session.execute(delete(AuditEvent).where(col(AuditEvent.id) == 2))
    assert _broken(database) == 3


def test_a_rolled_back_action_leaves_no_event(database: Database) -> None:
    def fail() -> None:
        with database.write() as session:
            audit.append(session, at=NOW, actor="ann", action="ACT")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert _broken(database) is None
    with database.read() as session:
        assert audit.head(session) == audit.GENESIS


def test_the_chain_is_linear_whoever_writes_at_once(database: Database) -> None:
    threads = [threading.Thread(target=_append, args=(database, 8, f"t{n}")) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert len(session.exec(select(AuditEvent)).all()) == 32
    assert _broken(database) is None
