"""Display colours: the CIELab encoding agrees with highdicom's, neighbours differ."""

from __future__ import annotations

import itertools

import highdicom as hd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.palette import cielab, segment_color


@pytest.mark.parametrize(
    ("color", "expected"),
    [((0, 0, 0), (0, 32896, 32896)), ((255, 255, 255), (65535, 32896, 32896))],
    ids=["black", "white"],
)
def test_black_and_white_have_no_hue(color, expected):
    assert cielab(color) == pytest.approx(expected, abs=15)


@settings(deadline=None, max_examples=50)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_the_encoding_agrees_with_highdicom(color):
    assert cielab(color) == pytest.approx(hd.color.CIELabColor.from_rgb(*color).value, abs=65_535 * 0.002)


def test_two_hundred_segments_have_distinct_legal_colors():
    colors = [segment_color(i) for i in range(200)]

    assert len(set(colors)) == 200
    assert all(0 <= channel <= 255 for color in colors for channel in color)


def test_the_first_colors_are_far_apart():
    apart = [
        sum((a - b) ** 2 for a, b in zip(one, two, strict=True))
        for one, two in itertools.combinations([segment_color(i) for i in range(7)], 2)
    ]

    assert min(apart) > 50**2
