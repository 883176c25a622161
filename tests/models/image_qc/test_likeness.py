"""The likeness reference: typical images lie near 1, others far away, and the file is what its card names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicom_sr.volume import Grid, Volume
from models.image_qc.artefacts import Artefact, degrade
from models.image_qc.likeness import features_of, fit_reference, read_reference, shipped_reference, write_reference
from models.image_qc.train import train
from models.metrics import dice
from models.nifti import write_nifti
from models.phantom import hippocampus_phantom
from models.registry import find_model, verify
from models.split import Split, split_of


def test_typical_features_have_a_distance_of_about_one() -> None:
    features = np.random.default_rng(0).normal(0, 3, (400, 6))
    reference = fit_reference(features)
    distances = [reference.distance(row) for row in features]
    assert np.sqrt(np.mean(np.square(distances))) == pytest.approx(1.0, abs=0.1)
    assert reference.distance(np.full(6, 30.0)) > 8


def test_intensity_scale_and_offset_do_not_matter() -> None:
    volume, _ = hippocampus_phantom(0)
    scaled = Volume(grid=volume.grid, voxels=volume.voxels * 7 + 100, modality="MR")
    assert features_of(scaled) == pytest.approx(features_of(volume), abs=1e-3)


@pytest.mark.parametrize("voxels", [np.zeros((9, 9, 9)), np.ones((9, 9, 2))])
def test_an_image_that_cannot_be_described_has_no_features(voxels: np.ndarray) -> None:
    grid = Grid(shape=voxels.shape, affine=np.eye(4))
    assert features_of(Volume(grid=grid, voxels=voxels.astype(np.float32), modality="MR")) is None


def test_a_reference_survives_its_file(tmp_path: Path) -> None:
    reference = fit_reference(np.random.default_rng(0).normal(0, 1, (50, 4)))
    write_reference(reference, tmp_path / "r.json")
    again = read_reference(tmp_path / "r.json")
    assert again.distance(np.ones(4)) == pytest.approx(reference.distance(np.ones(4)), rel=1e-3)
    assert again.images == 50


def test_the_shipped_reference_is_the_one_its_card_names() -> None:
    verify(find_model("image-qc"))
    assert shipped_reference("t1-hippocampus-crop").images > 50


def test_training_writes_a_sealed_reference(tmp_path: Path) -> None:
    names = [f"case_{n}" for n in range(12) if split_of(f"case_{n}") is Split.TRAIN]
    (tmp_path / "images").mkdir()
    for seed, name in enumerate(names):
        volume, _ = hippocampus_phantom(seed)
        write_nifti(tmp_path / "images" / f"{name}.nii.gz", volume.grid, volume.voxels)
    out = train(tmp_path, tmp_path / "weights")
    verify(find_model(str(out)))
    assert read_reference(out / "t1-hippocampus-crop.json").images == len(names)


@pytest.mark.parametrize("artefact", list(Artefact))
def test_every_artefact_grows_with_its_severity_and_nothing_is_nought(artefact: Artefact) -> None:
    volume, _ = hippocampus_phantom(1)
    change = [
        float(np.abs(degrade(volume, artefact, s, np.random.default_rng(0)).voxels - volume.voxels).mean())
        for s in (0.0, 0.2, 0.9)
    ]
    assert change[0] < 0.02 * volume.voxels.mean()
    assert change[0] < change[1] < change[2]


def test_motion_leaves_the_anatomy_where_it_was() -> None:
    volume, labels = hippocampus_phantom(0)
    ball = np.where(labels > 0, 1000.0, 1.0).astype(np.float32)
    bright = Volume(grid=volume.grid, voxels=ball, modality="MR")
    overlaps = []
    for seed in range(6):
        moved = degrade(bright, Artefact.MOTION, 0.8, np.random.default_rng(seed))
        overlaps.append(dice(moved.voxels > 500, ball > 500))
    assert np.mean(overlaps) > 0.75
