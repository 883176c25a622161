"""Which stage run comes next: by priority, then fair between sites, then oldest case first."""

from __future__ import annotations

from sqlmodel import Session, col, select

from gateway.domain.stage_run import StageRunState
from gateway.store.tables import Case, StageRun


def next_ready(session: Session) -> StageRun | None:
    """Return the stage run to run next: by priority, then fair between sites, then oldest.

    Fair means: of the sites with work at the best priority, the one whose last stage run started longest ago.
    """
    waiting = session.exec(
        select(StageRun, Case)
        .where(StageRun.case_id == Case.id, StageRun.state == StageRunState.READY)
        .order_by(col(Case.priority), col(Case.opened_at), col(StageRun.id))
    ).all()
    if not waiting:
        return None
    best = waiting[0][1].priority
    first_of_site: dict[str, StageRun] = {}
    for run, case in waiting:
        if case.priority == best:
            first_of_site.setdefault(case.site, run)
    if len(first_of_site) == 1:
        return waiting[0][0]
    return first_of_site[min(first_of_site, key=lambda site: _last_start(session, site))]


def _last_start(session: Session, site: str) -> str:
    newest = session.exec(
        select(StageRun.started_at)
        .where(StageRun.case_id == Case.id, Case.site == site, col(StageRun.started_at).is_not(None))
        .order_by(col(StageRun.started_at).desc())
        .limit(1)
    ).first()
    return newest.isoformat() if newest else ""
