"""Take an edited SEG: match it, then accept it as the next iteration, hold it with reasons, or note it as unchanged.

Nothing received is dropped: whatever is not accepted is a hold that a person can look at, release or discard.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog
from sqlmodel import Session, col, select

from dicom_sr.diff import SegmentDiff
from dicom_sr.errors import DicomObjectError
from dicom_sr.hold import HoldDetail, HoldReason
from dicom_sr.match import Candidate, Ignore, Match, Unchanged, match
from dicom_sr.match import Hold as MatchHold
from dicom_sr.match import Outcome as MatchOutcome
from dicom_sr.seg_header import SegHeader, read_seg_header
from dicom_sr.seg_open import open_seg
from dicom_sr.seg_read import read_seg
from gateway.domain.case import EDITABLE, CaseEvent, CaseState, next_state
from gateway.domain.instance import InstanceKind
from gateway.domain.pipeline import EditDoor, Pipeline, RerunPolicy
from gateway.domain.plan import rerun
from gateway.domain.qc_status import QcStatus
from gateway.services import ledger
from gateway.services.edit_candidates import candidates_for
from gateway.services.environment import Environment
from gateway.services.open_iteration import Opening, edits_in_force, open_iteration
from gateway.store import audit
from gateway.store.artifacts import encode_segmentation
from gateway.store.tables import Artifact, Case, Edit, Hold, Instance

log = structlog.get_logger(__name__)


class EditOutcome(StrEnum):
    """What became of a received SEG."""

    ACCEPTED = "ACCEPTED"
    HELD = "HELD"
    UNCHANGED = "UNCHANGED"
    IGNORED = "IGNORED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A person's order to take a held edit for this stage of this case."""

    hold_id: int
    case_id: str
    stage: str
    actor: str


def pending_edits(env: Environment) -> tuple[str, ...]:
    """Return the SOP Instance UIDs of received SEGs that nobody has looked at yet, oldest first."""
    with env.database.read() as session:
        rows = session.exec(
            select(Instance.sop_instance_uid)
            .where(Instance.kind == InstanceKind.EDITED_SEG, Instance.handled == False)  # noqa: E712 - SQL
            .order_by(col(Instance.received_at), col(Instance.sop_instance_uid))
        )
        return tuple(rows.all())


def handle_edit(
    env: Environment, sop_instance_uid: str, *, sha256: str = "", release: Release | None = None
) -> EditOutcome:
    """Match one received SEG and do what follows from it, in one transaction.

    Parameters
    ----------
    env : Environment
        The gateway.
    sop_instance_uid : str
        The received instance.
    sha256 : str
        Blob to read when it is not the instance's first version (a hold for other bytes under the same UID).
    release : Release or None
        A person's order, which overrules what the object cannot say but never identity or geometry.
    """
    with env.database.read() as session:
        instance = session.get(Instance, sop_instance_uid)
        assert instance is not None
        candidates = candidates_for(session, env, instance.study_instance_uid)
    header, outcome = _match(env, instance, sha256 or instance.sha256, candidates, release)
    with env.database.write() as session:
        received = session.get(Instance, sop_instance_uid)
        assert received is not None
        received.handled = True
        session.add(received)
        if isinstance(outcome, Match) and header is not None:
            return _accept(session, env, received, header, outcome, release)
        if isinstance(outcome, Unchanged):
            _note(session, env, received, "SEG_RETURNED_UNCHANGED", outcome.candidate)
            return EditOutcome.UNCHANGED
        if isinstance(outcome, Ignore):
            _note(session, env, received, f"SEG_IGNORED_{outcome.reason}", None)
            return EditOutcome.IGNORED
        assert isinstance(outcome, MatchHold)
        _hold(session, env, received, outcome.reasons, outcome.candidates, release)
        return EditOutcome.HELD


def _match(
    env: Environment,
    instance: Instance,
    sha256: str,
    candidates: Sequence[Candidate],
    release: Release | None,
) -> tuple[SegHeader | None, MatchOutcome]:
    try:
        dataset = open_seg(env.blobs.path(sha256))
        header = read_seg_header(dataset)
    except DicomObjectError as error:
        return None, MatchHold(reasons=(HoldDetail(HoldReason.UNREADABLE, error.detail),), candidates=())
    hinted = [c for c in candidates if c.case_id == instance.case_hint] if instance.case_hint else list(candidates)
    outcome = match(
        header,
        lambda source: read_seg(dataset, source, header=header),
        hinted,
        forced=(release.case_id, release.stage) if release else None,
    )
    return header, outcome


