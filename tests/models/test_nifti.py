"""NIfTI and DICOM put the same voxel at the same place in the patient."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dicom_sr.volume import Grid
from models.errors import UnusableVolume
from models.nifti import read_nifti, read_nifti_labels, write_nifti
from models.preprocess import PreprocessPlan, prepare
from tests.support.shared import shared_data


def test_a_voxel_of_a_ras_file_is_found_at_its_lps_place(tmp_path: Path) -> None:
    values = np.zeros((4, 5, 6), np.float32)
    values[1, 2, 3] = 7
    affine = np.array([[2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "a.nii.gz")
    volume = read_nifti(tmp_path / "a.nii.gz")
    assert volume.grid.shape == (6, 5, 4)
    assert volume.voxels[3, 2, 1] == 7
    place = (volume.grid.affine @ np.array([3, 2, 1, 1.0]))[:3]
    np.testing.assert_allclose(place, [-12, -26, 42])


@settings(deadline=None, max_examples=25)
@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 4)] * 3),
    origin=st.tuples(*[st.floats(-200, 200)] * 3),
)
def test_writing_then_reading_keeps_grid_and_labels(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, float, float],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix() * np.array(spacing)
    affine[:3, 3] = origin
    grid = Grid(shape=(4, 5, 6), affine=affine)
    labels = np.arange(120, dtype=np.uint16).reshape(grid.shape)
    path = tmp_path_factory.mktemp("nifti") / "labels.nii.gz"
    write_nifti(path, grid, labels)
    read_grid, read_labels = read_nifti_labels(path)
    assert grid.is_same_as(read_grid)
    np.testing.assert_array_equal(read_labels, labels)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x1f\x8b\x08\x00 truncated"])
def test_a_file_that_is_no_image_is_named_unusable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(content)
    with pytest.raises(UnusableVolume):
        read_nifti(path)


def test_label_values_must_be_integers(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), 0.5, np.float32), np.eye(4)), tmp_path / "l.nii.gz")
    with pytest.raises(UnusableVolume, match="not integers"):
        read_nifti_labels(tmp_path / "l.nii.gz")


def test_a_time_series_is_not_a_volume(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4)), tmp_path / "t.nii.gz")
    with pytest.raises(UnusableVolume, match="4 dimensions"):
        read_nifti(tmp_path / "t.nii.gz")


def test_the_dicom_conversion_of_a_crop_equals_the_nifti_file() -> None:
    series = shared_data("converted_dicom") / "hippocampus_001"
    image = read_nifti(shared_data("hippocampus_msd") / "images" / "hippocampus_001.nii.gz")
    slices = [pydicom.dcmread(path) for path in sorted(series.rglob("*.dcm")) if "RTSTRUCT" not in path.name]
    slices = [s for s in slices if s.Modality == "MR" and "PixelData" in s]
    first = slices[0]
    row, column = np.split(np.array(first.ImageOrientationPatient, float), 2)
    slices.sort(key=lambda s: float(np.dot(np.cross(row, column), np.array(s.ImagePositionPatient, float))))
    voxels = np.stack([s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices])
    affine = np.eye(4)
    ends = [np.array(s.ImagePositionPatient, float) for s in (slices[0], slices[-1])]
    affine[:3, 0] = (ends[1] - ends[0]) / (len(slices) - 1)
    affine[:3, 1] = column * float(first.PixelSpacing[0])
    affine[:3, 2] = row * float(first.PixelSpacing[1])
    affine[:3, 3] = ends[0]
    from dicom_sr.volume import Volume

    grid = Grid(shape=tuple(int(n) for n in voxels.shape), affine=affine)
    dicom = Volume(grid=grid, voxels=voxels.astype(np.float32), modality="MR")
    from_dicom, from_nifti = (prepare(v, PreprocessPlan()).voxels for v in (dicom, image))
    assert grid.is_same_as(image.grid)
    np.testing.assert_allclose(from_dicom, from_nifti, atol=1e-3)
