"""Folding loses nothing, and a folded network answers for every voxel."""

from __future__ import annotations

import torch

from models.brain.folded import fold, new_folded, unfold

torch.set_num_threads(1)


def test_unfolding_gives_back_every_voxel_in_its_place() -> None:
    image = torch.arange(4 * 6 * 8, dtype=torch.float32).reshape(1, 1, 4, 6, 8)
    blocks = fold(image, (1, 2, 4))
    assert blocks.shape == (1, 8, 4, 3, 2)
    assert torch.equal(unfold(blocks, (1, 2, 4)), image)


def test_a_block_holds_its_voxels_of_every_channel() -> None:
    images = torch.randn((1, 2, 4, 4, 4), generator=torch.Generator().manual_seed(0))
    blocks = fold(images, (2, 2, 2))
    assert torch.equal(blocks[0, :, 0, 1, 0], images[0, :, :2, 2:4, :2].flatten())


def test_a_network_answers_for_every_voxel_and_says_what_sizes_it_takes() -> None:
    network = new_folded((1, 2, 2), image_channels=2, channels=(4, 8))
    assert network.strides == (2, 4, 4)
    assert network(torch.zeros(1, 2, 2, 8, 4)).shape == (1, 2, 2, 8, 4)