def _accept(
    session: Session,
    env: Environment,
    received: Instance,
    header: SegHeader,
    found: Match,
    release: Release | None,
) -> EditOutcome:
    candidate = found.candidate
    case = session.get(Case, candidate.case_id)
    assert case is not None
    pipeline = env.pipeline(case.pipeline)
    refusals = tuple(_closed(session, case, pipeline, candidate, released=release is not None))
    if refusals:
        _hold(session, env, received, refusals, (candidate,), release)
        return EditOutcome.HELD
    now = env.clock()
    if case.state is CaseState.IN_REVIEW:
        # Saving the edit is itself the request: it is recorded as the sender's decision on the iteration before.
        _record_request(session, env, case, sender=received.sender)
    blob = env.blobs.put(encode_segmentation(found.segmentation))
    digest = found.segmentation.digest()
    carried = edits_in_force(session, env, case, edited=candidate.stage)
    prior = ledger.current_iteration(session, case)
    case.state = next_state(case.state, CaseEvent.EDIT_ACCEPTED)
    case.iteration += 1
    case.qc_assignee = ""
    session.add(case)
    session.add(
        Edit(
            case_id=case.id,
            generation=case.generation,
            iteration=case.iteration,
            stage=candidate.stage,
            sop_instance_uid=received.sop_instance_uid,
            prior_sop_instance_uid=candidate.sop_instance_uid,
            sender=received.sender,
            door=received.door,
            evidence=found.confidence,
            accepted_at=now,
            sha256=blob,
            digest=digest,
            changed_voxels=found.diff.changed_voxels,
            changes=[_change(segment) for segment in found.diff.segments],
            editor={
                "manufacturer": header.manufacturer,
                "model_name": header.model_name,
                "software_versions": [header.software_versions] if header.software_versions else [],
            },
        )
    )
    session.flush()
    audit.append(
        session,
        at=now,
        actor=received.sender,
        action="EDIT_ACCEPTED",
        case_id=case.id,
        subject=received.sop_instance_uid,
        detail={
            "stage": candidate.stage,
            "iteration": case.iteration,
            "generation": case.generation,
            "evidence": str(found.evidence),
            "changed_voxels": found.diff.changed_voxels,
            "may_rerun": [*sorted(rerun(pipeline, candidate.stage))],
            "released_by": release.actor if release else "",
        },
    )
    open_iteration(
        session,
        env,
        case,
        Opening(
            cause="EDIT",
            series_instance_uid=prior.series_instance_uid,
            image_digest=prior.image_digest,
            inputs=prior.inputs,
            evidence=prior.evidence,
            edits={candidate.stage: Artifact(stage_run_id=0, role=ledger.SEGMENTATION, sha256=blob, digest=digest)},
            carried=carried,
        ),
    )
    log.info("edit accepted", case=case.id, stage=candidate.stage, iteration=case.iteration)
    return EditOutcome.ACCEPTED


def _closed(
    session: Session, case: Case, pipeline: Pipeline, candidate: Candidate, *, released: bool
) -> Sequence[HoldDetail]:
    """Return why the door is closed for an edit that matches."""
    if case.state not in EDITABLE:
        return [HoldDetail(HoldReason.DOOR_CLOSED, f"the case is {case.state}")]
    if candidate.sop_instance_uid not in ledger.current_output_uids(session, case) and not released:
        return [HoldDetail(HoldReason.CONCURRENT_EDIT, "another edit was accepted a moment ago")]
    if released:
        return []
    if pipeline.edits is EditDoor.ON_REQUEST and case.state is not CaseState.AWAITING_EDIT:
        return [HoldDetail(HoldReason.DOOR_CLOSED, "this pipeline takes edits after FAIL_NEEDS_REPROCESSING only")]
    if case.iteration >= pipeline.iteration_cap:
        return [HoldDetail(HoldReason.ITERATION_CAP, f"{case.iteration} iterations")]
    if pipeline.rerun is RerunPolicy.ASK:
        return [HoldDetail(HoldReason.RERUN_NOT_CONFIRMED)]
    return []


def _record_request(session: Session, env: Environment, case: Case, *, sender: str) -> None:
    iteration = ledger.current_iteration(session, case)
    iteration.qc_status = QcStatus.FAIL_NEEDS_REPROCESSING
    iteration.qc_by = sender
    iteration.qc_at = env.clock()
    session.add(iteration)
    audit.append(
        session,
        at=env.clock(),
        actor=sender,
        action="QC_DECIDED",
        case_id=case.id,
        detail={
            "before": case.qc_status,
            "after": QcStatus.FAIL_NEEDS_REPROCESSING,
            "iteration": case.iteration,
            "by": "sending an edit",
        },
    )


def _hold(
    session: Session,
    env: Environment,
    received: Instance,
    reasons: Sequence[HoldDetail],
    candidates: Sequence[Candidate],
    release: Release | None,
) -> None:
    stated = [
        {"code": str(r.reason), "detail": f"{r.reason.sentence} ({r.detail})" if r.detail else r.reason.sentence}
        for r in reasons
    ]
    cases = {candidate.case_id for candidate in candidates}
    stages = {candidate.stage for candidate in candidates}
    hold = session.get(Hold, release.hold_id) if release else None
    hold = hold or Hold(
        sop_instance_uid=received.sop_instance_uid,
        sha256=received.sha256,
        study_instance_uid=received.study_instance_uid,
        sender=received.sender,
        door=received.door,
        held_at=env.clock(),
    )
    hold.reasons = stated
    hold.case_id = cases.pop() if len(cases) == 1 else received.case_hint
    hold.stage = stages.pop() if len(stages) == 1 else ""
    session.add(hold)
    audit.append(
        session,
        at=env.clock(),
        actor=received.sender,
        action="EDIT_HELD",
        case_id=hold.case_id,
        subject=received.sop_instance_uid,
        detail={"reasons": [str(r.reason) for r in reasons]},
    )
    log.info("edit held", case=hold.case_id, reasons=[str(r.reason) for r in reasons])


def _note(session: Session, env: Environment, received: Instance, action: str, candidate: Candidate | None) -> None:
    audit.append(
        session,
        at=env.clock(),
        actor=received.sender,
        action=action,
        case_id=candidate.case_id if candidate else "",
        subject=received.sop_instance_uid,
        detail={"stage": candidate.stage} if candidate else {},
    )


def _change(segment: SegmentDiff) -> dict[str, str | int | float | list[int] | None]:
    return {
        "label": segment.label,
        "voxels_added": segment.added_voxels,
        "voxels_removed": segment.removed_voxels,
        "ml_added": segment.added_ml,
        "ml_removed": segment.removed_ml,
        "dice": segment.dice,
        # NaN has no place in JSON: a distance to or from an empty mask is not defined.
        "hd95": None if math.isnan(segment.hd95_mm) else segment.hd95_mm,
        "slices": list(segment.slices),
    }
