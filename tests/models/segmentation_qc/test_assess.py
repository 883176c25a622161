"""The shipped QC model on real crops of test patients: good accepted, accidents never, bad input no verdict."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dicom_sr.errors import GeometryMismatch
from dicom_sr.verdict import Outcome, Verdict, decide
from dicom_sr.volume import Grid, Volume
from models.errors import InvalidModel, ModelNotFound, TamperedWeights
from models.image_qc.artefacts import Artefact, degrade
from models.registry import ModelCard, find_model
from models.segmentation.cases import LabelledVolume, case_names, read_cases
from models.segmentation_qc.accidents import accidents_of
from models.segmentation_qc.assess import SegmentationQc, SegmentationQcResult, criteria_for, load_segmentation_qc
from models.segmentation_qc.judge import NetworkSegmentationQc
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.table import masks_of
from models.split import Split, person_of, split_patients
from tests.support.shared import shared_data

WHOLE, FRONT, BACK = HIPPOCAMPUS_PLAN.labels
PATIENTS = 4


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return find_model("hippocampus-qc")


@pytest.fixture(scope="module")
def qc(card: ModelCard) -> SegmentationQc:
    return load_segmentation_qc(card, device="cpu")


@pytest.fixture(scope="module")
def cases() -> list[LabelledVolume]:
    folder = shared_data("hippocampus_msd")
    names = split_patients(case_names(folder))[Split.TEST]
    return list(read_cases(folder, names[:: max(1, len(names) // PATIENTS)][:PATIENTS]))


def masks(case: LabelledVolume) -> dict[str, np.ndarray]:
    return masks_of(case.expert.astype(np.uint8), HIPPOCAMPUS_PLAN)


def verdict(qc: SegmentationQc, card: ModelCard, volume: Volume, given: dict[str, np.ndarray]) -> Verdict:
    return decide(qc.assess(volume, given, agreement={}, stage="qc").findings, criteria_for(card))


def test_experts_masks_are_mostly_accepted_and_never_rejected(
    qc: SegmentationQc, card: ModelCard, cases: list[LabelledVolume]
) -> None:
    outcomes = [verdict(qc, card, case.volume, masks(case)).outcome for case in cases]
    assert Outcome.REJECT not in outcomes
    assert Outcome.NOT_ASSESSABLE not in outcomes
    assert outcomes.count(Outcome.ACCEPT) >= len(cases) / 2


def test_no_accident_is_accepted(card: ModelCard, cases: list[LabelledVolume]) -> None:
    qc = NetworkSegmentationQc(card, device="cpu")
    accepted = []
    for case in cases[:3]:
        truth = qc.examiner.paint(case.volume)
        others = [o for o in cases if person_of(o.name) != person_of(case.name)]
        for name, labels in accidents_of(case, others):
            given = masks_of(labels, HIPPOCAMPUS_PLAN)
            examination = qc.examiner.examine(case.volume, given, truth=truth)
            for origin in (set(), set(given)):
                found = qc.findings(examination, case.volume, given, by_machine=origin, stage="qc")
                if decide(found, criteria_for(card)).outcome is Outcome.ACCEPT:
                    accepted.append(name)
    assert accepted == []


def test_a_score_comes_with_its_interval_and_the_number_of_patients_behind_it(
    qc: SegmentationQc, cases: list[LabelledVolume]
) -> None:
    found = qc.assess(cases[0].volume, masks(cases[0]), agreement={WHOLE: 0.93}, stage="qc").findings
    for code in ("PREDICTED_DICE", "PREDICTED_HD95"):
        scores = [f for f in found if f.code == code]
        assert {f.segment for f in scores} == {WHOLE, FRONT, BACK}
        assert all(f.low <= f.value <= f.high for f in scores)
        assert all("calibration patients" in f.detail for f in scores)
    assert [(f.segment, f.value) for f in found if f.code == "ENSEMBLE_AGREEMENT"] == [(WHOLE, 0.93)]


def test_another_patients_image_ruins_a_good_mask(qc: SegmentationQc, cases: list[LabelledVolume]) -> None:
    """Were the score to measure how pretty a mask is, shuffled images would not matter."""
    truth, shuffled = [], []
    for case, other in zip(cases, cases[1:] + cases[:1], strict=True):
        own = masks(case)[WHOLE]
        shape = other.volume.grid.shape
        moved = np.zeros(shape, bool)
        common = tuple(slice(0, min(a, b)) for a, b in zip(shape, own.shape, strict=True))
        moved[common] = own[common]
        truth.append(_predicted(qc.assess(case.volume, {WHOLE: own}, agreement={}, stage="qc")))
        shuffled.append(_predicted(qc.assess(other.volume, {WHOLE: moved}, agreement={}, stage="qc")))
    assert np.mean(truth) > np.mean(shuffled) + 0.15


def _predicted(answer: SegmentationQcResult) -> float:
    return next(f.value or 0.0 for f in answer.findings if f.code == "PREDICTED_DICE")


def test_each_input_matters_alone(qc: SegmentationQc, cases: list[LabelledVolume]) -> None:
    case, given = cases[0], masks(cases[0])
    base = qc.assess(case.volume, given, agreement={}, stage="qc")
    spoilt = degrade(case.volume, Artefact.BLUR, 0.7, np.random.default_rng(0))
    other_image = qc.assess(spoilt, given, agreement={}, stage="qc")
    other_mask = qc.assess(case.volume, {WHOLE: np.roll(given[WHOLE], 2, axis=0)}, agreement={}, stage="qc")
    assert not np.array_equal(base.pseudo_ground_truth[WHOLE], other_image.pseudo_ground_truth[WHOLE])
    assert np.array_equal(base.pseudo_ground_truth[WHOLE], other_mask.pseudo_ground_truth[WHOLE])
    assert _predicted(other_mask) < _predicted(base)


def test_the_same_input_gives_the_same_answer(qc: SegmentationQc, cases: list[LabelledVolume]) -> None:
    one, two = (qc.assess(cases[0].volume, masks(cases[0]), agreement={}, stage="qc") for _ in range(2))
    assert one.findings == two.findings
    assert one.worst_slices == two.worst_slices


def test_a_stored_axis_order_changes_no_score(qc: SegmentationQc, cases: list[LabelledVolume]) -> None:
    """DICOM may store slices, rows and columns in any order; the score is of the patient, not of the array."""
    case = cases[0]
    z, y, _ = case.volume.grid.shape
    turn = np.array([[-1, 0, 0, z - 1], [0, -1, 0, y - 1], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    grid = Grid(shape=case.volume.grid.shape, affine=case.volume.grid.affine @ turn)
    turned = Volume(grid=grid, voxels=case.volume.voxels[::-1, ::-1].copy(), modality="MR")
    straight = qc.assess(case.volume, masks(case), agreement={}, stage="qc")
    other = qc.assess(turned, {k: m[::-1, ::-1].copy() for k, m in masks(case).items()}, agreement={}, stage="qc")
    for a, b in zip(straight.findings, other.findings, strict=True):
        assert (a.code, a.segment) == (b.code, b.segment)
        assert a.value == pytest.approx(b.value, abs=2e-3)


def test_the_worst_slices_are_where_the_mask_is_wrong(qc: SegmentationQc, cases: list[LabelledVolume]) -> None:
    spoilt = masks(cases[0])[WHOLE].copy()
    z = spoilt.shape[0] // 2
    spoilt[z] = ~spoilt[z]
    answer = qc.assess(cases[0].volume, {WHOLE: spoilt}, agreement={}, stage="qc")
    assert answer.worst_slices[WHOLE][0] == z
    assert len(answer.worst_slices[WHOLE]) <= 3
    assert answer.pseudo_ground_truth[WHOLE].shape == spoilt.shape


def random_image(shape: tuple[int, int, int] = (36, 48, 36)) -> Volume:
    affine = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    voxels = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    return Volume(grid=Grid(shape=shape, affine=affine), voxels=voxels, modality="MR")


def unusable() -> dict[str, Volume]:
    plain = random_image()
    sheared = plain.grid.affine.copy()
    sheared[0, 0] = 0.8
    return {
        "not finite": dataclasses.replace(plain, voxels=np.where(plain.voxels > 120, np.nan, plain.voxels)),
        "constant": dataclasses.replace(plain, voxels=np.ones_like(plain.voxels)),
        "single slice": random_image((1, 48, 36)),
        "sheared": dataclasses.replace(plain, grid=Grid(shape=plain.grid.shape, affine=sheared)),
    }


@pytest.mark.parametrize("kind", list(unusable()))
def test_an_image_no_network_can_work_on_gives_no_verdict(qc: SegmentationQc, card: ModelCard, kind: str) -> None:
    volume = unusable()[kind]
    answer = qc.assess(volume, {WHOLE: np.ones(volume.grid.shape, bool)}, agreement={}, stage="qc")
    assert all(f.value is None and f.detail for f in answer.findings)
    assert answer.pseudo_ground_truth == {}
    assert decide(answer.findings, criteria_for(card)).outcome is Outcome.NOT_ASSESSABLE


@pytest.mark.parametrize("shape", [(36, 48, 36), (8, 8, 8), (60, 12, 90)])
@pytest.mark.parametrize("fill", ["empty", "everything", "one voxel"])
def test_no_finding_is_ever_nan_and_noise_is_never_accepted(
    qc: SegmentationQc, card: ModelCard, shape: tuple[int, int, int], fill: str
) -> None:
    mask = np.full(shape, fill == "everything")
    mask[3, 3, 3] = fill == "one voxel"
    given = dict.fromkeys(HIPPOCAMPUS_PLAN.labels, mask)
    answer = qc.assess(random_image(shape), given, agreement={}, stage="qc")
    assert all(f.value is None or np.isfinite([f.value, f.low or 0, f.high or 0]).all() for f in answer.findings)
    assert decide(answer.findings, criteria_for(card)).outcome is not Outcome.ACCEPT


def test_thick_slices_are_judged_without_failing(qc: SegmentationQc) -> None:
    thick = random_image((12, 48, 36))
    affine = thick.grid.affine.copy()
    affine[2, 0] = 10.0
    volume = dataclasses.replace(thick, grid=Grid(shape=thick.grid.shape, affine=affine))
    answer = qc.assess(volume, {WHOLE: np.ones(thick.grid.shape, bool)}, agreement={}, stage="qc")
    assert all(f.value is None or np.isfinite(f.value) for f in answer.findings)


def test_a_segment_the_model_does_not_know_is_not_accepted(qc: SegmentationQc, card: ModelCard) -> None:
    volume = random_image()
    answer = qc.assess(volume, {"Amygdala": np.ones(volume.grid.shape, bool)}, agreement={}, stage="qc")
    assert [f.segment for f in answer.findings if f.value is None] == ["Amygdala"]
    assert decide(answer.findings, criteria_for(card)).outcome is not Outcome.ACCEPT


def test_a_mask_of_another_shape_is_refused(qc: SegmentationQc) -> None:
    with pytest.raises(GeometryMismatch):
        qc.assess(random_image(), {WHOLE: np.ones((3, 3, 3), bool)}, agreement={}, stage="qc")


def test_another_kind_of_model_is_refused() -> None:
    for name in ("hippocampus", "no such model"):
        with pytest.raises((InvalidModel, ModelNotFound)):
            criteria_for(find_model(name))


def test_tampered_weights_are_refused(card: ModelCard, tmp_path) -> None:
    for path in card.folder.iterdir():
        if path.suffix != ".csv":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    spoilt = bytearray(weights.read_bytes())
    spoilt[-1] ^= 1
    weights.write_bytes(bytes(spoilt))
    with pytest.raises(TamperedWeights):
        load_segmentation_qc(find_model(str(tmp_path)))


def test_criteria_are_read_without_torch(card: ModelCard) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from models.registry import find_model; from models.segmentation_qc.assess import criteria_for; "
        "from models.image_qc.assess import assess_image; "
        "assert criteria_for(find_model('hippocampus-qc')); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_crop_is_judged_within_three_seconds_of_processor_time(
    qc: SegmentationQc, cases: list[LabelledVolume]
) -> None:
    qc.assess(cases[0].volume, masks(cases[0]), agreement={}, stage="qc")
    started = time.process_time()
    qc.assess(cases[1].volume, masks(cases[1]), agreement={}, stage="qc")
    assert time.process_time() - started < 3.0
