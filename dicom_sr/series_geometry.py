"""Arrange the planes of a series into one regular grid, or say why they do not make one; numpy only.

Tolerances. Real headers round: direction cosines to about 1e-6 (some to 1e-4), positions to 1e-2 mm (PET), so:

- direction cosines of two planes of one stack differ by at most 1e-3;
- planes nearer than 0.01 mm along the normal are the same plane twice;
- a step between planes may differ from the usual step by 5 % or 0.02 mm, whichever is more, and no plane may lie
  further than 10 % of a step from its place in the even stack;
- the stack may lean by at most 0.1 degree against the slice normal (more is gantry tilt);
- a plane may lie off the line of the stack by half a pixel or 0.1 mm, whichever is more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_sr.acquisition import SeriesDefect
from dicom_sr.volume import Grid

COSINE_TOLERANCE = 1e-3
SAME_PLANE_MM = 0.01
STEP_TOLERANCE = 0.05
STEP_TOLERANCE_MM = 0.02
DRIFT_TOLERANCE = 0.1
TILT_TOLERANCE_DEGREES = 0.1
LATERAL_TOLERANCE_MM = 0.1

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Placement of one image plane, as the header gives it; empty tuples where the header is silent.

    Parameters
    ----------
    position : tuple of float, (x, y, z)
        Image Position (Patient), LPS mm.
    orientation : tuple of float, 6 values
        Image Orientation (Patient): direction cosines of a row, then of a column.
    pixel_spacing : tuple of float, (between rows, between columns)
        Pixel Spacing, mm.
    rows, columns : int
        Matrix.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    rows: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """The planes in order along the slice normal, and their grid where they make one.

    Parameters
    ----------
    order : tuple of int
        Indices into the planes given, ascending along the normal (cross product of row and column direction); the order
        given where there is no common normal.
    grid : Grid or None
        None when `defects` is not empty.
    gap_positions : tuple of float
        Positions along the slice normal, mm, where a plane is missing.
    defects : tuple of SeriesDefect
        Why there is no grid.
    """

    order: tuple[int, ...]
    grid: Grid | None
    gap_positions: tuple[float, ...]
    defects: tuple[SeriesDefect, ...]


def arrange(planes: Sequence[Plane], frame_of_reference_uid: str) -> Arrangement:
    """Order `planes` along their normal and build the grid they sample, or name every reason why there is none."""
    unordered = tuple(range(len(planes)))
    if not planes:
        return Arrangement(order=(), grid=None, gap_positions=(), defects=(SeriesDefect.EMPTY,))
    mixed = _incoherence(planes)
    if mixed:
        return Arrangement(order=unordered, grid=None, gap_positions=(), defects=mixed)
    normal = _normal(planes[0])
    positions = np.array([plane.position for plane in planes], np.float64)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    ordered, heights = positions[order], heights[order]
    defects, gaps = _irregularities(heights)
    if len(planes) == 1:
        defects.append(SeriesDefect.SINGLE_SLICE)
    else:
        defects += _leaning(ordered, normal, planes[0])
    defects = list(dict.fromkeys(defects))
    grid = None if defects else _grid(planes[0], ordered, frame_of_reference_uid)
    return Arrangement(order=tuple(int(i) for i in order), grid=grid, gap_positions=gaps, defects=tuple(defects))


def _incoherence(planes: Sequence[Plane]) -> tuple[SeriesDefect, ...]:
    if not all(_is_placed(plane) for plane in planes):
        return (SeriesDefect.NO_GEOMETRY,)
    first = planes[0]
    defects = []
    orientations = np.array([plane.orientation for plane in planes], np.float64)
    if np.abs(orientations - orientations[0]).max() > COSINE_TOLERANCE:
        defects.append(SeriesDefect.MIXED_ORIENTATION)
    spacings = np.array([plane.pixel_spacing for plane in planes], np.float64)
    resized = any((plane.rows, plane.columns) != (first.rows, first.columns) for plane in planes)
    if resized or np.abs(spacings / spacings[0] - 1).max() > COSINE_TOLERANCE:
        defects.append(SeriesDefect.MIXED_MATRIX)
    return tuple(defects)


def _is_placed(plane: Plane) -> bool:
    if len(plane.position) != 3 or len(plane.orientation) != 6 or len(plane.pixel_spacing) != 2:
        return False
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    unit = abs(np.linalg.norm(row) - 1) < 0.01 and abs(np.linalg.norm(column) - 1) < 0.01
    return bool(
        unit and abs(row @ column) < 0.01 and min(plane.pixel_spacing) > 0 and min(plane.rows, plane.columns) > 0
    )


def _normal(plane: Plane) -> Vector:
    normal = np.cross(plane.orientation[:3], plane.orientation[3:])
    unit: Vector = normal / np.linalg.norm(normal)
    return unit


def _irregularities(heights: Vector) -> tuple[list[SeriesDefect], tuple[float, ...]]:
    """Find doubled planes, missing planes and uneven steps in ascending `heights` along the normal, mm."""
    steps = np.diff(heights)
    doubled = steps < SAME_PLANE_MM
    defects = [SeriesDefect.DOUBLED_SLICES] if doubled.any() else []
    distinct = heights[np.concatenate([[True], ~doubled])]
    steps = np.diff(distinct)
    if not len(steps):
        return defects, ()
    step = usual_step(steps)
    tolerance = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * step)
    counts = np.maximum(np.round(steps / step), 1)
    uneven = np.abs(steps - counts * step) > tolerance * counts
    gaps = tuple(
        float(distinct[i] + step * k) for i in np.flatnonzero((counts > 1) & ~uneven) for k in range(1, int(counts[i]))
    )
    if gaps:
        defects.append(SeriesDefect.MISSING_SLICES)
    if uneven.any() or (not gaps and _drift(distinct) > max(STEP_TOLERANCE_MM, DRIFT_TOLERANCE * step)):
        defects.append(SeriesDefect.UNEVEN_SPACING)
    return defects, gaps


def _drift(heights: Vector) -> float:
    even = np.linspace(heights[0], heights[-1], len(heights))
    return float(np.abs(heights - even).max())


def usual_step(steps: Vector) -> float:
    """Estimate the step of a stack from its steps, mm, so that a few wide ones (missing planes) do not count.

    The median of the steps within 1.5 of the smallest, unless those are fewer than a third: then the median of all.
    """
    narrow = steps[steps <= 1.5 * steps.min()]
    return float(np.median(narrow if 3 * len(narrow) >= len(steps) else steps))


def _leaning(ordered: Vector, normal: Vector, plane: Plane) -> list[SeriesDefect]:
    span = ordered[-1] - ordered[0]
    height = float(span @ normal)
    if height < SAME_PLANE_MM:
        return []
    lateral = float(np.linalg.norm(span - height * normal))
    if np.degrees(np.arctan2(lateral, height)) > TILT_TOLERANCE_DEGREES and lateral > LATERAL_TOLERANCE_MM:
        return [SeriesDefect.GANTRY_TILT]
    heights = (ordered - ordered[0]) @ normal
    line = ordered[0] + np.outer(heights / height, span)
    off = float(np.linalg.norm(ordered - line, axis=1).max())
    return [SeriesDefect.UNEVEN_SPACING] if off > max(LATERAL_TOLERANCE_MM, 0.5 * min(plane.pixel_spacing)) else []


def _grid(plane: Plane, ordered: Vector, frame_of_reference_uid: str) -> Grid:
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    affine = np.eye(4)
    affine[:3, 0] = (ordered[-1] - ordered[0]) / (len(ordered) - 1)
    affine[:3, 1] = column / np.linalg.norm(column) * plane.pixel_spacing[0]
    affine[:3, 2] = row / np.linalg.norm(row) * plane.pixel_spacing[1]
    affine[:3, 3] = ordered[0]
    return Grid(
        shape=(len(ordered), plane.rows, plane.columns), affine=affine, frame_of_reference_uid=frame_of_reference_uid
    )
