"""NIfTI edits: any axis order and direction lands on the source grid; everything else is refused by name."""

from __future__ import annotations

import contextlib
import gzip
import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.errors import DicomObjectError, GeometryMismatch, UndeclaredLabel, UnreadableObject
from dicom_sr.nifti_edit import read_nifti_edit
from dicom_sr.segmentation import Segmentation
from dicom_sr.series import load_volume, read_series
from dicom_sr.volume import Grid
from tests.support.dicom_tools import ras_affine
from tests.support.make_segmentation import make_segmentation, make_segments
from tests.support.make_series import AXIAL, SAGITTAL, make_mr_series, oblique
from tests.support.shared import shared_data

SEGMENTS = make_segments("a", "b", "c")


def make_grid(orientation=AXIAL, shape=(4, 6, 5), spacing=(3.0, 1.5, 0.75)):
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    affine = np.eye(4)
    affine[:3, :3] = np.c_[np.cross(row, column) * spacing[0], column * spacing[1], row * spacing[2]]
    affine[:3, 3] = (-10, 20, 30)
    return Grid(shape=shape, affine=affine, frame_of_reference_uid="1.2.3")


GRID = make_grid()
LABELS = np.random.default_rng(1).integers(0, 4, GRID.shape).astype(np.uint8)


def content_of(labels, affine, kind=nib.Nifti1Image, compressed=False):
    content = kind(labels, affine).to_bytes()
    return gzip.compress(content) if compressed else content


def as_file(labels, grid, order=(0, 1, 2), flips=()):
    """Bytes of the label map (z, y, x) with axes (x, y, z) permuted and flipped as some tool may store them."""
    data, affine = labels.transpose(2, 1, 0), ras_affine(grid)
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
        affine[:3, axis] *= -1
        data = np.flip(data, axis)
    return content_of(np.ascontiguousarray(data.transpose(order)), affine[:, [*order, 3]])


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, oblique(17, -29)], ids=["axial", "sagittal", "oblique"])
def test_any_axis_order_and_direction_is_the_same_edit(order, flips, orientation):
    grid = make_grid(orientation)

    edit = read_nifti_edit(as_file(LABELS, grid, order, flips), grid, SEGMENTS)

    np.testing.assert_array_equal(edit.layers[0], LABELS)
    assert edit.digest() == Segmentation.from_labelmap(grid, LABELS, SEGMENTS).digest()


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_both_versions_compressed_or_not_in_any_number_type(kind, compressed, dtype):
    content = content_of(LABELS.transpose(2, 1, 0).astype(dtype), ras_affine(GRID), kind, compressed)

    np.testing.assert_array_equal(read_nifti_edit(content, GRID, SEGMENTS).layers[0], LABELS)


def test_a_fourth_axis_of_one_is_allowed():
    content = content_of(LABELS.transpose(2, 1, 0)[..., None], ras_affine(GRID))

    np.testing.assert_array_equal(read_nifti_edit(content, GRID, SEGMENTS).layers[0], LABELS)


@pytest.mark.parametrize("change", ["shifted", "scaled", "cropped", "turned", "mirrored", "singular"])
def test_voxels_elsewhere_are_a_geometry_mismatch(change):
    labels, affine = LABELS.transpose(2, 1, 0), ras_affine(GRID)
    if change == "shifted":
        affine[0, 3] += 0.2
    elif change == "scaled":
        affine[:3, 0] *= 1.1
    elif change == "cropped":
        labels = labels[:-1]
    elif change == "turned":
        affine[:3, :3] = affine[:3, :3] @ np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
    elif change == "mirrored":
        affine[0] *= -1
    else:
        affine[:3, 2] = affine[:3, 1]

    image = nib.Nifti1Image(np.ascontiguousarray(labels), None)
    image.set_sform(affine, code=2)

    with pytest.raises(GeometryMismatch):
        read_nifti_edit(image.to_bytes(), GRID, SEGMENTS)


