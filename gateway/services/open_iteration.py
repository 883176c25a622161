"""Open an iteration of a case: its row, its stage runs, the artifacts that edits put in place of a stage's output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from gateway.domain.case import CaseState
from gateway.domain.plan import carried_edits, order
from gateway.domain.qc_status import QcStatus
from gateway.domain.stage_run import SETTLED, StageRunEvent, StageRunState, next_state
from gateway.services import ledger
from gateway.services.advance import advance
from gateway.services.environment import Environment
from gateway.store.tables import Artifact, Case, Edit, Iteration, StageRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a new iteration starts from.

    Parameters
    ----------
    cause : str
        ``AUTOMATIC``, ``EDIT`` or ``LATE_INSTANCES``.
    series_instance_uid, image_digest : str
        The series it works on and the digest of its image content.
    inputs : sequence of mapping
        ``sop_instance_uid`` and ``sha256`` of each instance.
    evidence : sequence of str
        Why the study counts as complete.
    edits : mapping of str to Artifact
        Segmentations that stand in for stages, by stage.
    carried : mapping of str to Artifact
        Segmentations of earlier edits that stay in force, by stage.
    """

    cause: str
    series_instance_uid: str
    image_digest: str
    inputs: Sequence[Mapping[str, str]]
    evidence: Sequence[str]
    edits: Mapping[str, Artifact] = field(default_factory=dict)
    carried: Mapping[str, Artifact] = field(default_factory=dict)


def open_iteration(session: Session, env: Environment, case: Case, opening: Opening) -> Iteration:
    """Open iteration (`case.generation`, `case.iteration`) and settle at once whatever needs no work.

    The caller has moved the case to RUNNING and set its generation and iteration.
    """
    now = env.clock()
    iteration = Iteration(
        case_id=case.id,
        generation=case.generation,
        number=case.iteration,
        cause=opening.cause,
        opened_at=now,
        series_instance_uid=opening.series_instance_uid,
        image_digest=opening.image_digest,
        inputs=[dict(item) for item in opening.inputs],
        evidence=list(opening.evidence),
    )
    session.add(iteration)
    case.qc_status = QcStatus.NOT_REVIEWED
    case.qc_comment = ""
    case.verdict = ""
    case.state_reason = ""
    case.changed_at = now
    pipeline = env.pipeline(case.pipeline)
    for name in order(pipeline):
        run = StageRun(
            case_id=case.id,
            generation=case.generation,
            iteration=case.iteration,
            stage=name,
            state=StageRunState.WAITING,
        )
        stand_in = opening.edits.get(name) or opening.carried.get(name)
        if stand_in is not None:
            event = StageRunEvent.EDIT_GIVEN if name in opening.edits else StageRunEvent.KEY_KNOWN
            run.state = next_state(run.state, event)
            run.finished_at = now
        session.add(run)
        session.flush()
        if stand_in is not None:
            ledger.add_artifacts(session, run, [stand_in])
    if case.state is CaseState.RUNNING:
        advance(session, env, case)
    return iteration


def edits_in_force(session: Session, env: Environment, case: Case, *, edited: str | None) -> dict[str, Artifact]:
    """Return the segmentations of earlier edits that stay in force when `edited` (or nothing) is edited now."""
    accepted = session.exec(
        select(Edit).where(Edit.case_id == case.id, Edit.generation == case.generation).order_by(col(Edit.iteration))
    ).all()
    pipeline = env.pipeline(case.pipeline)
    in_force: frozenset[str] = frozenset()
    for edit in accepted:
        in_force = carried_edits(pipeline, in_force, edit.stage) | {edit.stage}
    in_force = carried_edits(pipeline, in_force, edited)
    newest = {edit.stage: edit for edit in accepted}
    return {
        stage: Artifact(
            stage_run_id=0, role=ledger.SEGMENTATION, sha256=newest[stage].sha256, digest=newest[stage].digest
        )
        for stage in sorted(in_force)
    }


def supersede_runs(session: Session, case: Case) -> None:
    """Overtake every unsettled stage run of the case's current iteration: a newer input makes its result moot."""
    for run in ledger.runs_of(session, case.id, case.generation, case.iteration).values():
        if run.state not in SETTLED and run.state is not StageRunState.SUPERSEDED:
            run.state = next_state(run.state, StageRunEvent.OVERTAKEN)
            session.add(run)
