"""Ways a segmentation goes wrong, made on purpose: coherent in 3-D, on a severity scale from 0 (none) to 1 (useless).

Labels are an integer map (z, y, x) in canonical axes (head, posterior, left), 0 is background. Smooth corruptions
act on the signed distance to the surface through a Gaussian random field, so neighbouring slices stay coherent.
Every function takes its randomness from the generator it is given.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Labels = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float64]
Spacing = tuple[float, float, float]


class Corruption(StrEnum):
    """The ways that can be made."""

    SWELL = "SWELL"
    SHRINK = "SHRINK"
    ELASTIC = "ELASTIC"
    ROUGH = "ROUGH"
    LEAK = "LEAK"
    SPLIT = "SPLIT"
    SLICE_DROP = "SLICE_DROP"
    END_SLICES_DROP = "END_SLICES_DROP"
    SHIFT = "SHIFT"
    MIRROR = "MIRROR"
    LABEL_SWAP = "LABEL_SWAP"
    BORDER_MOVE = "BORDER_MOVE"
    BLANK = "BLANK"
    EVERYTHING = "EVERYTHING"


# Those that people's brushes and failing networks make; the others are accidents of software.
SMOOTH = (
    Corruption.SWELL,
    Corruption.SHRINK,
    Corruption.ELASTIC,
    Corruption.ROUGH,
    Corruption.LEAK,
    Corruption.SPLIT,
    Corruption.SHIFT,
    Corruption.BORDER_MOVE,
)
_FULL_MM = 5.0  # surface displacement at severity 1: more than half a hippocampus's thickness


def corrupt(
    labels: Labels, kind: Corruption, severity: float, *, spacing: Spacing, random: np.random.Generator
) -> Labels:
    """Return the label map with one corruption.

    Parameters
    ----------
    labels : numpy.ndarray, (z, y, x), uint8
        Canonical axes; not changed.
    kind : Corruption
        What goes wrong.
    severity : float
        0 changes nothing; 1 leaves little. MIRROR, LABEL_SWAP, BLANK and EVERYTHING happen or not (severity > 0).
    spacing : tuple of float, (z, y, x)
        mm.
    random : numpy.random.Generator
        Source of all randomness.
    """
    if severity <= 0:
        return labels.copy()
    match kind:
        case Corruption.SWELL | Corruption.SHRINK | Corruption.ROUGH | Corruption.LEAK:
            return _move_surface(labels, kind, severity, spacing, random)
        case Corruption.ELASTIC:
            return _bend(labels, severity, spacing, random)
        case Corruption.SPLIT:
            return _split(labels, severity, spacing, random)
        case Corruption.SLICE_DROP | Corruption.END_SLICES_DROP:
            return _drop_slices(labels, severity, at_end=kind is Corruption.END_SLICES_DROP, random=random)
        case Corruption.SHIFT:
            return shift(labels, _direction(random) * 12.0 * severity, spacing=spacing)
        case Corruption.BORDER_MOVE:
            return _move_border(labels, severity, spacing, random)
        case Corruption.MIRROR | Corruption.LABEL_SWAP | Corruption.BLANK | Corruption.EVERYTHING:
            return _replace(labels, kind)
        case _:
            assert_never(kind)


def _replace(labels: Labels, kind: Corruption) -> Labels:
    if kind is Corruption.MIRROR:
        return np.ascontiguousarray(labels[:, :, ::-1])
    if kind is Corruption.LABEL_SWAP:
        return swap_labels(labels)
    return np.full_like(labels, 0 if kind is Corruption.BLANK else max(1, int(labels.max())))


def shift(labels: Labels, offset_mm: npt.NDArray[np.float64], *, spacing: Spacing) -> Labels:
    """Move labels by whole voxels, `offset_mm` along (z, y, x); what leaves the image is lost."""
    moved = np.zeros_like(labels)
    source, target = [], []
    for size, offset, step in zip(labels.shape, offset_mm, spacing, strict=True):
        voxels = int(np.clip(round(float(offset) / step), -size, size))
        target.append(slice(max(0, voxels), size + min(0, voxels)))
        source.append(slice(max(0, -voxels), size + min(0, -voxels)))
    moved[tuple(target)] = labels[tuple(source)]
    return moved


def swap_labels(labels: Labels) -> Labels:
    """Exchange label values 1 and 2."""
    swapped = labels.copy()
    swapped[labels == 1], swapped[labels == 2] = 2, 1
    return swapped


def drop_slices(labels: Labels, *, axis: int, first: int, count: int) -> Labels:
    """Empty `count` slices from `first` on along `axis`."""
    dropped = labels.copy()
    np.moveaxis(dropped, axis, 0)[first : first + count] = 0
    return dropped


def random_field(shape: tuple[int, ...], scale_mm: float, spacing: Spacing, random: np.random.Generator) -> Field:
    """Return a smooth Gaussian random field of mean 0 and standard deviation 1, correlated over `scale_mm`."""
    rough = random.normal(0.0, 1.0, shape)
    smooth = np.asarray(ndimage.gaussian_filter(rough, [scale_mm / s / 2.0 for s in spacing], mode="reflect"))
    deviation = float(smooth.std())
    return (smooth - smooth.mean()) / deviation if deviation > 0 else np.zeros(shape)


def signed_distance(mask: npt.NDArray[np.bool_], spacing: Spacing) -> Field:
    """Return the distance to the surface, mm, positive inside; about the image's size everywhere if there is none."""
    if not mask.any() or mask.all():
        far = float(np.linalg.norm(np.multiply(mask.shape, spacing)))
        return np.full(mask.shape, far if mask.any() else -far)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return np.asarray(inside, np.float64) - np.asarray(outside, np.float64)