def test_a_file_that_does_not_say_where_it_is_is_a_geometry_mismatch():
    image = nib.Nifti1Image(np.ascontiguousarray(LABELS.transpose(2, 1, 0)), None)

    with pytest.raises(GeometryMismatch):
        read_nifti_edit(image.to_bytes(), GRID, SEGMENTS)


def test_an_undeclared_label_is_refused():
    labels = LABELS.copy()
    labels[0, 0, 0] = 9

    with pytest.raises(UndeclaredLabel):
        read_nifti_edit(as_file(labels, GRID), GRID, SEGMENTS)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_values_that_are_no_labels_are_refused(value):
    labels = LABELS.astype(np.float32)
    labels[1, 2, 3] = value

    with pytest.raises(UnreadableObject):
        read_nifti_edit(as_file(labels, GRID), GRID, SEGMENTS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\x1f\x8b",
        gzip.compress(b"garbage"),
        as_file(LABELS, GRID)[:200],
        as_file(LABELS, GRID)[:-20],
        gzip.compress(as_file(LABELS, GRID))[:-20],
    ],
)
def test_what_is_no_nifti_is_unreadable(content):
    with pytest.raises(UnreadableObject):
        read_nifti_edit(content, GRID, SEGMENTS)


def test_a_file_that_unpacks_to_gigabytes_is_refused(monkeypatch):
    monkeypatch.setattr("dicom_sr.nifti_edit.LARGEST_FILE", 1000)

    with pytest.raises(UnreadableObject, match="gigabyte"):
        read_nifti_edit(gzip.compress(b"\0" * 100_000), GRID, SEGMENTS)


def test_a_file_of_more_voxels_than_the_source_is_refused_before_it_is_unpacked():
    many = np.zeros((400, 400, 40), np.uint8)

    with pytest.raises(GeometryMismatch, match="more voxels"):
        read_nifti_edit(gzip.compress(nib.Nifti1Image(many, ras_affine(GRID)).to_bytes()), GRID, SEGMENTS)


def test_a_header_that_promises_a_huge_image_is_a_geometry_mismatch():
    content = bytearray(as_file(LABELS, GRID))
    content[42:50] = np.array([30_000] * 4, "<i2").tobytes()

    with pytest.raises(GeometryMismatch):
        read_nifti_edit(bytes(content), GRID, SEGMENTS)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 450), st.integers(0, 255)), min_size=1, max_size=12), st.integers(0, 600))
def test_a_damaged_file_is_read_or_refused_by_name(changes, cut):
    content = bytearray(as_file(LABELS, GRID))
    for place, value in changes:
        content[place] = value
    damaged = bytes(content[: len(content) - max(0, cut - 500)])

    with contextlib.suppress(DicomObjectError):  # any other error fails the test
        assert read_nifti_edit(damaged, GRID, SEGMENTS).grid is GRID


def test_the_edit_of_a_series_written_by_another_tool_comes_back(tmp_path):
    files = make_mr_series(tmp_path, orientation=oblique(10, 20), descending=True, shape=(5, 9, 7))
    source = read_series(files)
    segmentation = make_segmentation(source.grid, "a", "b", "c")

    content = as_file(segmentation.layers[0].astype(np.uint8), source.grid, order=(2, 0, 1), flips=(0, 2))

    assert read_nifti_edit(content, source.grid, segmentation.segments).digest() == segmentation.digest()


def test_a_real_label_file_lands_on_its_converted_series():
    series = shared_data("converted_dicom") / "hippocampus_001"
    labels = shared_data("hippocampus_msd") / "labels" / "hippocampus_001.nii.gz"
    files = sorted(series.glob("*.dcm"))
    source = read_series(files)

    edit = read_nifti_edit(labels.read_bytes(), source.grid, make_segments("Anterior", "Posterior"))

    expected = np.asanyarray(nib.load(labels).dataobj)
    assert edit.voxel_count(edit.segments[0]) == np.count_nonzero(expected == 1)
    brightness = load_volume(source, files).voxels
    inside = brightness[edit.layers[0] > 0].mean()
    assert abs(inside - brightness.mean()) > 1  # on the structure, not anywhere
