"""Distance between the surfaces of two masks (95th percentile of the Hausdorff distance), in millimetres."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from dicom_sr.segmentation import Mask

#: Surfaces of more voxels than this are not measured: no anatomy has them, noise does, and it would take minutes.
MAX_SURFACE_VOXELS = 3_000_000

Points = npt.NDArray[np.float64]


def hd95(first: Mask, second: Mask, spacing: tuple[float, float, float]) -> float:
    """Measure the 95th percentile of the distances between the surfaces of two masks.

    Parameters
    ----------
    first, second : numpy.ndarray, (z, y, x), bool
        Masks on one grid, which may be cropped alike as long as no voxel of either is cut off.
    spacing : tuple of float, (z, y, x)
        mm.

    Returns
    -------
    float
        The greater of the two directed 95th percentiles, mm; nan if either mask is empty or a surface has more than
        `MAX_SURFACE_VOXELS` voxels.

    References
    ----------
    D. P. Huttenlocher et al., IEEE TPAMI 15(9), 1993 (ranked Hausdorff distance). A surface voxel is one with a face
    neighbour outside the mask.
    """
    surfaces = surface(first), surface(second)
    sizes = [int(np.count_nonzero(s)) for s in surfaces]
    if not min(sizes) or max(sizes) > MAX_SURFACE_VOXELS:
        return float("nan")
    return max(
        _directed(surfaces[0], surfaces[1], sizes[0], spacing), _directed(surfaces[1], surfaces[0], sizes[1], spacing)
    )


def surface(mask: Mask) -> Mask:
    """Return the voxels of `mask`, (z, y, x), that have a face neighbour outside; beyond the array is outside."""
    inside = np.zeros_like(mask)
    inside[1:-1, 1:-1, 1:-1] = (
        mask[:-2, 1:-1, 1:-1]
        & mask[2:, 1:-1, 1:-1]
        & mask[1:-1, :-2, 1:-1]
        & mask[1:-1, 2:, 1:-1]
        & mask[1:-1, 1:-1, :-2]
        & mask[1:-1, 1:-1, 2:]
    )
    return mask & ~inside


def _directed(origin: Mask, target: Mask, origin_size: int, spacing: tuple[float, float, float]) -> float:
    """95th percentile of the distances from surface voxels of `origin` to the nearest of `target`."""
    off = np.argwhere(origin & ~target)
    distances = np.zeros(origin_size)
    # Voxels on both surfaces are at distance 0; only when more than 5 % are not can the percentile differ from 0.
    if len(off) > 0.05 * (origin_size - 1):
        tree = cKDTree(_points(np.argwhere(target), spacing))
        distances[: len(off)], _ = tree.query(_points(off, spacing))
    return float(np.percentile(distances, 95))


def _points(indices: npt.NDArray[np.int64], spacing: tuple[float, float, float]) -> Points:
    points: Points = indices.astype(np.float64) * np.array(spacing)
    return points
