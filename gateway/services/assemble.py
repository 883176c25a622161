"""Close a study on evidence and open its cases; instances that arrive late reopen the same case as a new generation.

A study is due when nothing new has come for the quiet time and what is known about its completeness does not speak
against it (`gateway.domain.evidence`). Which evidence closed it is recorded in words, and the reports repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, col, select

from dicom_sr.series import read_series
from dicom_sr.series_digest import image_digest
from dicom_sr.source import SourceSeries
from gateway.config import Peer
from gateway.domain.case import CaseEvent, CaseState, case_id, next_state
from gateway.domain.evidence import judge
from gateway.domain.instance import InstanceKind
from gateway.domain.keys import digest_of
from gateway.domain.pipeline import Pipeline, match
from gateway.services import ledger
from gateway.services.blob_references import purged_series
from gateway.services.completeness import GapCount, known_facts, patience_of
from gateway.services.environment import Environment
from gateway.services.open_iteration import Opening, edits_in_force, open_iteration, supersede_runs
from gateway.store import audit
from gateway.store.tables import Artifact, Case, Instance, Iteration, NoMatchRow, Study

log = structlog.get_logger(__name__)

#: Asks a sender how many instances a study has; None when it does not know or does not answer.
ExpectedCount = Callable[[Peer, str], int | None]

_PRIORITY = {"stat": 0, "urgent": 1, "routine": 2, "batch": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesInput:
    """One image series of a study as a case may take it."""

    series: SourceSeries
    instances: tuple[dict[str, str], ...]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """A study found complete: the revision that was looked at, and the evidence in words."""

    study_instance_uid: str
    revision: int
    evidence: tuple[str, ...]


def find_closable(
    env: Environment,
    *,
    now: datetime,
    still_sending: Collection[str],
    expected_count: ExpectedCount,
    gaps: GapCount | None = None,
) -> tuple[Closure, ...]:
    """Return the studies that may be closed now.

    Parameters
    ----------
    env : Environment
        The gateway.
    now : datetime
        The time.
    still_sending : collection of str
        Study Instance UIDs that an open association has brought something of.
    expected_count : ExpectedCount
        Asks the sender where it is configured to be asked.
    gaps : GapCount, optional
        Looks for missing slices; without it nobody looks.
    """
    node = env.config.node
    patience = patience_of(node)
    peers = {peer.ae_title: peer for peer in node.peers}
    with env.database.read() as session:
        open_studies = session.exec(
            select(Study).where(
                col(Study.revision) > col(Study.closed_revision),
                col(Study.last_received_at) <= now - timedelta(seconds=node.quiet_seconds),
            )
        ).all()
        known = [
            known_facts(
                session, study, peers.get(study.calling_aet), now=now,
                is_arriving=study.study_instance_uid in still_sending,
            )
            for study in open_studies
        ]  # fmt: skip
    found = []
    for study, at_hand in zip(open_studies, known, strict=True):
        facts, uid, peer = at_hand, study.study_instance_uid, peers.get(study.calling_aet)
        # What costs something is asked only when nothing else speaks against it any more.
        if judge(facts, patience).may_close and peer is not None and peer.expected_count != "none":
            facts = replace(facts, expected_instances=expected_count(peer, uid))
        if gaps is not None and judge(facts, patience).may_close:
            facts = replace(facts, series_with_gaps=gaps(uid, study.revision))
        judgement = judge(facts, patience)
        if judgement.may_close:
            found.append(Closure(study_instance_uid=uid, revision=study.revision, evidence=judgement.sentences))
    return tuple(found)


def close_study(env: Environment, closure: Closure) -> tuple[str, ...]:
    """Open or reopen the cases of a study in one transaction.

    A study that has grown since it was found closable is left for the next look; two loops that close the same study
    make one case.

    Returns
    -------
    tuple of str
        Cases opened or reopened.
    """
    inputs = _series_inputs(env, closure.study_instance_uid)
    with env.database.write() as session:
        study = session.get(Study, closure.study_instance_uid)
        if study is None or study.revision != closure.revision or study.closed_revision >= closure.revision:
            return ()
        study.closed_revision = closure.revision
        session.add(study)
        touched = []
        for pipeline in env.pipelines.values():
            taken = _matching(session, env, study, pipeline, inputs)
            case = session.get(Case, case_id(study.study_instance_uid, pipeline.name))
            if not taken:
                continue
            if case is None:
                case = _new_case(session, env, study, pipeline)
            if _take(session, env, case, taken, closure):
                touched.append(case.id)
        log.info("study closed", cases=len(touched), series=len(inputs), evidence=len(closure.evidence))
        return tuple(touched)


def _series_inputs(env: Environment, study_uid: str) -> tuple[SeriesInput, ...]:
    with env.database.read() as session:
        instances = session.exec(
            select(Instance)
            .where(Instance.study_instance_uid == study_uid, Instance.kind == InstanceKind.IMAGE)
            .order_by(col(Instance.sop_instance_uid))
        ).all()
        gone = purged_series(session, study_uid)
    grouped: dict[str, list[Instance]] = {}
    for instance in instances:
        if instance.series_instance_uid in gone:
            continue
        grouped.setdefault(instance.series_instance_uid, []).append(instance)
    found = []
    for members in grouped.values():
        files = [env.blobs.path(member.sha256) for member in members]
        series = read_series(files)
        found.append(
            SeriesInput(
                series=series,
                instances=tuple({"sop_instance_uid": m.sop_instance_uid, "sha256": m.sha256} for m in members),
                digest=image_digest(series, files),
            )
        )
    return tuple(found)


def _matching(
    session: Session, env: Environment, study: Study, pipeline: Pipeline, inputs: tuple[SeriesInput, ...]
) -> tuple[SeriesInput, ...]:
    """Return the series a pipeline takes, and record why it does not take the others."""
    taken = []
    for item in inputs:
        refusal = match(pipeline, item.series.acquisition, called_aet=study.called_aet)
        known = session.exec(
            select(NoMatchRow).where(
                NoMatchRow.series_instance_uid == item.series.series_instance_uid, NoMatchRow.pipeline == pipeline.name
            )
        ).first()
        if refusal is None:
            taken.append(item)
            if known is not None:
                session.delete(known)
            continue
        row = known or NoMatchRow(
            study_instance_uid=study.study_instance_uid,
            series_instance_uid=item.series.series_instance_uid,
            pipeline=pipeline.name,
            reason="",
            at=env.clock(),
        )
        row.reason = refusal.reason
        session.add(row)
    return tuple(taken)


def _new_case(session: Session, env: Environment, study: Study, pipeline: Pipeline) -> Case:
    peer = next((peer for peer in env.config.node.peers if peer.ae_title == study.calling_aet), None)
    now = env.clock()
    case = Case(
        id=case_id(study.study_instance_uid, pipeline.name),
        study_instance_uid=study.study_instance_uid,
        pipeline=pipeline.name,
        pipeline_version=pipeline.version,
        state=CaseState.COLLECTING,
        generation=0,
        priority=_PRIORITY[env.config.node.priorities.get(study.called_aet) or (peer.priority if peer else "routine")],
        site=peer.site if peer else "",
        sender=study.calling_aet,
        opened_at=now,
        changed_at=now,
    )
    session.add(case)
    session.flush()
    return case


def _take(session: Session, env: Environment, case: Case, taken: tuple[SeriesInput, ...], closure: Closure) -> bool:
    """Open the case's next generation on what was found; False when nothing it works on has changed."""
    now = env.clock()
    if len(taken) > 1:
        return _hold_ambiguous(session, env, case, taken)
    item = taken[0]
    first = case.generation == 0
    if not first:
        current = ledger.current_iteration(session, case)
        if _inputs_digest(current.inputs) == _inputs_digest(list(item.instances)):
            return False
    carried = {} if first else _edits_to_carry(session, env, case, item)
    _leave_generation(session, env, case)
    case.generation += 1
    case.iteration = case.iteration if carried else 0
    case.series_instance_uid = item.series.series_instance_uid
    case.pipeline_version = env.pipeline(case.pipeline).version
    open_iteration(
        session,
        env,
        case,
        Opening(
            cause="AUTOMATIC" if first else "LATE_INSTANCES",
            series_instance_uid=item.series.series_instance_uid,
            image_digest=item.digest,
            inputs=item.instances,
            evidence=closure.evidence,
            carried=carried,
        ),
    )
    audit.append(
        session,
        at=now,
        actor="overread",
        action="CASE_OPENED" if first else "CASE_REOPENED_BY_LATE_INSTANCES",
        case_id=case.id,
        detail={
            "generation": case.generation,
            "instances": len(item.instances),
            "image": item.digest,
            "evidence": list(closure.evidence),
        },
    )
    return True


