"""Rules of anatomy: what a mask can look like, each rule a coded finding that explains itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from scipy import ndimage

from dicom_sr.segmentation import Mask
from dicom_sr.verdict import Finding
from dicom_sr.volume import Grid
from models.fingerprint import DatasetFingerprint, label_features
from models.preprocess import canonical_view
from models.segmentation_qc.structures import StructurePlan

_SHAPE_FEATURES = ("extent_mm_z", "extent_mm_y", "extent_mm_x")


def check_anatomy(
    masks: Mapping[str, Mask], grid: Grid, fingerprint: DatasetFingerprint, plan: StructurePlan, *, stage: str
) -> Iterator[Finding]:
    """Apply every rule to every known segment, then the rules between segments.

    Parameters
    ----------
    masks : mapping of str to numpy.ndarray, (z, y, x), bool
        By segment label, on `grid`; labels the plan does not know are left out.
    grid : Grid
        Voxel grid.
    fingerprint : DatasetFingerprint
        What the structures of the training patients measure.
    plan : StructurePlan
        How they lie to each other.
    stage : str
        Stage of the findings.
    """
    for label in plan.labels:
        if label in masks:
            yield from _one_segment(label, masks[label], grid, fingerprint, stage)
    yield from _order(masks, grid, plan, stage)
    yield from _parts_and_whole(masks, plan, stage)


def shape_z(mask: Mask, grid: Grid, fingerprint: DatasetFingerprint, label: str) -> float:
    """Return the largest absolute z-score of log volume and extents; 20 for an empty mask.

    Volume is compared on a log scale because half is as far off as double.
    """
    if not mask.any():
        return 20.0
    known = fingerprint.labels[label]
    found = label_features(mask, grid)
    scores = [abs(known[name].z_score(found[name])) for name in _SHAPE_FEATURES]
    return min(20.0, max([abs(volume_z(mask, grid, fingerprint, label)), *scores]))


def volume_z(mask: Mask, grid: Grid, fingerprint: DatasetFingerprint, label: str) -> float:
    """Return the z-score of the log volume against the training patients, within -20..20."""
    volumes = fingerprint.labels[label]["volume_ml"]
    if not mask.any():
        return -20.0
    spread = volumes.sd / volumes.mean
    z = (math.log(float(mask.sum()) * grid.voxel_ml) - math.log(volumes.mean)) / spread
    return max(-20.0, min(20.0, z))


def holes(mask: Mask) -> float:
    """Return the share of the filled mask that is enclosed holes, 0..1."""
    filled = ndimage.binary_fill_holes(mask)
    total = int(np.count_nonzero(filled))
    return (total - int(mask.sum())) / total if total else 0.0


def second_component(mask: Mask) -> float:
    """Return the share of the mask outside its largest component (26 neighbours), 0..1."""
    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count < 2:
        return 0.0
    sizes = np.bincount(components.ravel())[1:]
    return float(1.0 - sizes.max() / sizes.sum())


def slice_gap(mask: Mask) -> int:
    """Return the largest number of empty slices, along any axis, between slices that are not empty."""
    largest = 0
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if used.size > 1:
            largest = max(largest, int(np.diff(used).max()) - 1)
    return largest


def at_border(mask: Mask) -> float:
    """Return the share of the mask's voxels that lie on the border of the image, 0..1."""
    if not mask.any():
        return 0.0
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1, 1:-1] = mask[1:-1, 1:-1, 1:-1]
    return 1.0 - float(inner.sum()) / float(mask.sum())


def _one_segment(label: str, mask: Mask, grid: Grid, fingerprint: DatasetFingerprint, stage: str) -> Iterator[Finding]:
    def found(code: str, value: float, detail: str = "", unit: str = "1") -> Finding:
        return Finding(stage=stage, code=code, value=round(value, 4), unit=unit, segment=label, detail=detail)

    empty = not mask.any()
    yield found("EMPTY_SEGMENT", float(empty), f"{label} is empty" if empty else "")
    if empty:
        return
    known = fingerprint.labels[label]["volume_ml"]
    volume, z = float(mask.sum()) * grid.voxel_ml, volume_z(mask, grid, fingerprint, label)
    yield found(
        "VOLUME_OUT_OF_RANGE",
        z,
        f"{label} measures {volume:.2f} ml, {z:+.1f} standard deviations from the mean {known.mean:.2f} ml "
        f"of {fingerprint.case_count} training images (range {known.low:.2f} to {known.high:.2f} ml)",
    )
    parts, gap, border, hole = second_component(mask), slice_gap(mask), at_border(mask), holes(mask)
    yield found("SECOND_COMPONENT", parts, f"{parts:.1%} of {label} lies apart from its main part")
    yield found("SLICE_GAP", float(gap), f"{gap} slices without {label} lie between slices with it")
    yield found("TOUCHES_BORDER", border, f"{border:.1%} of {label} lies on the border of the image")
    yield found("HOLES", hole, f"{hole:.1%} of {label} is enclosed holes")


def _order(masks: Mapping[str, Mask], grid: Grid, plan: StructurePlan, stage: str) -> Iterator[Finding]:
    """Parts must follow each other from front to back; value is the least distance between centres, mm."""
    present = [label for label in plan.front_to_back if label in masks and masks[label].any()]
    for front, back in pairwise(present):
        positions = []
        for label in (front, back):
            turned, spacing = canonical_view(masks[label], grid)
            positions.append(float(np.argwhere(turned)[:, 1].mean()) * spacing[1])
        ahead = positions[1] - positions[0]
        place = "in front of" if ahead >= 0 else "behind"
        yield Finding(
            stage=stage,
            code="LABEL_ORDER",
            value=round(ahead, 2),
            unit="mm",
            segment=front,
            detail=f"the centre of {front} lies {abs(ahead):.1f} mm {place} that of {back}",
        )


def _parts_and_whole(masks: Mapping[str, Mask], plan: StructurePlan, stage: str) -> Iterator[Finding]:
    parts = [masks[label] for label in plan.front_to_back if label in masks]
    if len(parts) < 2:
        return
    counted = np.sum(parts, axis=0, dtype=np.uint8)
    union = counted > 0
    shared = float((counted > 1).sum()) / max(1, int(union.sum()))
    names = " and ".join(plan.front_to_back)
    yield Finding(
        stage=stage,
        code="PARTS_OVERLAP",
        value=round(shared, 4),
        segment=plan.front_to_back[0],
        detail=f"{shared:.1%} of {names} belongs to both",
    )
    if plan.whole not in masks:
        return
    whole = masks[plan.whole]
    apart = int((union ^ whole).sum()) / max(1, int(whole.sum()))
    yield Finding(
        stage=stage,
        code="PARTS_DO_NOT_FILL_WHOLE",
        value=round(apart, 4),
        segment=plan.whole,
        detail=f"{names} together differ from {plan.whole} by {apart:.1%} of its volume",
    )
