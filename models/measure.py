"""Measure segments: plain numbers about each mask, as findings.

Codes: ``VOLUME`` (ml), ``COMPONENTS`` (26-connected pieces), ``LARGEST_COMPONENT`` (its share of the volume),
``EXTENT_LR``, ``EXTENT_AP``, ``EXTENT_HF`` (mm, along the patient's axes), ``MEAN_INTENSITY`` and ``SD_INTENSITY`` (in
image units, only with an image). An empty segment has volume 0 and 0 components; what it cannot have is a finding
without a value that says so.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.errors import GeometryMismatch
from dicom_sr.segmentation import Mask, Segment, Segmentation
from dicom_sr.verdict import Finding
from dicom_sr.volume import Grid, Volume

# Extents are along patient axes; a voxel adds its own size to the span of the centres.
_EXTENTS = ("EXTENT_LR", "EXTENT_AP", "EXTENT_HF")
_EMPTY = "the segment is empty"


def measure(segmentation: Segmentation, volume: Volume | None, *, stage: str) -> tuple[Finding, ...]:
    """Measure every declared segment, in order.

    Parameters
    ----------
    segmentation : Segmentation
        What to measure.
    volume : Volume or None
        Image on the same grid; None: no intensities.
    stage : str
        Stage to state in the findings.

    Returns
    -------
    tuple of Finding
        Always the same codes for every segment, whether it is empty or not.

    Raises
    ------
    GeometryMismatch
        If the image lies on another grid.
    """
    if volume is not None and not volume.grid.is_same_as(segmentation.grid):
        raise GeometryMismatch("the image to measure on lies on another grid than the segmentation")
    findings: list[Finding] = []
    for segment in segmentation.segments:
        mask = segmentation.mask(segment)
        findings += _of_mask(mask, segment, segmentation.grid, stage)
        if volume is not None:
            findings += _of_intensity(mask, segment, volume, stage)
    return tuple(findings)


def _of_mask(mask: Mask, segment: Segment, grid: Grid, stage: str) -> list[Finding]:
    count = int(np.count_nonzero(mask))
    pieces = _component_sizes(mask)
    largest = float(pieces.max() / pieces.sum()) if count else None
    extents = _extents_mm(mask, grid)
    numbers: list[tuple[str, float | None, str]] = [
        ("VOLUME", count * grid.voxel_ml, "ml"),
        ("COMPONENTS", float(len(pieces)), "1"),
        ("LARGEST_COMPONENT", largest, "1"),
    ]
    numbers += [(code, extent, "mm") for code, extent in zip(_EXTENTS, extents, strict=True)]
    return [_finding(code, value, unit, segment, stage) for code, value, unit in numbers]


def _of_intensity(mask: Mask, segment: Segment, volume: Volume, stage: str) -> list[Finding]:
    unit = "[hnsf'U]" if volume.modality == "CT" else "1"
    inside = volume.voxels[mask].astype(np.float64)
    known = inside[np.isfinite(inside)]
    mean = float(known.mean()) if known.size else None
    deviation = float(known.std()) if known.size else None
    return [
        _finding("MEAN_INTENSITY", mean, unit, segment, stage),
        _finding("SD_INTENSITY", deviation, unit, segment, stage),
    ]


def _finding(code: str, value: float | None, unit: str, segment: Segment, stage: str) -> Finding:
    detail = _EMPTY if value is None else ""
    return Finding(stage=stage, code=code, value=value, unit=unit, segment=segment.label, detail=detail)


def _component_sizes(mask: Mask) -> npt.NDArray[np.int64]:
    labelled, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    return np.bincount(labelled.ravel())[1:].astype(np.int64)


def _extents_mm(mask: Mask, grid: Grid) -> tuple[float | None, float | None, float | None]:
    where = np.argwhere(mask)
    if not len(where):
        return None, None, None
    axes = grid.affine[:3, :3]
    places = where @ axes.T
    lengths = places.max(axis=0) - places.min(axis=0) + np.abs(axes).sum(axis=1)
    x, y, z = (float(length) for length in lengths)
    return x, y, z
