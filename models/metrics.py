"""Agreement of two masks: overlap, and distance of their surfaces in mm.

Empty masks: when both are empty they agree perfectly (Dice 1, distances 0, surface Dice 1); when one is empty the
overlap is 0 and a distance does not exist (nan).

The surface of a mask is the set of its voxels that have a face neighbour outside it (the image border counts as
outside). Distances run between voxel centres.

References
----------
Taha and Hanbury 2015, doi 10.1186/s12880-015-0068-x; Nikolov et al. 2018, arXiv 1809.04430 (surface Dice).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from dicom_sr.segmentation import Mask

Spacing = tuple[float, float, float]
Distances = npt.NDArray[np.float64]


def dice(a: Mask, b: Mask) -> float:
    """Dice similarity coefficient of two masks (z, y, x), 0..1."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    if total == 0:
        return 1.0
    return 2.0 * int(np.count_nonzero(a & b)) / total


def volume_ml(mask: Mask, spacing: Spacing) -> float:
    """Volume of a mask (z, y, x), millilitres."""
    return float(np.count_nonzero(mask) * math.prod(spacing) / 1000.0)


def surface_distances(a: Mask, b: Mask, spacing: Spacing) -> tuple[Distances, Distances]:
    """Distance of every surface voxel of `a` to the surface of `b`, and the other way, mm; both masks not empty."""
    points_a, points_b = (np.argwhere(surface(mask)) * np.array(spacing) for mask in (a, b))
    a_to_b, _ = cKDTree(points_b).query(points_a)
    b_to_a, _ = cKDTree(points_a).query(points_b)
    return np.asarray(a_to_b, np.float64), np.asarray(b_to_a, np.float64)


def hd95(a: Mask, b: Mask, spacing: Spacing) -> float:
    """95th-percentile Hausdorff distance, mm: the larger of the two directed 95th percentiles (linear interpolation).

    0 when both masks are empty, nan when one is.
    """
    empty = _empty_distance(a, b)
    if empty is not None:
        return empty
    return float(max(np.percentile(d, 95) for d in surface_distances(a, b, spacing)))


def assd(a: Mask, b: Mask, spacing: Spacing) -> float:
    """Average symmetric surface distance, mm: mean over the surface voxels of both masks.

    0 when both masks are empty, nan when one is.
    """
    empty = _empty_distance(a, b)
    if empty is not None:
        return empty
    return float(np.concatenate(surface_distances(a, b, spacing)).mean())


def surface_dice(a: Mask, b: Mask, spacing: Spacing, *, tolerance_mm: float = 1.0) -> float:
    """Share of both surfaces within `tolerance_mm` of the other, 0..1; 1 when both are empty, 0 when one is."""
    empty = _empty_distance(a, b)
    if empty is not None:
        return 1.0 if empty == 0 else 0.0
    both = np.concatenate(surface_distances(a, b, spacing))
    return float((both <= tolerance_mm).mean())


def surface(mask: Mask) -> Mask:
    """Voxels of a mask that have a face neighbour outside it, (z, y, x), bool."""
    inner = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1), border_value=0)
    outline: Mask = mask & ~inner
    return outline


def _empty_distance(a: Mask, b: Mask) -> float | None:
    if not a.any() and not b.any():
        return 0.0
    if not a.any() or not b.any():
        return math.nan
    return None
