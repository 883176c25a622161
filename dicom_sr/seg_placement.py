"""Where each frame of a segmentation lies on the voxel grid of its source; signs and axes resolved, never resampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_sr.header import numbers
from dicom_sr.seg_groups import Floats, FrameTable
from dicom_sr.source import SourceSeries
from dicom_sr.volume import Grid

#: The first pixel of a frame must be within a tenth of a voxel, or 0.01 mm (PET), of the centre of a voxel.
POSITION_TOLERANCE_VOXELS = 0.1
POSITION_TOLERANCE_MM = 1e-2
#: Largest deviation of the step between neighbouring pixels from one voxel: a quarter of a voxel over 512 pixels.
STEP_TOLERANCE = 5e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLayout:
    """How the rows and columns of a frame run along the axes of the grid.

    Parameters
    ----------
    plane_axis : int
        Grid axis (0 slice, 1 row, 2 column) that is constant in the frame; 0 for the usual case.
    transposed : bool
        Whether the frame's rows run along the later of the two remaining axes.
    flipped_rows, flipped_columns : bool
        Whether the frame's row (column) index runs against the grid's.
    """

    plane_axis: int
    transposed: bool
    flipped_rows: bool
    flipped_columns: bool

    @property
    def is_identity(self) -> bool:
        """Whether a frame is a slice of the grid as it stands."""
        return self == SLICE_LAYOUT

    def view(self, volume: npt.NDArray[np.uint16], plane: int) -> npt.NDArray[np.uint16]:
        """View plane `plane` of a (z, y, x) volume with the axes of the frame, (row, column)."""
        plane_view: npt.NDArray[np.uint16] = np.moveaxis(volume, self.plane_axis, 0)[plane]
        if self.transposed:
            plane_view = plane_view.T
        if self.flipped_rows:
            plane_view = plane_view[::-1]
        return plane_view[:, ::-1] if self.flipped_columns else plane_view


#: Frames that are slices of the source grid, pixel for pixel.
SLICE_LAYOUT = FrameLayout(plane_axis=0, transposed=False, flipped_rows=False, flipped_columns=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the frames lie.

    Parameters
    ----------
    planes : tuple of int
        For each frame the index along its layout's plane axis; -1 for a frame that is not on the grid.
    layouts : tuple of FrameLayout
        For each frame its layout.
    without_spacing : int
        Frames whose Pixel Spacing is absent and was taken from the source.
    """

    planes: tuple[int, ...]
    layouts: tuple[FrameLayout, ...]
    without_spacing: int


def place_frames(frames: FrameTable, source: SourceSeries, grid: Grid, *, rows: int, columns: int) -> Placement:
    """Place every frame on `grid`.

    Parameters
    ----------
    frames : FrameTable
        Functional groups of the frames.
    source : SourceSeries
        The source; the positions of its slices count where they leave the regular grid a little.
    grid : Grid
        Grid of the source.
    rows, columns : int
        Matrix of the frames.

    Returns
    -------
    Placement
        A frame is off the grid when its position, orientation, spacing or matrix does not fit, or is absent, or when it
        is cut along another axis than most frames.
    """
    inverse = np.linalg.inv(grid.affine[:3, :3]).astype(np.float64)
    # Headers may hold any number; what overflows fits no plane.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        row_steps = _steps(frames.orientations[:, 3:], frames.spacings[:, :1], inverse)
        column_steps = _steps(frames.orientations[:, :3], frames.spacings[:, 1:], inverse)
        origins: Floats = (frames.positions - grid.affine[:3, 3]) @ inverse.T
        axes = np.stack([_axes(row_steps), _axes(column_steps)], axis=1)
    positions = _SourcePositions(source)
    layouts = [SLICE_LAYOUT] * frames.count
    planes = [-1] * frames.count
    for row_axis, column_axis in {(int(row), int(column)) for row, column in axes}:
        if not row_axis or not column_axis or abs(row_axis) == abs(column_axis):
            continue
        layout = _layout(row_axis, column_axis)
        indices = np.flatnonzero((axes == (row_axis, column_axis)).all(axis=1))
        found = _planes(origins[indices], layout, row_axis, column_axis, grid, (rows, columns))
        for index, plane in zip(indices.tolist(), found.tolist(), strict=True):
            layouts[index] = layout
            planes[index] = plane
            if plane < 0 and layout.is_identity and (rows, columns) == grid.shape[1:]:
                planes[index] = positions.slice_at(frames.positions[index], float(np.round(origins[index, 0])))
    cut_along = [layout.plane_axis for layout, plane in zip(layouts, planes, strict=True) if plane >= 0]
    usual = max(range(3), key=cut_along.count)
    planes = [p if layout.plane_axis == usual else -1 for p, layout in zip(planes, layouts, strict=True)]
    unspaced = int(np.isnan(frames.spacings).any(axis=1).sum())
    return Placement(planes=tuple(planes), layouts=tuple(layouts), without_spacing=unspaced)


