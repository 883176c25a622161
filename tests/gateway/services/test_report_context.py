"""What a case is judged by: every stage that ran, each fact once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from dicom_sr.verdict import Criterion, Finding
from gateway.config_file import load
from gateway.domain.case import CaseState
from gateway.domain.pipeline import Pipeline, StageKind
from gateway.domain.stage_run import StageRunState
from gateway.services.report_context import ReportContext, StageReport
from gateway.store.tables import Case, Iteration, StageRun

DOUBT = Criterion(code="ENSEMBLE_AGREEMENT", review_below=0.5, source="test")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    path = tmp_path_factory.mktemp("config") / "overread.yaml"
    path.write_text("pipelines: [flair-lesions]\n")
    return load(path, environment={}).pipelines[0].to_domain()


def context(pipeline: Pipeline, findings: Mapping[str, tuple[Finding, ...]]) -> ReportContext:
    reports = tuple(
        StageReport(
            stage=stage,
            run=StageRun(case_id="c", generation=1, iteration=0, stage=stage.name, state=StageRunState.DONE),
            segmentation=None,
            pseudo_ground_truth=None,
            probabilities={},
            worst_slices={},
            findings=findings.get(stage.name, ()),
            criteria=(DOUBT,) if stage.kind is StageKind.SEGMENTATION_QC else (),
            edit=None,
            edited_from=None,
        )
        for stage in pipeline.stages
    )
    return ReportContext(
        case=Case(id="c", study_instance_uid="1.2", pipeline=pipeline.name, state=CaseState.IN_REVIEW),
        pipeline=pipeline,
        iteration=Iteration(case_id="c", generation=1, number=0, cause="AUTOMATIC"),
        stages=reports,
        prior_outputs=(),
        prior_segmentations={},
    )


def agreement(stage: str, segment: str, value: float) -> Finding:
    return Finding(stage=stage, code="ENSEMBLE_AGREEMENT", segment=segment, value=value)


def test_what_quality_control_says_again_is_one_reason(pipeline: Pipeline) -> None:
    said = {
        "lesions": (agreement("lesions", "White matter lesions", 0.171234),),
        "segmentation_qc": (agreement("segmentation_qc", "White matter lesions", 0.1712),),
    }
    verdict = context(pipeline, said).verdict()
    assert [(r.code, r.segment) for r in verdict.reasons] == [("ENSEMBLE_AGREEMENT", "White matter lesions")]
    assert [assessed.finding.stage for assessed in verdict.assessed] == ["segmentation_qc"]


def test_what_only_the_segmenter_says_still_counts(pipeline: Pipeline) -> None:
    said = {
        "brain_mask": (agreement("brain_mask", "Brain", 0.2),),
        "segmentation_qc": (agreement("segmentation_qc", "White matter lesions", 0.9),),
    }
    verdict = context(pipeline, said).verdict()
    assert [(r.code, r.segment) for r in verdict.reasons] == [("ENSEMBLE_AGREEMENT", "Brain")]
