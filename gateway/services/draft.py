"""A DICOM object about to become an output: checked, made bytes, kept, and queued for its destinations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from sqlmodel import Session

from dicom_sr.errors import InvalidObject
from dicom_sr.validate import check
from gateway.config import Destination
from gateway.domain.instance import LABEL_MAP_SEGMENTATION_STORAGE
from gateway.domain.pipeline import ASKED_FOR_KINDS, OutputKind, Pipeline
from gateway.services.environment import Environment
from gateway.store.tables import Case, Delivery, IterationOutput, Output

#: Kinds that are made as bit planes and as label map where destinations differ.
_IN_TWO_FORMS = frozenset({OutputKind.SEG, OutputKind.PSEUDO_TRUTH_SEG})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An object that passed our own checks and is durable in the blob store, not yet an output.

    Parameters
    ----------
    kind : OutputKind
        What it is.
    stage : str
        Stage it shows, or the stage that reports.
    content_digest : str
        Equal digests mean nothing new to say: the earlier object is carried over.
    destination : str
        The one destination it is for; empty for all that take its kind.
    """

    kind: OutputKind
    stage: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    sha256: str
    size: int
    content_digest: str = ""
    destination: str = ""


def keep_draft(
    env: Environment,
    dataset: Dataset,
    *,
    kind: OutputKind,
    stage: str,
    content_digest: str = "",
    destination: str = "",
) -> Draft:
    """Check an object and keep its bytes.

    Raises
    ------
    InvalidObject
        If it breaks a post-condition: nothing wrong ever leaves.
    """
    problems = check(dataset)
    if problems:
        raise InvalidObject(f"{kind} would leave with {len(problems)} faults, first: {problems[0]}")
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    return Draft(
        kind=kind,
        stage=stage,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        sha256=env.blobs.put(content),
        size=len(content),
        content_digest=content_digest,
        destination=destination,
    )


def destinations_of(env: Environment, pipeline: Pipeline) -> tuple[Destination, ...]:
    """Return the destinations a pipeline sends to, as configured."""
    return tuple(d for d in env.config.destinations if d.name in pipeline.destinations)


def taken_by(destination: Destination, drafts: Sequence[Draft]) -> list[Draft]:
    """Return the objects a destination takes: of its kinds or made for it, and of a SEG the form its viewers read best.

    A SEG that exists in another form only (a label map cannot hold overlapping segments) goes out in that form.
    """
    wanted = [draft for draft in drafts if _is_wanted(destination, draft)]
    preferred = [draft for draft in wanted if _is_preferred(destination, draft)]
    served = {(draft.kind, draft.stage) for draft in preferred}
    return preferred + [draft for draft in wanted if (draft.kind, draft.stage) not in served]


def _is_wanted(destination: Destination, draft: Draft) -> bool:
    if draft.destination:
        return draft.destination == destination.name
    if not destination.outputs:
        return draft.kind not in ASKED_FOR_KINDS
    return draft.kind in destination.outputs


def _is_preferred(destination: Destination, draft: Draft) -> bool:
    is_label_map = draft.sop_class_uid == LABEL_MAP_SEGMENTATION_STORAGE
    return draft.kind not in _IN_TWO_FORMS or is_label_map == (destination.seg == "LABELMAP")


def record_outputs(
    session: Session,
    env: Environment,
    case: Case,
    *,
    iteration: int,
    drafts: Sequence[Draft],
    carried: Sequence[Output],
    replaced: Sequence[Output],
) -> None:
    """Make drafts outputs of an iteration, with their outbox rows, in the caller's transaction.

    Parameters
    ----------
    session : Session
        A write transaction.
    env : Environment
        The gateway.
    case : Case
        Whose outputs they are.
    iteration : int
        Iteration in which drafts and carried outputs are current.
    drafts : sequence of Draft
        New objects.
    carried : sequence of Output
        Objects of the iteration before that stay current.
    replaced : sequence of Output
        Objects that are not current any more.
    """
    now = env.clock()
    for draft in drafts:
        session.add(_output(draft, case, iteration, env))
    for output in replaced:
        output.superseded = True
        session.add(output)
    session.flush()
    for uid in [d.sop_instance_uid for d in drafts] + [o.sop_instance_uid for o in carried]:
        row = IterationOutput(case_id=case.id, generation=case.generation, iteration=iteration, sop_instance_uid=uid)
        session.merge(row)
    for destination in destinations_of(env, env.pipeline(case.pipeline)):
        for draft in taken_by(destination, drafts):
            session.add(
                Delivery(
                    sop_instance_uid=draft.sop_instance_uid,
                    case_id=case.id,
                    destination=destination.name,
                    due_at=now,
                )
            )


def _output(draft: Draft, case: Case, iteration: int, env: Environment) -> Output:
    return Output(
        sop_instance_uid=draft.sop_instance_uid,
        case_id=case.id,
        generation=case.generation,
        iteration=iteration,
        kind=draft.kind,
        stage=draft.stage,
        sop_class_uid=draft.sop_class_uid,
        series_instance_uid=draft.series_instance_uid,
        study_instance_uid=draft.study_instance_uid,
        transfer_syntax_uid=draft.transfer_syntax_uid,
        sha256=draft.sha256,
        size=draft.size,
        content_digest=draft.content_digest,
        made_at=env.clock(),
    )
