from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import SQLModel

from gateway.domain.case import CaseState
from gateway.services.worklist import BadCursor, CaseFilter, CaseRow, choices, counts, list_cases
from gateway.store.database import Database
from gateway.store.tables import Case, Study
from tests.support.seed import NOW


@contextmanager
def _filled(times: list[datetime], **more: str) -> Iterator[Database]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database.in_folder(Path(folder))
        SQLModel.metadata.create_all(database.engine)
        with database.write() as session:
            for number, at in enumerate(times):
                uid = f"1.2.{number}"
                received = {"first_received_at": at, "last_received_at": at}
                session.add(Study(study_instance_uid=uid, patient_id=f"P{number}", **received))
                session.flush()
                session.add(
                    Case(
                        id=f"c{number:03d}", study_instance_uid=uid, pipeline="p", state=CaseState.IN_REVIEW,
                        opened_at=at, changed_at=at, **more,
                    )
                )  # fmt: skip
        yield database
        database.close()


def _walk(database: Database, limit: int) -> list[CaseRow]:
    rows: list[CaseRow] = []
    cursor = ""
    while True:
        page = list_cases(database, CaseFilter(), limit=limit, cursor=cursor)
        rows += page.cases
        cursor = page.next_cursor
        if not cursor:
            return rows


@settings(max_examples=25)
@given(offsets=st.lists(st.integers(0, 3), max_size=9), limit=st.integers(1, 4))
def test_pages_of_any_size_give_every_case_once_newest_first(offsets: list[int], limit: int) -> None:
    with _filled([NOW + timedelta(microseconds=offset) for offset in offsets]) as database:
        rows = _walk(database, limit)
        assert len({row.id for row in rows}) == len(offsets)
        assert [(row.changed_at, row.id) for row in rows] == sorted(((r.changed_at, r.id) for r in rows), reverse=True)


def test_a_case_that_changes_while_somebody_pages_is_not_lost() -> None:
    with _filled([NOW - timedelta(minutes=n) for n in range(4)]) as database:
        first = list_cases(database, CaseFilter(), limit=2)
        with database.write() as session:
            moved = session.get(Case, "c000")
            assert moved is not None
            moved.changed_at = NOW + timedelta(minutes=1)
            session.add(moved)
        second = list_cases(database, CaseFilter(), limit=2, cursor=first.next_cursor)
        assert [row.id for row in first.cases + second.cases] == ["c000", "c001", "c002", "c003"]


@pytest.mark.parametrize("cursor", ["x", "!!!!", "AAAA", "99999999999999999999999.c", "é"])
def test_a_cursor_that_is_none_is_named(cursor: str) -> None:
    with _filled([NOW]) as database, pytest.raises(BadCursor):
        list_cases(database, CaseFilter(), cursor=cursor)


def test_limits_are_clamped() -> None:
    with _filled([NOW, NOW]) as database:
        assert len(list_cases(database, CaseFilter(), limit=0).cases) == 1
        assert len(list_cases(database, CaseFilter(), limit=10**9).cases) == 2


def test_counts_of_nothing_are_zero_for_every_state() -> None:
    with _filled([]) as database:
        found = counts(database)
        assert found.by_state == dict.fromkeys(CaseState, 0)
        assert found.total == 0


def test_choices_are_the_distinct_values_in_order_without_empty_ones() -> None:
    with _filled([NOW, NOW, NOW], qc_assignee="ann") as database:
        with database.write() as session:
            other = session.get(Case, "c001")
            assert other is not None
            other.qc_assignee, other.pipeline = "", "a"
            session.add(other)
        found = choices(database)
        assert (found.assignees, found.pipelines, found.sites) == (("ann",), ("a", "p"), ())


def test_searching_text_finds_starts_only_and_is_never_a_pattern() -> None:
    with _filled([NOW] * 12) as database:
        assert [row.id for row in list_cases(database, CaseFilter(text="P11")).cases] == ["c011"]
        assert len(list_cases(database, CaseFilter(text="P1")).cases) == 3
        assert list_cases(database, CaseFilter(text="%")).cases == ()
        assert [row.id for row in list_cases(database, CaseFilter(text="c003")).cases] == ["c003"]
        assert [row.id for row in list_cases(database, CaseFilter(text="1.2.4")).cases] == ["c004"]


@pytest.mark.parametrize("few", [0, 2, 2000])
def test_a_search_finds_the_same_whether_few_or_many_studies_fit(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.services.worklist._FEW", few)
    with _filled([NOW - timedelta(minutes=n) for n in range(12)]) as database:
        found = [row.id for row in list_cases(database, CaseFilter(text="P1")).cases]
    assert found == ["c001", "c010", "c011"]
