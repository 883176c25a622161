"""The lifecycle of a stage run, cell by cell."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.domain.errors import IllegalTransition
from gateway.domain.stage_run import (
    OUTCOME,
    SATISFIED,
    SETTLED,
    STUCK,
    TRANSITIONS,
    StageRunEvent,
    StageRunState,
    next_state,
)

S, E = StageRunState, StageRunEvent

# Written out a second time, by state, so that a slip in the table shows. What is not named must be refused.
EXPECTED: dict[StageRunState, dict[StageRunEvent, StageRunState]] = {
    S.WAITING: {
        E.INPUTS_COMPLETE: S.READY,
        E.KEY_KNOWN: S.REUSED,
        E.EDIT_GIVEN: S.REPLACED,
        E.GATE_CLOSED: S.SKIPPED,
        E.OVERTAKEN: S.SUPERSEDED,
    },
    S.READY: {E.CLAIMED: S.RUNNING, E.KEY_KNOWN: S.REUSED, E.OVERTAKEN: S.SUPERSEDED},
    S.RUNNING: {
        E.CLAIMED: S.RUNNING,
        E.COMPLETED: S.DONE,
        E.REFUSED: S.FAILED,
        E.CRASHED: S.READY,
        E.CRASHED_TOO_OFTEN: S.HELD,
        E.OVERTAKEN: S.SUPERSEDED,
    },
    S.FAILED: {E.RETRIED: S.READY, E.OVERTAKEN: S.SUPERSEDED},
    S.HELD: {E.RETRIED: S.READY, E.OVERTAKEN: S.SUPERSEDED},
    S.DONE: {},
    S.REUSED: {},
    S.REPLACED: {},
    S.SKIPPED: {},
    S.SUPERSEDED: {},
}


@pytest.mark.parametrize(("state", "event"), list(product(StageRunState, StageRunEvent)))
def test_each_cell_leads_where_it_says_or_is_refused(state: StageRunState, event: StageRunEvent) -> None:
    expected = EXPECTED[state].get(event)
    if expected is None:
        with pytest.raises(IllegalTransition, match=f"{state} cannot take the event {event}"):
            next_state(state, event)
    else:
        assert next_state(state, event) is expected


def test_every_state_is_reached_from_waiting_and_every_event_happens_somewhere() -> None:
    reached = {S.WAITING}
    while more := {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached:
        reached |= more
    assert reached == set(StageRunState)
    assert {event for _, event in TRANSITIONS} == set(StageRunEvent)


def test_a_settled_run_never_changes() -> None:
    assert not SETTLED & {before for before, _ in TRANSITIONS}


def test_every_state_is_settled_or_stuck_or_overtaken_or_can_go_on() -> None:
    in_progress = {S.WAITING, S.READY, S.RUNNING}
    groups = [SETTLED, STUCK, {S.SUPERSEDED}, in_progress]
    assert set().union(*groups) == set(StageRunState)
    assert sum(len(group) for group in groups) == len(StageRunState)


def test_a_stuck_run_can_be_retried_by_an_operator() -> None:
    assert {next_state(state, E.RETRIED) for state in STUCK} == {S.READY}


def test_satisfied_is_settled_without_skipped() -> None:
    assert {S.SKIPPED} == SETTLED - SATISFIED


def test_outcomes_of_the_http_contract_name_every_end() -> None:
    assert set(OUTCOME) == SETTLED | {S.FAILED}
    assert set(OUTCOME.values()) == {"EXECUTED", "REUSED", "REPLACED", "SKIPPED", "FAILED"}
