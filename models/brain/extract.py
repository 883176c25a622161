"""Find the brain by threshold and morphology: the plain answer a network has to beat, and a draft for references.

Tissue of middle intensity is eroded until scalp and brain come apart; the largest piece is grown back and closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.image_qc.head import otsu_threshold
from models.preprocess import canonical_view, restore_view

Float32 = npt.NDArray[np.float32]
Spacing = tuple[float, float, float]
_FLATTEN_MM = 18.0
_SMOOTH_MM = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What counts as tissue and how far masks are shrunk and grown.

    Parameters
    ----------
    low, high : float
        Range of tissue intensity: of the flattened image (about 1 inside the head), or of the image itself.
    erode_mm, grow_mm, close_mm : float
        Radii of erosion, of growing back and of closing, mm.
    flatten : bool
        Whether to divide by the local mean intensity of the head first.
    """

    low: float = 0.5
    high: float = 1.4
    erode_mm: float = 4.0
    grow_mm: float = 7.0
    close_mm: float = 6.0
    flatten: bool = True


def extract_brain(volume: Volume, recipe: Recipe | None = None) -> Mask:
    """Return the brain as a mask on the grid of `volume`; empty when nothing survives the erosion.

    Parameters
    ----------
    volume : Volume
        Whole-head image, finite voxels.
    recipe : Recipe, optional
        The same for every image by default: that is the baseline.
    """
    chosen = recipe or Recipe()
    voxels, spacing = canonical_view(volume.voxels, volume.grid)
    intensity = flattened(voxels, spacing) if chosen.flatten else voxels
    return restore_view(extract_canonical(intensity, spacing, chosen), volume.grid)


def extract_canonical(intensity: Float32, spacing: Spacing, recipe: Recipe) -> Mask:
    """Return the brain in canonical axes; empty when nothing survives the erosion.

    Parameters
    ----------
    intensity : numpy.ndarray, (z, y, x), float32
        Flattened image, or the image itself where the recipe says so.
    spacing : tuple of float, (z, y, x)
        mm.
    recipe : Recipe
        What counts as tissue.
    """
    return next(extract_by_all(intensity, spacing, (recipe,)))


def extract_by_all(intensity: Float32, spacing: Spacing, recipes: Sequence[Recipe]) -> Iterator[Mask]:
    """Yield what `extract_canonical` gives for each recipe; what recipes share is computed once."""
    smooth = ndimage.gaussian_filter(intensity, [_SMOOTH_MM / s for s in spacing])
    depths: dict[tuple[float, float], npt.NDArray[np.float64]] = {}
    for recipe in recipes:
        limits = (recipe.low, recipe.high)
        if limits not in depths:
            tissue = (smooth > recipe.low) & (smooth < recipe.high)
            depths[limits] = ndimage.distance_transform_edt(tissue, sampling=spacing)
        core = largest_piece(depths[limits] > recipe.erode_mm)
        yield _grown_back(core, smooth, spacing, recipe) if core.any() else core


def _grown_back(core: Mask, smooth: Float32, spacing: Spacing, recipe: Recipe) -> Mask:
    """Grow a core within what may be tissue, then close it and fill its slices."""
    box = _box(core, recipe.grow_mm + recipe.close_mm, spacing)
    tissue = (smooth[box] > 0.8 * recipe.low) & (smooth[box] < 1.15 * recipe.high)
    near = _grown(core[box], recipe.grow_mm, spacing) & tissue
    found = np.zeros_like(core)
    found[box] = largest_piece(fill_slices(_closed(near, recipe.close_mm, spacing)))
    return found


def largest_piece(mask: Mask) -> Mask:
    """Return the largest face-connected piece of a mask (z, y, x); an empty mask stays empty."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest: Mask = pieces == int(sizes.argmax())
    return largest


def fill_slices(mask: Mask) -> Mask:
    """Fill what is enclosed within each slice z of a mask (z, y, x)."""
    return np.stack([ndimage.binary_fill_holes(plane) for plane in mask])


def flattened(voxels: Float32, spacing: Spacing) -> Float32:
    """Divide by the mean intensity of the head within about 18 mm; about 1 inside, 0 where there is no head."""
    top = float(np.percentile(voxels, 90))
    head = voxels > 0.7 * otsu_threshold(np.minimum(voxels, top))
    if not head.any() or top <= float(voxels.min()):
        return np.zeros_like(voxels)
    limited = np.minimum(voxels, np.percentile(voxels[head], 95))
    sigma = [_FLATTEN_MM / s for s in spacing]
    weight = ndimage.gaussian_filter(head.astype(np.float32), sigma)
    local = ndimage.gaussian_filter((limited * head).astype(np.float32), sigma)
    flat = np.where(weight > 0.02, voxels * weight / np.maximum(local, 1e-6), 0.0)
    return flat.astype(np.float32)


def _box(mask: Mask, margin_mm: float, spacing: Spacing) -> tuple[slice, ...]:
    """Return the part of the image that a mask can reach when it grows by `margin_mm`."""
    sides = []
    for axis, size in enumerate(spacing):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = int(np.ceil(margin_mm / size)) + 1
        sides.append(slice(max(0, int(used[0]) - margin), int(used[-1]) + 1 + margin))
    return tuple(sides)


def _eroded(mask: Mask, radius_mm: float, spacing: Spacing) -> Mask:
    kept: Mask = ndimage.distance_transform_edt(mask, sampling=spacing) > radius_mm
    return kept


def _grown(mask: Mask, radius_mm: float, spacing: Spacing) -> Mask:
    grown: Mask = ndimage.distance_transform_edt(~mask, sampling=spacing) <= radius_mm
    return grown


def _closed(mask: Mask, radius_mm: float, spacing: Spacing) -> Mask:
    if not mask.any():
        return mask
    margin = [(int(np.ceil(radius_mm / s)) + 1,) * 2 for s in spacing]
    grown = _grown(np.pad(mask, margin), radius_mm, spacing)
    inner = tuple(slice(low, n + low) for (low, _), n in zip(margin, mask.shape, strict=True))
    closed: Mask = _eroded(grown, radius_mm, spacing)[inner]
    return closed