def _steps(cosines: Floats, spacing: Floats, inverse: Floats) -> Floats:
    """Step between neighbouring pixels in grid indices (z, y, x); without a spacing, one voxel along its main axis."""
    steps: Floats = (cosines * np.where(np.isnan(spacing), 1.0, spacing)) @ inverse.T
    longest = np.abs(steps).max(axis=1, keepdims=True)
    steps = np.where(np.isnan(spacing), steps / longest, steps)
    return steps


def _axes(steps: Floats) -> npt.NDArray[np.int64]:
    """Return the 1-based grid axis each step runs along, negative when against it; 0 for no step of one voxel."""
    rounded = np.round(steps)
    whole = (np.abs(steps - rounded) <= STEP_TOLERANCE).all(axis=1) & (np.abs(rounded).sum(axis=1) == 1)
    rounded[~whole] = 0
    axes: npt.NDArray[np.int64] = (rounded @ np.array([1.0, 2.0, 3.0])).astype(np.int64)
    return axes


def _layout(row_axis: int, column_axis: int) -> FrameLayout:
    return FrameLayout(
        plane_axis=6 - abs(row_axis) - abs(column_axis) - 1,
        transposed=abs(row_axis) > abs(column_axis),
        flipped_rows=row_axis < 0,
        flipped_columns=column_axis < 0,
    )


def _planes(
    origins: Floats, layout: FrameLayout, row_axis: int, column_axis: int, grid: Grid, matrix: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Return the plane of each frame, whose first pixel is at index `origins`, or -1 where it does not fit the grid."""
    expected = np.zeros_like(origins)
    for axis in (row_axis, column_axis):
        if axis < 0:
            expected[:, -axis - 1] = grid.shape[-axis - 1] - 1
    planes = np.round(origins[:, layout.plane_axis])
    expected[:, layout.plane_axis] = planes
    tolerance = np.maximum(POSITION_TOLERANCE_VOXELS, POSITION_TOLERANCE_MM / np.array(grid.spacing))
    fits = (np.abs(origins - expected) <= tolerance).all(axis=1) & _fills(grid, row_axis, column_axis, matrix)
    fits &= (planes >= 0) & (planes < grid.shape[layout.plane_axis])
    return np.where(fits, planes, -1.0).astype(np.int64)


def _fills(grid: Grid, row_axis: int, column_axis: int, matrix: tuple[int, int]) -> bool:
    return matrix == (grid.shape[abs(row_axis) - 1], grid.shape[abs(column_axis) - 1])


class _SourcePositions:
    """The slices' own positions, for frames that fit the regular grid too loosely.

    The grid is a regular fit; the headers of an unevenly rounded series may deviate more than a frame is allowed to.
    """

    def __init__(self, source: SourceSeries) -> None:
        self._slices = source.slices
        self._headers = source.headers
        self._positions: dict[str, tuple[float, ...]] = {}

    def slice_at(self, position: Floats, z: float) -> int:
        """Return slice `z` if its Image Position (Patient) is within 0.01 mm of `position`, else -1."""
        if not 0 <= z < len(self._slices) or self._slices[int(z)].frame_number is not None:
            return -1
        if not self._positions:
            self._positions = {str(h.SOPInstanceUID): numbers(h, "ImagePositionPatient") for h in self._headers}
        actual = self._positions.get(self._slices[int(z)].sop_instance_uid, ())
        near = len(actual) == 3 and bool((np.abs(position - actual) <= POSITION_TOLERANCE_MM).all())
        return int(z) if near else -1
