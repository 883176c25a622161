"""The segmenter answers on the grid of the image, inside the region it was given, in one piece where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from dicom_sr.volume import Volume
from models.brain.clues import CHANNELS
from models.brain.folded import folded_shape
from models.brain.lesion_synthesis import PLAN
from models.brain.segmenter import BrainSegmenter
from models.errors import InvalidModel, UnsuitableAnswer, UnusableVolume
from models.fingerprint import fingerprint_of
from models.registry import ModelCard, find_model
from models.segmentation.ensemble import EnsembleConfig, write_ensemble
from models.segmentation.segmenter import load_segmenter
from models.segmentation.unet import UNet3d
from tests.support.head_phantom import head_phantom

VOLUME, BRAIN, LESIONS = head_phantom()


def untrained(folder: Path, *, needs_region: bool, labels: tuple[str, ...] = ("Brain",)) -> ModelCard:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    block = (1, 2, 2) if needs_region else (2, 2, 2)
    shape = folded_shape(block, image_channels=2 if needs_region else CHANNELS, channels=(4, 8))
    write_ensemble(
        folder,
        [UNet3d(shape), UNet3d(shape)],
        config=EnsembleConfig(shape=shape, members=2, plan=PLAN, mirror=True),
        fingerprint=fingerprint_of([(VOLUME, BRAIN.astype(np.uint8))], labels=("Brain",)),
        card={
            "name": "x",
            "version": "1",
            "kind": "brain",
            "method": "network",
            "labels": list(labels),
            "needs_region": needs_region,
            "block": list(block),
            "trust": 0.0 if needs_region else 6.0,
        },
    )
    return find_model(str(folder))


def test_a_brain_is_one_piece_without_holes_on_the_grid_of_the_image(tmp_path: Path) -> None:
    segmenter = load_segmenter(untrained(tmp_path / "m", needs_region=False), device="cpu")
    found = segmenter.segment(VOLUME)
    assert found.labels.shape == VOLUME.grid.shape
    mask = found.labels == 1
    assert ndimage.label(mask)[1] <= 1
    np.testing.assert_array_equal(ndimage.binary_fill_holes(mask), mask)
    assert 0 <= found.agreement[1] <= 1


def test_lesions_stay_inside_the_region_and_need_one(tmp_path: Path) -> None:
    segmenter = load_segmenter(untrained(tmp_path / "m", needs_region=True), device="cpu")
    found = segmenter.segment(VOLUME, region=BRAIN)
    assert not (found.labels[~BRAIN] > 0).any()
    assert not segmenter.segment(VOLUME, region=np.zeros_like(BRAIN)).labels.any()
    with pytest.raises(UnsuitableAnswer):
        segmenter.segment(VOLUME)
    with pytest.raises(UnsuitableAnswer):
        segmenter.segment(VOLUME, region=BRAIN[1:])


def test_what_lies_outside_the_brain_does_not_change_the_lesions(tmp_path: Path) -> None:
    segmenter = load_segmenter(untrained(tmp_path / "m", needs_region=True), device="cpu")
    beyond = ndimage.binary_dilation(BRAIN, iterations=3)
    other = Volume(grid=VOLUME.grid, voxels=np.where(beyond, VOLUME.voxels, np.float32(0)), modality="MR")
    np.testing.assert_array_equal(
        segmenter.segment(other, region=BRAIN).labels, segmenter.segment(VOLUME, region=BRAIN).labels
    )


def test_one_member_alone_can_be_asked(tmp_path: Path) -> None:
    card = untrained(tmp_path / "m", needs_region=False)
    assert BrainSegmenter(card, device="cpu", members=(1,)).segment(VOLUME).agreement == {}


def test_networks_that_do_not_fit_the_card_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel):
        BrainSegmenter(untrained(tmp_path / "m", needs_region=False, labels=("A", "B")), device="cpu")


def test_an_image_nobody_can_work_on_is_a_named_error(tmp_path: Path) -> None:
    segmenter = load_segmenter(untrained(tmp_path / "m", needs_region=False), device="cpu")
    with pytest.raises(UnusableVolume):
        segmenter.segment(Volume(grid=VOLUME.grid, voxels=np.zeros_like(VOLUME.voxels), modality="MR"))
