"""A stand-in for a person at a viewer: takes a delivered SEG, moves a border with a brush, saves it as viewers do.

Like the viewers people use it writes new UIDs and loses codes, tracking ids and the link to the object it started from;
what it keeps is the segment labels.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dicom_sr.codes import Code
from dicom_sr.equipment import Equipment
from dicom_sr.seg_description import AlgorithmType, SegDescription, SegmentAuthor
from dicom_sr.seg_header import read_seg_header
from dicom_sr.seg_kind import SegKind
from dicom_sr.seg_open import open_seg
from dicom_sr.seg_read import read_seg
from dicom_sr.seg_write import write_seg
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.series import read_series
from dicom_sr.uids import derive_uid

_TISSUE = Code("85756007", "SCT", "Tissue")
_BRUSHED_SLICES = 3


def edit_seg(delivered: Path, images: list[Path], *, seed: int, first_slice: int = 0) -> tuple[Dataset, int]:
    """Edit a delivered SEG of at least one segment.

    Parameters
    ----------
    delivered : Path
        The SEG as the gateway sent it.
    images : list of Path
        Its source series.
    seed : int
        Names the new object.
    first_slice : int
        Slices from the middle of the structure to where the brush starts.

    Returns
    -------
    dataset : Dataset
        The edited SEG, ready to send.
    painted : int
        Voxels that the brush changed.
    """
    source = read_series(images)
    dataset = open_seg(delivered)
    header = read_seg_header(dataset)
    content = read_seg(dataset, source, header=header)
    assert source.grid is not None
    segments = tuple(
        Segment(number=number, label=declared.label, category=_TISSUE, property_type=_TISSUE)
        for number, declared in enumerate(header.foreground, 1)
    )
    masks = {number: content.mask(declared.number) for number, declared in enumerate(header.foreground, 1)}
    labels = np.zeros(source.grid.shape, np.uint16)
    for number, mask in masks.items():
        labels[mask] = number
    edited = _brush(labels, first_slice)
    description = SegDescription(
        sop_instance_uid=derive_uid("demo edit", seed),
        series_instance_uid=derive_uid("demo edit series", seed),
        series_number=99,
        instance_number=1,
        series_description="Research Derived series",
        content_label="EDITED",
        content_description="",
        created_at=datetime.now(UTC),
        tracking={segment.label: (segment.label, derive_uid("demo edit", seed, segment.label)) for segment in segments},
        authors={segment.label: SegmentAuthor(algorithm_type=AlgorithmType.MANUAL) for segment in segments},
        equipment=Equipment(
            manufacturer="Demo viewer",
            model_name="brush",
            serial_number="1",
            software_versions=("1",),
            device_uid=derive_uid("demo viewer"),
        ),
    )
    segmentation = Segmentation.from_labelmap(source.grid, edited, segments)
    saved = write_seg(segmentation, source, description, kind=SegKind.BINARY)
    # Our writer signs what it writes; a viewer would not, and what we signed would be taken for our own echo.
    del saved.InstanceCreatorUID
    for item in saved.SegmentSequence:
        del item.TrackingID, item.TrackingUID
    return saved, int((edited != labels).sum())


def _brush(labels: npt.NDArray[np.uint16], first_slice: int) -> npt.NDArray[np.uint16]:
    """Give the voxels of other segments next to the first one, on a few slices, to it; or shave a lone segment."""
    edited = labels.copy()
    slices = np.flatnonzero((labels > 0).any(axis=(1, 2)))
    start = int(slices[len(slices) // 2]) + first_slice
    for z in range(start, min(start + _BRUSHED_SLICES, len(labels))):
        first = labels[z] == 1
        rows = np.flatnonzero(first.any(axis=1))
        if rows.size:
            near = np.zeros_like(first)
            near[max(rows[0] - 2, 0) : rows[-1] + 3] = True
            edited[z][(labels[z] > 1) & near] = 1
    if (edited == labels).all():
        rows = np.flatnonzero((labels[start] > 0).any(axis=1))
        edited[start, rows[: max(1, len(rows) // 4)]] = 0
    return edited
