"""Fill polygons on the lattice of one plane: which voxel centres lie inside them.

A voxel belongs to a set of polygons if its centre lies on an edge of any of them, or inside an odd number of them. The
parity rule needs no order or direction of the points, treats a keyhole (a channel walked there and back) and a separate
inner contour alike, and is what planning systems and converters do with several contours on one plane. Counting the
edge makes polygons through the centres of border voxels come back exactly, single voxels included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dicom_sr.seg_block import Block

#: Polygon as voxel indices (y, x) of its corners, (corner, 2).
Polygon = npt.NDArray[np.float64]
Plane = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]


class Window(NamedTuple):
    """A part of a plane: its first row and column, and its size (y, x)."""

    first_row: int
    first_column: int
    shape: tuple[int, int]

    def within(self, polygons: Sequence[Polygon]) -> list[Polygon]:
        """Return polygons in the indices of the window."""
        return [polygon - (self.first_row, self.first_column) for polygon in polygons]


def window_of(polygons: Sequence[Polygon], shape: tuple[int, int]) -> Window | None:
    """Return the part of a plane (y, x) that holds polygons with a voxel around them; None when there is none."""
    corners = [polygon for polygon in polygons if len(polygon)]
    if not corners:
        return None
    low = np.maximum(np.floor(np.min([polygon.min(axis=0) for polygon in corners], axis=0)) - 1, 0)
    high = np.minimum(np.ceil(np.max([polygon.max(axis=0) for polygon in corners], axis=0)) + 2, shape)
    (top, left), (rows, columns) = low.astype(np.int64), (high - low).astype(np.int64)
    return Window(int(top), int(left), (int(rows), int(columns))) if rows > 0 and columns > 0 else None


def fill(polygons: Sequence[Polygon], shape: tuple[int, int], *, edge: float) -> Block | None:
    """Mark the voxels of a plane that belong to `polygons`.

    Parameters
    ----------
    polygons : sequence of numpy.ndarray, (corner, 2), float64
        Corners as voxel indices (y, x), voxel centres at whole numbers; closed by themselves. One or two corners make a
        point or a line.
    shape : tuple of int, (y, x)
        Size of the plane.
    edge : float
        A centre this near to an edge, in voxels (less than 0.5), lies on it.

    Returns
    -------
    Block or None
        The part of the plane that holds them; None when there is none.
    """
    window = window_of(polygons, shape)
    if window is None:
        return None
    shifted = window.within(polygons)
    filled = inside(shifted, window.shape)
    _mark_edges(filled, shifted, edge)
    return Block(window.first_row, window.first_column, filled)


def _mark_edges(filled: Plane, polygons: Sequence[Polygon], edge: float) -> None:
    start, end = _edges(polygons)
    steep = np.abs(end - start)[:, 0] >= np.abs(end - start)[:, 1]
    for rows, columns in (
        _near(start[steep], end[steep], edge),
        _near(start[~steep][:, ::-1], end[~steep][:, ::-1], edge)[::-1],
    ):
        within = (rows >= 0) & (rows < filled.shape[0]) & (columns >= 0) & (columns < filled.shape[1])
        filled[rows[within], columns[within]] = True


def inside(polygons: Sequence[Polygon], shape: tuple[int, int]) -> Plane:
    """Mark the voxels whose centre lies inside an odd number of `polygons`; of edges, only lower and left ones count.

    So of polygons that share an edge each centre on it belongs to one, and a polygon that lies within another marks a
    part of what the other marks.
    """
    start, end = _edges(polygons)
    upward = start[:, 0] <= end[:, 0]
    low, high = np.where(upward[:, None], start, end), np.where(upward[:, None], end, start)
    first = np.clip(np.ceil(low[:, 0]), 0, shape[0]).astype(np.int64)
    beyond = np.clip(np.ceil(high[:, 0]), 0, shape[0]).astype(np.int64)
    rows, edges = _steps(first, beyond)
    rise = high[edges, 0] - low[edges, 0]
    crossing = low[edges, 1] + (rows - low[edges, 0]) / rise * (high[edges, 1] - low[edges, 1])
    columns = np.clip(np.ceil(crossing), 0, shape[1]).astype(np.int64)
    toggled = np.zeros((shape[0], shape[1] + 1), np.int64)
    np.add.at(toggled, (rows, columns), 1)
    marked: Plane = np.cumsum(toggled, axis=1)[:, : shape[1]] % 2 == 1
    return marked


def _edges(polygons: Sequence[Polygon]) -> tuple[_Floats, _Floats]:
    """Return where every edge starts and ends, (edge, 2) each."""
    filled = [polygon for polygon in polygons if len(polygon)]
    if not filled:
        return np.zeros((0, 2)), np.zeros((0, 2))
    return np.concatenate(filled), np.concatenate([np.roll(polygon, -1, axis=0) for polygon in filled])


def _steps(first: npt.NDArray[np.int64], beyond: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
    """Return every whole number from `first` to before `beyond` of each edge, and the edge it belongs to."""
    counts = np.maximum(beyond - first, 0)
    edges = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return first[edges] + within, edges


def _near(start: _Floats, end: _Floats, edge: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the lattice points (main, other) on edges that run mainly along the first axis."""
    low = np.minimum(start[:, 0], end[:, 0])
    high = np.maximum(start[:, 0], end[:, 0])
    main, edges = _steps(np.ceil(low - edge).astype(np.int64), np.floor(high + edge).astype(np.int64) + 1)
    from_, to = start[edges], end[edges]
    length = to[:, 0] - from_[:, 0]
    share = np.divide(main - from_[:, 0], length, out=np.zeros(len(main)), where=length != 0)
    share = np.clip(share, 0.0, 1.0)
    along = from_[:, 0] + share * length
    other = from_[:, 1] + share * (to[:, 1] - from_[:, 1])
    nearest = np.rint(other).astype(np.int64)
    on_edge = np.hypot(main - along, nearest - other) <= edge
    return main[on_edge], nearest[on_edge]
