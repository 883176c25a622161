"""Where the head is in a whole-head image, and whether what is there can be a head at all."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.volume import Volume

_COARSE_MM = 3.0
_BINS = 128
# Clipping here keeps bright fat or contrast agent from drawing the threshold above the brain.
_TISSUE_PERCENTILE = 90.0
# A whole adult or child head, or a defaced or skull-stripped one: the real heads here measure 1076-3309 ml.
_HEAD_ML = (800.0, 7000.0)
_HEAD_EXTENT_MM = (80.0, 290.0)
# Tissue structure at 3-10 mm: real heads here measure 0.10-0.31, simulated filled vessels 0.01-0.02.
_LEAST_TEXTURE = 0.05
_MOST_SCATTER = 0.25
# Inverted intensities make the air bright, and the corners of an image of a head are air.
_BRIGHTEST_CORNERS = 0.5

Coarse = npt.NDArray[np.float32]
CoarseMask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """The head found on a coarse grid of about 3 mm.

    Parameters
    ----------
    intensity : numpy.ndarray, (z, y, x), float32
        Block means, 0 (least) to 1 (90th percentile and above).
    mask : numpy.ndarray, (z, y, x), bool
        Largest bright component with its holes filled.
    spacing : tuple of float, (z, y, x)
        mm.
    scattered : float
        Fraction of the bright voxels that are outside the largest component, 0..1.
    """

    intensity: Coarse
    mask: CoarseMask
    spacing: tuple[float, float, float]
    scattered: float

    @property
    def volume_ml(self) -> float:
        """Volume of the filled component, ml."""
        return float(self.mask.sum() * np.prod(self.spacing) / 1000.0)

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Length of its bounding box along (z, y, x), mm; zeros when nothing was found."""
        if not self.mask.any():
            return 0.0, 0.0, 0.0
        index = np.argwhere(self.mask)
        z, y, x = ((index.max(0) - index.min(0) + 1) * self.spacing).tolist()
        return z, y, x

    @property
    def corners(self) -> float:
        """Median over the eight corners of their mean intensity, a tenth of each axis wide; 0 is dark, 1 is tissue."""
        ends = [(slice(0, max(1, n // 10)), slice(n - max(1, n // 10), n)) for n in self.intensity.shape]
        return float(np.median([self.intensity[corner].mean() for corner in product(*ends)]))

    @property
    def texture(self) -> float:
        """Structure between about 3 and 10 mm deep inside over the mean intensity; 0 when too small to have one."""
        inside = ndimage.binary_erosion(self.mask, iterations=4)
        if inside.sum() < 100:
            return 0.0
        wide = ndimage.gaussian_filter(self.intensity, [10.0 / s / 2.355 * 2 for s in self.spacing])
        mean = float(self.intensity[inside].mean())
        return float((self.intensity - wide)[inside].std()) / mean if mean > 0 else 0.0


def find_head(volume: Volume) -> Head:
    """Find the head: Otsu threshold on a coarse grid, largest component, closed and filled.

    Parameters
    ----------
    volume : Volume
        Whole-head image, finite voxels.

    Returns
    -------
    Head
        Its mask is empty for a constant image.
    """
    coarse, spacing = _coarse(volume)
    top = float(np.percentile(coarse, _TISSUE_PERCENTILE))
    if top <= float(coarse.min()):
        return Head(intensity=np.zeros_like(coarse), mask=np.zeros(coarse.shape, bool), spacing=spacing, scattered=0.0)
    scaled = np.clip((coarse - coarse.min()) / (top - coarse.min()), 0, 1).astype(np.float32)
    bright = ndimage.binary_opening(scaled > otsu_threshold(scaled))
    components, count = ndimage.label(bright)
    if count == 0:
        return Head(intensity=scaled, mask=np.zeros(scaled.shape, bool), spacing=spacing, scattered=0.0)
    sizes = np.bincount(components.ravel())[1:]
    largest = components == 1 + int(sizes.argmax())
    closed = ndimage.binary_closing(np.pad(largest, 4), iterations=4)[4:-4, 4:-4, 4:-4]
    return Head(
        intensity=scaled,
        mask=ndimage.binary_fill_holes(closed),
        spacing=spacing,
        scattered=float(1.0 - sizes.max() / sizes.sum()),
    )


def not_a_head(head: Head) -> str:
    """Say why this cannot be a head, or return an empty string.

    A phantom may be named as a brain; nothing but its pixels tells.
    """
    if head.corners > _BRIGHTEST_CORNERS:
        return f"the corners of the image are bright ({head.corners:.2f} of tissue): no dark air lies around a head"
    low, high = _HEAD_ML
    if not low <= head.volume_ml <= high:
        return f"the bright object measures {head.volume_ml:.0f} ml, a head {low:.0f} to {high:.0f} ml"
    shortest, longest = _HEAD_EXTENT_MM
    if min(head.extent_mm) < shortest or max(head.extent_mm) > longest:
        z, y, x = head.extent_mm
        return f"the bright object measures {z:.0f} x {y:.0f} x {x:.0f} mm, which is no head"
    if head.scattered > _MOST_SCATTER:
        return f"{head.scattered:.0%} of the bright voxels lie apart from the main object"
    if head.texture < _LEAST_TEXTURE:
        return (
            f"the inside is as even as a filled vessel: structure {head.texture:.3f}, a head {_LEAST_TEXTURE} or more"
        )
    return ""


def otsu_threshold(values: npt.NDArray[np.float32]) -> float:
    """Return Otsu's threshold of `values` (any shape): the cut with the largest between-class variance."""
    counts, edges = np.histogram(values, bins=_BINS)
    centre = (edges[1:] + edges[:-1]) / 2
    weight = np.cumsum(counts).astype(np.float64)
    moment = np.cumsum(counts * centre)
    between = (moment[-1] * weight / weight[-1] - moment) ** 2
    spread = weight * (weight[-1] - weight)
    ratio = np.divide(between, spread, out=np.zeros_like(between), where=spread > 0)
    return float(centre[int(ratio.argmax())])


def _coarse(volume: Volume) -> tuple[Coarse, tuple[float, float, float]]:
    """Shrink to about 3 mm by averaging whole blocks: fast, and it needs no interpolation."""
    block = [max(1, round(_COARSE_MM / s)) for s in volume.grid.spacing]
    block = [min(b, n) for b, n in zip(block, volume.grid.shape, strict=True)]
    kept = [n // b * b for n, b in zip(volume.grid.shape, block, strict=True)]
    cut = volume.voxels[: kept[0], : kept[1], : kept[2]]
    split = cut.reshape(kept[0] // block[0], block[0], kept[1] // block[1], block[1], kept[2] // block[2], block[2])
    z, y, x = (s * b for s, b in zip(volume.grid.spacing, block, strict=True))
    return split.mean(axis=(1, 3, 5), dtype=np.float32), (z, y, x)
