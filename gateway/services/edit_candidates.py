"""The delivered SEGs that an incoming one may be an edit of, each a candidate with source and masks on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from sqlmodel import Session, col, select

from dicom_sr.candidate import Candidate, ChangeBounds, OutputSource, OutputState
from dicom_sr.segmentation import Segmentation
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from gateway.domain.case import EDITABLE, CaseState
from gateway.domain.instance import InstanceKind
from gateway.domain.pipeline import EditDoor, OutputKind, Pipeline, Stage
from gateway.services import ledger
from gateway.services.environment import Environment
from gateway.services.report_context import tracking_of_case
from gateway.store.tables import Case, Edit, Instance, Iteration, IterationOutput, Output, Series, StageRun, Study

#: UIDs in one query.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """What a received object says it belongs to.

    Parameters
    ----------
    study_instance_uid : str
        Its study.
    image_uids : frozenset of str
        The images it cites.
    object_uids : frozenset of str
        Other objects it names: predecessors, references.
    case_id : str
        The case that a person named; may be empty.
    """

    study_instance_uid: str
    image_uids: frozenset[str] = frozenset()
    object_uids: frozenset[str] = frozenset()
    case_id: str = ""


def candidates_for(session: Session, env: Environment, citation: Citation) -> tuple[Candidate, ...]:
    """Return a candidate for every SEG ever delivered, of any iteration, that an object could be an edit of.

    Those of its study, those made from an image it cites, and those of whose study it names an object: a copy with
    another Study Instance UID must be told from an edit of nothing. Every look-up is by an index.
    """
    found: list[Candidate] = []
    for uid in sorted(_studies(session, citation)):
        study = session.get(Study, uid)
        cases = session.exec(select(Case).where(Case.study_instance_uid == uid).order_by(col(Case.id)))
        for case in cases.all():
            if study is not None and case.generation > 0 and case.pipeline in env.pipelines:
                found += _candidates_of(session, env, study, case)
    return tuple(found)


def is_any_ours(session: Session, citation: Citation) -> bool:
    """Whether anything an object cites is here: an image of its study, an image or an output that it names."""
    if citation.case_id or _studies(session, citation) - {citation.study_instance_uid}:
        return True
    images = select(Instance.sop_instance_uid).where(
        Instance.study_instance_uid == citation.study_instance_uid, Instance.kind == InstanceKind.IMAGE
    )
    return session.exec(images.limit(1)).first() is not None


def _studies(session: Session, citation: Citation) -> set[str]:
    """Return the studies that an object names, directly or by what it cites."""
    studies = {citation.study_instance_uid}
    for uids in _portions(citation.image_uids):
        studies.update(
            session.exec(
                select(Instance.study_instance_uid)
                .where(col(Instance.sop_instance_uid).in_(uids), Instance.kind == InstanceKind.IMAGE)
                .distinct()
            )
        )
    for uids in _portions(citation.object_uids):
        studies.update(
            session.exec(select(Output.study_instance_uid).where(col(Output.sop_instance_uid).in_(uids)).distinct())
        )
    case = session.get(Case, citation.case_id) if citation.case_id else None
    if case is not None:
        studies.add(case.study_instance_uid)
    return studies


def _portions(uids: frozenset[str]) -> Iterator[list[str]]:
    ordered = sorted(uids)
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]


def _candidates_of(session: Session, env: Environment, study: Study, case: Case) -> list[Candidate]:
    pipeline = env.pipeline(case.pipeline)
    stages = {stage.name: stage for stage in pipeline.editable_stages}
    shown = _shown(session, case)
    outputs = session.exec(
        select(Output).where(Output.case_id == case.id, Output.kind == OutputKind.SEG).order_by(col(Output.made_at))
    ).all()
    sources: dict[int, OutputSource | None] = {}
    found = []
    for output in outputs:
        run = ledger.runs_of(session, case.id, output.generation, output.iteration).get(output.stage)
        if output.stage not in stages or run is None:
            continue
        if output.generation not in sources:
            sources[output.generation] = _source(session, env, case, output.generation)
        source = sources[output.generation]
        if source is None:
            continue
        state = _state(pipeline, case, is_shown=output.sop_instance_uid in shown)
        found.append(_candidate(session, env, study, output, stages[output.stage], run, source, state))
    return found


def _shown(session: Session, case: Case) -> frozenset[str]:
    """Return the outputs of the newest finished iteration: what people look at now."""
    iteration = session.exec(
        select(Iteration)
        .where(Iteration.case_id == case.id, col(Iteration.finished_at).is_not(None))
        .order_by(col(Iteration.id).desc())
        .limit(1)
    ).first()
    if iteration is None:
        return frozenset()
    rows = session.exec(
        select(IterationOutput.sop_instance_uid).where(
            IterationOutput.case_id == case.id,
            IterationOutput.generation == iteration.generation,
            IterationOutput.iteration == iteration.number,
        )
    )
    return frozenset(rows.all())


def _state(pipeline: Pipeline, case: Case, *, is_shown: bool) -> OutputState:
    if not is_shown:
        return OutputState.SUPERSEDED
    if case.state is CaseState.RUNNING:
        return OutputState.EDITED
    if case.state not in EDITABLE:
        return OutputState.CLOSED
    asked = pipeline.edits is EditDoor.OPEN or case.state is CaseState.AWAITING_EDIT
    return OutputState.OPEN if asked else OutputState.CLOSED


def _source(session: Session, env: Environment, case: Case, generation: int) -> OutputSource | None:
    """Return the images of a generation, None when they are off the disk (retention): nothing compares with them."""
    iteration = ledger.iteration_of(session, case.id, generation, _first_number(session, case, generation))
    paths = [env.blobs.location(item["sha256"]) for item in iteration.inputs]
    if not all(path.is_file() for path in paths):
        return None

    @cache
    def load() -> SourceSeries:
        return read_series(paths)

    series = session.get(Series, iteration.series_instance_uid)
    return OutputSource(
        series_instance_uid=iteration.series_instance_uid,
        frame_of_reference_uid=(series.frame_of_reference_uid if series else "") or load().frame_of_reference_uid,
        sop_instance_uids=frozenset(item["sop_instance_uid"] for item in iteration.inputs),
        load=load,
    )


def _first_number(session: Session, case: Case, generation: int) -> int:
    numbers = session.exec(
        select(Iteration.number).where(Iteration.case_id == case.id, Iteration.generation == generation)
    )
    return min(numbers.all())


def _candidate(
    session: Session,
    env: Environment,
    study: Study,
    output: Output,
    stage: Stage,
    run: StageRun,
    source: OutputSource,
    state: OutputState,
) -> Candidate:
    edits = session.exec(select(Edit.digest).where(Edit.prior_sop_instance_uid == output.sop_instance_uid))
    return Candidate(
        case_id=output.case_id,
        stage=stage.name,
        generation=output.generation,
        iteration=output.iteration,
        state=state,
        study_instance_uid=study.study_instance_uid,
        patient_id=study.patient_id,
        source=source,
        sop_instance_uid=output.sop_instance_uid,
        series_instance_uid=output.series_instance_uid,
        segments=stage.segments,
        tracking={segment.label: tracking_of_case(output.case_id, segment.label) for segment in stage.segments},
        load=_loader(env, run),
        bounds=ChangeBounds(
            min_dice=stage.scope.minimum_dice,
            max_volume_ratio=stage.scope.maximum_volume_ratio,
            overlap_allowed=stage.scope.overlap,
        ),
        accepted_edit_digests=frozenset(edits.all()),
    )


def _loader(env: Environment, run: StageRun) -> Callable[[], Segmentation]:
    def load() -> Segmentation:
        with env.database.read() as session:
            segmentation = ledger.load_segmentation(session, env.blobs, run)
        assert segmentation is not None
        return segmentation

    return load
