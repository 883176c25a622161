"""Simulated scans and their views: the worst grade makes the tier, degradations do what they say, views repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicom_sr.volume import Grid, Volume
from models.errors import UnusableVolume
from models.image_qc.network import Domain
from models.image_qc.pool import PooledScan, read_pool, write_pool
from models.image_qc.simulation import (
    Grades,
    Reject,
    compressed,
    random_grades,
    random_slab,
    rejected,
    simulated,
)
from models.image_qc.views import VIEW_SHAPE, random_views, views_of
from models.phantom import hippocampus_phantom


def head() -> Volume:
    """Make a ball of two tissues in air, 2 mm slices."""
    shape, spacing = (60, 90, 80), (2.0, 1.5, 1.5)
    z, y, x = np.meshgrid(*[(np.arange(n) - n / 2) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    far = np.sqrt(z * z + y * y + x * x)
    voxels = np.where(far < 30, 400.0, np.where(far < 52, 250.0, 0.0)) + np.random.default_rng(0).uniform(0, 5, shape)
    return Volume(
        grid=Grid(shape=shape, affine=np.diag([*spacing, 1.0])), voxels=voxels.astype(np.float32), modality="MR"
    )


@pytest.mark.parametrize(
    ("grades", "tier", "worst"),
    [
        (Grades(), 1, ""),
        (Grades(motion=1), 2, "motion"),
        (Grades(noise=2, contrast=1), 3, "noise"),
        (Grades(motion=2, contrast=2), 3, "motion and contrast"),
    ],
)
def test_the_worst_grade_makes_the_tier_and_names_the_artefact(grades: Grades, tier: int, worst: str) -> None:
    assert (grades.tier, grades.worst) == (tier, worst)


def test_tiers_come_as_often_as_asked_for() -> None:
    random = np.random.default_rng(0)
    drawn = [random_grades(random, (0.2, 0.3, 0.5)).tier for _ in range(600)]
    assert np.abs(np.bincount(drawn, minlength=4)[1:] / 600 - (0.2, 0.3, 0.5)).max() < 0.06


def test_compression_brings_tissue_together_and_leaves_air_dark() -> None:
    volume = head()
    squeezed = compressed(volume, 0.8).voxels
    air, tissue = volume.voxels < 10, volume.voxels > 200
    assert np.allclose(squeezed[air], volume.voxels[air])
    assert squeezed[tissue].std() < 0.4 * volume.voxels[tissue].std()


def test_a_scan_without_grades_is_the_image_itself() -> None:
    volume, _ = hippocampus_phantom(0)
    assert simulated(volume, Grades(), np.random.default_rng(0)) is volume


@pytest.mark.parametrize("kind", list(Reject))
def test_images_to_refuse_are_finite_and_unlike_the_good_one(kind: Reject) -> None:
    volume, _ = hippocampus_phantom(0)
    made = rejected(volume, kind, np.random.default_rng(0)).voxels
    assert np.isfinite(made).all()
    assert np.corrcoef(made.ravel(), volume.voxels.ravel())[0, 1] < 0.95


def test_a_slab_lies_where_it_was_cut() -> None:
    volume = head()
    slab = random_slab(volume, np.random.default_rng(1))
    assert slab.grid.shape == (23, 90, 80)
    start = round((slab.grid.affine[0, 3] - volume.grid.affine[0, 3]) / 2.0)
    assert np.array_equal(slab.voxels, volume.voxels[start : start + 23])


def test_views_of_a_head_repeat_and_have_the_median_of_tissue_at_one_half() -> None:
    first, second = views_of(head()), views_of(head())
    assert np.array_equal(first, second)
    assert first.shape == (16, *VIEW_SHAPE)
    assert 0.4 < np.median(first[first > 0.1]) < 0.7


def test_views_do_not_depend_on_intensity_scale_or_axis_order() -> None:
    volume = head()
    turned = Volume(
        grid=Grid(shape=(60, 80, 90), affine=volume.grid.affine[:, [0, 2, 1, 3]]),
        voxels=np.ascontiguousarray(volume.voxels.transpose(0, 2, 1)) * 7.0,
        modality="MR",
    )
    assert np.allclose(views_of(volume), views_of(turned), atol=1e-4)


@pytest.mark.parametrize("voxels", [np.zeros((9, 9, 9)), np.full((9, 9, 9), np.nan), np.ones((1, 9, 9))])
def test_an_image_no_view_can_be_cut_from_is_named(voxels: np.ndarray) -> None:
    shape = voxels.shape
    with pytest.raises(UnusableVolume):
        views_of(Volume(grid=Grid(shape=shape, affine=np.eye(4)), voxels=voxels.astype(np.float32), modality="MR"))


def test_a_pool_survives_its_file(tmp_path: Path) -> None:
    volume, _ = hippocampus_phantom(0)
    views = random_views(volume, 2, np.random.default_rng(0)).astype(np.float16)
    scans = [
        PooledScan(person="p", name="n", domain=domain, grades=grades, variant=variant, views=views, fixed=views[:1])
        for domain, grades, variant in (
            (Domain.SOURCE, Grades(motion=2, contrast=1), ""),
            (Domain.TARGET, Grades(reject=True), "NOISE_ONLY"),
        )
    ]
    write_pool(scans, tmp_path / "pool.npz")
    again = read_pool(tmp_path / "pool.npz")
    assert [(s.person, s.name, s.domain, s.grades, s.variant) for s in again] == [
        (s.person, s.name, s.domain, s.grades, s.variant) for s in scans
    ]
    assert all(
        np.array_equal(a.views, b.views) and np.array_equal(a.fixed, b.fixed) for a, b in zip(again, scans, strict=True)
    )
