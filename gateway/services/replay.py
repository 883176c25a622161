"""Run the stages of a case again from their stored inputs and compare: the proof that a result can be reproduced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlmodel import col, select

from gateway.domain.errors import NotFound
from gateway.domain.pipeline import StageKind
from gateway.domain.stage_run import StageRunState
from gateway.services import ledger
from gateway.services.environment import Environment
from gateway.services.run_stage import StageRunner
from gateway.services.stage_work import WORK, Work
from gateway.store.tables import Case, StageRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One artifact of one stage run, as it was kept and as it comes out now; empty when it is not there."""

    generation: int
    iteration: int
    stage: str
    role: str
    kept: str
    recomputed: str

    @property
    def is_equal(self) -> bool:
        """Whether both are the same."""
        return self.kept == self.recomputed


def replay(
    env: Environment, case_id: str, *, device: str = "auto", work: Mapping[StageKind, Work] = WORK
) -> tuple[Replayed, ...]:
    """Run again every stage run of a case that did its own work, and compare its artifacts; nothing is kept.

    Parameters
    ----------
    env : Environment
        The gateway's data; a running gateway is not disturbed.
    case_id : str
        The case.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    work : mapping of StageKind to Work
        What does the work of each kind.

    Raises
    ------
    NotFound
        If there is no such case.
    """
    with env.database.read() as session:
        if session.get(Case, case_id) is None:
            raise NotFound("there is no case with this id")
        runs = session.exec(
            select(StageRun)
            .where(StageRun.case_id == case_id, StageRun.state == StageRunState.DONE)
            .order_by(col(StageRun.id))
        ).all()
        kept = {run.id: {role: a.digest for role, a in ledger.artifacts_of(session, run).items()} for run in runs}
    runner = StageRunner(env, device=device, work=work)
    found = []
    for run in runs:
        if not kept[run.id]:
            continue
        recomputed = runner.recompute(run)
        for role in sorted(kept[run.id].keys() | recomputed.keys()):
            found.append(
                Replayed(
                    generation=run.generation,
                    iteration=run.iteration,
                    stage=run.stage,
                    role=role,
                    kept=kept[run.id].get(role, ""),
                    recomputed=recomputed.get(role, ""),
                )
            )
    return tuple(found)
