"""Grades: clean is tier 1, severe names its artefact, and what was fitted survives its file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dicom_sr.volume import Grid, Volume
from models.image_qc.artefacts import Artefact, degrade
from models.image_qc.grading import fit_grades, shipped_grades, texture_features, write_grades
from models.image_qc.likeness import WEIGHTS_NAME
from models.nifti import read_nifti
from models.phantom import hippocampus_phantom
from models.registry import find_model
from models.split import Split, split_patients
from tests.support.shared import shared_data

CROP = "t1-hippocampus-crop"


def toy() -> tuple[np.ndarray, list[str], np.ndarray]:
    """Make three clearly different groups of features."""
    random = np.random.default_rng(0)
    clean, mild, severe = (random.normal(m, 0.3, (40, 5)) for m in (0.0, 1.5, 4.0))
    names = [""] * 40 + ["NOISE"] * 80
    return np.concatenate([clean, mild, severe]), names, np.arange(120) >= 80


def test_three_separate_groups_get_three_tiers() -> None:
    model = fit_grades(*toy())
    tiers = [model.grade(row).tier for row in toy()[0]]
    assert np.mean(np.array(tiers) == np.repeat([1, 2, 3], 40)) > 0.95
    assert model.grade(np.full(5, 4.0)).artefact is Artefact.NOISE
    assert model.grade(np.zeros(5)).artefact is None


@pytest.mark.parametrize("seed", range(12))
def test_a_drawing_that_no_scanner_degraded_is_not_called_severely_degraded(seed: int) -> None:
    features = texture_features(hippocampus_phantom(seed)[0])
    assert features is not None
    assert shipped_grades(CROP).grade(features).tier < 3


def test_a_mild_artefact_is_not_called_severe() -> None:
    figures = json.loads((find_model(WEIGHTS_NAME).folder / "metrics.json").read_text())["balanced_accuracy_tier"]
    # The papers' metric: tier 3 against 1 and 2, tier 2 against 1.
    assert figures["severe (tier 3) against clean and mild"] >= 0.9
    assert figures["mild (tier 2 or 3) against clean"] >= 0.82


def test_a_feature_beyond_all_training_stays_finite() -> None:
    grade = fit_grades(*toy()).grade(np.full(5, 1e12))
    assert 0.0 <= grade.probability <= 1.0


def test_models_are_written_as_they_are(tmp_path: Path) -> None:
    model = fit_grades(*toy())
    write_grades(model, tmp_path / "g.json")
    assert (tmp_path / "g.json").stat().st_size < 20_000


@pytest.mark.parametrize("shape", [(10, 40, 40), (40, 40, 3)])
def test_an_image_too_small_is_not_graded(shape: tuple[int, int, int]) -> None:
    voxels = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    assert texture_features(Volume(grid=Grid(shape=shape, affine=np.eye(4)), voxels=voxels, modality="MR")) is None


def test_features_of_any_image_are_finite() -> None:
    volume, _ = hippocampus_phantom(0)
    for voxels in (volume.voxels, -volume.voxels, np.where(volume.voxels > 700, 1.0, 0.0).astype(np.float32)):
        features = texture_features(Volume(grid=volume.grid, voxels=voxels, modality="MR"))
        assert features is not None
        assert np.isfinite(features).all()


def test_real_unseen_crops_are_told_from_their_severe_degradations() -> None:
    folder = shared_data("hippocampus_msd") / "images"
    names = split_patients(p.name.removesuffix(".nii.gz") for p in folder.glob("*.nii.gz"))[Split.TEST][:10]
    model = shipped_grades(CROP)
    clean, severe = [], []
    for number, name in enumerate(names):
        volume = read_nifti(folder / f"{name}.nii.gz")
        artefact = list(Artefact)[number % len(Artefact)]
        spoilt = degrade(volume, artefact, 0.9, np.random.default_rng(number))
        for collected, one in ((clean, volume), (severe, spoilt)):
            features = texture_features(one)
            assert features is not None
            collected.append(model.grade(features).tier)
    assert max(clean) < 3
    assert np.mean(np.array(severe) == 3) >= 0.8
