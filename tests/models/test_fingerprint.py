"""A fingerprint describes a data set the same way however images are stored, and survives its file."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_sr.volume import Grid, Volume
from models.errors import FingerprintMismatch, UnusableVolume
from models.fingerprint import (
    DatasetFingerprint,
    Distribution,
    area_profile,
    fingerprint_of,
    image_features,
    label_features,
)
from models.phantom import hippocampus_phantom

LABELS = ("Hippocampus anterior", "Hippocampus posterior")


@pytest.fixture(scope="module")
def fingerprint() -> DatasetFingerprint:
    return fingerprint_of([hippocampus_phantom(seed) for seed in range(4)], labels=LABELS)


def test_json_and_back_is_the_same_fingerprint(fingerprint: DatasetFingerprint) -> None:
    again = DatasetFingerprint.from_json(fingerprint.to_json())
    assert again == fingerprint
    assert again.digest() == fingerprint.digest()


def test_another_data_set_has_another_digest(fingerprint: DatasetFingerprint) -> None:
    other = fingerprint_of([hippocampus_phantom(seed) for seed in range(1, 5)], labels=LABELS)
    assert other.digest() != fingerprint.digest()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"case_count": 1, "image": {"a": {}}, "labels": {}, "area_profile": {}}']
)
def test_a_file_that_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(FingerprintMismatch):
        DatasetFingerprint.from_json(text)


def test_the_plan_works_at_the_median_spacing(fingerprint: DatasetFingerprint) -> None:
    assert fingerprint.plan().spacing == (1.0, 1.0, 1.0)


def test_volumes_and_extents_are_in_patient_units(fingerprint: DatasetFingerprint) -> None:
    volumes = [fingerprint.labels[label]["volume_ml"].mean for label in LABELS]
    assert 2.5 < sum(volumes) < 4.0
    assert fingerprint.image["extent_mm_y"].median == 52
    assert fingerprint.labels[LABELS[0]]["components"].high == 1


def _turned(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.flip(values.transpose(2, 0, 1), 0))


def test_features_do_not_depend_on_how_the_image_is_stored() -> None:
    volume, labels = hippocampus_phantom(0)
    affine = volume.grid.affine[:, [2, 0, 1, 3]].copy()
    affine[:, 3] += affine[:, 0] * (volume.grid.shape[2] - 1)
    affine[:, 0] *= -1
    voxels = _turned(volume.voxels)
    depth, height, width = voxels.shape
    stored = Volume(grid=Grid(shape=(depth, height, width), affine=affine), voxels=voxels, modality="MR")
    assert image_features(stored) == pytest.approx(image_features(volume))
    assert label_features(_turned(labels > 0), stored.grid) == pytest.approx(label_features(labels > 0, volume.grid))
    assert area_profile(_turned(labels > 0), stored.grid) == pytest.approx(area_profile(labels > 0, volume.grid))


def test_intensity_features_do_not_depend_on_scale() -> None:
    volume, _ = hippocampus_phantom(0)
    scaled = Volume(grid=volume.grid, voxels=volume.voxels * 7 + 100, modality="MR")
    assert image_features(scaled) == pytest.approx(image_features(volume), rel=1e-3, abs=1e-3)


def test_the_area_profile_runs_from_posterior_to_anterior() -> None:
    volume, labels = hippocampus_phantom(0)
    profile = area_profile(labels > 0, volume.grid)
    assert sum(profile) == pytest.approx(1)
    posterior_only = area_profile(labels == 2, volume.grid)
    assert profile[0] < profile[7]
    assert len(posterior_only) == 10


def test_a_distribution_of_one_value_has_no_spread() -> None:
    one = Distribution.of([2.0])
    assert (one.mean, one.sd, one.low, one.high) == (2, 0, 2, 2)
    assert np.isfinite(one.z_score(5.0))


def test_a_label_that_never_occurs_is_an_error() -> None:
    volume, labels = hippocampus_phantom(0)
    with pytest.raises(UnusableVolume, match="every label"):
        fingerprint_of([(volume, labels)], labels=(*LABELS, "Amygdala"))
