"""One invertible preprocessing, the same for training and inference.

Image axes are put into the canonical order (head, posterior, left), voxels are resampled to the plan's spacing only if
theirs differs, intensities become robust z-scores. `Prepared.restore` is the way back: a result lands on the input grid
exactly, and when nothing was resampled it is the same voxels in another order. Nothing here looks at a candidate
segmentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.volume import Grid, Volume
from models.errors import UnusableVolume

Float32 = npt.NDArray[np.float32]
T = TypeVar("T", bound=np.generic)

# Canonical index axes (z, y, x) point to the head, to posterior, to the left: +z, +y, +x of LPS.
_CANONICAL = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
_SAME_SPACING = 0.02
_ORTHOGONAL = 0.02
_SMALLEST_AXIS = 4
_LARGEST_VOXEL_COUNT = 512**3


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessPlan:
    """What preprocessing does; part of the weights it was trained with.

    Parameters
    ----------
    spacing : tuple of float, (z, y, x)
        Voxel spacing the network works at, mm, canonical axes.
    lower_percentile, upper_percentile : float
        Intensities are clipped here before mean and standard deviation are taken.
    """

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    lower_percentile: float = 0.5
    upper_percentile: float = 99.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """An image as the network sees it, and the way back.

    Parameters
    ----------
    voxels : numpy.ndarray, (z, y, x), float32
        Canonical axes, the plan's spacing, z-scored.
    source : Grid
        Grid of the image as it came.
    axes : tuple of int
        For each canonical axis the source axis it is.
    flipped : tuple of bool
        For each canonical axis whether the source runs the other way.
    resampled : bool
        Whether spacing was changed.
    """

    voxels: Float32
    source: Grid
    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    resampled: bool

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing of `voxels` along (z, y, x), mm."""
        extents = [self.source.spacing[a] * self.source.shape[a] for a in self.axes]
        z, y, x = (extent / n for extent, n in zip(extents, self.voxels.shape, strict=True))
        return z, y, x

    def apply(self, values: npt.NDArray[np.generic]) -> Float32:
        """Bring another array on the source grid (a mask, a second channel) onto the canonical grid, linearly."""
        turned = _turn(values, self.axes, self.flipped).astype(np.float32)
        return _resize(turned, self._canonical_shape) if self.resampled else turned

    def restore(self, scores: Float32) -> Float32:
        """Bring scores of shape (channel, z, y, x) back onto the source grid.

        Parameters
        ----------
        scores : numpy.ndarray, (channel, z, y, x), float32
            On the canonical grid; for masks give probabilities and threshold afterwards.

        Returns
        -------
        numpy.ndarray, (channel, z, y, x), float32
            On the grid the image came on.
        """
        turned_shape = tuple(self.source.shape[a] for a in self.axes)
        restored = np.empty((scores.shape[0], *self.source.shape), np.float32)
        for channel, score in enumerate(scores):
            full = _resize(score, turned_shape) if self.resampled else score
            restored[channel] = _turn_back(full, self.axes, self.flipped)
        return restored

    @property
    def _canonical_shape(self) -> tuple[int, ...]:
        return self.voxels.shape


def prepare(volume: Volume, plan: PreprocessPlan) -> Prepared:
    """Prepare one image for a network.

    Parameters
    ----------
    volume : Volume
        Any axis order; oblique grids are taken to the nearest canonical order, not rotated.
    plan : PreprocessPlan
        The plan the network was trained with.

    Returns
    -------
    Prepared
        Voxels for the network and the way back.

    Raises
    ------
    UnusableVolume
        If voxels are not finite or all equal, an axis has fewer than 4 slices, the axes are not orthogonal (tilted
        gantry), or the image would be larger than 512^3 voxels at the plan's spacing.
    """
    check_usable(volume)
    axes, flipped = _canonical_axes(volume.grid)
    turned: Float32 = _turn(volume.voxels, axes, flipped)
    spacing = [volume.grid.spacing[a] for a in axes]
    resampled = any(abs(s / t - 1) > _SAME_SPACING for s, t in zip(spacing, plan.spacing, strict=True))
    if resampled:
        triples = zip(turned.shape, spacing, plan.spacing, strict=True)
        shape = tuple(max(_SMALLEST_AXIS, round(n * s / t)) for n, s, t in triples)
        if np.prod(shape) > _LARGEST_VOXEL_COUNT:
            raise UnusableVolume("the image would exceed 512^3 voxels at the network's spacing")
        turned = _resize(turned, shape)
    return Prepared(voxels=normalise(turned, plan), source=volume.grid, axes=axes, flipped=flipped, resampled=resampled)


