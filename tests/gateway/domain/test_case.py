"""The lifecycle of a case, cell by cell."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.domain.case import EDITABLE, TRANSITIONS, CaseEvent, CaseState, case_id, next_state
from gateway.domain.errors import IllegalTransition

S, E = CaseState, CaseEvent

# Written out a second time, by state, so that a slip in the table shows. What is not named must be refused.
EXPECTED = {
    S.COLLECTING: {E.OPENED: S.RUNNING, E.AMBIGUOUS: S.HELD, E.LATE_INSTANCES: S.COLLECTING},
    S.RUNNING: {E.STAGES_FINISHED: S.IN_REVIEW, E.STAGE_STUCK: S.HELD, E.LATE_INSTANCES: S.RUNNING},
    S.IN_REVIEW: {
        E.REPROCESSING_ASKED: S.AWAITING_EDIT,
        E.EDIT_ACCEPTED: S.RUNNING,
        E.SIGNED_OFF: S.FINAL,
        E.DISCARDED: S.FINAL,
        E.QUARANTINE: S.QUARANTINED,
        E.LATE_INSTANCES: S.RUNNING,
    },
    S.AWAITING_EDIT: {
        E.EDIT_ACCEPTED: S.RUNNING,
        E.SIGNED_OFF: S.FINAL,
        E.DISCARDED: S.FINAL,
        E.QUARANTINE: S.QUARANTINED,
        E.RELEASED: S.IN_REVIEW,
        E.LATE_INSTANCES: S.RUNNING,
    },
    S.QUARANTINED: {E.RELEASED: S.IN_REVIEW, E.DISCARDED: S.FINAL, E.LATE_INSTANCES: S.RUNNING},
    S.HELD: {E.RETRIED: S.RUNNING, E.AMBIGUOUS: S.HELD, E.DISCARDED: S.FINAL, E.LATE_INSTANCES: S.RUNNING},
    S.FINAL: {E.REOPENED: S.IN_REVIEW, E.LATE_INSTANCES: S.RUNNING},
}


@pytest.mark.parametrize(("state", "event"), list(product(CaseState, CaseEvent)))
def test_each_cell_leads_where_it_says_or_is_refused(state: CaseState, event: CaseEvent) -> None:
    expected = EXPECTED[state].get(event)
    if expected is None:
        with pytest.raises(IllegalTransition, match=f"{state} cannot take the event {event}"):
            next_state(state, event)
    else:
        assert next_state(state, event) is expected


def test_late_instances_are_never_refused() -> None:
    assert {state for state in CaseState if (state, E.LATE_INSTANCES) in TRANSITIONS} == set(CaseState)


def test_every_state_is_reached_from_collecting() -> None:
    reached = {S.COLLECTING}
    while more := {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached:
        reached |= more
    assert reached == set(CaseState)


def test_every_event_happens_somewhere() -> None:
    assert {event for _, event in TRANSITIONS} == set(CaseEvent)


def test_no_state_is_a_dead_end_and_a_final_case_changes_only_by_reopening_or_new_images() -> None:
    assert {before for before, _ in TRANSITIONS} == set(CaseState)
    assert {event for before, event in TRANSITIONS if before is S.FINAL} == {E.REOPENED, E.LATE_INSTANCES}


def test_an_edit_is_taken_exactly_in_the_editable_states() -> None:
    assert {before for before, event in TRANSITIONS if event is E.EDIT_ACCEPTED} == EDITABLE


def test_case_id_depends_on_study_and_pipeline_and_keeps_them_apart() -> None:
    ids = {case_id("1.2.3", "a"), case_id("1.2.3", "b"), case_id("1.2.4", "a"), case_id("1.2", ".3a")}
    assert len(ids) == 4
    assert case_id("1.2.3", "a") == case_id("1.2.3", "a")
    assert all(len(one) == 17 and one[0] == "c" and int(one[1:], 16) >= 0 for one in ids)
