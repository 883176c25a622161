"""Filling polygons: exact on voxel centres, by the parity rule, whatever the order of points."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr import polygon_fill
from dicom_sr.polygon_fill import inside
from tests.support.rtstruct_writer import cracks, runs

SIDE = 9
EDGE = 0.02
Corner = tuple[int, int]
corners = st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1))
masks = st.integers(0, 2 ** (SIDE * SIDE) - 1).map(
    lambda bits: np.array([bits >> i & 1 for i in range(SIDE * SIDE)], bool).reshape(SIDE, SIDE)
)


def fill(polygons, shape, *, edge):
    """The whole plane with what is filled."""
    plane, block = np.zeros(shape, bool), polygon_fill.fill(polygons, shape, edge=edge)
    if block is not None:
        rows, columns = block.pixels.shape
        plane[block.first_row : block.first_row + rows, block.first_column : block.first_column + columns] = (
            block.pixels
        )
    return plane


def _is_on(edge: tuple[Corner, Corner], y: int, x: int) -> bool:
    (y0, x0), (y1, x1) = edge
    cross = (y1 - y0) * (x - x0) - (x1 - x0) * (y - y0)
    return cross == 0 and min(y0, y1) <= y <= max(y0, y1) and min(x0, x1) <= x <= max(x0, x1)


def _crossings(edges: list[tuple[Corner, Corner]], y: int, x: int) -> int:
    count = 0
    for (y0, x0), (y1, x1) in edges:
        if (y0 > y) != (y1 > y):
            count += x0 + Fraction((y - y0) * (x1 - x0), y1 - y0) > x
    return count


def _exact(polygons: list[list[Corner]]) -> np.ndarray:
    """The rule of the module word by word, in exact arithmetic."""
    edges = [(p[i], p[(i + 1) % len(p)]) for p in polygons for i in range(len(p))]
    return np.array(
        [
            [any(_is_on(e, y, x) for e in edges) or _crossings(edges, y, x) % 2 == 1 for x in range(SIDE)]
            for y in range(SIDE)
        ]
    )


def _arrays(polygons):
    return [np.array(p, np.float64).reshape(-1, 2) for p in polygons]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(corners, min_size=1, max_size=7), min_size=1, max_size=3))
def test_polygons_through_voxel_centres_are_filled_as_exact_arithmetic_says(polygons):
    np.testing.assert_array_equal(fill(_arrays(polygons), (SIDE, SIDE), edge=EDGE), _exact(polygons))


@settings(deadline=None, max_examples=50)
@given(masks)
def test_the_borders_of_a_mask_between_voxels_give_the_mask_with_all_its_holes(mask):
    np.testing.assert_array_equal(fill(_arrays(cracks(mask)), mask.shape, edge=EDGE), mask)


@settings(deadline=None, max_examples=50)
@given(masks)
def test_lines_and_points_through_voxel_centres_give_the_mask(mask):
    np.testing.assert_array_equal(fill(_arrays(runs(mask)), mask.shape, edge=EDGE), mask)


@settings(deadline=None, max_examples=30)
@given(masks, st.floats(-0.01, 0.01), st.integers(0, 8))
def test_rounding_and_the_order_of_points_do_not_matter(mask, error, turn):
    for trace in (cracks, runs):
        loops = [np.roll(np.array(loop)[::-1] + error, turn, axis=0) for loop in trace(mask)]
        np.testing.assert_array_equal(fill(loops, mask.shape, edge=EDGE), mask)


def test_a_keyhole_and_a_contour_of_its_own_give_the_same_hole():
    outer, hole = [(1, 1), (1, 7), (7, 7), (7, 1)], [(2.5, 2.5), (2.5, 5.5), (5.5, 5.5), (5.5, 2.5)]
    channel = [(1, 4), (1, 7), (7, 7), (7, 1), (1, 1), (1, 4)]
    keyhole = [*channel, (2.5, 4), (2.5, 2.5), (5.5, 2.5), (5.5, 5.5), (2.5, 5.5), (2.5, 4)]
    expected = np.zeros((SIDE, SIDE), bool)
    expected[1:8, 1:8] = True
    expected[3:6, 3:6] = False
    np.testing.assert_array_equal(fill(_arrays([outer, hole]), (SIDE, SIDE), edge=EDGE), expected)
    np.testing.assert_array_equal(fill(_arrays([keyhole]), (SIDE, SIDE), edge=EDGE), expected)


def test_a_circle_has_its_area_within_two_per_cent():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = np.c_[50.3 + 40 * np.sin(angle), 49.8 + 40 * np.cos(angle)]
    assert abs(fill([circle], (100, 100), edge=EDGE).sum() / (np.pi * 40**2) - 1) < 0.02


@settings(deadline=None, max_examples=30)
@given(masks, masks)
def test_what_lies_within_another_marks_a_part_of_it(mask, other):
    part = inside(_arrays(cracks(mask & other)), mask.shape)
    assert not (part & ~inside(_arrays(cracks(mask)), mask.shape)).any()


def test_what_reaches_beyond_the_plane_is_cut():
    square = np.array([(-3.0, -3.0), (-3.0, 3.0), (3.0, 3.0), (3.0, -3.0)])
    assert fill([square], (SIDE, SIDE), edge=EDGE).sum() == 16


def test_what_lies_outside_the_plane_is_left_out():
    far = np.array([(-30.0, -30.0), (-30.0, -20.0), (-20.0, -20.0)])
    assert polygon_fill.fill([far], (SIDE, SIDE), edge=EDGE) is None


def test_nothing_gives_nothing():
    assert not fill([], (SIDE, SIDE), edge=EDGE).any()
    assert not fill([np.zeros((0, 2))], (SIDE, SIDE), edge=EDGE).any()
