"""Segmentations and their descriptions for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from dicom_sr.codes import Code
from dicom_sr.equipment import Equipment
from dicom_sr.palette import segment_color
from dicom_sr.seg_description import AlgorithmType, SegDescription, SegmentAuthor
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.uids import derive_uid
from dicom_sr.volume import Grid

ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
BRAIN = Code("12738006", "SCT", "Brain")
EQUIPMENT = Equipment(
    manufacturer="Overread project",
    model_name="Overread",
    serial_number="OVR-TEST",
    software_versions=("0.1.0", "unet 1"),
    device_uid=derive_uid("device", "test"),
)


def make_segments(*labels: str) -> tuple[Segment, ...]:
    """Segments numbered from 1, all coded as brain."""
    return tuple(
        Segment(number=i + 1, label=label, category=ANATOMY, property_type=BRAIN, color=segment_color(i))
        for i, label in enumerate(labels)
    )


def make_segmentation(grid: Grid, *labels: str, overlap: bool = False, empty: Sequence[str] = ()) -> Segmentation:
    """Boxes that touch edges and corners of the grid and never look the same from two sides."""
    depth, rows, columns = grid.shape
    segments = make_segments(*(labels or ("Left part", "Right part")))
    masks = {}
    for i, segment in enumerate(segments):
        mask = np.zeros(grid.shape, bool)
        if segment.label not in empty:
            low = i * columns // (len(segments) + 1)
            high = columns if overlap and i == 0 else max(low + 1, (i + 1) * columns // (len(segments) + 1))
            mask[i % depth : max(i % depth + 1, depth - 2 + i), rows // 5 : rows - i, low:high] = True
            mask[0, 0, low] = True
        masks[segment.number] = mask
    return Segmentation.from_masks(grid, masks, segments)


def make_description(segments: Sequence[Segment], **changes: Any) -> SegDescription:
    """Describe an automatic segmentation of iteration 0; `changes` replaces arguments of SegDescription."""
    author = SegmentAuthor(
        algorithm_type=AlgorithmType.AUTOMATIC,
        algorithm_name="unet-3d",
        algorithm_version="1.0.0",
        parameters=("weights=sha256:00ff",),
    )
    values: dict[str, Any] = {
        "sop_instance_uid": derive_uid("case", "stage", 0, "SEG"),
        "series_instance_uid": derive_uid("case", "stage", 0, "series"),
        "series_number": 9001,
        "instance_number": 1,
        "series_description": "QC ACCEPT it0 | SEG brain v1",
        "content_label": "SEG_IT00",
        "content_description": "Brain parts",
        "created_at": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        "tracking": {s.label: (f"case/{s.label}", derive_uid("tracking", s.label)) for s in segments},
        "authors": {s.label: author for s in segments},
        "equipment": EQUIPMENT,
    }
    return SegDescription(**{**values, **changes})
