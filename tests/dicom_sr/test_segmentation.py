"""Segmentation layers: any masks come back, overlap costs layers, equal content has one digest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dicom_sr.codes import Code
from dicom_sr.errors import GeometryMismatch
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.volume import Grid
from tests.support.make_segmentation import make_segments

SHAPE = (2, 3, 4)
GRID = Grid(shape=SHAPE, affine=np.eye(4))
SEGMENTS = make_segments("a", "b", "c")

any_masks = st.fixed_dictionaries({n: arrays.arrays(np.bool_, SHAPE) for n in (1, 2, 3)})
any_labels = arrays.arrays(np.uint8, SHAPE, elements=st.integers(0, 5))


@settings(deadline=None, max_examples=50)
@given(any_masks)
def test_any_masks_come_back_as_they_were(masks):
    segmentation = Segmentation.from_masks(GRID, masks, SEGMENTS)

    for segment in SEGMENTS:
        np.testing.assert_array_equal(segmentation.mask(segment), masks[segment.number])
        assert segmentation.voxel_count(segment) == masks[segment.number].sum()
    touching = any((masks[a] & masks[b]).any() for a, b in ((1, 2), (1, 3), (2, 3)))
    assert segmentation.overlaps == touching


@settings(deadline=None, max_examples=50)
@given(any_labels)
def test_a_label_map_and_its_masks_are_the_same_segmentation(labels):
    from_labels = Segmentation.from_labelmap(GRID, labels, SEGMENTS)
    from_masks = Segmentation.from_masks(GRID, {n: labels == n for n in (1, 2, 3)}, SEGMENTS)

    assert from_labels.digest() == from_masks.digest()
    assert not from_labels.overlaps
    np.testing.assert_array_equal(from_labels.layers[0], np.where(labels <= 3, labels, 0))


@settings(deadline=None, max_examples=50)
@given(any_masks)
def test_the_digest_does_not_count_segment_numbers(masks):
    renumbered = tuple(
        Segment(number=s.number * 100, label=s.label, category=s.category, property_type=s.property_type)
        for s in SEGMENTS
    )
    again = Segmentation.from_masks(GRID, {n * 100: mask for n, mask in masks.items()}, renumbered)

    assert again.digest() == Segmentation.from_masks(GRID, masks, SEGMENTS).digest()


@settings(deadline=None, max_examples=50)
@given(any_masks, st.integers(1, 3), st.tuples(*(st.integers(0, n - 1) for n in SHAPE)))
def test_the_digest_counts_every_voxel_of_every_segment(masks, number, voxel):
    before = Segmentation.from_masks(GRID, masks, SEGMENTS).digest()
    masks[number] = masks[number].copy()
    masks[number][voxel] ^= True

    assert Segmentation.from_masks(GRID, masks, SEGMENTS).digest() != before


def test_the_digest_counts_labels_and_their_order_and_the_grid():
    labels = np.zeros(SHAPE, np.uint8)
    labels[0, 0, 0] = 1
    moved = Grid(shape=SHAPE, affine=np.diag([2.0, 1, 1, 1]))

    digests = {
        Segmentation.from_labelmap(GRID, labels, make_segments("a", "b")).digest(),
        Segmentation.from_labelmap(GRID, labels, make_segments("a", "x")).digest(),
        Segmentation.from_labelmap(GRID, labels, make_segments("b", "a")).digest(),
        Segmentation.from_labelmap(moved, labels, make_segments("a", "b")).digest(),
    }

    assert len(digests) == 4


def test_a_declared_segment_without_a_mask_is_empty():
    segmentation = Segmentation.from_masks(GRID, {}, SEGMENTS)

    assert [segmentation.voxel_count(s) for s in SEGMENTS] == [0, 0, 0]
    assert not segmentation.overlaps


def test_a_segment_is_found_by_its_label():
    segmentation = Segmentation.from_masks(GRID, {}, SEGMENTS)

    assert segmentation.segment_named("b") == SEGMENTS[1]
    assert segmentation.segment_named("B") is None


def test_a_hundred_segments_without_overlap_are_one_layer():
    grid = Grid(shape=(1, 10, 10), affine=np.eye(4))
    segments = make_segments(*(f"organ {i}" for i in range(100)))
    masks = {s.number: np.arange(100).reshape(1, 10, 10) == s.number - 1 for s in segments}

    assert Segmentation.from_masks(grid, masks, segments).layers.shape == (1, 1, 10, 10)


def test_layers_of_another_shape_are_refused():
    with pytest.raises(GeometryMismatch):
        Segmentation.from_labelmap(GRID, np.zeros((4, 3, 2)), SEGMENTS)


def test_numbering_from_one_keeps_every_mask_and_the_digest() -> None:
    grid = Grid(shape=(2, 3, 4), affine=np.eye(4))
    code = Code("1", "99TEST", "Something")
    segments = [Segment(number=number, label=f"S{number}", category=code, property_type=code) for number in (7, 2, 40)]
    labels = np.zeros(grid.shape, np.uint16)
    labels[0, 0], labels[0, 1], labels[1, 2] = 7, 2, 40
    before = Segmentation.from_labelmap(grid, labels, segments)
    after = before.numbered_from_one()
    assert [s.number for s in after.segments] == [1, 2, 3]
    for old, new in zip(before.segments, after.segments, strict=True):
        assert np.array_equal(before.mask(old), after.mask(new))
    assert after.digest() == before.digest()
