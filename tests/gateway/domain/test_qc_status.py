"""Which decision of a person is legal when, and that each legal one has a place in the case's lifecycle."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.domain.case import CaseEvent, CaseState, next_state
from gateway.domain.errors import IllegalTransition
from gateway.domain.qc_status import NEEDS_REASON, QcStatus, event_of, legal_decisions

Q, S = QcStatus, CaseState
EVERY = list(product(QcStatus, CaseState, (0, 1, 7)))

# By state, and for the automatic result or an edited one: what a person who gives a reason may decide.
LEGAL = {
    (S.COLLECTING, False): set(),
    (S.COLLECTING, True): set(),
    (S.RUNNING, False): set(),
    (S.RUNNING, True): set(),
    (S.IN_REVIEW, False): {Q.PASS, Q.FAIL_NEEDS_REPROCESSING, Q.QUARANTINED, Q.FAIL},
    (S.IN_REVIEW, True): {Q.PASS_WITH_EDITS, Q.FAIL_NEEDS_REPROCESSING, Q.QUARANTINED, Q.FAIL},
    (S.AWAITING_EDIT, False): {Q.NOT_REVIEWED, Q.QUARANTINED, Q.FAIL},
    (S.AWAITING_EDIT, True): {Q.NOT_REVIEWED, Q.QUARANTINED, Q.FAIL},
    (S.QUARANTINED, False): {Q.NOT_REVIEWED, Q.FAIL},
    (S.QUARANTINED, True): {Q.NOT_REVIEWED, Q.FAIL},
    (S.HELD, False): {Q.FAIL},
    (S.HELD, True): {Q.FAIL},
    (S.FINAL, False): {Q.NOT_REVIEWED},
    (S.FINAL, True): {Q.NOT_REVIEWED},
}


def test_the_expectation_is_total() -> None:
    assert set(LEGAL) == set(product(CaseState, (False, True)))


@pytest.mark.parametrize(("decision", "state", "iteration"), EVERY)
def test_each_decision_is_legal_exactly_where_expected(decision: QcStatus, state: CaseState, iteration: int) -> None:
    if decision in LEGAL[state, iteration > 0]:
        event_of(decision, state=state, iteration=iteration, comment="because")
    else:
        with pytest.raises(IllegalTransition):
            event_of(decision, state=state, iteration=iteration, comment="because")


@pytest.mark.parametrize(("state", "iteration"), list(product(CaseState, (0, 1, 7))))
def test_offered_decisions_are_the_legal_ones(state: CaseState, iteration: int) -> None:
    assert set(legal_decisions(state=state, iteration=iteration)) == LEGAL[state, iteration > 0]


@pytest.mark.parametrize(("state", "iteration"), list(product(CaseState, (0, 1))))
def test_every_legal_decision_is_a_legal_event_of_the_case(state: CaseState, iteration: int) -> None:
    for decision in legal_decisions(state=state, iteration=iteration):
        next_state(state, event_of(decision, state=state, iteration=iteration, comment="because"))


def test_pass_is_for_the_automatic_result_and_pass_with_edits_for_an_edited_one() -> None:
    with pytest.raises(IllegalTransition, match="use PASS_WITH_EDITS"):
        event_of(Q.PASS, state=S.IN_REVIEW, iteration=1, comment="")
    with pytest.raises(IllegalTransition, match="use PASS"):
        event_of(Q.PASS_WITH_EDITS, state=S.IN_REVIEW, iteration=0, comment="")


@pytest.mark.parametrize("decision", sorted(NEEDS_REASON))
@pytest.mark.parametrize("comment", ["", "  \n\t"])
def test_quarantine_and_discard_need_a_reason(decision: QcStatus, comment: str) -> None:
    with pytest.raises(IllegalTransition, match="needs a reason"):
        event_of(decision, state=S.IN_REVIEW, iteration=0, comment=comment)


def test_reopening_a_final_case_needs_a_reason_and_leaving_quarantine_does_not() -> None:
    with pytest.raises(IllegalTransition, match="needs a reason"):
        event_of(Q.NOT_REVIEWED, state=S.FINAL, iteration=0, comment="")
    assert event_of(Q.NOT_REVIEWED, state=S.FINAL, iteration=0, comment="new images") is CaseEvent.REOPENED
    assert event_of(Q.NOT_REVIEWED, state=S.QUARANTINED, iteration=0, comment="") is CaseEvent.RELEASED


def test_quarantine_is_reversible_and_fail_is_final() -> None:
    quarantined = next_state(S.IN_REVIEW, event_of(Q.QUARANTINED, state=S.IN_REVIEW, iteration=0, comment="why"))
    assert Q.NOT_REVIEWED in legal_decisions(state=quarantined, iteration=0)
    discarded = next_state(S.IN_REVIEW, event_of(Q.FAIL, state=S.IN_REVIEW, iteration=0, comment="why"))
    assert discarded is S.FINAL