def _move_surface(
    labels: Labels, kind: Corruption, severity: float, spacing: Spacing, random: np.random.Generator
) -> Labels:
    """Move the outer surface in or out by a smooth field; inner borders stay."""
    distance = signed_distance(labels > 0, spacing)
    reach = _FULL_MM * severity
    if kind is Corruption.ROUGH:
        offset = reach * 0.8 * random_field(labels.shape, 3.0, spacing, random)
    elif kind is Corruption.LEAK:
        near = distance > -2.0 * reach - 1.0
        offset = np.where(
            near, 3.0 * reach * np.maximum(random_field(labels.shape, 9.0, spacing, random) - 0.3, 0), 0.0
        )
    else:
        sign = 1.0 if kind is Corruption.SWELL else -1.0
        offset = sign * reach * (0.7 + 0.3 * random_field(labels.shape, 8.0, spacing, random))
    return _relabel(labels, distance + offset > 0)


def _relabel(labels: Labels, mask: npt.NDArray[np.bool_]) -> Labels:
    """Give each voxel of `mask` the label of the nearest labelled voxel."""
    if not labels.any():
        return np.zeros_like(labels)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.where(mask, labels[tuple(nearest)], 0).astype(np.uint8)


def _bend(labels: Labels, severity: float, spacing: Spacing, random: np.random.Generator) -> Labels:
    index = np.meshgrid(*[np.arange(n, dtype=np.float64) for n in labels.shape], indexing="ij")
    bent = [
        axis + _FULL_MM * severity / step * random_field(labels.shape, 10.0, spacing, random)
        for axis, step in zip(index, spacing, strict=True)
    ]
    return np.asarray(ndimage.map_coordinates(labels, bent, order=0, mode="constant"), np.uint8)


def _split(labels: Labels, severity: float, spacing: Spacing, random: np.random.Generator) -> Labels:
    """Cut a slab out of the middle, or a part off the rest, up to most of the structure."""
    where = np.argwhere(labels > 0)
    if not len(where):
        return labels.copy()
    normal = _direction(random)
    index = np.indices(labels.shape).astype(np.float64)
    along = np.tensordot(normal * np.array(spacing), index, axes=1)
    inside = along[labels > 0]
    start = float(np.quantile(inside, random.uniform(0.0, 1.0 - 0.8 * severity)))
    end = start + 0.8 * severity * float(inside.max() - inside.min())
    return np.where((along >= start) & (along <= end), 0, labels).astype(np.uint8)


def _drop_slices(labels: Labels, severity: float, *, at_end: bool, random: np.random.Generator) -> Labels:
    """Empty a share of the slices the structure occupies: in its middle, or from one of its ends."""
    axis = int(random.integers(3))
    used = np.flatnonzero((labels > 0).any(axis=tuple(a for a in range(3) if a != axis)))
    if not used.size:
        return labels.copy()
    count = max(1, round(0.9 * severity * used.size))
    spare = used.size - count
    end = 0 if random.random() < 0.5 else spare
    offset = end if at_end else int(random.integers(1, max(2, spare)))
    return drop_slices(labels, axis=axis, first=int(used[0]) + offset, count=count)


def _move_border(labels: Labels, severity: float, spacing: Spacing, random: np.random.Generator) -> Labels:
    """Move the border between labels 1 and 2 along y, where they meet; the union stays."""
    first, second = signed_distance(labels == 1, spacing), signed_distance(labels == 2, spacing)
    sign = 1.0 if random.random() < 0.5 else -1.0
    offset = sign * 20.0 * severity + 2.0 * severity * random_field(labels.shape, 8.0, spacing, random)
    moved = np.where(first - second + offset > 0, 1, 2)
    return np.where(labels > 0, moved, 0).astype(np.uint8)


def _direction(random: np.random.Generator) -> npt.NDArray[np.float64]:
    vector = random.normal(0.0, 1.0, 3)
    return np.asarray(vector / np.linalg.norm(vector))
