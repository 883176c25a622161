"""Common transactions: each caller gets its own outcome, and only what is durable counts as done."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, select

from gateway.domain.errors import StorageFull
from gateway.store.database import Database
from gateway.store.group_commit import GroupCommit
from gateway.store.tables import Cursor

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.in_folder(tmp_path)
    SQLModel.metadata.create_all(opened.engine)
    yield opened
    opened.close()


def _names(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.exec(select(Cursor.name)))


def _add(name: str, session: Session) -> str:
    session.add(Cursor(name=name, changed_at=NOW))
    session.flush()
    return name


class _Together:
    """Lets callers pile up behind a first one that is held back in its commit."""

    def __init__(self, commits: GroupCommit[Session]) -> None:
        self._commits = commits
        self.outcomes: dict[str, object] = {}
        self._inside, self._go = threading.Event(), threading.Event()

    def run(self, names: list[str]) -> None:
        """Run one write for each name, those after the first in one batch."""
        threads = [threading.Thread(target=self._caller, args=(name, name == names[0])) for name in names]
        threads[0].start()
        self._inside.wait(5)
        for thread in threads[1:]:
            thread.start()
        while len(self._commits._waiting) < len(names) - 1:
            time.sleep(0.005)
        self._go.set()
        for thread in threads:
            thread.join()

    def _caller(self, name: str, is_first: bool) -> None:
        def work(session: Session) -> str:
            if is_first:
                self._inside.set()
                self._go.wait(5)
            return _add(name, session)

        try:
            self.outcomes[name] = self._commits.run(work)
        except Exception as error:  # noqa: BLE001 - the outcome of this caller
            self.outcomes[name] = error


def test_alone_a_write_returns_its_result_and_is_there(database: Database) -> None:
    assert GroupCommit(database.write, Session.begin_nested).run(lambda session: _add("a", session)) == "a"
    assert _names(database) == {"a"}


def test_those_who_wait_share_one_transaction(database: Database) -> None:
    commits = []
    event.listen(database.engine, "commit", lambda _connection: commits.append(1))
    together = _Together(GroupCommit(database.write, Session.begin_nested))
    together.run([f"n{number}" for number in range(9)])
    assert together.outcomes == {f"n{number}": f"n{number}" for number in range(9)}
    assert _names(database) == set(together.outcomes)
    assert len(commits) == 2


def test_one_who_fails_fails_alone(database: Database) -> None:
    with database.write() as session:
        _add("taken", session)
    together = _Together(GroupCommit(database.write, Session.begin_nested))
    together.run(["first", "a", "taken", "b"])
    assert isinstance(together.outcomes.pop("taken"), IntegrityError)
    assert together.outcomes == {"first": "first", "a": "a", "b": "b"}
    assert _names(database) == {"first", "a", "b", "taken"}


def test_a_commit_that_fails_fails_everybody_and_keeps_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Session.commit
    calls = iter([False, True])

    def commit(session: Session) -> None:
        if next(calls, False):
            raise StorageFull("no room")
        real(session)

    monkeypatch.setattr(Session, "commit", commit)
    together = _Together(GroupCommit(database.write, Session.begin_nested))
    together.run(["first", "a", "b"])
    assert together.outcomes.pop("first") == "first"
    assert all(isinstance(outcome, StorageFull) for outcome in together.outcomes.values())
    assert _names(database) == {"first"}


def test_many_callers_lose_nothing(database: Database) -> None:
    commits = GroupCommit(database.write, Session.begin_nested)

    def many(caller: int) -> None:
        for number in range(15):
            commits.run(lambda session, name=f"{caller}-{number}": _add(name, session))  # type: ignore[misc]

    threads = [threading.Thread(target=many, args=(caller,)) for caller in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_names(database)) == 90
