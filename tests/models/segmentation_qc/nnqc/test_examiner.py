"""nnQC as a further witness: its evidence is oriented, follows the candidate, and its figures say what they should."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from models.image_qc.likeness import read_reference
from models.registry import find_model
from models.segmentation_qc.candidates import Candidate
from models.segmentation_qc.evidence import (
    DIFFUSION_EVIDENCE_NAMES,
    EVIDENCE_NAMES,
    DiffusionEvidence,
    evidence_from,
    evidence_names,
)
from models.segmentation_qc.nnqc.examiner import DiffusionExaminer
from models.segmentation_qc.nnqc.figures import error_location, gain, paintings_by_quality
from models.segmentation_qc.nnqc.mean_shape import centred, laid_on, mean_shape
from models.segmentation_qc.nnqc.measure import PaintedLine, measure_paintings, read_paintings, write_paintings
from models.segmentation_qc.nnqc.paint import DiffusionPainter
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.table import Line, masks_of, read_table, write_table
from models.segmentation_qc.weights import REFERENCE_FILE, read_weights
from tests.support.nnqc_example import TINY, phantom_case, tiny_network, tiny_plan

WHOLE = HIPPOCAMPUS_PLAN.whole


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def examiner() -> DiffusionExaminer:
    folder = find_model("hippocampus-qc").folder
    painter = DiffusionPainter(tiny_network(), tiny_plan(TINY), HIPPOCAMPUS_PLAN, device="cpu")
    return DiffusionExaminer(read_weights(folder), read_reference(folder / REFERENCE_FILE), painter, device="cpu")


def test_the_default_evidence_is_kept_and_nnqcs_is_added(examiner: DiffusionExaminer) -> None:
    case = phantom_case(0)
    masks = masks_of(case.expert.astype(np.uint8), HIPPOCAMPUS_PLAN)
    sight = examiner.paint(case.volume)
    found = examiner.examine(case.volume, masks, truth=sight)
    assert examiner.gathers == DIFFUSION_EVIDENCE_NAMES
    assert DIFFUSION_EVIDENCE_NAMES[: len(EVIDENCE_NAMES)] == EVIDENCE_NAMES
    for label, evidence in found.evidence.items():
        assert isinstance(evidence, DiffusionEvidence)
        assert np.isfinite(evidence.as_vector()).all()
        assert evidence == evidence_from(evidence.as_vector().tolist())
        perfect = examiner.examine(case.volume, {**masks, label: sight.look.blank.masks[label]}, truth=sight)
        again = perfect.evidence[label]
        assert isinstance(again, DiffusionEvidence)
        assert again.diffusion_blank_overlap == 1.0


def test_evidence_of_another_length_has_no_names() -> None:
    with pytest.raises(ValueError, match="no evidence"):
        evidence_names(3)


def test_measuring_gives_one_line_for_each_structure_in_both_tables(examiner: DiffusionExaminer, tmp_path) -> None:
    case = phantom_case(0)
    expert = case.expert.astype(np.uint8)
    wrong = expert.copy()
    wrong[: expert.shape[0] // 2] = 0

    def candidates(_: object) -> list[Candidate]:
        made = (("perfect", expert), ("cut", wrong))
        return [Candidate(source="synthetic", variant=n, volume=case.volume, labels=m, agreement={}) for n, m in made]

    shapes = mean_shape([phantom_case(1)], HIPPOCAMPUS_PLAN, size=(40, 56, 40))
    ((lines, paintings),) = measure_paintings(
        [case], examiner=examiner, plan=HIPPOCAMPUS_PLAN, candidates=candidates, shapes=shapes
    )
    assert [(x.variant, x.label) for x in lines] == [(x.variant, x.label) for x in paintings]
    assert len(lines) == 2 * len(HIPPOCAMPUS_PLAN.labels)
    first = paintings[0]
    assert first.dice == 1.0
    assert np.isnan([first.painted_error, first.second_error, first.second_worst]).all()
    assert 0 < first.mean_dice < 1
    write_table(lines, tmp_path / "lines.csv")
    assert read_table(tmp_path / "lines.csv") == lines
    write_paintings(paintings, tmp_path / "paintings.csv")
    again = read_paintings(tmp_path / "paintings.csv")
    assert again[3:] == paintings[3:]


def painting(dice: float, painted: float, second: float) -> PaintedLine:
    numbers = dict.fromkeys(
        ("blank_dice", "mean_dice", "mean_overlap", "blank_error", "painted_worst", "blank_worst", "second_worst"), 0.5
    )
    return PaintedLine(
        case="c",
        source="s",
        variant="",
        label=WHOLE,
        dice=dice,
        painted_dice=painted,
        second_dice=second,
        painted_error=painted,
        second_error=float("nan"),
        **numbers,
    )


def test_figures_are_means_over_candidates_of_one_quality() -> None:
    rows = [painting(0.1, 0.6, 0.9), painting(0.15, 0.8, 0.9), painting(0.95, 0.9, 0.9)]
    found = paintings_by_quality(rows)[WHOLE]
    assert found["useless, below 0.2"]["nnQC for the candidate"] == pytest.approx(0.7)
    assert found["good, above 0.7"]["candidates"] == 1
    assert found["bad, 0.2 to 0.7"]["second network"] is None
    located = error_location(rows)["useless, below 0.2"]["error"]
    assert located["nnQC for the candidate"] == pytest.approx(0.7)
    assert located["second network"] is None


def test_a_gain_is_positive_where_nnqc_helps_and_spans_zero_where_it_does_not() -> None:
    random = np.random.default_rng(0)
    truth = random.uniform(0.2, 1.0, 240)
    lines = [
        Line(
            split="test",
            case=f"c{n % 12}",
            person=f"p{n % 12}",
            source="synthetic",
            variant=str(n),
            label=WHOLE,
            dice=float(t),
            hd95=1.0,
            pseudo_truth_dice=0.9,
            agreement=None,
            missing_mm=0.0,
            rules="",
            evidence=(),
        )
        for n, t in enumerate(truth)
    ]
    rough = truth + random.normal(0, 0.1, 240)
    better = gain(lines, rough, truth + random.normal(0, 0.01, 240))
    assert better["mae_reduction"][1] > 0
    same = gain(lines, rough, truth + random.normal(0, 0.1, 240))
    assert same["mae_reduction"][1] < 0 < same["mae_reduction"][2]


def test_the_mean_shape_lies_on_the_middle_of_any_image() -> None:
    shapes = mean_shape([phantom_case(0)], HIPPOCAMPUS_PLAN, size=(60, 70, 60))
    laid = laid_on(shapes, phantom_case(0))
    assert np.array_equal(laid[WHOLE], phantom_case(0).expert > 0)
    assert np.array_equal(centred(np.arange(5), (3,)), [1, 2, 3])
