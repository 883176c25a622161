"""Rules of anatomy: each fires on what it is for, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_sr.finding_codes import finding_concept
from dicom_sr.verdict import Finding
from dicom_sr.volume import Grid, Volume
from models.fingerprint import DatasetFingerprint, fingerprint_of
from models.segmentation_qc.missing import missing_end_mm
from models.segmentation_qc.plausibility import check_anatomy, shape_z, slice_gap
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN

WHOLE, FRONT, BACK = HIPPOCAMPUS_PLAN.labels
LPS = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
GRID = Grid(shape=(30, 40, 30), affine=LPS)


def labels(radius: float = 6.0) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij")
    body = ((z - 15) / radius) ** 2 + ((y - 20) / (2.5 * radius)) ** 2 + ((x - 15) / radius) ** 2 < 1
    return np.where(body, np.where(y < 19, 1, 2), 0).astype(np.uint8)


def masks(values: np.ndarray) -> dict[str, np.ndarray]:
    return {WHOLE: values > 0, FRONT: values == 1, BACK: values == 2}


def fingerprint() -> DatasetFingerprint:
    random = np.random.default_rng(0)
    made = [labels(r) for r in (5.6, 5.8, 6.0, 6.2, 6.4)]
    volumes = [
        Volume(grid=GRID, voxels=random.normal(0, 1, GRID.shape).astype(np.float32), modality="MR") for _ in made
    ]
    parts = fingerprint_of(zip(volumes, made, strict=True), labels=(FRONT, BACK))
    whole = fingerprint_of([(v, (m > 0).astype(int)) for v, m in zip(volumes, made, strict=True)], labels=(WHOLE,))
    return DatasetFingerprint(
        case_count=5, image=parts.image, labels={**whole.labels, **parts.labels}, area_profile=parts.area_profile
    )


def check(candidate: dict[str, np.ndarray], grid: Grid = GRID) -> dict[tuple[str, str], Finding]:
    found = check_anatomy(candidate, grid, fingerprint(), HIPPOCAMPUS_PLAN, stage="qc")
    return {(f.code, f.segment): f for f in found}


def test_a_plausible_segmentation_violates_no_rule() -> None:
    found = check(masks(labels()))
    for code in ("EMPTY_SEGMENT", "SECOND_COMPONENT", "SLICE_GAP", "TOUCHES_BORDER", "HOLES"):
        assert [f.value for (c, _), f in found.items() if c == code] == [0.0, 0.0, 0.0]
    assert found["LABEL_ORDER", FRONT].value == pytest.approx(2 * 3 / 8 * 15, abs=0.5)
    assert found["PARTS_DO_NOT_FILL_WHOLE", WHOLE].value == 0
    assert abs(found["VOLUME_OUT_OF_RANGE", WHOLE].value or 0) < 1


def test_what_a_report_defines_as_a_rule_is_only_ever_0_or_1() -> None:
    swapped = np.array([0, 2, 1], np.uint8)[labels()]
    nothing = np.zeros(GRID.shape, np.uint8)
    for candidate in (labels(), labels(3.0), swapped, nothing):
        found = check(masks(candidate)).values()
        assert {f.value for f in found if finding_concept(f.code).is_rule} <= {0.0, 1.0}


def test_an_empty_segment_gets_one_finding_only() -> None:
    found = check({WHOLE: np.zeros(GRID.shape, bool)})
    assert {code: f.value for (code, _), f in found.items()} == {"EMPTY_SEGMENT": 1.0}


def test_a_separate_part_is_measured() -> None:
    values = labels()
    values[2:5, 2:5, 2:5] = 1
    assert check(masks(values))["SECOND_COMPONENT", WHOLE].value == pytest.approx(27 / (values > 0).sum(), abs=1e-4)


def test_a_hole_is_measured() -> None:
    values = labels()
    values[15, 25, 15] = 0
    assert check(masks(values))["HOLES", WHOLE].value > 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_missing_slice_is_found_along_every_axis(axis: int) -> None:
    values = labels()
    np.moveaxis(values, axis, 0)[GRID.shape[axis] // 2] = 0
    assert check(masks(values))["SLICE_GAP", WHOLE].value == 1.0


def test_touching_the_border_is_measured() -> None:
    values = np.roll(labels(), 11, axis=0)
    values[0:5] = 0
    assert check(masks(values))["TOUCHES_BORDER", WHOLE].value > 0


def test_volume_is_judged_on_a_log_scale_in_both_directions() -> None:
    small, large = (check(masks(labels(r)))["VOLUME_OUT_OF_RANGE", WHOLE] for r in (3.0, 9.0))
    assert small.value < -5 < 5 < large.value
    assert "ml" in small.detail


def test_swapped_parts_have_a_negative_order() -> None:
    values = labels()
    swapped = np.where(values == 1, 2, np.where(values == 2, 1, 0))
    assert check(masks(swapped))["LABEL_ORDER", FRONT].value < -10


def test_order_is_told_in_the_patient_not_in_the_array() -> None:
    flipped = Grid(shape=GRID.shape, affine=GRID.affine @ np.diag([1, -1, 1, 1.0]))
    turned = {label: mask[:, ::-1].copy() for label, mask in masks(labels()).items()}
    straight = check(masks(labels()))["LABEL_ORDER", FRONT].value
    assert check(turned, flipped)["LABEL_ORDER", FRONT].value == pytest.approx(straight)


def test_parts_that_overlap_or_miss_the_whole_are_measured() -> None:
    made = masks(labels())
    made[FRONT] = made[WHOLE].copy()
    assert check(made)["PARTS_OVERLAP", FRONT].value > 0.3
    made[FRONT] = np.zeros_like(made[FRONT])
    assert check(made)["PARTS_DO_NOT_FILL_WHOLE", WHOLE].value > 0.3


def test_shape_z_never_exceeds_its_limit() -> None:
    assert shape_z(np.zeros(GRID.shape, bool), GRID, fingerprint(), WHOLE) == 20.0
    assert 10 < shape_z(np.ones(GRID.shape, bool), GRID, fingerprint(), WHOLE) <= 20.0
    assert shape_z(labels() > 0, GRID, fingerprint(), WHOLE) < 2


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("at_start", [True, False])
def test_a_dropped_end_is_measured_in_millimetres(axis: int, at_start: bool) -> None:
    truth = labels() > 0
    used = np.flatnonzero(truth.any(axis=tuple(a for a in range(3) if a != axis)))
    cut = truth.copy()
    gone = slice(used[0], used[0] + 5) if at_start else slice(used[-1] - 4, used[-1] + 1)
    np.moveaxis(cut, axis, 0)[gone] = False
    spacing = tuple(2.0 if a == axis else 1.0 for a in range(3))
    assert missing_end_mm(cut, truth, spacing) >= 6.0
    assert missing_end_mm(truth, truth, spacing) == 0.0


def test_a_mask_that_reaches_further_misses_nothing() -> None:
    assert missing_end_mm(np.ones(GRID.shape, bool), labels() > 0, (1.0, 1.0, 1.0)) == 0.0
    assert missing_end_mm(labels() > 0, np.zeros(GRID.shape, bool), (1.0, 1.0, 1.0)) == 0.0
    assert missing_end_mm(np.zeros(GRID.shape, bool), labels() > 0, (1.0, 1.0, 1.0)) > 10


def test_a_gap_is_the_largest_of_all_axes() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[1, 1, 1] = mask[7, 3, 1] = True
    assert slice_gap(mask) == 5
