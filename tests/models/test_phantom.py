"""The drawn crop is reproducible, of plausible size, and different for every seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from models.phantom import hippocampus_phantom


@pytest.mark.parametrize("seed", range(4))
def test_the_drawn_hippocampus_is_one_piece_of_plausible_size(seed: int) -> None:
    volume, labels = hippocampus_phantom(seed)
    assert labels.shape == volume.grid.shape
    assert volume.grid.spacing == (1, 1, 1)
    assert 2.4 < (labels > 0).sum() * volume.grid.voxel_ml < 4.4
    assert ndimage.label(labels > 0)[1] == 1
    border = (labels[[0, -1]], labels[:, [0, -1]], labels[:, :, [0, -1]])
    assert not any(face.any() for face in border)


def test_the_same_seed_draws_the_same_voxels_and_another_seed_others() -> None:
    first, again, other = (hippocampus_phantom(seed)[0] for seed in (1, 1, 2))
    assert first.digest() == again.digest()
    assert first.digest() != other.digest()


def test_the_anterior_part_lies_anterior() -> None:
    volume, labels = hippocampus_phantom(0)
    front, back = (np.argwhere(labels == value).mean(axis=0) for value in (1, 2))
    y_front, y_back = ((volume.grid.affine @ np.array([*place, 1.0]))[1] for place in (front, back))
    assert y_front < y_back


def test_even_seeds_draw_a_left_side_and_odd_seeds_a_right_side() -> None:
    for seed, side in ((0, 1), (1, -1)):
        volume, labels = hippocampus_phantom(seed)
        centre = volume.grid.affine @ np.array([*np.argwhere(labels > 0).mean(axis=0), 1.0])
        assert np.sign(centre[0]) == side
