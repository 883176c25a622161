"""What the brain network sees and what comes back lie in the same place, wherever the box is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.brain.clues import BOX, box_of, offsets, out_of_box, sampled
from models.brain.consensus import Drafts, drafts_of
from models.metrics import dice
from tests.support.head_phantom import head_phantom

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def drafts() -> Drafts:
    return drafts_of(head_phantom()[0])


def test_what_the_box_shows_of_the_vote_comes_back_where_it_was(drafts: Drafts) -> None:
    seen, middle = box_of(drafts)
    assert tuple(seen.shape) == (3, *BOX)
    back = out_of_box(seen[2].numpy(), middle, drafts.flat.shape)
    assert dice(back > 0.5, drafts.share > 0.5) > 0.98


def test_where_nothing_was_scanned_there_is_air_and_no_vote(drafts: Drafts) -> None:
    seen, _ = box_of(drafts)
    image, flat, share = seen
    corner = (0, 0, 0)
    assert image[corner] == image.min()
    assert flat[corner] == share[corner] == 0


def test_positions_outside_the_image_are_told_from_those_inside() -> None:
    _, inside = sampled(torch.zeros(1, 40, 40, 40), offsets() + torch.tensor([19.5, 19.5, 19.5]))
    assert inside[32, 40, 32]
    assert not inside[0, 0, 0]
    assert np.isclose(float(inside.float().sum()), (26**3), rtol=0.15)
