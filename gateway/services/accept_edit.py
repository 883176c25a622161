"""Take an edit: match it, then accept it as the next iteration, hold it with reasons, or note it as unchanged.

Nothing received is dropped: whatever is not accepted is a hold that a person can look at, release or discard.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog
from sqlmodel import Session, col, select

from dicom_sr.candidate import Candidate
from dicom_sr.diff import SegmentDiff
from dicom_sr.hold import HoldDetail, HoldReason
from dicom_sr.match import Hold as MatchHold
from dicom_sr.match import Ignore, Match, Unchanged
from gateway.domain.case import EDITABLE, CaseEvent, CaseState, next_state
from gateway.domain.instance import EDIT_KINDS
from gateway.domain.pipeline import EditDoor, Pipeline, RerunPolicy
from gateway.domain.plan import rerun
from gateway.domain.qc_status import QcStatus
from gateway.services import ledger
from gateway.services.edit_holds import close_hold, hold_edit, open_hold_of
from gateway.services.edit_matching import Matched, match_edit, match_file, match_set
from gateway.services.edit_object import EditObject, object_of_hold, object_of_instance
from gateway.services.edit_sets import waiting_parts
from gateway.services.environment import Environment
from gateway.services.open_iteration import Opening, edits_in_force, open_iteration
from gateway.store import audit
from gateway.store.artifacts import encode_segmentation
from gateway.store.tables import Artifact, Case, Edit, Hold, Instance

log = structlog.get_logger(__name__)


class EditOutcome(StrEnum):
    """What became of a received object."""

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

    @property
    def target(self) -> tuple[str, str]:
        """Case and stage."""
        return self.case_id, self.stage


def pending_edits(env: Environment) -> tuple[str, ...]:
    """Return the SOP Instance UIDs of received edits that nobody has looked at yet, oldest first."""
    with env.database.read() as session:
        rows = session.exec(
            select(Instance.sop_instance_uid)
            .where(col(Instance.kind).in_(EDIT_KINDS), Instance.handled == False)  # noqa: E712 - SQL
            .order_by(col(Instance.received_at), col(Instance.sop_instance_uid))
        )
        return tuple(rows.all())


def handle_edit(env: Environment, sop_instance_uid: str) -> EditOutcome:
    """Match one received instance and do what follows from it, in one transaction.

    Parameters
    ----------
    env : Environment
        The gateway.
    sop_instance_uid : str
        The received instance.
    """
    with env.database.read() as session:
        instance = session.get(Instance, sop_instance_uid)
        assert instance is not None
        edit = object_of_instance(instance)
    return _settle(env, edit, match_edit(env, edit))


def handle_file(env: Environment, edit: EditObject, content: bytes) -> EditOutcome:
    """Match a label map that was handed in as a file, and do what follows; `edit.sha256` is that of `content`.

    Raises
    ------
    DicomObjectError
        If the file itself cannot be taken; then nothing of it is kept.
    """
    matched = match_file(env, edit, content)
    env.blobs.put(content)
    return _settle(env, edit, matched)


def release_hold(env: Environment, release: Release) -> EditOutcome:
    """Take a held object by a person's order, which overrules what it cannot say but never identity or geometry."""
    edit = _held_object(env, release.hold_id)
    return _settle(env, edit, match_edit(env, edit, forced=release.target), release=release)


def reconsider(env: Environment, hold_id: int) -> EditOutcome:
    """Look at a held part of a set again, after another part was taken away."""
    edit = _held_object(env, hold_id)
    return _settle(env, edit, match_edit(env, edit))


def _held_object(env: Environment, hold_id: int) -> EditObject:
    with env.database.read() as session:
        hold = session.get(Hold, hold_id)
        assert hold is not None
        return object_of_hold(hold, session.get(Instance, hold.sop_instance_uid))


def _settle(env: Environment, edit: EditObject, matched: Matched, *, release: Release | None = None) -> EditOutcome:
    """Do what follows from a match, with the other parts of its set where there are any."""
    parts: tuple[tuple[Hold, EditObject], ...] = ()
    with env.database.read() as session:
        known = open_hold_of(session, edit)
        key = matched.set_key or (known.set_key if known else "")
        if key:
            parts = waiting_parts(session, edit, key, at=known.held_at if known else env.clock())
    if parts:
        whole = match_set(env, [*(part for _, part in parts), edit], forced=release.target if release else None)
        matched = Matched(outcome=whole.outcome, editor=whole.editor or matched.editor, set_key=key)
    with env.database.write() as session:
        received = session.get(Instance, edit.sop_instance_uid)
        if received is not None:
            received.handled = True
            session.add(received)
        return _Settling(session, env, edit, [hold.id or 0 for hold, _ in parts], release).conclude(matched)


