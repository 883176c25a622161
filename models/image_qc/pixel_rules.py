"""Reject rules on pixels and geometry: each a short question with a sentence for an answer."""

from __future__ import annotations

import numpy as np

from dicom_sr.volume import Volume
from models.image_qc.targets import Target

# A label map holds few values; the real 8-bit crops hold more than 90 in any 1000 voxels' neighbourhood.
_FEW_VALUES = 32
_SPACING_TOLERANCE_MM = 0.05


def unusable_geometry(volume: Volume) -> str:
    """Say whether the grid gives no length to an axis or is not finite; empty when it is usable."""
    affine = volume.grid.affine
    if not np.isfinite(affine).all() or min(volume.grid.spacing) <= 0 or volume.grid.voxel_ml <= 0:
        return "an axis of the voxel grid has no length or direction"
    return ""


def not_finite(volume: Volume) -> str:
    """Say whether voxels are NaN or infinite; empty when all are finite."""
    bad = int(volume.voxels.size - np.isfinite(volume.voxels).sum())
    return f"{bad} voxels hold no finite number" if bad else ""


def constant_image(volume: Volume) -> str:
    """Say whether all voxels, or all but one in a thousand, are equal; empty when they vary."""
    low, high = np.percentile(volume.voxels, [0.05, 99.95])
    return "all voxels have the same value" if low == high else ""


def segmentation_pixels(volume: Volume) -> str:
    """Say whether this looks like a label map in place of an image: few distinct values in large flat areas.

    An image quantised to few grey values still changes from voxel to voxel; labels do not.
    """
    distinct = np.unique(volume.voxels[:: max(1, volume.voxels.shape[0] // 32)]).size
    if distinct > _FEW_VALUES:
        return ""
    flat = float(np.mean(np.diff(volume.voxels, axis=2) == 0)) if volume.voxels.shape[2] > 1 else 1.0
    return f"only {distinct} distinct values in flat areas, as in a segmentation" if flat > 0.8 else ""


def field_of_view(volume: Volume, target: Target) -> str:
    """Say whether the field of view is outside the target's range along any axis; empty when inside."""
    if target.extent_mm is None:
        return ""
    low, high = target.extent_mm
    extent = [n * s for n, s in zip(volume.grid.shape, volume.grid.spacing, strict=True)]
    if all(low <= e <= high for e in extent):
        return ""
    z, y, x = extent
    return (
        f"the field of view is {z:.0f} x {y:.0f} x {x:.0f} mm; {target.name} needs {low:.0f} to {high:.0f} mm per axis"
    )


def thick_slices(volume: Volume, target: Target) -> str:
    """Say whether slices, or voxels along any axis, are too far apart for the target; empty when not."""
    coarsest = max(volume.grid.spacing)
    if target.slice_mm is None or coarsest <= target.slice_mm + _SPACING_TOLERANCE_MM:
        return ""
    return f"slices are {coarsest:.1f} mm apart; {target.name} needs {target.slice_mm:.1f} mm or less"
