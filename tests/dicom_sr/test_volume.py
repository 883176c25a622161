"""Grid and volume: the affine says what the DICOM attributes say; digests count what matters and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.errors import GeometryMismatch
from dicom_sr.volume import Grid, Volume
from tests.support.make_series import oblique


@st.composite
def grids(draw):
    orientation = oblique(draw(st.floats(-180, 180)), draw(st.floats(-180, 180)))
    spacing = draw(st.tuples(*[st.floats(0.2, 10)] * 3))
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    affine = np.eye(4)
    affine[:3, :3] = np.c_[np.cross(row, column) * spacing[0], column * spacing[1], row * spacing[2]]
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    shape = draw(st.tuples(*[st.integers(1, 40)] * 3))
    return Grid(shape=shape, affine=affine, frame_of_reference_uid="1.2.3"), orientation, spacing


@settings(deadline=None, max_examples=50)
@given(grids())
def test_the_affine_says_what_the_dicom_attributes_say(drawn):
    grid, orientation, spacing = drawn

    assert grid.spacing == pytest.approx(spacing)
    assert grid.image_orientation_patient == pytest.approx(orientation, abs=1e-9)
    assert grid.voxel_ml == pytest.approx(np.prod(spacing) / 1000)
    for z in (0, grid.shape[0] - 1):
        normal = np.cross(orientation[:3], orientation[3:])
        expected = grid.affine[:3, 3] + z * spacing[0] * normal
        assert grid.image_position_patient(z) == pytest.approx(tuple(expected), abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(grids(), st.floats(0.02, 5), st.integers(0, 2))
def test_a_grid_is_itself_and_not_one_that_is_moved(drawn, distance, axis):
    grid, _, _ = drawn
    moved = grid.affine.copy()
    moved[axis, 3] += distance
    other = Grid(shape=grid.shape, affine=moved, frame_of_reference_uid=grid.frame_of_reference_uid)

    assert grid.is_same_as(grid)
    assert not grid.is_same_as(other)
    assert grid.digest() != other.digest()
    assert grid.is_same_as(other, tolerance_mm=distance * 1.01)


def test_a_stretch_is_seen_at_the_far_corner():
    grid = Grid(shape=(100, 4, 4), affine=np.eye(4))
    stretched = np.eye(4)
    stretched[0, 0] = 1.001

    assert not grid.is_same_as(Grid(shape=(100, 4, 4), affine=stretched))
    assert Grid(shape=(2, 4, 4), affine=np.eye(4)).is_same_as(Grid(shape=(2, 4, 4), affine=stretched))


def test_two_frames_of_reference_are_never_the_same_but_an_unknown_one_may_be():
    one, two, unknown = (Grid(shape=(2, 2, 2), affine=np.eye(4), frame_of_reference_uid=u) for u in ("1.2", "1.3", ""))

    assert not one.is_same_as(two)
    assert one.is_same_as(unknown)
    assert one.digest() == two.digest() == unknown.digest()


def test_minus_zero_does_not_change_a_digest():
    affine = np.eye(4)
    affine[0, 3] = -0.0

    assert Grid(shape=(2, 2, 2), affine=affine).digest() == Grid(shape=(2, 2, 2), affine=np.eye(4)).digest()


def test_the_digest_of_a_volume_counts_pixels_geometry_and_modality():
    grid = Grid(shape=(2, 3, 4), affine=np.eye(4))
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    changed = voxels.copy()
    changed[1, 2, 3] += 1
    moved = Grid(shape=(2, 3, 4), affine=np.diag([2.0, 1, 1, 1]))

    digests = {
        Volume(grid=grid, voxels=voxels, modality="MR").digest(),
        Volume(grid=grid, voxels=changed, modality="MR").digest(),
        Volume(grid=grid, voxels=voxels, modality="CT").digest(),
        Volume(grid=moved, voxels=voxels, modality="MR").digest(),
    }

    assert len(digests) == 4
    assert Volume(grid=grid, voxels=voxels[::-1][::-1], modality="MR").digest() in digests


def test_voxels_of_another_shape_are_refused():
    with pytest.raises(GeometryMismatch):
        Volume(grid=Grid(shape=(2, 3, 4), affine=np.eye(4)), voxels=np.zeros((4, 3, 2), np.float32), modality="MR")
