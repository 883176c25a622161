"""Which shipped pipeline takes which real series, what image QC says of a phantom, and a whole run on a real FLAIR."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from pydicom import dcmread

from dicom_sr.series import load_volume, read_series
from dicom_sr.verdict import Outcome, decide
from gateway.config import Config
from gateway.config_file import load
from gateway.domain.case import CaseState
from gateway.domain.pipeline import match
from gateway.domain.stage_run import StageRunState
from gateway.services.run_stage import StageRunner
from gateway.services.stage_work import WORK
from models.image_qc.assess import assess_image, criteria_for
from tests.support.lab import Lab
from tests.support.shared import shared_data

REUSED, REPLACED = StageRunState.REUSED, StageRunState.REPLACED
TUMOUR = "brain_tumor_mr_dicom/Study3"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    path = tmp_path_factory.mktemp("config") / "overread.yaml"
    path.write_text("pipelines: [hippocampus-mr, flair-lesions, brain-mr]\n")
    return load(path, environment={})


def files_in(folder: str) -> list[Path]:
    name, _, rest = folder.partition("/")
    return sorted(
        p for p in (shared_data(name) / rest).iterdir() if p.suffix not in (".md", ".txt") and p.name != "LICENSE"
    )


@pytest.mark.parametrize(
    ("folder", "taken"),
    [
        ("converted_dicom/flair_ms_patient01_tp1", ["flair-lesions"]),
        (f"{TUMOUR}/36468-FLAIRreg-58706", ["flair-lesions"]),
        (f"{TUMOUR}/26401-T1prereg-52906", ["brain-mr"]),
        (f"{TUMOUR}/37830-T2reg-78532", []),
        (f"{TUMOUR}/11_HCropVolume", ["hippocampus-mr"]),
        ("converted_dicom/hippocampus_001", ["hippocampus-mr"]),
        ("converted_dicom/spleen_ct_crop", []),
        ("brain_t1_siemens_dicom", ["brain-mr"]),
        ("odd_dicom/siemens_xa30_enhanced/In/5_anat-T1w_acq-tfl", ["brain-mr"]),
    ],
)
def test_every_real_series_goes_where_it_belongs(config: Config, folder: str, taken: list[str]) -> None:
    acquisition = read_series(files_in(folder)).acquisition
    refusals = {p.name: match(p.to_domain(), acquisition, called_aet="OVERREAD") for p in config.pipelines}
    assert [name for name, refusal in refusals.items() if refusal is None] == taken
    assert all(refusal.reason for refusal in refusals.values() if refusal is not None)


def test_a_phantom_named_as_a_head_is_rejected() -> None:
    target = "mr-head"
    files = files_in("mislabelled_phantom_ge_dicom")
    series = read_series(files)
    findings = assess_image(load_volume(series, files), series.acquisition, target=target, stage="image_qc")
    verdict = decide(findings, criteria_for(target))
    assert verdict.outcome is Outcome.REJECT
    assert "PHANTOM" in {reason.code for reason in verdict.reasons}


def test_a_t1_in_place_of_a_flair_is_rejected_with_the_reason() -> None:
    files = files_in(f"{TUMOUR}/26401-T1prereg-52906")
    series = read_series(files)
    findings = assess_image(load_volume(series, files), series.acquisition, target="flair-brain", stage="image_qc")
    verdict = decide(findings, criteria_for("flair-brain"))
    assert {r.code for r in verdict.reasons if r.outcome is Outcome.REJECT} == {"WRONG_SEQUENCE"}


@pytest.mark.slow
def test_a_real_flair_runs_through_every_stage_and_an_edit_of_lesions_leaves_the_brain(
    config: Config, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    (tmp_path / "images").mkdir()
    sources = files_in("converted_dicom/flair_ms_patient01_tp1")
    images = [Path(shutil.copy(path, tmp_path / "images")) for path in sources]
    lab = Lab.create(tmp_path / "data", config)
    lab.runner = StageRunner(lab.env, device="cpu", work=WORK)
    case = lab.process(images)
    assert (case.pipeline, case.state, case.verdict) == ("flair-lesions", CaseState.IN_REVIEW, "REVIEW")
    assert set(lab.states(case).values()) == {StageRunState.DONE}
    labels = [
        str(segment.SegmentLabel)
        for output in lab.outputs(case, kind="SEG")
        for segment in dcmread(lab.output_file(output)).SegmentSequence
    ]
    assert sorted(labels) == ["Brain", "White matter lesions"]
    lab.edit(lab.edited(lab.newest_seg(case, "lesions"), images))
    states = lab.states(lab.case(case.id))
    assert (states["image_qc"], states["brain_mask"], states["lesions"]) == (REUSED, REUSED, REPLACED)
    assert (states["measure"], states["segmentation_qc"]) == (StageRunState.DONE, StageRunState.DONE)
