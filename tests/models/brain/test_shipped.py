"""The shipped brain mask and lesion finder find what was drawn, and their figures follow from their rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dicom_sr.volume import Grid, Volume
from models.brain import brain_mask, lesions
from models.brain.consensus import PLAUSIBLE_ML, plausible
from models.brain.heads import TEST_PATIENT
from models.brain.scores import read_scores
from models.card import METRICS_FILE, read_card
from models.errors import InvalidModel, UnsuitableAnswer
from models.metrics import dice
from models.registry import find_model, verify
from models.segmentation.segmenter import load_segmenter
from tests.support.head_phantom import head_phantom

VOLUME, BRAIN, SPOTS = head_phantom()
MASK_CARD, LESION_CARD = find_model(brain_mask.NAME), find_model(lesions.NAME)


def test_the_drawn_brain_is_found_whatever_way_it_is_stored() -> None:
    segmenter = load_segmenter(MASK_CARD)
    found = segmenter.segment(VOLUME)
    assert dice(found.labels == 1, BRAIN) > 0.95
    assert found.agreement[1] > 0.9
    affine = VOLUME.grid.affine[:, [1, 2, 0, 3]]
    depth, height, width = VOLUME.grid.shape
    voxels = np.ascontiguousarray(VOLUME.voxels.transpose(1, 2, 0))
    turned = Volume(grid=Grid(shape=(height, width, depth), affine=affine), voxels=voxels, modality="MR")
    np.testing.assert_array_equal(segmenter.segment(turned).labels.transpose(2, 0, 1), found.labels)


def test_drawn_lesions_are_found_inside_the_region_only() -> None:
    segmenter = load_segmenter(LESION_CARD)
    found = segmenter.segment(VOLUME, region=BRAIN)
    mask = found.labels == 1
    assert dice(mask, SPOTS) > 0.6
    assert not (mask & ~BRAIN).any()
    assert 0 <= found.agreement[1] <= 1
    assert not segmenter.segment(VOLUME, region=np.zeros_like(BRAIN)).labels.any()
    with pytest.raises(UnsuitableAnswer):
        segmenter.segment(VOLUME)


def test_drafts_with_an_impossible_volume_do_not_vote_unless_there_is_no_other() -> None:
    small, good = np.zeros((10, 10, 10), bool), np.zeros((10, 10, 10), bool)
    small[0, 0, 0], good[:5] = True, True
    voxel_ml = (sum(PLAUSIBLE_ML) / 2) / 500
    assert plausible([small, good], voxel_ml) == [good]
    assert plausible([small], voxel_ml) == [small]


def test_a_card_of_no_known_method_is_refused(tmp_path) -> None:
    content = {**read_card(MASK_CARD.folder), "method": "magic", "sha256": {}}
    (tmp_path / "card.json").write_text(json.dumps(content))
    with pytest.raises(InvalidModel):
        load_segmenter(find_model(str(tmp_path)))


def test_the_figures_of_the_brain_mask_follow_from_its_rows_and_reach_what_is_said() -> None:
    verify(MASK_CARD)
    report = json.loads((MASK_CARD.folder / METRICS_FILE).read_text())
    scores = read_scores(MASK_CARD.folder / brain_mask.CASES_FILE)
    assert report == json.loads(json.dumps(brain_mask.summary(scores, MASK_CARD)))
    expert = {row["method"]: row for row in report["results"] if row["reference"] == "expert"}
    assert expert[brain_mask.SHIPPED]["dice"]["lowest"] >= 0.95
    assert expert[brain_mask.SHIPPED]["dice"]["mean"] >= expert[brain_mask.VOTE]["dice"]["mean"] + 0.01


def test_every_person_of_the_figures_is_left_out_by_a_network() -> None:
    left_out = read_card(MASK_CARD.folder)["training"]["left_out_persons"]
    assert left_out == [list(persons) for persons in brain_mask.LEFT_OUT]
    persons = {score.person for score in read_scores(MASK_CARD.folder / brain_mask.CASES_FILE)}
    assert persons == {person for network in left_out for person in network}


def test_the_example_of_the_lesions_belongs_to_these_weights_and_has_fewer_false_lesions_than_plain_outliers() -> None:
    verify(LESION_CARD)
    assert TEST_PATIENT not in read_card(LESION_CARD.folder)["lesion_masks_of"]
    report = json.loads((LESION_CARD.folder / METRICS_FILE).read_text())
    assert report["model"]["digest"] == LESION_CARD.digest
    wrong = {row["method"]: row["false_lesions"] for row in report["examples"] if row["case"] == TEST_PATIENT}
    assert wrong[lesions.SHIPPED] < wrong[lesions.BASELINE] / 5
