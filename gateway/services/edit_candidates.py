"""The delivered SEGs an incoming one may be an edit of: one candidate for each, with its source and lazy masks."""

from __future__ import annotations

from collections.abc import Callable

from dicom_sr.match import Candidate, ChangeBounds
from sqlmodel import Session, col, select

from dicom_sr.segmentation import Segmentation
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from gateway.domain.case import CaseState
from gateway.domain.pipeline import OutputKind, Stage
from gateway.services import ledger
from gateway.services.environment import Environment
from gateway.services.report_seg import tracking_of_case
from gateway.store.tables import Case, Output, StageRun

#: States in which the outputs of the current iteration are what a person may be editing.
_SHOWN = frozenset({CaseState.IN_REVIEW, CaseState.AWAITING_EDIT, CaseState.QUARANTINED, CaseState.FINAL})


def candidates_for(session: Session, env: Environment, study_instance_uid: str) -> tuple[Candidate, ...]:
    """Return a candidate for every SEG ever delivered for a study; open are those of a current, finished iteration."""
    found: list[Candidate] = []
    cases = session.exec(select(Case).where(Case.study_instance_uid == study_instance_uid).order_by(col(Case.id)))
    for case in cases.all():
        if case.generation == 0 or case.pipeline not in env.pipelines:
            continue
        iteration = ledger.current_iteration(session, case)
        source = read_series([env.blobs.path(item["sha256"]) for item in iteration.inputs])
        current = ledger.current_output_uids(session, case)
        outputs = session.exec(
            select(Output).where(Output.case_id == case.id, Output.kind == OutputKind.SEG).order_by(col(Output.made_at))
        )
        for output in outputs.all():
            is_open = output.sop_instance_uid in current and case.state in _SHOWN
            candidate = _candidate(session, env, case, output, source, is_open=is_open)
            if candidate is not None:
                found.append(candidate)
    return tuple(found)


def _candidate(
    session: Session, env: Environment, case: Case, output: Output, source: SourceSeries, *, is_open: bool
) -> Candidate | None:
    stage = _stage(env, case, output.stage)
    run = ledger.runs_of(session, case.id, output.generation, output.iteration).get(output.stage)
    if stage is None or run is None:
        return None
    return Candidate(
        case_id=case.id,
        stage=stage.name,
        generation=output.generation,
        iteration=output.iteration,
        is_open=is_open,
        sop_instance_uid=output.sop_instance_uid,
        series_instance_uid=output.series_instance_uid,
        source=source,
        segments=stage.segments,
        tracking={segment.label: tracking_of_case(case.id, segment.label) for segment in stage.segments},
        load=_loader(env, run),
        bounds=ChangeBounds(
            minimum_dice=stage.scope.minimum_dice,
            maximum_volume_ratio=stage.scope.maximum_volume_ratio,
            overlap_allowed=stage.scope.overlap,
        ),
    )


def _stage(env: Environment, case: Case, name: str) -> Stage | None:
    pipeline = env.pipeline(case.pipeline)
    return next((stage for stage in pipeline.editable_stages if stage.name == name), None)


def _loader(env: Environment, run: StageRun) -> Callable[[], Segmentation]:
    def load() -> Segmentation:
        with env.database.read() as session:
            segmentation = ledger.load_segmentation(session, env.blobs, run)
        assert segmentation is not None
        return segmentation

    return load
