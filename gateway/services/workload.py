"""Who does what: cases assigned now, and what each person took, edited and decided, counted from the audit trail."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import col, select

from gateway.domain.case import CaseState
from gateway.store.database import Database
from gateway.store.tables import AuditEvent, Case

#: Kinds of event that are a person's work, by the count they add to.
_WORK: Mapping[str, str] = {"RESULTS_TAKEN": "taken", "EDIT_ACCEPTED": "edited", "QC_DECIDED": "decided"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One person: open cases assigned now; results taken, edits accepted and decisions since the beginning."""

    name: str
    assigned: int
    taken: int
    edited: int
    decided: int


def workload(database: Database) -> tuple[Workload, ...]:
    """Return everybody who has a case or did something, those with most open cases first."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    with database.read() as session:
        assigned = session.exec(
            select(Case.qc_assignee, func.count())
            .where(col(Case.qc_assignee) > "", col(Case.state) != CaseState.FINAL)
            .group_by(col(Case.qc_assignee))
        ).all()
        acts = session.exec(
            select(AuditEvent.actor, AuditEvent.action, func.count())
            .where(col(AuditEvent.action).in_(_WORK))
            .group_by(col(AuditEvent.actor), col(AuditEvent.action))
        ).all()
    for name, number in assigned:
        counts[name]["assigned"] = number
    for name, action, number in acts:
        counts[name][_WORK[action]] = number
    people = [
        Workload(name=name, assigned=c["assigned"], taken=c["taken"], edited=c["edited"], decided=c["decided"])
        for name, c in counts.items()
    ]
    return tuple(sorted(people, key=lambda person: (-person.assigned, person.name)))
