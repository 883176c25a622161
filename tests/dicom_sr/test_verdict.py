"""Verdicts: pure, worst finding wins, monotone in every measurement, abstaining rather than guessing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.verdict import Criterion, Finding, Outcome, decide, judge

DICE = Criterion(code="DICE", reject_below=0.5, review_below=0.8, source="test")
HD95 = Criterion(code="HD95", review_above=5.0, reject_above=10.0, source="test")
BAND = Criterion(code="VOLUME", reject_below=1, review_below=2, review_above=4, reject_above=5, source="test")

numbers = st.floats(-20, 20)
bound = st.one_of(st.none(), numbers)


def finding(code, value, **more):
    return Finding(stage="stage", code=code, value=value, **more)


@pytest.mark.parametrize(
    ("value", "low", "high", "outcome"),
    [
        (0.9, None, None, Outcome.ACCEPT),
        (0.8, None, None, Outcome.ACCEPT),  # a value on the bound is on its good side
        (0.79, None, None, Outcome.REVIEW),
        (0.5, None, None, Outcome.REVIEW),
        (0.49, None, None, Outcome.REJECT),
        (0.9, 0.7, 0.95, Outcome.REVIEW),  # acceptance needs the whole interval
        (0.4, 0.3, 0.6, Outcome.REVIEW),  # and so does rejection
        (0.4, 0.3, 0.45, Outcome.REJECT),
    ],
)
def test_bounds_count_with_the_interval(value, low, high, outcome):
    assert judge(finding("DICE", value, low=low, high=high), DICE) is outcome


def test_an_upper_bound_judges_from_above():
    outcomes = [judge(finding("HD95", v), HD95) for v in (5.0, 5.1, 10.0, 10.1)]

    assert outcomes == [Outcome.ACCEPT, Outcome.REVIEW, Outcome.REVIEW, Outcome.REJECT]


def test_a_band_judges_from_both_sides():
    outcomes = [judge(finding("VOLUME", v), BAND) for v in (0.5, 1.5, 3, 4.5, 6)]

    assert outcomes == [Outcome.REJECT, Outcome.REVIEW, Outcome.ACCEPT, Outcome.REVIEW, Outcome.REJECT]


def shifted(measured, by):
    moved = {name: None if v is None else v + by for name, v in (("low", measured.low), ("high", measured.high))}
    return finding(measured.code, measured.value + by, segment=measured.segment, **moved)


@st.composite
def measurements(draw, code):
    value = draw(numbers)
    if draw(st.booleans()):
        return finding(code, value)
    return finding(code, value, low=value - draw(st.floats(0, 5)), high=value + draw(st.floats(0, 5)))


@settings(deadline=None, max_examples=50)
@given(
    measurements("A"),
    st.lists(measurements("B"), max_size=2),
    st.tuples(bound, bound, bound),
    st.floats(0, 30),
    st.booleans(),
)
def test_a_verdict_is_monotone_in_each_measurement(measured, others, bounds, by, lower_is_worse):
    reject, review, abstain = bounds
    side = "below" if lower_is_worse else "above"
    criteria = [
        Criterion(code="A", **{f"reject_{side}": reject, f"review_{side}": review, f"abstain_{side}": abstain}),
        Criterion(code="B", review_below=0.0, reject_below=-5.0),
    ]

    before = decide([measured, *others], criteria).outcome
    worse = decide([shifted(measured, -by if lower_is_worse else by), *others], criteria).outcome

    assert worse.severity >= before.severity


@settings(deadline=None, max_examples=50)
@given(measurements("A"), st.floats(0, 10))
def test_a_wider_interval_is_never_more_certain(measured, by):
    criterion = Criterion(code="A", reject_below=-3, review_below=0, review_above=5, reject_above=9)
    low = (measured.value if measured.low is None else measured.low) - by
    high = (measured.value if measured.high is None else measured.high) + by

    narrow = judge(measured, criterion)
    wide = judge(finding("A", measured.value, low=low, high=high), criterion)

    assert wide is Outcome.REVIEW or wide is narrow


@settings(deadline=None, max_examples=50)
@given(st.lists(measurements("A"), min_size=1, max_size=4), st.randoms())
def test_the_order_of_findings_does_not_count(measured, random):
    criteria = [Criterion(code="A", reject_below=-3, review_below=3)]
    shuffled = measured[:]
    random.shuffle(shuffled)

    assert decide(measured, criteria).outcome is decide(shuffled, criteria).outcome
    assert decide(measured, criteria).outcome is max(
        (judge(m, criteria[0]) for m in measured), key=lambda outcome: outcome.severity
    )


def test_reasons_are_worst_first_and_name_stage_code_and_segment():
    verdict = decide(
        [finding("DICE", 0.7, segment="a"), finding("DICE", 0.3, segment="b"), finding("HD95", 1.0)], [DICE, HD95]
    )

    assert verdict.outcome is Outcome.REJECT
    assert [(r.outcome, r.stage, r.code, r.segment) for r in verdict.reasons] == [
        (Outcome.REJECT, "stage", "DICE", "b"),
        (Outcome.REVIEW, "stage", "DICE", "a"),
    ]
    assert "0.3" in verdict.reasons[0].text
    assert len(verdict.assessed) == 3


def test_a_criterion_for_one_segment_leaves_the_others_alone():
    strict = Criterion(code="DICE", segment="a", reject_below=0.95)

    assert decide([finding("DICE", 0.9, segment="b")], [strict, DICE]).outcome is Outcome.ACCEPT
    assert decide([finding("DICE", 0.9, segment="a")], [strict, DICE]).outcome is Outcome.REJECT


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_value_that_could_not_be_measured_is_never_accepted(value):
    required = Criterion(code="DICE", reject_below=0.5, required=True)

    assert judge(finding("DICE", value), DICE) is Outcome.REVIEW
    assert judge(finding("DICE", value), required) is Outcome.NOT_ASSESSABLE


def test_a_required_finding_that_is_absent_makes_the_verdict_abstain():
    verdict = decide([finding("HD95", 1.0)], [Criterion(code="DICE", required=True), HD95])

    assert verdict.outcome is Outcome.NOT_ASSESSABLE
    assert [r.code for r in verdict.reasons] == ["DICE"]


@pytest.mark.parametrize(("findings", "criteria"), [([], []), ([finding("X", 1.0)], [DICE]), ([], [DICE])])
def test_nothing_assessed_is_not_assessable(findings, criteria):
    verdict = decide(findings, criteria)

    assert verdict.outcome is Outcome.NOT_ASSESSABLE
    assert verdict.reasons[0].code == "NOTHING_ASSESSED"


def test_severity_orders_outcomes_from_accept_to_reject():
    assert sorted(Outcome, key=lambda o: o.severity) == [
        Outcome.ACCEPT,
        Outcome.REVIEW,
        Outcome.NOT_ASSESSABLE,
        Outcome.REJECT,
    ]
