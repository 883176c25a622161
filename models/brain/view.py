"""What the lesion networks see: the brain alone, in a box around it, its intensities set against each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_sr.segmentation import Mask

Float32 = npt.NDArray[np.float32]
Box = tuple[slice, slice, slice]
_MARGIN = 2
#: Spreads beyond which an intensity says nothing more.
LOWEST, HIGHEST = -4.0, 8.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BrainView:
    """A brain as the lesion networks see it.

    Parameters
    ----------
    channels : numpy.ndarray, (2, z, y, x), float32
        Intensity in robust spreads from the median of the brain, 0 outside it; and the brain, 0 or 1.
    box : tuple of slice, (z, y, x)
        Where the view lies in the image it was cut from.
    """

    channels: Float32
    box: Box


def brain_view(voxels: Float32, brain: Mask) -> BrainView:
    """Cut the brain out of an image.

    Parameters
    ----------
    voxels : numpy.ndarray, (z, y, x), float32
        Image, any scale.
    brain : numpy.ndarray, (z, y, x), bool
        Not empty.
    """
    z, y, x = (_range(brain, axis) for axis in range(3))
    inside = brain[z, y, x]
    scored = score_intensity(voxels[z, y, x], inside)
    return BrainView(channels=np.stack([scored, inside.astype(np.float32)]), box=(z, y, x))


def score_intensity(voxels: Float32, inside: Mask) -> Float32:
    """Return the distance from the median of what is inside, in robust spreads (IQR / 1.349); 0 outside."""
    values = voxels[inside]
    low, middle, high = np.percentile(values, [25, 50, 75])
    spread = max(float(high - low) / 1.349, 1e-3 * abs(float(middle)), 1e-6)
    scored = np.clip((voxels - middle) / spread, LOWEST, HIGHEST)
    return np.where(inside, scored, 0.0).astype(np.float32)


def _range(mask: Mask, axis: int) -> slice:
    used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    return slice(max(0, int(used[0]) - _MARGIN), int(used[-1]) + 1 + _MARGIN)
