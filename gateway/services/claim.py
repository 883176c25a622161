"""Claim a stage run, complete it, or record how it failed. Completion is fenced by the attempt number.

An attempt that lost its claim (its host was presumed dead, or newer input overtook the run) cannot complete: its
outputs are dropped and the fact is audited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlmodel import Session, select

from dicom_sr.verdict import Finding
from gateway.domain.case import CaseEvent, CaseState
from gateway.domain.case import next_state as next_case_state
from gateway.domain.errors import IllegalTransition, NotFound, StaleAttempt
from gateway.domain.stage_run import MAXIMUM_CRASHES, STUCK, StageRunEvent, StageRunState, next_state
from gateway.services import ledger
from gateway.services.advance import advance
from gateway.services.environment import Environment
from gateway.store import audit
from gateway.store.tables import Artifact, Case, StageRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to complete a stage run: its id and the attempt that holds it."""

    run_id: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a stage put out, already durable in the blob store.

    Parameters
    ----------
    artifacts : mapping of str to (sha256, digest)
        Blob and canonical digest by role.
    findings : tuple of Finding
        Observations.
    model : mapping of str to str
        Name, version and digest of the model that ran; empty when none.
    seconds, model_seconds : float
        Time from claim to completion, and of it in the model, s.
    """

    artifacts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    model: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    model_seconds: float = 0.0


def claim(env: Environment, run_id: int) -> Claim | None:
    """Claim a READY stage run; None when it is done, superseded or somebody else's."""
    with env.database.write() as session:
        run = session.get(StageRun, run_id)
        if run is None or run.state is not StageRunState.READY:
            return None
        run.state = next_state(run.state, StageRunEvent.CLAIMED)
        run.attempt += 1
        run.started_at = env.clock()
        session.add(run)
        return Claim(run_id=run_id, attempt=run.attempt)


def complete(
    env: Environment,
    claimed: Claim,
    completion: Completion,
    *,
    also: Callable[[Session, Case, StageRun], None] | None = None,
) -> None:
    """Complete a claimed stage run in one transaction: state, artifacts, findings, audit, what comes next.

    Parameters
    ----------
    env : Environment
        The gateway.
    claimed : Claim
        From `claim`.
    completion : Completion
        The outputs.
    also : callable, optional
        Further rows of the same transaction (outputs and deliveries of a report).

    Raises
    ------
    StaleAttempt
        If another attempt holds the run now, or it was superseded.
    """
    with env.database.write() as session:
        run = session.get(StageRun, claimed.run_id)
        assert run is not None
        case = session.get(Case, run.case_id)
        assert case is not None
        if run.attempt != claimed.attempt or run.state is not StageRunState.RUNNING:
            audit.append(
                session,
                at=env.clock(),
                actor="overread",
                action="LATE_COMPLETION_REFUSED",
                case_id=run.case_id,
                subject=run.stage,
                detail={"attempt": claimed.attempt, "state": run.state},
            )
            session.commit()
            raise StaleAttempt(f"attempt {claimed.attempt} of stage run {claimed.run_id} was overtaken")
        run.state = next_state(run.state, StageRunEvent.COMPLETED)
        run.finished_at = env.clock()
        run.seconds = completion.seconds
        run.model_seconds = completion.model_seconds
        run.model = dict(completion.model)
        session.add(run)
        ledger.add_artifacts(
            session,
            run,
            [Artifact(stage_run_id=0, role=r, sha256=s, digest=d) for r, (s, d) in completion.artifacts.items()],
        )
        stage = ledger.stage_of(env.pipeline(case.pipeline), run)
        ledger.add_findings(session, run, completion.findings, env.catalogue.criteria(stage))
        audit.append(
            session,
            at=env.clock(),
            actor="overread",
            action="STAGE_DONE",
            case_id=run.case_id,
            subject=run.stage,
            detail={"key": run.key, "attempt": run.attempt, "iteration": run.iteration, "generation": run.generation},
        )
        if also is not None:
            also(session, case, run)
        advance(session, env, case)


def refuse(env: Environment, claimed: Claim, *, code: str, detail: str) -> None:
    """Record that a stage cannot produce its outputs from this input; the case is held for an operator."""
    with env.database.write() as session:
        run = session.get(StageRun, claimed.run_id)
        assert run is not None
        if run.attempt != claimed.attempt or run.state is not StageRunState.RUNNING:
            return
        _fail(session, env, run, StageRunEvent.REFUSED, code=code, detail=detail)


def record_crash(env: Environment, run_id: int) -> StageRunState:
    """Record that the stage host died while it ran this stage; the third time the run is held as poisonous."""
    with env.database.write() as session:
        run = session.get(StageRun, run_id)
        assert run is not None
        if run.state is not StageRunState.RUNNING:
            return run.state
        run.crashes += 1
        detail = f"the stage host died {run.crashes} times while running it"
        if run.crashes >= MAXIMUM_CRASHES:
            _fail(session, env, run, StageRunEvent.CRASHED_TOO_OFTEN, code="POISON_STAGE", detail=detail)
        else:
            run.state = next_state(run.state, StageRunEvent.CRASHED)
            session.add(run)
            audit.append(
                session,
                at=env.clock(),
                actor="overread",
                action="STAGE_HOST_DIED",
                case_id=run.case_id,
                subject=run.stage,
                detail={"crashes": run.crashes},
            )
        return run.state


def release_interrupted(env: Environment) -> int:
    """Make runs that were RUNNING when the gateway died READY again; only for start-up, under the folder lock."""
    with env.database.write() as session:
        runs = session.exec(select(StageRun).where(StageRun.state == StageRunState.RUNNING)).all()
        for run in runs:
            run.state = next_state(run.state, StageRunEvent.CRASHED)
            session.add(run)
        return len(runs)


def retry(env: Environment, *, case_id: str, actor: str) -> int:
    """Let the failed and held stage runs of a case run again; return how many.

    Raises
    ------
    NotFound
        If there is no such case.
    IllegalTransition
        If nothing of it is stuck.
    """
    with env.database.write() as session:
        case = session.get(Case, case_id)
        if case is None:
            raise NotFound("there is no case with this id")
        runs = ledger.runs_of(session, case.id, case.generation, case.iteration).values()
        stuck = [run for run in runs if run.state in STUCK]
        if not stuck:
            raise IllegalTransition("no stage of this case has failed or is held")
        for run in stuck:
            run.state = next_state(run.state, StageRunEvent.RETRIED)
            run.crashes = 0
            run.failure_code = run.failure_detail = ""
            session.add(run)
        if case.state is CaseState.HELD:
            case.state = next_case_state(case.state, CaseEvent.RETRIED)
            case.state_reason = ""
        case.changed_at = env.clock()
        audit.append(
            session,
            at=env.clock(),
            actor=actor,
            action="CASE_RETRIED",
            case_id=case_id,
            detail={"stages": [run.stage for run in stuck]},
        )
        return len(stuck)


def _fail(session: Session, env: Environment, run: StageRun, event: StageRunEvent, *, code: str, detail: str) -> None:
    run.state = next_state(run.state, event)
    run.failure_code = code
    run.failure_detail = detail
    run.finished_at = env.clock()
    session.add(run)
    audit.append(
        session,
        at=env.clock(),
        actor="overread",
        action="STAGE_FAILED",
        case_id=run.case_id,
        subject=run.stage,
        detail={"code": code},
    )
    case = session.get(Case, run.case_id)
    assert case is not None
    advance(session, env, case)