def check_usable(volume: Volume) -> None:
    """Raise `UnusableVolume` for an image no network can work on; see `prepare`."""
    if min(volume.grid.shape) < _SMALLEST_AXIS:
        raise UnusableVolume(f"every axis needs at least {_SMALLEST_AXIS} voxels; the image has {volume.grid.shape}")
    if not np.isfinite(volume.voxels).all() or not np.isfinite(volume.grid.affine).all():
        raise UnusableVolume("the image or its geometry holds values that are not finite")
    if volume.voxels.min() == volume.voxels.max():
        raise UnusableVolume("all voxels of the image are equal")
    spacing = np.array(volume.grid.spacing)
    if spacing.min() <= 0:
        raise UnusableVolume("the image has an axis without length")
    directions = volume.grid.affine[:3, :3] / spacing
    if np.abs(directions.T @ directions - np.eye(3)).max() > _ORTHOGONAL:
        raise UnusableVolume("the axes of the image are not orthogonal (tilted gantry or sheared affine)")


def canonical_view(values: npt.NDArray[T], grid: Grid) -> tuple[npt.NDArray[T], tuple[float, float, float]]:
    """Put an array on `grid` into canonical axis order; returns it with its spacing along (z, y, x), mm."""
    axes, flipped = _canonical_axes(grid)
    z, y, x = (grid.spacing[a] for a in axes)
    return _turn(values, axes, flipped), (z, y, x)


def restore_view(values: npt.NDArray[T], grid: Grid) -> npt.NDArray[T]:
    """Put an array in canonical axis order back into the order of `grid`: the inverse of `canonical_view`."""
    return _turn_back(values, *_canonical_axes(grid))


def normalise(voxels: npt.NDArray[np.floating], plan: PreprocessPlan) -> Float32:
    """Clip to the plan's percentiles, then subtract the mean and divide by the standard deviation."""
    low, high = np.percentile(voxels, [plan.lower_percentile, plan.upper_percentile])
    if high <= low:
        low, high = float(voxels.min()), float(voxels.max())
    clipped = np.clip(voxels.astype(np.float64), low, high)
    deviation = float(clipped.std()) or 1.0
    scored: Float32 = ((clipped - clipped.mean()) / deviation).astype(np.float32)
    return scored


def _canonical_axes(grid: Grid) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    cosines = _CANONICAL @ (grid.affine[:3, :3] / np.array(grid.spacing))
    best = max(permutations(range(3)), key=lambda p: sum(abs(cosines[c, p[c]]) for c in range(3)))
    z, y, x = best
    flips = (bool(cosines[0, z] < 0), bool(cosines[1, y] < 0), bool(cosines[2, x] < 0))
    return (z, y, x), flips


def _turn(values: npt.NDArray[T], axes: tuple[int, ...], flipped: tuple[bool, ...]) -> npt.NDArray[T]:
    turned = np.flip(values.transpose(axes), tuple(a for a, f in enumerate(flipped) if f))
    return np.ascontiguousarray(turned)


def _turn_back(values: npt.NDArray[T], axes: tuple[int, ...], flipped: tuple[bool, ...]) -> npt.NDArray[T]:
    unflipped = np.flip(values, tuple(a for a, f in enumerate(flipped) if f))
    return np.ascontiguousarray(unflipped.transpose(tuple(int(a) for a in np.argsort(axes))))


def _resize(values: npt.NDArray[np.floating], shape: tuple[int, ...]) -> Float32:
    """Resample linearly so that both grids cover the same box; blurs first where voxels get much larger."""
    factors = np.array(values.shape) / np.array(shape)
    source = values.astype(np.float32)
    if (factors > 1.5).any():
        source = ndimage.gaussian_filter(source, np.where(factors > 1.5, factors / 3.0, 0.0), mode="nearest")
    resized: Float32 = ndimage.affine_transform(
        source, factors, offset=(factors - 1) / 2, output_shape=shape, order=1, mode="nearest"
    )
    return resized
