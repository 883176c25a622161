"""Segmentations written by highdicom, as a second writer beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import dcmread
from pydicom.sr.codedict import codes

from dicom_sr.seg_kind import SegKind
from dicom_sr.segmentation import Segmentation
from dicom_sr.uids import derive_uid


def write_with_highdicom(segmentation: Segmentation, sources: Sequence[Path], kind: SegKind) -> bytes:
    """Write a segmentation with highdicom; source files in any order."""
    images = sorted((dcmread(path) for path in sources), key=_height)
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=segment.number,
            segment_label=segment.label,
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for segment in segmentation.segments
    ]
    if kind is SegKind.LABELMAP:
        pixels = segmentation.layers[0].astype(np.uint8)
    else:
        pixels = np.stack([segmentation.mask(segment) for segment in segmentation.segments], axis=-1).astype(np.uint8)
    seg = hd.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=str(kind),
        segment_descriptions=descriptions,
        series_instance_uid=derive_uid("highdicom series", kind),
        series_number=300,
        sop_instance_uid=derive_uid("highdicom", kind),
        instance_number=1,
        manufacturer="highdicom",
        manufacturer_model_name="highdicom",
        software_versions="0.28.2",
        device_serial_number="1",
    )
    buffer = BytesIO()
    seg.save_as(buffer)
    return buffer.getvalue()


def _height(ds: object) -> float:
    cosines = np.array(ds.ImageOrientationPatient, float)  # type: ignore[attr-defined]
    return float(np.cross(cosines[:3], cosines[3:]) @ np.array(ds.ImagePositionPatient, float))  # type: ignore[attr-defined]
