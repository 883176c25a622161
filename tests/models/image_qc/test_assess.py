"""Image QC refuses what no pipeline should see and says why; what a header does not say is not held against it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_sr.acquisition import Acquisition, SeriesDefect
from dicom_sr.verdict import Finding, Outcome, Verdict, decide
from dicom_sr.volume import Grid, Volume
from models.image_qc.artefacts import Artefact, degrade
from models.image_qc.assess import assess_image, criteria_for
from models.image_qc.targets import UnknownTarget
from models.nifti import read_nifti
from models.split import Split, split_patients
from tests.support.shared import shared_data

CROP, T1, FLAIR = "t1-hippocampus-crop", "t1-brain", "flair-brain"
BARE = Acquisition(modality="MR", sop_class_uid="")


def volume_of(
    voxels: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), modality: str = "MR"
) -> Volume:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing, 1.0
    return Volume(grid=Grid(shape=voxels.shape, affine=affine), voxels=voxels.astype(np.float32), modality=modality)


def noise(shape: tuple[int, int, int] = (36, 48, 36)) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, shape)


def head(kind: str = "brain") -> Volume:
    """Make a head-sized ball at 3 mm with brain-like structure, or an even one."""
    random = np.random.default_rng(1)
    z, y, x = np.meshgrid(*[np.linspace(-120, 120, 80)] * 3, indexing="ij")
    inside = (z / 80) ** 2 + (y / 95) ** 2 + (x / 75) ** 2 < 1
    ripple = 40 * np.sin(z / 6) * np.sin(y / 7) * np.sin(x / 5) if kind == "brain" else 0.0
    signal = inside * (120 + ripple)
    return volume_of(np.hypot(signal + random.normal(0, 4, z.shape), random.normal(0, 4, z.shape)), (3.0, 3.0, 3.0))


def verdict(volume: Volume | None, acquisition: Acquisition = BARE, *, target: str = CROP) -> Verdict:
    return decide(assess_image(volume, acquisition, target=target, stage="image_qc"), criteria_for(target))


def violated(found: tuple[Finding, ...]) -> set[str]:
    rules = {c.code for c in criteria_for(CROP) if c.reject_above == 0.5}
    return {f.code for f in found if f.code in rules and f.value == 1.0}


def codes(outcome: Verdict) -> set[str]:
    return {reason.code for reason in outcome.reasons}


@pytest.mark.parametrize(
    ("acquisition", "target", "code"),
    [
        (Acquisition(modality="CT", sop_class_uid=""), CROP, "WRONG_MODALITY"),
        (
            Acquisition(modality="MR", sop_class_uid="", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")),
            CROP,
            "LOCALIZER",
        ),
        (Acquisition(modality="MR", sop_class_uid="", series_description="3-plane Loc"), CROP, "LOCALIZER"),
        (
            Acquisition(modality="MR", sop_class_uid="", image_type=("DERIVED", "PRIMARY", "ADC")),
            CROP,
            "DERIVED_PIXELS",
        ),
        (
            Acquisition(modality="MR", sop_class_uid="", repetition_time=9000, echo_time=120, inversion_time=2500),
            T1,
            "WRONG_SEQUENCE",
        ),
        (Acquisition(modality="MR", sop_class_uid="", series_description="Sag T2 TSE"), T1, "WRONG_SEQUENCE"),
        (
            Acquisition(modality="MR", sop_class_uid="", repetition_time=2000, echo_time=2.5, inversion_time=900),
            FLAIR,
            "WRONG_SEQUENCE",
        ),
    ],
)
def test_a_header_that_names_something_else_rejects(acquisition: Acquisition, target: str, code: str) -> None:
    outcome = verdict(head(), acquisition, target=target)
    assert outcome.outcome is Outcome.REJECT
    assert code in codes(outcome)


@pytest.mark.parametrize("defect", list(SeriesDefect))
def test_every_series_defect_rejects_under_its_own_code(defect: SeriesDefect) -> None:
    broken = Acquisition(modality="MR", sop_class_uid="", defects=(defect,))
    outcome = verdict(None, broken)
    assert outcome.outcome is Outcome.REJECT
    assert {str(defect), "NO_VOLUME"} <= codes(outcome)
    assert all(reason.text for reason in outcome.reasons)


def test_an_absent_header_is_not_held_against_an_image() -> None:
    empty = Acquisition(modality="", sop_class_uid="")
    assert not violated(assess_image(head(), empty, target=T1, stage="s")) - {"THICK_SLICES"}


@pytest.mark.parametrize(
    ("volume", "code"),
    [
        (volume_of(np.full((36, 48, 36), 7.0)), "CONSTANT_IMAGE"),
        (volume_of(np.where(noise() > 150, np.nan, noise())), "NOT_FINITE"),
        (volume_of(np.where(noise() > 150, np.inf, noise())), "NOT_FINITE"),
        (volume_of(np.add.outer(np.arange(36) // 12, np.zeros((48, 36)))), "SEGMENTATION_PIXELS"),
        (volume_of(noise((36, 48, 100))), "FIELD_OF_VIEW"),
        (volume_of(noise((10, 48, 36)), (5.0, 1.0, 1.0)), "THICK_SLICES"),
        (volume_of(noise((1, 48, 36))), "FIELD_OF_VIEW"),
        (volume_of(noise(), (0.0, 1.0, 1.0)), "NO_VOLUME"),
    ],
)
def test_pixels_no_network_should_see_reject(volume: Volume, code: str) -> None:
    outcome = verdict(volume)
    assert outcome.outcome is Outcome.REJECT
    assert code in codes(outcome)


@pytest.mark.parametrize("target", [CROP, T1, FLAIR, "any"])
@pytest.mark.parametrize(
    "voxels",
    [
        np.zeros((8, 8, 8)),
        np.ones((3, 3, 3)),
        noise((2, 2, 2)),
        noise((1, 1, 1)),
        -noise((36, 48, 36)),
        noise((40, 4, 40)),
    ],
)
def test_no_finding_is_ever_nan(voxels: np.ndarray, target: str) -> None:
    found = assess_image(volume_of(voxels), BARE, target=target, stage="s")
    assert all(f.value is None or np.isfinite(f.value) for f in found)
    assert all(f.detail for f in found if f.value is None)


def test_an_even_ball_is_a_phantom_and_a_structured_one_is_not() -> None:
    even = assess_image(head("phantom"), BARE, target=FLAIR, stage="s")
    structured = assess_image(head(), BARE, target=FLAIR, stage="s")
    assert "PHANTOM" in violated(even)
    assert "PHANTOM" not in violated(structured)


def test_a_head_with_inverted_intensities_is_none() -> None:
    upright = head()
    inverted = volume_of(upright.voxels.max() - upright.voxels, (2.0, 2.4, 2.4))
    found = assess_image(inverted, BARE, target="mr-head", stage="s")
    assert "PHANTOM" in violated(found)
    assert "no dark air" in next(f.detail for f in found if f.code == "PHANTOM")


def test_any_target_checks_geometry_and_pixels_only() -> None:
    outcome = verdict(
        volume_of(noise((9, 90, 200)), modality="CT"), Acquisition(modality="CT", sop_class_uid=""), target="any"
    )
    assert outcome.outcome is Outcome.ACCEPT


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UnknownTarget):
        criteria_for("knee")


def test_every_criterion_names_its_source() -> None:
    assert all(c.source for target in (CROP, T1, FLAIR, "any") for c in criteria_for(target))


# Real images


def crops(split: Split, limit: int = 100) -> dict[str, Volume]:
    folder = shared_data("hippocampus_msd") / "images"
    names = split_patients(p.name.removesuffix(".nii.gz") for p in folder.glob("*.nii.gz"))[split][:limit]
    return {name: read_nifti(folder / f"{name}.nii.gz") for name in names}


def test_no_good_test_crop_is_rejected_and_nearly_all_are_accepted() -> None:
    outcomes = [verdict(volume).outcome for volume in crops(Split.TEST).values()]
    assert all(o in (Outcome.ACCEPT, Outcome.REVIEW) for o in outcomes)
    assert np.mean([o is Outcome.ACCEPT for o in outcomes]) >= 0.95


@pytest.mark.parametrize("artefact", [Artefact.NOISE, Artefact.BLUR, Artefact.BIAS])
def test_a_useless_crop_is_never_accepted(artefact: Artefact) -> None:
    random = np.random.default_rng(0)
    outcomes = [verdict(degrade(v, artefact, 1.0, random)).outcome for v in crops(Split.TEST, 12).values()]
    assert all(o is not Outcome.ACCEPT for o in outcomes)


def test_a_crop_of_another_body_part_is_not_assessable() -> None:
    spine = read_nifti(shared_data("spinal_cord") / "t2" / "t2.nii.gz")
    assert verdict(spine).outcome is Outcome.NOT_ASSESSABLE


def test_a_stored_axis_order_does_not_change_what_is_measured() -> None:
    volume = next(iter(crops(Split.TEST, 1).values()))
    flipped = Grid(
        shape=volume.grid.shape,
        affine=volume.grid.affine
        @ np.array([[-1, 0, 0, volume.grid.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    )
    turned = Volume(grid=flipped, voxels=volume.voxels[::-1].copy(), modality="MR")
    for one, other in zip(*(assess_image(v, BARE, target=CROP, stage="s") for v in (volume, turned)), strict=True):
        assert one.code == other.code
        assert one.value == pytest.approx(other.value, rel=1e-3)


def read_series(folder: Path) -> Volume:
    """Read a plain single-frame series for these tests only; the product reads DICOM in dicom_sr."""
    images = [pydicom.dcmread(path) for path in sorted(folder.iterdir()) if path.suffix not in (".md", "")]
    images = [i for i in images if "ImagePositionPatient" in i]
    across = np.cross(*np.array(images[0].ImageOrientationPatient, float).reshape(2, 3))
    images.sort(key=lambda image: float(across @ np.array(image.ImagePositionPatient, float)))
    step = float(np.linalg.norm(np.subtract(images[1].ImagePositionPatient, images[0].ImagePositionPatient)))
    spacing = (step, *(float(v) for v in images[0].PixelSpacing))
    return volume_of(np.stack([i.pixel_array for i in images]), spacing)


def test_the_real_phantom_named_as_a_brain_is_rejected_by_its_pixels() -> None:
    phantom = read_series(shared_data("mislabelled_phantom_ge_dicom"))
    named = Acquisition(modality="MR", sop_class_uid="", series_description="3D Ax T1 MP-RAGE")
    outcome = verdict(phantom, named, target=T1)
    assert outcome.outcome is Outcome.REJECT
    assert "PHANTOM" in codes(outcome)


def test_a_real_whole_head_t1_is_accepted() -> None:
    outcome = verdict(read_series(shared_data("brain_t1_siemens_dicom")), target=T1)
    assert outcome.outcome is Outcome.ACCEPT


def test_real_flair_heads_are_accepted() -> None:
    for path in sorted((shared_data("ms_lesion_nifti") / "longitudinal" / "raw").rglob("*FLAIR.nii.gz")):
        assert verdict(read_nifti(path), target=FLAIR).outcome is Outcome.ACCEPT


def test_a_crop_is_judged_within_two_seconds_of_processor_time() -> None:
    volume = next(iter(crops(Split.TEST, 1).values()))
    started = time.process_time()
    assess_image(volume, BARE, target=CROP, stage="s")
    assert time.process_time() - started < 2.0
