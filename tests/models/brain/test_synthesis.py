"""What the networks are trained on: finite, z-scored, labelled where the source is, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.brain.clues import BOX, CHANNELS
from models.brain.heads import lesion_patients
from models.brain.lesion_synthesis import PATCH, LesionSampler
from models.brain.synthesis import HeadSampler, head_map
from models.brain.view import HIGHEST, LOWEST
from tests.support.head_phantom import head_case, lesion_mask
from tests.support.shared import shared_data

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def heads() -> HeadSampler:
    return HeadSampler([head_case(0), head_case(1, person="b", sequence="T1")])


@pytest.fixture(scope="module")
def lesions() -> LesionSampler:
    return LesionSampler([head_case(0), head_case(1, person="b", sequence="T1")], [lesion_mask()])


def test_a_head_comes_with_its_brain_and_with_drafts_that_mostly_agree_with_it() -> None:
    found = head_map(head_case())
    brain, share = found.channels[2] > 0.5, found.votes.float().mean(dim=0) > 0.5
    assert 2 * int((brain & share).sum()) / int(brain.sum() + share.sum()) > 0.9
    assert share[tuple(round(n) for n in found.middle)]


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_head_is_a_z_score_with_its_brain(heads: HeadSampler, seed: int) -> None:
    drawn = heads.draw(torch.Generator().manual_seed(seed))
    assert drawn.images.shape == (1, CHANNELS, *BOX)
    assert drawn.truth.shape == (1, *BOX)
    assert torch.isfinite(drawn.images).all()
    image, flat, share = drawn.images[0]
    assert abs(float(image.mean())) < 1e-3
    assert 0 <= float(share.min()) <= float(share.max()) <= 1
    assert float(flat[share > 0.9].mean()) > 0.5
    assert float(drawn.truth.max()) == pytest.approx(1)
    assert ((drawn.truth >= 0) | (drawn.truth == -1)).all()
    assert 0.03 < float((drawn.truth > 0.5).float().mean()) < 0.6


def test_the_same_seed_draws_the_same_head(heads: HeadSampler) -> None:
    first, second, other = (heads.draw(torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert torch.equal(first.images, second.images)
    assert first.images.shape != other.images.shape or not torch.equal(first.images, other.images)


def test_drawn_lesions_lie_in_the_brain_and_are_brighter_than_it(lesions: LesionSampler) -> None:
    brighter, count = [], 0
    for seed in range(12):
        drawn = lesions.draw(torch.Generator().manual_seed(seed))
        image, brain = drawn.images[0]
        truth = drawn.truth[0]
        assert tuple(truth.shape) == PATCH
        assert LOWEST <= float(image.min()) <= float(image.max()) <= HIGHEST
        assert not (truth[brain < 0.5] != 0).any()
        assert not image[brain < 0.5].any()
        if (truth == 1).sum() > 5:
            count += 1
            brighter.append(float(image[truth == 1].mean() - image[(truth == 0) & (brain > 0.5)].mean()))
    assert count > 6
    assert np.mean([b > 0 for b in brighter]) > 0.8


def test_the_masks_of_patients_that_are_measured_are_never_read() -> None:
    names = lesion_patients(shared_data("ms_lesion_nifti").parent)
    assert len(names) == 17
    assert not {"patient01", "patient07", "patient12"} & set(names)
