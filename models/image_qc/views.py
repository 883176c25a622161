"""Views: small blocks of 1 mm voxels cut from an image of any size and orientation, for a network that grades texture.

A crop of 40 mm and a whole head give the same kind of view, so one network grades both; the scan's grade is the mean
over its views. Departure from Loizillon et al. (MedIA 103, 2025), who register whole heads to MNI space: quality
control must not depend on a registration that fails on exactly the bad scans, and at 2-3 mm noise is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.volume import Volume
from models.image_qc.head import otsu_threshold
from models.preprocess import canonical_view, check_usable

VIEW_SHAPE = (24, 32, 24)
"""Voxels of one view, (z, y, x), 1 mm each, canonical axes."""
VIEWS_OF_AN_IMAGE = 16
_TISSUE_SHARE = 0.5
# Clipping here keeps bright fat from drawing the threshold above the brain, as in `head.find_head`.
_TISSUE_PERCENTILE = 90.0
_TISSUE_LEVEL = 0.5
_CEILING = 1.5

Views = npt.NDArray[np.float32]
Centres = npt.NDArray[np.float64]


def views_of(volume: Volume, count: int = VIEWS_OF_AN_IMAGE) -> Views:
    """Cut views at places spread evenly over what is bright; the same image always gives the same views.

    Parameters
    ----------
    volume : Volume
        Any axis order and spacing.
    count : int
        Most views.

    Returns
    -------
    numpy.ndarray, (view, z, y, x), float32
        At least one; 0 is no signal, 0.5 the median of tissue, 1.5 the most.

    Raises
    ------
    UnusableVolume
        If voxels are not finite or all equal, an axis has fewer than 4 slices, or the axes are not orthogonal.
    """
    scaled = _scaled(volume)
    centres = _centres(scaled)
    chosen = centres[np.unique(np.linspace(0, len(centres) - 1, count).round().astype(int))]
    return np.stack([_cut(scaled, centre) for centre in chosen])


def random_views(volume: Volume, count: int, random: np.random.Generator) -> Views:
    """Cut `count` views at random places among what is bright; for training. Shape and errors as `views_of`."""
    scaled = _scaled(volume)
    centres = _centres(scaled)
    chosen = centres[random.integers(0, len(centres), count)] + random.uniform(-6.0, 6.0, (count, 3))
    return np.stack([_cut(scaled, centre) for centre in chosen])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scaled:
    """An image in canonical axes, 0.5 at the median of tissue, with the mm of its voxels and what is tissue."""

    voxels: Views
    spacing: tuple[float, float, float]
    tissue: npt.NDArray[np.bool_]


def _scaled(volume: Volume) -> _Scaled:
    """Scale by the median of tissue and leave zero where it is: in magnitude images it means no signal."""
    check_usable(volume)
    voxels, spacing = canonical_view(volume.voxels, volume.grid)
    tissue = voxels > otsu_threshold(np.minimum(voxels, np.percentile(voxels, _TISSUE_PERCENTILE)).astype(np.float32))
    median = float(np.median(voxels[tissue])) if tissue.any() else 0.0
    unit = median if median > 0 else float(np.abs(voxels).max())
    scaled = np.clip(voxels * (_TISSUE_LEVEL / unit), 0.0, _CEILING).astype(np.float32)
    return _Scaled(voxels=scaled, spacing=spacing, tissue=tissue)


def _centres(scaled: _Scaled) -> Centres:
    """Find centres (view, 3), mm, of half-overlapping views that hold enough tissue; the middle if none does."""
    shape, spacing = scaled.voxels.shape, scaled.spacing
    extent = np.array(shape) * np.array(spacing)
    axes = [_lattice(length, size) for length, size in zip(extent, VIEW_SHAPE, strict=True)]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    widths = [max(1, min(n, round(size / s))) for n, size, s in zip(shape, VIEW_SHAPE, spacing, strict=True)]
    share = ndimage.uniform_filter(scaled.tissue.astype(np.float32), widths, mode="nearest")
    index = np.minimum((lattice / np.array(spacing)).astype(int), np.array(shape) - 1)
    kept: Centres = lattice[share[tuple(index.T)] >= _TISSUE_SHARE]
    return kept if len(kept) else extent[None] / 2


def _lattice(length: float, size: int) -> Centres:
    if length <= size:
        return np.array([length / 2])
    places: Centres = np.linspace(size / 2, length - size / 2, 1 + int(np.ceil((length - size) / (size / 2))))
    return places


def _cut(scaled: _Scaled, centre: npt.NDArray[np.float64]) -> Views:
    """Sample one view around `centre`, mm from the corner of the first voxel; beyond the image it is mirrored."""
    step = 1.0 / np.array(scaled.spacing)
    first = (centre - np.array(VIEW_SHAPE) / 2 + 0.5) * step - 0.5
    cut: Views = ndimage.affine_transform(
        scaled.voxels, step, offset=first, output_shape=VIEW_SHAPE, order=1, mode="mirror"
    )
    return cut
