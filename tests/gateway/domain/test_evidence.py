"""When a study counts as complete: every sign, for and against, and the sentence the report repeats."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.evidence import (
    STEP_TRANSITIONS,
    Announced,
    AnnouncementKind,
    Facts,
    Patience,
    StepState,
    Sureness,
    judge,
)

PATIENCE = Patience(quiet=10, doubtful=60, in_progress=1800)
STEP, IAN, COMMITMENT = AnnouncementKind.PROCEDURE_STEP, AnnouncementKind.AVAILABILITY, AnnouncementKind.COMMITMENT


def facts(seconds: float = 30, **more: object) -> Facts:
    return Facts(**{"quiet_seconds": seconds, "is_arriving": False, **more})  # type: ignore[arg-type]


def announced(kind: AnnouncementKind, listed: int, held: int, state: StepState = StepState.COMPLETED) -> Facts:
    return facts(announced=(Announced(kind=kind, state=state, listed=listed, held=held),))


@pytest.mark.parametrize(
    ("known", "may_close", "sureness", "words"),
    [
        (facts(), True, Sureness.LIKELY, "every association that brought it has ended"),
        (facts(9), False, Sureness.LIKELY, "no new instance for 9 s"),
        (facts(is_arriving=True), False, Sureness.UNPROVEN, "is still open"),
        (facts(60, is_arriving=True), True, Sureness.UNPROVEN, "is still open"),
        (facts(instances=5, expected_instances=5), True, Sureness.PROVEN, "5 of 5 instances that the sender reports"),
        (facts(instances=4, expected_instances=5), False, Sureness.UNPROVEN, "4 of 5 instances that the sender"),
        (facts(expected_series=2, found_series=2), True, Sureness.PROVEN, "2 of 2 expected series"),
        (facts(expected_series=2, found_series=1), False, Sureness.UNPROVEN, "1 of 2 expected series"),
        (facts(series_with_gaps=0), True, Sureness.LIKELY, "no slice is missing"),
        (facts(series_with_gaps=1), False, Sureness.UNPROVEN, "slices are missing in 1 series"),
        (
            announced(STEP, 7, 7),
            True,
            Sureness.PROVEN,
            "7 of 7 instances that the modality's",
        ),
        (announced(STEP, 7, 3), False, Sureness.UNPROVEN, "3 of 7 instances that the modality's procedure step"),
        (announced(STEP, 0, 0), True, Sureness.LIKELY, "lists no instance"),
        (announced(STEP, 2, 2, StepState.DISCONTINUED), True, Sureness.PROVEN, "(discontinued)"),
        (announced(STEP, 0, 0, StepState.IN_PROGRESS), False, Sureness.UNPROVEN, "procedure step is not finished"),
        (announced(IAN, 3, 3), True, Sureness.PROVEN, "3 of 3 instances that an availability notification lists"),
        (announced(COMMITMENT, 3, 3), True, Sureness.PROVEN, "that a storage commitment request lists"),
    ],
)
def test_each_sign_says_what_it_says(known: Facts, may_close: bool, sureness: Sureness, words: str) -> None:
    judgement = judge(known, PATIENCE)
    assert (judgement.may_close, judgement.sureness) == (may_close, sureness)
    assert any(words in sentence for sentence in judgement.sentences)
    assert judgement.sentences[-1] == sureness.sentence


@pytest.mark.parametrize(("seconds", "may_close"), [(60, False), (1799, False), (1800, True)])
def test_a_procedure_step_in_progress_is_waited_for_longer_than_for_anything_else(
    seconds: float, may_close: bool
) -> None:
    step = Announced(kind=STEP, state=StepState.IN_PROGRESS, listed=0, held=0)
    assert judge(facts(seconds, announced=(step,), is_arriving=True), PATIENCE).may_close is may_close


@given(
    seconds=st.floats(0, 5000),
    further=st.floats(0, 5000),
    is_arriving=st.booleans(),
    gaps=st.one_of(st.none(), st.integers(0, 3)),
    expected=st.one_of(st.none(), st.integers(0, 5)),
    steps=st.lists(
        st.builds(
            Announced,
            kind=st.sampled_from(AnnouncementKind),
            state=st.sampled_from(StepState),
            listed=st.integers(0, 4),
            held=st.integers(0, 4),
        ),
        max_size=3,
    ),
)
@settings(deadline=None, max_examples=50)
def test_every_study_is_closed_sometime_and_waiting_never_hinders(
    seconds: float, further: float, is_arriving: bool, gaps: int | None, expected: int | None, steps: list[Announced]
) -> None:
    more = {"is_arriving": is_arriving, "series_with_gaps": gaps, "expected_instances": expected, "instances": 2}
    now = judge(facts(seconds, announced=tuple(steps), **more), PATIENCE)
    later = judge(facts(seconds + further, announced=tuple(steps), **more), PATIENCE)
    assert later.may_close >= now.may_close
    assert judge(facts(1800, announced=tuple(steps), **more), PATIENCE).may_close


def test_a_step_that_has_ended_is_never_changed() -> None:
    assert {before for before, _ in STEP_TRANSITIONS} == {StepState.IN_PROGRESS}
    assert {asked for _, asked in STEP_TRANSITIONS} == set(StepState)
    assert all(after is asked for (_, asked), after in STEP_TRANSITIONS.items())
