from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.services.case_record import FindingView
from gateway.web.ui.bars import WIDTH, bar_of

_DICE = FindingView(
    stage="qc", code="PREDICTED_DICE", segment="", value=0.9, unit="1", low=0.8, high=0.95, outcome="ACCEPT", detail="",
    criterion={"reject_below": 0.5, "review_below": 0.75},
)  # fmt: skip


def test_a_score_is_shown_on_the_scale_from_0_to_1() -> None:
    bar = bar_of(_DICE)
    assert bar is not None
    assert [(zone.kind, zone.left, zone.width) for zone in bar.zones] == [
        ("reject", 0.0, WIDTH * 0.5),
        ("review", WIDTH * 0.5, WIDTH * 0.25),
        ("accept", WIDTH * 0.75, WIDTH * 0.25),
    ]
    assert (bar.value, bar.low, bar.high) == (WIDTH * 0.9, WIDTH * 0.8, WIDTH * 0.95)
    assert [tick.text for tick in bar.ticks] == ["0.5", "0.75"]
    assert bar.text == "reject below 0.5, review below 0.75"


def test_a_range_has_its_good_zone_in_the_middle() -> None:
    bar = bar_of(replace(_DICE, unit="ml", value=3.0, low=None, high=None,
                         criterion={"review_below": 2.0, "review_above": 5.0}))  # fmt: skip
    assert bar is not None
    assert [zone.kind for zone in bar.zones] == ["review", "accept", "review"]


def test_a_finding_without_value_or_threshold_has_no_bar() -> None:
    assert bar_of(replace(_DICE, value=None)) is None
    assert bar_of(replace(_DICE, criterion={})) is None
    assert bar_of(replace(_DICE, criterion={"required": True, "source": "x"})) is None


_numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(value=_numbers, bounds=st.lists(_numbers, min_size=1, max_size=4))
def test_everything_lies_on_the_scale_and_the_zones_cover_it(value: float, bounds: list[float]) -> None:
    names = ("reject_below", "review_below", "review_above", "reject_above")
    finding = replace(_DICE, unit="mm", value=value, low=None, high=None,
                      criterion=dict(zip(names, sorted(bounds), strict=False)))  # fmt: skip
    bar = bar_of(finding)
    assert bar is not None
    assert 0 <= bar.value <= WIDTH
    assert all(0 <= tick.at <= WIDTH for tick in bar.ticks)
    assert sum(zone.width for zone in bar.zones) == pytest.approx(WIDTH, abs=0.1)
    assert all(zone.width >= 0 for zone in bar.zones)
