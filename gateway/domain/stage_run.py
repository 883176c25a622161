"""Lifecycle of a stage run as a literal table."""

from __future__ import annotations

from enum import StrEnum

from gateway.domain.errors import IllegalTransition


class StageRunState(StrEnum):
    """Where a stage run stands."""

    WAITING = "WAITING"
    READY = "READY"
    RUNNING = "RUNNING"
    DONE = "DONE"
    REUSED = "REUSED"
    REPLACED = "REPLACED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    HELD = "HELD"
    SUPERSEDED = "SUPERSEDED"


class StageRunEvent(StrEnum):
    """What happens to a stage run."""

    INPUTS_COMPLETE = "INPUTS_COMPLETE"
    KEY_KNOWN = "KEY_KNOWN"
    EDIT_GIVEN = "EDIT_GIVEN"
    GATE_CLOSED = "GATE_CLOSED"
    CLAIMED = "CLAIMED"
    COMPLETED = "COMPLETED"
    REFUSED = "REFUSED"
    CRASHED = "CRASHED"
    CRASHED_TOO_OFTEN = "CRASHED_TOO_OFTEN"
    RETRIED = "RETRIED"
    OVERTAKEN = "OVERTAKEN"


S, E = StageRunState, StageRunEvent

#: After this many crashes of its host a stage run is a poison stage and is held.
MAXIMUM_CRASHES = 3

#: (state, event) -> next state; what is not listed is refused.
TRANSITIONS: dict[tuple[StageRunState, StageRunEvent], StageRunState] = {
    (S.WAITING, E.INPUTS_COMPLETE): S.READY,
    (S.WAITING, E.KEY_KNOWN): S.REUSED,
    (S.WAITING, E.EDIT_GIVEN): S.REPLACED,
    (S.WAITING, E.GATE_CLOSED): S.SKIPPED,
    (S.WAITING, E.OVERTAKEN): S.SUPERSEDED,
    (S.READY, E.CLAIMED): S.RUNNING,
    (S.READY, E.KEY_KNOWN): S.REUSED,
    (S.READY, E.OVERTAKEN): S.SUPERSEDED,
    (S.RUNNING, E.CLAIMED): S.RUNNING,
    (S.RUNNING, E.COMPLETED): S.DONE,
    (S.RUNNING, E.REFUSED): S.FAILED,
    (S.RUNNING, E.CRASHED): S.READY,
    (S.RUNNING, E.CRASHED_TOO_OFTEN): S.HELD,
    (S.RUNNING, E.OVERTAKEN): S.SUPERSEDED,
    (S.FAILED, E.RETRIED): S.READY,
    (S.FAILED, E.OVERTAKEN): S.SUPERSEDED,
    (S.HELD, E.RETRIED): S.READY,
    (S.HELD, E.OVERTAKEN): S.SUPERSEDED,
}

#: States in which a stage's outputs are there for the stages that need it.
SATISFIED = frozenset({S.DONE, S.REUSED, S.REPLACED})
#: States that need nothing more for the case to be finished.
SETTLED = SATISFIED | {S.SKIPPED}
#: States that stop a case until an operator acts.
STUCK = frozenset({S.FAILED, S.HELD})
#: Names of settled states in the HTTP contract.
OUTCOME = {S.DONE: "EXECUTED", S.REUSED: "REUSED", S.REPLACED: "REPLACED", S.SKIPPED: "SKIPPED", S.FAILED: "FAILED"}


def next_state(state: StageRunState, event: StageRunEvent) -> StageRunState:
    """Return the state after `event`.

    Raises
    ------
    IllegalTransition
        If the table has no such cell.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"a stage run that is {state} cannot take the event {event}") from None
