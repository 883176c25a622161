"""Measurements are in patient units, the same for every way of storing, and say when they do not exist."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_sr.codes import Code
from dicom_sr.errors import GeometryMismatch
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.verdict import Finding
from dicom_sr.volume import Grid, Volume
from models.measure import measure

CODE = Code("1", "99TEST", "test")
SEGMENTS = tuple(Segment(number=n, label=label, category=CODE, property_type=CODE) for n, label in ((1, "A"), (2, "B")))


def _grid() -> Grid:
    """Slices 3 mm apart to the head, rows 2 mm apart to posterior, columns 1 mm apart to the right."""
    affine = np.array([[0, 0, -1.0, 50], [0, 2.0, 0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    return Grid(shape=(10, 10, 10), affine=affine)


def _labels() -> np.ndarray:
    labels = np.zeros((10, 10, 10), np.uint16)
    labels[2:5, 3:7, 4:9] = 1
    return labels


def _found(labels: np.ndarray, volume: Volume | None = None) -> dict[tuple[str, str], Finding]:
    segmentation = Segmentation.from_labelmap(_grid(), labels, SEGMENTS)
    return {(f.segment, f.code): f for f in measure(segmentation, volume, stage="measure")}


def test_volume_and_extents_are_in_patient_units() -> None:
    found = _found(_labels())
    assert found["A", "VOLUME"].value == pytest.approx(3 * 4 * 5 * 6 / 1000)
    assert found["A", "VOLUME"].unit == "ml"
    extents = [found["A", code].value for code in ("EXTENT_LR", "EXTENT_AP", "EXTENT_HF")]
    assert extents == pytest.approx([5, 8, 9])


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    labels = np.zeros((10, 10, 10), np.uint16)
    labels[1, 1, 1] = labels[2, 2, 2] = 1
    labels[7:9, 7, 7] = 1
    found = _found(labels)
    assert found["A", "COMPONENTS"].value == 2
    assert found["A", "LARGEST_COMPONENT"].value == pytest.approx(0.5)


def test_an_empty_segment_has_volume_zero_and_says_what_it_cannot_have() -> None:
    found = _found(_labels())
    assert found["B", "VOLUME"].value == 0
    assert found["B", "COMPONENTS"].value == 0
    assert found["B", "EXTENT_AP"].value is None
    assert found["B", "EXTENT_AP"].detail == "the segment is empty"


def test_intensities_are_measured_inside_only() -> None:
    labels = _labels()
    voxels = np.where(labels == 1, 5.0, 100.0).astype(np.float32)
    voxels[3, 4, 5] = np.nan
    found = _found(labels, Volume(grid=_grid(), voxels=voxels, modality="MR"))
    assert found["A", "MEAN_INTENSITY"].value == pytest.approx(5)
    assert found["A", "SD_INTENSITY"].value == pytest.approx(0)
    assert found["B", "MEAN_INTENSITY"].value is None


def test_every_segment_gets_the_same_codes() -> None:
    found = _found(_labels())
    assert {c for s, c in found if s == "A"} == {c for s, c in found if s == "B"}


def test_an_image_on_another_grid_is_refused() -> None:
    other = Grid(shape=(10, 10, 10), affine=np.eye(4))
    volume = Volume(grid=other, voxels=np.zeros(other.shape, np.float32), modality="MR")
    with pytest.raises(GeometryMismatch):
        _found(_labels(), volume)
