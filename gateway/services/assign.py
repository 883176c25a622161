"""Set the QC assignee by the act of taking a case's results."""

from __future__ import annotations

from datetime import datetime

from gateway.domain.case import CaseState
from gateway.domain.errors import NotFound
from gateway.store import audit
from gateway.store.database import Database
from gateway.store.tables import Case


def take(database: Database, *, case_id: str, taker: str, act: str, at: datetime) -> None:
    """Record that somebody took the results of a case and make them its QC assignee.

    A final case keeps its assignee: there is nothing left to check, but the act is audited all the same.

    Parameters
    ----------
    taker : str
        User or reader name.
    act : str
        ``BUNDLE``, ``WADO``, ``C_MOVE`` or ``C_GET``.

    Raises
    ------
    NotFound
        If there is no such case.
    """
    with database.write() as session:
        case = session.get(Case, case_id)
        if case is None:
            raise NotFound("there is no case with this id")
        before = case.qc_assignee
        if case.state is not CaseState.FINAL and before != taker:
            case.qc_assignee = taker
            case.changed_at = at
            session.add(case)
        audit.append(
            session,
            at=at,
            actor=taker,
            action="RESULTS_TAKEN",
            case_id=case_id,
            detail={"by": act, "assignee": case.qc_assignee, "assignee_before": before},
        )