def _edits_to_carry(session: Session, env: Environment, case: Case, item: SeriesInput) -> dict[str, Artifact]:
    """Return the edits that stay in force: all while the image content is the same, none when it changed."""
    current = ledger.current_iteration(session, case)
    return edits_in_force(session, env, case, edited=None) if current.image_digest == item.digest else {}


def _leave_generation(session: Session, env: Environment, case: Case) -> None:
    if case.generation == 0:
        first = CaseEvent.OPENED if case.state is CaseState.COLLECTING else CaseEvent.LATE_INSTANCES
        case.state = next_state(case.state, first)
        return
    supersede_runs(session, case)
    iterations = session.exec(
        select(Iteration).where(Iteration.case_id == case.id, Iteration.generation == case.generation)
    )
    for iteration in iterations:
        iteration.superseded = True
        session.add(iteration)
    case.state = next_state(case.state, CaseEvent.LATE_INSTANCES)
    case.qc_assignee = ""
    case.changed_at = env.clock()
    session.add(case)


def _hold_ambiguous(session: Session, env: Environment, case: Case, taken: tuple[SeriesInput, ...]) -> bool:
    if case.generation > 0:
        # The case already works on one series; another that fits too must not take its place by itself.
        audit.append(
            session, at=env.clock(), actor="overread", action="FURTHER_SERIES_FITS", case_id=case.id,
            detail={"series": len(taken)},
        )  # fmt: skip
        return False
    case.state = next_state(case.state, CaseEvent.AMBIGUOUS)
    case.state_reason = f"{len(taken)} series fit the pipeline: narrow its match rule or send one"
    case.changed_at = env.clock()
    session.add(case)
    audit.append(
        session, at=env.clock(), actor="overread", action="CASE_HELD", case_id=case.id,
        detail={"code": "AMBIGUOUS_SERIES", "series": len(taken)},
    )  # fmt: skip
    return True


def _inputs_digest(instances: list[dict[str, str]]) -> str:
    return digest_of({item["sha256"]: True for item in instances})
