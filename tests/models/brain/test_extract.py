"""Threshold and morphology find a drawn brain, whatever way the voxels are stored, and nothing where there is none."""

from __future__ import annotations

import numpy as np

from dicom_sr.volume import Grid, Volume
from models.brain.extract import extract_brain, fill_slices, largest_piece
from models.metrics import dice
from tests.support.head_phantom import head_phantom


def test_the_drawn_brain_is_found_and_the_scalp_is_not() -> None:
    volume, brain, _ = head_phantom()
    assert dice(extract_brain(volume), brain) > 0.93


def test_the_order_in_which_voxels_are_stored_does_not_matter() -> None:
    volume, _, _ = head_phantom()
    affine = volume.grid.affine[:, [1, 2, 0, 3]]
    depth, height, width = volume.grid.shape
    turned = Volume(
        grid=Grid(shape=(height, width, depth), affine=affine),
        voxels=np.ascontiguousarray(volume.voxels.transpose(1, 2, 0)),
        modality="MR",
    )
    np.testing.assert_array_equal(extract_brain(turned).transpose(2, 0, 1), extract_brain(volume))


def test_an_image_without_tissue_gives_an_empty_mask() -> None:
    volume, _, _ = head_phantom()
    flat = Volume(grid=volume.grid, voxels=np.full(volume.grid.shape, 5, np.float32), modality="MR")
    assert not extract_brain(flat).any()


def test_only_the_largest_piece_stays_and_slices_are_filled() -> None:
    mask = np.zeros((3, 8, 8), bool)
    mask[1, 1:5, 1:5] = True
    mask[1, 2, 2] = False
    mask[1, 7, 7] = True
    kept = largest_piece(mask)
    assert kept.sum() == 15
    assert fill_slices(kept).sum() == 16
    assert not largest_piece(np.zeros((2, 2, 2), bool)).any()
