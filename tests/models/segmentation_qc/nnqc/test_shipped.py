"""The nnQC that ships: it looks at the image, agrees with its published tables, and costs what is said."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dicom_sr.verdict import Outcome, decide
from models.card import read_card, write_card
from models.metrics import dice
from models.registry import find_model, verify
from models.segmentation.cases import LabelledVolume, case_names, read_cases
from models.segmentation_qc.accidents import accidents_of
from models.segmentation_qc.assess import criteria_for, load_segmentation_qc
from models.segmentation_qc.evaluate import ACCIDENTS_FILE, CANDIDATES_FILE, read_accidents
from models.segmentation_qc.judge import NetworkSegmentationQc
from models.segmentation_qc.nnqc import evaluate
from models.segmentation_qc.nnqc.evaluate import PAINTINGS_FILE, calibrate_shipped, nnqc_figures_again
from models.segmentation_qc.nnqc.examiner import DiffusionExaminer, companion_of
from models.segmentation_qc.nnqc.measure import Measured, read_paintings
from models.segmentation_qc.nnqc.train import NAME
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.table import masks_of, read_table
from models.segmentation_qc.train import TABLE_FILE
from models.split import Split, person_of, split_of, split_patients
from tests.support.shared import shared_data

CARD = find_model(NAME)
WHOLE = HIPPOCAMPUS_PLAN.whole


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def qc() -> NetworkSegmentationQc:
    loaded = load_segmentation_qc(CARD, device="cpu")
    assert isinstance(loaded, NetworkSegmentationQc)
    return loaded


@pytest.fixture(scope="module")
def examiner(qc: NetworkSegmentationQc) -> DiffusionExaminer:
    assert isinstance(qc.examiner, DiffusionExaminer)
    return qc.examiner


@pytest.fixture(scope="module")
def cases() -> list[LabelledVolume]:
    folder = shared_data("hippocampus_msd")
    names = split_patients(case_names(folder))[Split.TEST]
    return list(read_cases(folder, names[::11][:4]))


def masks(case: LabelledVolume) -> dict[str, np.ndarray]:
    return masks_of(case.expert.astype(np.uint8), HIPPOCAMPUS_PLAN)


def test_the_weights_are_those_their_card_was_sealed_for_and_small_enough() -> None:
    verify(CARD)
    assert (CARD.folder / "model.safetensors").stat().st_size < 16 * 2**20


def test_it_paints_from_the_image_when_the_candidate_is_empty(
    examiner: DiffusionExaminer, cases: list[LabelledVolume]
) -> None:
    own, shuffled = [], []
    for case, other in zip(cases, cases[1:] + cases[:1], strict=True):
        blank = examiner.painter.look(case.volume).blank.masks[WHOLE]
        own.append(dice(blank, masks(case)[WHOLE]))
        foreign = np.zeros(blank.shape, bool)
        common = tuple(slice(0, min(a, b)) for a, b in zip(blank.shape, other.expert.shape, strict=True))
        foreign[common] = masks(other)[WHOLE][common]
        shuffled.append(dice(blank, foreign))
    assert np.mean(own) > 0.6
    assert np.mean(own) > np.mean(shuffled) + 0.15  # the image decides, not how pretty a mask is


def test_image_and_candidate_each_change_the_painting_alone(
    examiner: DiffusionExaminer, cases: list[LabelledVolume]
) -> None:
    case = cases[0]
    look = examiner.painter.look(case.volume)
    base = examiner.painter.paint(look, masks(case)).probabilities[WHOLE]
    moved = {label: np.roll(mask, 3, axis=1) for label, mask in masks(case).items()}
    assert np.abs(examiner.painter.paint(look, moved).probabilities[WHOLE] - base).max() > 0.05
    turned = LabelledVolume(
        name="", volume=type(case.volume)(**_with(case, case.volume.voxels[::-1].copy())), expert=case.expert
    )
    other = examiner.painter.paint(examiner.painter.look(turned.volume), masks(case)).probabilities[WHOLE]
    assert np.abs(other - base).max() > 0.05


def _with(case: LabelledVolume, voxels: np.ndarray) -> dict[str, object]:
    return {"grid": case.volume.grid, "voxels": voxels, "modality": case.volume.modality}


def test_no_accident_is_accepted(qc: NetworkSegmentationQc, cases: list[LabelledVolume]) -> None:
    case, others = cases[0], [o for o in cases if person_of(o.name) != person_of(cases[0].name)]
    truth = qc.examiner.paint(case.volume)
    accepted = []
    for name, labels in list(accidents_of(case, others))[::3]:
        given = masks_of(labels, HIPPOCAMPUS_PLAN)
        examination = qc.examiner.examine(case.volume, given, truth=truth)
        for origin in (set[str](), set(given)):
            found = qc.findings(examination, case.volume, given, by_machine=origin, stage="qc")
            if decide(found, criteria_for(CARD)).outcome is Outcome.ACCEPT:
                accepted.append(name)
    assert accepted == []


def test_a_crop_is_judged_within_three_seconds_of_processor_time(
    qc: NetworkSegmentationQc, cases: list[LabelledVolume]
) -> None:
    qc.assess(cases[0].volume, masks(cases[0]), agreement={}, stage="qc")
    started = time.process_time()
    answer = qc.assess(cases[1].volume, masks(cases[1]), agreement={}, stage="qc")
    assert time.process_time() - started < 3.0
    assert {f.segment for f in answer.findings if f.code == "PREDICTED_DICE"} == set(HIPPOCAMPUS_PLAN.labels)


def test_tables_hold_the_patients_they_should_and_share_none() -> None:
    test, known = read_table(CARD.folder / CANDIDATES_FILE), read_table(CARD.folder / TABLE_FILE)
    assert {split_of(line.case) for line in test} == {Split.TEST}
    assert {split_of(line.case) for line in known} == {Split.QC_TRAIN, Split.CALIBRATION}
    paintings = read_paintings(CARD.folder / PAINTINGS_FILE)
    assert [(x.case, x.variant, x.label, x.dice) for x in test] == [
        (x.case, x.variant, x.label, x.dice) for x in paintings
    ]


def test_of_the_published_accidents_one_was_accepted_a_strangers_mask_that_happens_to_fit() -> None:
    """Its Dice with the experts is .77, .76 and .74; the default QC asks a person to look at it."""
    rows = read_accidents(CARD.folder / ACCIDENTS_FILE)
    assert len(rows) == 16 * len({row["case"] for row in rows}) == 16 * 42
    accepted = [(row["case"], row["accident"]) for row in rows if row["outcome"] == "ACCEPT"]
    assert accepted == [("hippocampus_189", "another patient's perfect mask")]


def test_what_is_said_of_the_gain_is_what_was_measured() -> None:
    """nnQC is opt-in; were its gain clear of zero and worth having, the default would have to change."""
    figures = json.loads((CARD.folder / "metrics.json").read_text())
    gained, low, high = figures["predicted_dice"]["gain of the scorer by nnQC"]["mae_reduction"]
    assert low <= gained <= high
    assert not (low > 0 and gained > 0.005)


@pytest.mark.slow
def test_figures_follow_from_the_tables(tmp_path: Path) -> None:
    for name in (CANDIDATES_FILE, ACCIDENTS_FILE, PAINTINGS_FILE):
        shutil.copy(CARD.folder / name, tmp_path)
    again = nnqc_figures_again(tmp_path, CARD)
    assert json.loads(json.dumps(again)) == json.loads((CARD.folder / "metrics.json").read_text())


class MeasuredAlready:
    """In place of half an hour of painting: the candidates of the shipped table."""

    def measure(self, _cases: list[LabelledVolume]) -> Measured:
        return read_table(CARD.folder / TABLE_FILE), []


def test_calibrating_the_shipped_one_again_gives_the_same_and_names_the_companion_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "cases_of", lambda *_: [])
    monkeypatch.setattr(evaluate, "open_bench", lambda *_, **__: MeasuredAlready())
    again = find_model(str(calibrate_shipped(tmp_path, tmp_path / "w" / NAME)))
    verify(again)
    assert companion_of(again).digest == find_model("hippocampus-qc").digest
    assert (again.folder / "calibration.json").read_text() == (CARD.folder / "calibration.json").read_text()
    assert again.digest == CARD.digest


def test_a_qc_model_trained_anew_beside_it_is_the_one_it_is_calibrated_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "cases_of", lambda *_: [])
    monkeypatch.setattr(evaluate, "open_bench", lambda *_, **__: MeasuredAlready())
    shipped = find_model("hippocampus-qc")
    anew = shutil.copytree(shipped.folder, tmp_path / shipped.name)
    write_card(anew, {**read_card(anew), "version": "9.9.9"})
    again = find_model(str(calibrate_shipped(tmp_path, tmp_path / NAME)))
    assert companion_of(again).digest == find_model(str(anew)).digest != shipped.digest
