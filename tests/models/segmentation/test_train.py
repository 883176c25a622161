"""The trainer learns, from images made by code, and what it writes can be loaded and used."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from dicom_sr.volume import Grid, Volume
from models.errors import ModelNotFound, UnusableVolume
from models.metrics import dice
from models.nifti import write_nifti
from models.registry import find_model, verify
from models.segmentation.augment import Augmentation
from models.segmentation.segmenter import load_segmenter
from models.segmentation.train import TrainingSettings, train
from models.split import Split, split_of

AFFINE = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]])
TINY = TrainingSettings(
    members=1,
    steps=200,
    batch=2,
    learning_rate=1e-2,
    channels=(6, 12),
    threads=1,
    augmentation=Augmentation(patch=(16, 24, 16), shift=2.0, bend=0.5),
)


def _egg(seed: int) -> tuple[Volume, np.ndarray]:
    """Draw a grey egg in noise; its front is value 1, its back value 2."""
    random = np.random.default_rng(seed)
    z, y, x = np.meshgrid(np.arange(16), np.arange(24), np.arange(16), indexing="ij")
    centre = random.uniform(-1.5, 1.5, 3)
    inside = ((z - 8 - centre[0]) / 4) ** 2 + ((y - 12 - centre[1]) / 8) ** 2 + ((x - 8 - centre[2]) / 4) ** 2 < 1
    voxels = (inside * 2.0 + random.normal(0, 0.5, inside.shape)).astype(np.float32)
    labels = np.where(inside, np.where(y < 11, 1, 2), 0).astype(np.uint16)
    return Volume(grid=Grid(shape=(16, 24, 16), affine=AFFINE), voxels=voxels, modality="MR"), labels


def _data(folder: Path, split: Split, count: int) -> Path:
    names = [name for name in (f"egg{n}" for n in range(200)) if split_of(name) is split][:count]
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for seed, name in enumerate(names):
        volume, labels = _egg(seed)
        write_nifti(folder / "images" / f"{name}.nii.gz", volume.grid, volume.voxels)
        write_nifti(folder / "labels" / f"{name}.nii.gz", volume.grid, labels)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return _data(tmp_path_factory.mktemp("eggs"), Split.TRAIN, 6)


def test_a_few_seconds_of_training_find_an_egg_never_seen(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    card = find_model(str(train(data, tmp_path / "hippocampus", task="hippocampus", settings=TINY)))
    verify(card)
    volume, labels = _egg(99)
    result = load_segmenter(card, device="cpu").segment(volume)
    assert dice(result.labels == 1, labels > 0) > 0.8
    assert result.agreement == {}
    assert "egg" not in caplog.text


def test_a_few_seconds_of_training_divide_an_egg_never_seen(data: Path, tmp_path: Path) -> None:
    card = find_model(str(train(data, tmp_path / "parts", task="hippocampus-subfields", settings=TINY)))
    volume, labels = _egg(99)
    result = load_segmenter(card, device="cpu").segment(volume, region=labels > 0)
    assert min(dice(result.labels == value, labels == value) for value in (1, 2)) > 0.8


def test_an_unknown_task_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="hippocampus-subfields"):
        train(data, tmp_path / "x", task="spleen", settings=TINY)


def test_patients_of_other_splits_are_never_trained_on(tmp_path: Path) -> None:
    held_out = _data(tmp_path / "data", Split.TEST, 2)
    with pytest.raises(UnusableVolume, match="no case of the train split"):
        train(held_out, tmp_path / "x", task="hippocampus", settings=TINY)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableVolume, match="no pair"):
        train(tmp_path, tmp_path / "x", task="hippocampus", settings=TINY)
