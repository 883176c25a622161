"""Turn the contours of a structure set into masks on the grid of the images they were drawn on.

Contours stand on planes of the source series or are held: nothing is interpolated between planes and nothing is
resampled. On one plane all closed contours of a region are combined by the parity rule (`polygon_fill`): so a keyhole
(CLOSED_PLANAR, one polygon with a channel to its hole), an inner contour of its own (CLOSEDPLANAR_XOR, and what most
planning systems write as CLOSED_PLANAR all the same) and contours side by side all give what was drawn.

References
----------
PS3.3 C.8.8.6.1 (Contour Geometric Type), C.8.8.6.3 (Representing Inner and Outer Contours: keyhole and XOR)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np

from dicom_sr.errors import GeometryMismatch
from dicom_sr.polygon_fill import Plane, Polygon, fill, inside, window_of
from dicom_sr.rtstruct_read import CLOSED_PLANAR, CLOSED_PLANAR_XOR, Contour, Region, StructureSet
from dicom_sr.seg_layers import LayerPacker, Patch
from dicom_sr.seg_placement import SLICE_LAYOUT
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.source import SourceSeries
from dicom_sr.volume import Grid

#: A point may lie this far off its plane, as a share of the distance between planes.
OFF_PLANE_SHARE = 0.1
#: A voxel centre this near to a contour, mm, lies on it: coordinates often have two decimals.
ON_CONTOUR_MM = 0.02
#: The same as a share of a voxel, for very fine grids.
ON_CONTOUR_SHARE = 0.05
#: A contour may reach this far beyond the outermost voxel centres, voxels: to the border of the image and a rounding.
BEYOND_CENTRES = 0.55


class ContourDoubt(StrEnum):
    """What puts the masks of a structure set in doubt."""

    #: Points between the planes of the source, tilted, or outside the image.
    OFF_GRID = "OFF_GRID"
    #: A contour lies on another plane than the image it cites.
    PLANE_SOURCE_CONFLICT = "PLANE_SOURCE_CONFLICT"
    #: Points, open lines or unknown types: they enclose nothing and are left out.
    NOT_CLOSED = "NOT_CLOSED"
    #: CLOSED_PLANAR contours of one region and plane that cross or repeat each other: united or excluded?
    CROSSING = "CROSSING"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContourMasks:
    """Masks drawn from contours.

    Parameters
    ----------
    segmentation : Segmentation
        In the segments asked for.
    doubts : mapping of ContourDoubt to int
        How many contours each doubt concerns; empty when the masks are what was drawn.
    """

    segmentation: Segmentation
    doubts: Mapping[ContourDoubt, int]


def rasterise(
    structure: StructureSet, source: SourceSeries, segments: Sequence[Segment], number_of: Mapping[str, int]
) -> ContourMasks:
    """Draw regions of a structure set onto the grid of their source.

    Parameters
    ----------
    structure : StructureSet
        The contours.
    source : SourceSeries
        The series they were drawn on.
    segments : sequence of Segment
        Segments wanted.
    number_of : mapping of str to int
        ROI Number by Segment Label; a segment without one is empty.

    Returns
    -------
    ContourMasks

    Raises
    ------
    GeometryMismatch
        If the source has no grid.
    UnreadableSeg
        TOO_LARGE, if more segments overlap than memory allows.
    """
    if source.grid is None:
        raise GeometryMismatch("the source series is not a regular volume, so nothing can lie on its grid")
    drawing = _Drawing(structure=structure, source=source, grid=source.grid)
    packer = LayerPacker(source.grid.shape, len(segments))
    layer_of = []
    for segment in segments:
        roi_number = number_of.get(segment.label)
        patches = [] if roi_number is None else drawing.patches(roi_number)
        layer_of.append(packer.add(segment.number, patches))
    segmentation = Segmentation(
        grid=source.grid, segments=tuple(segments), layers=packer.layers(), layer_of=tuple(layer_of)
    )
    return ContourMasks(segmentation=segmentation, doubts=dict(drawing.doubts))


class _Drawing:
    """One structure set on one grid; counts what is in doubt."""

    def __init__(self, *, structure: StructureSet, source: SourceSeries, grid: Grid) -> None:
        self._structure = structure
        self._grid = grid
        self._to_index = np.linalg.inv(grid.affine)
        finest = min(grid.spacing[1:])
        self._edge = min(ON_CONTOUR_MM / finest, ON_CONTOUR_SHARE)
        self._planes_of: dict[str, set[int]] = {}
        for z, plane in enumerate(source.slices):
            self._planes_of.setdefault(plane.sop_instance_uid, set()).add(z)
        self.doubts: Counter[ContourDoubt] = Counter()

    def patches(self, roi_number: int) -> list[Patch]:
        """Draw one region, plane by plane."""
        found = []
        for z, contours in self._by_plane(self._structure.region(roi_number)).items():
            block = fill([polygon for polygon, _ in contours], self._grid.shape[1:], edge=self._edge)
            if block is not None and block.pixels.any():
                found.append(Patch(z, SLICE_LAYOUT, block))
            plain = [polygon for polygon, contour in contours if contour.geometric_type == CLOSED_PLANAR]
            self._count(ContourDoubt.CROSSING, _crossing(plain, self._grid.shape[1:]))
        return found

    def _by_plane(self, region: Region) -> dict[int, list[tuple[Polygon, Contour]]]:
        """Return the closed contours of a region in voxel indices (y, x), by plane."""
        found: dict[int, list[tuple[Polygon, Contour]]] = {}
        for contour in region.contours:
            if contour.geometric_type not in (CLOSED_PLANAR, CLOSED_PLANAR_XOR) or not len(contour.points):
                self._count(ContourDoubt.NOT_CLOSED)
                continue
            index = contour.points @ self._to_index[:3, :3].T + self._to_index[:3, 3]
            z = self._plane(index)
            if z is None:
                self._count(ContourDoubt.OFF_GRID)
            elif any(z not in self._planes_of.get(uid, {z}) for uid in contour.image_uids):
                self._count(ContourDoubt.PLANE_SOURCE_CONFLICT)
            else:
                found.setdefault(z, []).append((index[:, 1:], contour))
        return found

    def _plane(self, index: Polygon) -> int | None:
        """Return the plane that all points lie on, within the image; None when there is none."""
        z = float(np.rint(index[0, 0]))
        last = np.array(self._grid.shape) - 1
        if not 0 <= z <= last[0] or np.abs(index[:, 0] - z).max() > OFF_PLANE_SHARE:
            return None
        inside_image = (index[:, 1:] >= -BEYOND_CENTRES) & (index[:, 1:] <= last[1:] + BEYOND_CENTRES)
        return int(z) if inside_image.all() else None

    def _count(self, doubt: ContourDoubt, count: int = 1) -> None:
        if count:
            self.doubts[doubt] += count


def _crossing(polygons: Sequence[Polygon], shape: tuple[int, int]) -> int:
    """Count pairs of polygons that share voxels while neither lies within the other, or that are the same."""
    window = window_of(polygons, shape)
    if len(polygons) < 2 or window is None:
        return 0
    polygons = window.within(polygons)
    boxes = [(polygon.min(axis=0), polygon.max(axis=0)) for polygon in polygons]
    planes: dict[int, Plane] = {}
    count = 0
    for one, other in combinations(range(len(polygons)), 2):
        if (boxes[one][0] > boxes[other][1]).any() or (boxes[other][0] > boxes[one][1]).any():
            continue
        for index in (one, other):
            if index not in planes:
                planes[index] = inside([polygons[index]], window.shape)
        common = planes[one] & planes[other]
        is_one, is_other = np.array_equal(common, planes[one]), np.array_equal(common, planes[other])
        count += bool(common.any() and is_one == is_other)
    return count
