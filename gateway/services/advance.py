"""Move a case on: decide for every waiting stage run whether it is ready, reused, skipped, or still waits.

Called inside the transaction of whatever just happened, so a case never rests in a state it could leave by itself.
"""

from __future__ import annotations

from sqlmodel import Session, col, select

from dicom_sr.verdict import Outcome
from gateway.domain.case import CaseEvent, CaseState
from gateway.domain.case import next_state as next_case_state
from gateway.domain.keys import stage_key
from gateway.domain.pipeline import Pipeline, Stage, StageKind
from gateway.domain.stage_run import SATISFIED, SETTLED, STUCK, StageRunEvent, StageRunState, next_state
from gateway.services import ledger
from gateway.services.environment import Environment
from gateway.store import audit
from gateway.store.tables import Case, FindingRow, Iteration, StageRun


def advance(session: Session, env: Environment, case: Case) -> None:
    """Settle every stage run of the current iteration that needs no work, and mark the rest READY or leave it WAITING.

    Parameters
    ----------
    session : Session
        A write transaction.
    env : Environment
        Pipelines, models and blobs.
    case : Case
        Moved to HELD when a stage is stuck; to IN_REVIEW by the report stage itself, not here.
    """
    pipeline = env.pipeline(case.pipeline)
    iteration = ledger.current_iteration(session, case)
    runs = ledger.runs_of(session, case.id, case.generation, case.iteration)
    moved = True
    while moved:
        moved = False
        for run in runs.values():
            if run.state is StageRunState.WAITING and _move(session, env, pipeline, iteration, runs, run):
                moved = True
    if case.state is CaseState.RUNNING and any(run.state in STUCK for run in runs.values()):
        stuck = next(run for run in runs.values() if run.state in STUCK)
        case.state = next_case_state(case.state, CaseEvent.STAGE_STUCK)
        case.state_reason = f"stage {stuck.stage}: {stuck.failure_detail or stuck.failure_code or stuck.state}"
        case.changed_at = env.clock()
        audit.append(
            session,
            at=env.clock(),
            actor="overread",
            action="CASE_HELD",
            case_id=case.id,
            subject=stuck.stage,
            detail={"code": stuck.failure_code},
        )


def _move(
    session: Session,
    env: Environment,
    pipeline: Pipeline,
    iteration: Iteration,
    runs: dict[str, StageRun],
    run: StageRun,
) -> bool:
    stage = ledger.stage_of(pipeline, run)
    states = [runs[need].state for need in stage.needs]
    if stage.kind is StageKind.REPORT:
        if not all(other.state in SETTLED for other in runs.values() if other is not run):
            return False
    elif StageRunState.SKIPPED in states or _gate_is_closed(session, pipeline, stage, runs):
        run.state = next_state(run.state, StageRunEvent.GATE_CLOSED)
        return True
    elif not all(state in SATISFIED for state in states):
        return False
    run.key = stage_key(env.catalogue.identity(stage), _inputs(session, stage, pipeline, iteration))
    earlier = _equal_run(session, run)
    if earlier is None or stage.kind is StageKind.REPORT:
        run.state = next_state(run.state, StageRunEvent.INPUTS_COMPLETE)
    else:
        reuse(session, env, stage, run, earlier)
    session.add(run)
    return True


def reuse(session: Session, env: Environment, stage: Stage, run: StageRun, earlier: StageRun) -> None:
    """Let the artifacts of `earlier`, a run with the same key, stand in for `run`."""
    run.state = next_state(run.state, StageRunEvent.KEY_KNOWN)
    run.reused_from = earlier.id
    run.finished_at = env.clock()
    run.model = dict(earlier.model)
    ledger.add_artifacts(session, run, ledger.artifacts_of(session, earlier).values())
    ledger.add_findings(session, run, ledger.load_findings(session, env.blobs, run), env.catalogue.criteria(stage))


def _inputs(session: Session, stage: Stage, pipeline: Pipeline, iteration: Iteration) -> dict[str, str]:
    inputs = ledger.inputs_of(session, stage, pipeline, iteration)
    if stage.kind is StageKind.REPORT:
        # A report cites UIDs and times, so it is a function of its iteration, not of contents alone.
        inputs["iteration"] = f"{iteration.case_id}/{iteration.generation}/{iteration.number}"
        inputs["opened_at"] = iteration.opened_at.isoformat()
        inputs["instances"] = ",".join(item["sha256"] for item in iteration.inputs)
    return inputs


def _gate_is_closed(session: Session, pipeline: Pipeline, stage: Stage, runs: dict[str, StageRun]) -> bool:
    """Whether an image QC stage that this one needs says REJECT."""
    gates = [need for need in stage.needs if pipeline.stage(need).kind is StageKind.IMAGE_QC]
    for gate in gates:
        run = runs[gate]
        rejects = session.exec(
            select(FindingRow.id).where(
                FindingRow.case_id == run.case_id,
                FindingRow.generation == run.generation,
                FindingRow.iteration == run.iteration,
                FindingRow.stage == gate,
                FindingRow.outcome == Outcome.REJECT,
            )
        ).first()
        if run.state in SATISFIED and rejects is not None:
            return True
    return False


def _equal_run(session: Session, run: StageRun) -> StageRun | None:
    return session.exec(
        select(StageRun)
        .where(StageRun.key == run.key, StageRun.state == StageRunState.DONE, StageRun.stage == run.stage)
        .order_by(col(StageRun.id))
        .limit(1)
    ).first()
