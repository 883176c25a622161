"""What the networks are trained on: finite, z-scored, labelled where the source is, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.brain.heads import lesion_patients
from models.brain.lesion_synthesis import PATCH, LesionSampler
from models.brain.synthesis import BOX, HeadSampler, head_map
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


def test_a_head_is_divided_into_air_brain_classes_and_other_classes() -> None:
    found = head_map(head_case())
    inside = found.channels[1] > 0.5
    labels = found.labels[0]
    assert set(labels[inside].unique().tolist()) == {1, 2, 3, 4}
    assert labels[~inside].unique().tolist()[0] == 0
    assert float(labels[~inside].max()) > 4
    assert float(found.channels[2][inside].max()) == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_head_is_a_z_score_with_its_brain(heads: HeadSampler, seed: int) -> None:
    drawn = heads.draw(torch.Generator().manual_seed(seed))
    assert drawn.images.shape == (1, 1, *BOX)
    assert drawn.truth.shape == (1, *BOX)
    assert torch.isfinite(drawn.images).all()
    assert abs(float(drawn.images.mean())) < 1e-3
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