class _Settling:
    """One object, with the holds of the other parts of its set, in one write transaction."""

    def __init__(
        self, session: Session, env: Environment, edit: EditObject, parts: Sequence[int], release: Release | None
    ) -> None:
        self._session = session
        self._env = env
        self._edit = edit
        self._release = release
        held = [session.get(Hold, hold_id) for hold_id in parts]
        self._parts = [hold for hold in held if hold is not None and hold.state == "OPEN"]
        self._is_overtaken = len(self._parts) < len(parts)

    def conclude(self, matched: Matched) -> EditOutcome:
        """Record what matching came to."""
        outcome = matched.outcome
        if self._is_overtaken:
            return self._hold(matched, [HoldDetail(HoldReason.PARTIAL_SET, "another part was resolved meanwhile")], ())
        if isinstance(outcome, Match):
            return self._accept(matched, outcome)
        if isinstance(outcome, Unchanged):
            self._note("RETURNED_UNCHANGED", outcome.candidate)
            return EditOutcome.UNCHANGED
        if isinstance(outcome, Ignore):
            self._note(f"IGNORED_{outcome.reason}", outcome.candidate)
            return EditOutcome.IGNORED
        assert isinstance(outcome, MatchHold)
        return self._hold(matched, outcome.reasons, outcome.candidates)

    def _accept(self, matched: Matched, found: Match) -> EditOutcome:
        session, env, candidate = self._session, self._env, found.candidate
        case = session.get(Case, candidate.case_id)
        assert case is not None
        pipeline = env.pipeline(case.pipeline)
        refusals = tuple(_closed(session, case, pipeline, candidate, released=self._release is not None))
        if refusals:
            return self._hold(matched, refusals, (candidate,))
        if case.state is CaseState.IN_REVIEW:
            # Saving the edit is itself the request: it is recorded as the sender's decision on the iteration before.
            _record_request(session, env, case, sender=self._edit.sender)
        carried = edits_in_force(session, env, case, edited=candidate.stage)
        prior = ledger.current_iteration(session, case)
        case.state = next_state(case.state, CaseEvent.EDIT_ACCEPTED)
        case.iteration += 1
        case.qc_assignee = ""
        session.add(case)
        row = self._record(matched, found, case)
        self._resolve_parts(row.id, case.id, "taken together with the other parts of its set")
        self._audit_acceptance(found, case, pipeline)
        stand_in = Artifact(stage_run_id=0, role=ledger.SEGMENTATION, sha256=row.sha256, digest=row.digest)
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
                edits={candidate.stage: stand_in},
                carried=carried,
            ),
        )
        log.info("edit accepted", case=case.id, stage=candidate.stage, iteration=case.iteration)
        return EditOutcome.ACCEPTED

    def _record(self, matched: Matched, found: Match, case: Case) -> Edit:
        edit = self._edit
        row = Edit(
            case_id=case.id,
            generation=case.generation,
            iteration=case.iteration,
            stage=found.candidate.stage,
            sop_instance_uid=edit.sop_instance_uid,
            format=edit.format,
            received_sha256=edit.sha256,
            parts=[hold.sop_instance_uid for hold in self._parts],
            prior_sop_instance_uid=found.candidate.sop_instance_uid,
            sender=edit.sender,
            door=edit.door,
            evidence=found.confidence,
            accepted_at=self._env.clock(),
            sha256=self._env.blobs.put(encode_segmentation(found.segmentation)),
            digest=found.segmentation.digest(),
            changed_voxels=found.diff.changed_voxels,
            changes=[_change(segment) for segment in found.diff.segments],
            editor=dict(matched.editor),
        )
        self._session.add(row)
        self._session.flush()
        return row

    def _audit_acceptance(self, found: Match, case: Case, pipeline: Pipeline) -> None:
        edit, stage = self._edit, found.candidate.stage
        audit.append(
            self._session,
            at=self._env.clock(),
            actor=edit.sender,
            action="EDIT_ACCEPTED",
            case_id=case.id,
            subject=edit.sop_instance_uid,
            detail={
                "stage": stage,
                "iteration": case.iteration,
                "generation": case.generation,
                "format": str(edit.format),
                "door": edit.door,
                "sha256": edit.sha256,
                "parts": [hold.sop_instance_uid for hold in self._parts],
                "evidence": str(found.evidence),
                "changed_voxels": found.diff.changed_voxels,
                "may_rerun": [*sorted(rerun(pipeline, stage))],
                "released_by": self._release.actor if self._release else "",
            },
        )

    def _hold(self, matched: Matched, reasons: Sequence[HoldDetail], candidates: Sequence[Candidate]) -> EditOutcome:
        """Hold the object; the parts of a set are held for what is wrong with the whole."""
        now = self._env.clock()
        hold_edit(self._session, self._edit, reasons, candidates, set_key=matched.set_key, others=self._parts, at=now)
        return EditOutcome.HELD

    def _note(self, what: str, candidate: Candidate | None) -> None:
        case_id = candidate.case_id if candidate else ""
        self._resolve_parts(None, case_id, "together with the other parts of its set it changes nothing")
        audit.append(
            self._session,
            at=self._env.clock(),
            actor=self._edit.sender,
            action=f"{self._edit.format}_{what}",
            case_id=case_id,
            subject=self._edit.sop_instance_uid,
            detail={"stage": candidate.stage} if candidate else {},
        )

    def _resolve_parts(self, edit_id: int | None, case_id: str, reason: str) -> None:
        """Close the holds of the parts, and the one that an object was reconsidered from."""
        actor = self._release.actor if self._release else self._edit.sender
        own = open_hold_of(self._session, self._edit) if self._release is None else None
        for hold in [*self._parts, *([own] if own else [])]:
            hold.edit_id = edit_id
            hold.case_id = hold.case_id or case_id
            close_hold(self._session, hold, "ACCEPTED", reason=reason, actor=actor, at=self._env.clock())


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
