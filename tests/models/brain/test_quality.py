"""Uncalibrated quality control never accepts, says why, and rejects what no brain can be."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dicom_sr.errors import GeometryMismatch
from dicom_sr.segmentation import Mask
from dicom_sr.verdict import Outcome, Verdict, decide
from dicom_sr.volume import Volume
from models.brain.consensus import Drafts, drafts_of
from models.brain.quality import BRAIN, LESIONS, BrainQuality
from models.registry import find_model
from models.segmentation_qc.assess import criteria_for, load_segmentation_qc
from tests.support.head_phantom import head_phantom

CARD = find_model("brain-qc")
VOLUME, TRUTH, SPOTS = head_phantom()


@pytest.fixture(autouse=True)
def _drafts_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.brain.quality.drafts_of", _drafts_of)


@cache
def _drafts_of(volume: Volume) -> Drafts:
    return drafts_of(volume)


def verdict(brain: Mask, lesions: Mask, *, agreement: float = 0.99, volume: Volume = VOLUME) -> Verdict:
    quality = load_segmentation_qc(CARD)
    assert isinstance(quality, BrainQuality)
    agreed = {BRAIN: agreement, LESIONS: agreement}
    result = quality.assess(volume, {BRAIN: brain, LESIONS: lesions}, agreement=agreed, stage="segmentation_qc")
    return decide(result.findings, criteria_for(CARD))


def codes(found: Verdict) -> set[str]:
    return {reason.code for reason in found.reasons}


def test_even_a_perfect_mask_asks_a_person_because_nothing_is_calibrated() -> None:
    found = verdict(TRUTH, SPOTS)
    assert found.outcome is Outcome.REVIEW
    assert codes(found) == {"NOT_CALIBRATED"}
    assert "a person has to look" in found.reasons[0].text


def test_an_empty_or_half_brain_is_rejected_or_questioned() -> None:
    empty, half = np.zeros_like(TRUTH), TRUTH.copy()
    half[: half.shape[0] // 2] = False
    assert verdict(empty, empty).outcome is Outcome.REJECT
    assert {"VOLUME_OUT_OF_RANGE", "PLAIN_OVERLAP"} <= codes(verdict(half, half & SPOTS))


def test_a_second_piece_a_hole_and_a_gap_are_seen() -> None:
    scalp, hole, gap = TRUTH.copy(), TRUTH.copy(), TRUTH.copy()
    scalp[10:24, 3:6, 20:50] = True
    hole[14:20, 36:50, 30:44] = False
    gap[17] = False
    assert "SECOND_COMPONENT" in codes(verdict(scalp, SPOTS))
    assert "HOLES" in codes(verdict(hole, np.zeros_like(SPOTS)))
    assert "SLICE_GAP" in codes(verdict(gap, np.zeros_like(SPOTS)))


def test_lesions_outside_the_brain_dark_or_too_large_are_seen() -> None:
    outside, dark = np.zeros_like(SPOTS), np.zeros_like(SPOTS)
    outside[16:19, 2:4, 30:40] = True
    dark[17:20, 40:48, 33:39] = True
    assert "OUTSIDE_BRAIN" in codes(verdict(TRUTH, outside))
    assert "LESION_CONTRAST" in codes(verdict(TRUTH, dark))
    assert "LESION_LOAD" in codes(verdict(TRUTH, TRUTH))


def test_no_lesion_is_no_reason() -> None:
    assert codes(verdict(TRUTH, np.zeros_like(SPOTS))) == {"NOT_CALIBRATED"}


def test_members_that_disagree_are_a_reason() -> None:
    assert "ENSEMBLE_AGREEMENT" in codes(verdict(TRUTH, SPOTS, agreement=0.4))


def test_an_image_nobody_can_work_on_gives_no_acceptance_and_no_error() -> None:
    constant = Volume(grid=VOLUME.grid, voxels=np.zeros_like(VOLUME.voxels), modality="MR")
    assert verdict(TRUTH, SPOTS, volume=constant).outcome is not Outcome.ACCEPT


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(GeometryMismatch):
        load_segmentation_qc(CARD).assess(VOLUME, {BRAIN: TRUTH[1:]}, agreement={}, stage="s")


def test_the_brain_by_another_method_comes_along_with_the_slices_that_differ() -> None:
    result = load_segmentation_qc(CARD).assess(VOLUME, {BRAIN: np.roll(TRUTH, 3, axis=1)}, agreement={}, stage="s")
    assert set(result.pseudo_ground_truth) == {BRAIN}
    assert len(result.worst_slices[BRAIN]) == 3


def test_the_slices_with_most_lesion_are_shown_for_want_of_a_second_opinion() -> None:
    masks = {BRAIN: TRUTH, LESIONS: SPOTS}
    result = load_segmentation_qc(CARD).assess(VOLUME, masks, agreement={}, stage="s")
    most = int(SPOTS.sum(axis=(1, 2)).argmax())
    assert result.worst_slices[LESIONS][0] == most
