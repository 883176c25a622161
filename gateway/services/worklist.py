"""The worklist: cases by filters, newest change first, page by page, and how many there are of each state."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col, select

from gateway.domain.case import CaseState
from gateway.domain.errors import GatewayError
from gateway.domain.qc_status import QcStatus
from gateway.store.database import Database
from gateway.store.tables import Case, Delivery, Hold, Study

#: Largest page of any list.
MAXIMUM_LIMIT = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Sorts behind every text that starts with what precedes it.
_LAST_CHARACTER = "\U0010ffff"
#: Up to so many studies are looked up first when a text is searched for.
_FEW = 2000


class BadCursor(GatewayError):
    """A page cursor was not made by this gateway."""

    code = "BAD_CURSOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A stable code and a sentence for people, free of patient data."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFilter:
    """Which cases are asked for; an empty value does not filter.

    Parameters
    ----------
    state, qc_status : tuple
        Any of these.
    verdict : tuple of str
        Any of these outcomes of the machine.
    study_uid, assignee, pipeline, site : str
        Exactly this; ``assignee`` ``-`` for nobody.
    text : str
        Start of Patient ID, Patient's Name or Accession Number, or a case id or Study Instance UID.
    """

    state: tuple[CaseState, ...] = ()
    qc_status: tuple[QcStatus, ...] = ()
    verdict: tuple[str, ...] = ()
    study_uid: str = ""
    assignee: str = ""
    pipeline: str = ""
    site: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """Attributes of a study by which people know it; for pages and API, never for logs."""

    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_date: str
    study_description: str
    accession_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """A case as one line of the worklist; `verdict` is the outcome of its current iteration, empty before."""

    id: str
    study_instance_uid: str
    pipeline: str
    generation: int
    iteration: int
    state: CaseState
    state_reason: str
    verdict: str
    qc_status: QcStatus
    qc_assignee: str
    priority: int
    site: str
    open_holds: int
    opened_at: datetime
    changed_at: datetime
    study: StudySummary


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePage:
    """A page of the worklist; `next_cursor` is empty on the last page."""

    cases: tuple[CaseRow, ...]
    next_cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many cases there are in each state, and what waits for a person or has failed."""

    by_state: dict[CaseState, int]
    open_holds: int
    dead_deliveries: int

    @property
    def total(self) -> int:
        """All cases."""
        return sum(self.by_state.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Values that occur, to choose filters from."""

    pipelines: tuple[str, ...]
    assignees: tuple[str, ...]
    sites: tuple[str, ...]


def list_cases(database: Database, wanted: CaseFilter, *, limit: int = 50, cursor: str = "") -> CasePage:
    """Return one page of cases, newest change first.

    Parameters
    ----------
    limit : int
        Cases a page, 1 to `MAXIMUM_LIMIT`; beyond is clamped.
    cursor : str
        `CasePage.next_cursor` of the page before; empty for the first.

    Raises
    ------
    BadCursor
        If `cursor` is not one of ours.
    """
    count = max(1, min(limit, MAXIMUM_LIMIT))
    query = select(Case, Study).join(Study, col(Case.study_instance_uid) == Study.study_instance_uid)
    for condition in _conditions(wanted):
        query = query.where(condition)
    if cursor:
        changed_at, case_id = _decode_cursor(cursor)
        # Written as a range and a tie-break, so that the index on changed_at gives the start.
        query = query.where(col(Case.changed_at) <= changed_at).where(
            or_(col(Case.changed_at) < changed_at, col(Case.id) < case_id)
        )
    query = query.order_by(col(Case.changed_at).desc(), col(Case.id).desc()).limit(count + 1)
    with database.read() as session:
        if wanted.text.strip():
            query = query.where(_text_condition(session, wanted.text.strip()))
        found = session.exec(query).all()
        holds = _open_holds(session, [case.id for case, _ in found])
    rows = tuple(_row(case, study, holds.get(case.id, 0)) for case, study in found[:count])
    more = len(found) > count
    return CasePage(cases=rows, next_cursor=_encode_cursor(rows[-1]) if more else "")


def counts(database: Database) -> Counts:
    """Count cases by state, open holds and dead deliveries."""
    with database.read() as session:
        by_state = session.exec(select(Case.state, func.count()).group_by(col(Case.state))).all()
        open_holds = session.exec(select(func.count()).select_from(Hold).where(Hold.state == "OPEN")).one()
        dead = session.exec(select(func.count()).select_from(Delivery).where(Delivery.state == "DEAD")).one()
    known = dict(by_state)
    return Counts(
        by_state={state: known.get(state, 0) for state in CaseState}, open_holds=open_holds, dead_deliveries=dead
    )


def choices(database: Database) -> Choices:
    """Return the pipelines, assignees and sites that occur among cases."""
    with database.read() as session:
        return Choices(
            pipelines=_occurring(session, col(Case.pipeline)),
            assignees=_occurring(session, col(Case.qc_assignee)),
            sites=_occurring(session, col(Case.site)),
        )


def _occurring(session: Session, column: Mapped[str]) -> tuple[str, ...]:
    """Walk an index from one distinct value to the next: a few look-ups instead of a scan of every case."""
    found: list[str] = []
    after = ""
    while len(found) < MAXIMUM_LIMIT:
        value = session.exec(select(func.min(column)).where(column > after)).one()
        if value is None:
            break
        found.append(value)
        after = value
    return tuple(found)


def _conditions(wanted: CaseFilter) -> Sequence[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    for chosen, column in (
        (wanted.state, col(Case.state)),
        (wanted.qc_status, col(Case.qc_status)),
        (wanted.verdict, col(Case.verdict)),
    ):
        if chosen:
            conditions.append(column.in_(chosen))
    for text, equal in (
        (wanted.study_uid, col(Case.study_instance_uid)),
        (wanted.pipeline, col(Case.pipeline)),
        (wanted.site, col(Case.site)),
    ):
        if text:
            conditions.append(equal == text)
    if wanted.assignee:
        conditions.append(col(Case.qc_assignee) == ("" if wanted.assignee == "-" else wanted.assignee))
    return conditions


def _text_condition(session: Session, text: str) -> ColumnElement[bool]:
    starts = or_(
        *(
            and_(column >= spelling, column < spelling + _LAST_CHARACTER)
            for column in (col(Study.patient_id), col(Study.patient_name), col(Study.accession_number))
            for spelling in dict.fromkeys((text, text.upper(), text.title()))
        )
    )
    few = select(Study.study_instance_uid).where(starts).limit(_FEW + 1)
    fitting = session.exec(select(func.count()).select_from(few.subquery())).one()
    # Few studies lead to their cases by index; when many fit, walking the cases by time fills a page sooner.
    by_name = starts if fitting > _FEW else col(Case.study_instance_uid).in_(few)
    return or_(by_name, col(Case.id) == text, col(Case.study_instance_uid) == text)


def _open_holds(session: Session, case_ids: Sequence[str]) -> dict[str, int]:
    query = (
        select(Hold.case_id, func.count())
        .where(col(Hold.case_id).in_(case_ids), Hold.state == "OPEN")
        .group_by(col(Hold.case_id))
    )
    return dict(session.exec(query).all())


def _row(case: Case, study: Study, open_holds: int) -> CaseRow:
    return CaseRow(
        id=case.id,
        study_instance_uid=case.study_instance_uid,
        pipeline=case.pipeline,
        generation=case.generation,
        iteration=case.iteration,
        state=case.state,
        state_reason=case.state_reason,
        verdict=case.verdict,
        qc_status=case.qc_status,
        qc_assignee=case.qc_assignee,
        priority=case.priority,
        site=case.site,
        open_holds=open_holds,
        opened_at=case.opened_at,
        changed_at=case.changed_at,
        study=summarise(study),
    )


def summarise(study: Study) -> StudySummary:
    """Return the attributes by which people know a study."""
    return StudySummary(
        patient_id=study.patient_id,
        patient_name=study.patient_name,
        patient_birth_date=study.patient_birth_date,
        patient_sex=study.patient_sex,
        study_date=study.study_date,
        study_description=study.study_description,
        accession_number=study.accession_number,
    )


def _encode_cursor(row: CaseRow) -> str:
    microseconds = (row.changed_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{microseconds}.{row.id}".encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        microseconds, _, case_id = text.partition(".")
        return _EPOCH + timedelta(microseconds=int(microseconds)), case_id
    except (binascii.Error, ValueError, OverflowError):
        raise BadCursor("the cursor is not one this gateway gave out: ask again without it") from None
