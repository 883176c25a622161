"""Lifecycle of a case (one study under one pipeline) as a literal table."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from gateway.domain.errors import IllegalTransition


class CaseState(StrEnum):
    """Where a case stands."""

    COLLECTING = "COLLECTING"
    RUNNING = "RUNNING"
    IN_REVIEW = "IN_REVIEW"
    AWAITING_EDIT = "AWAITING_EDIT"
    FINAL = "FINAL"
    QUARANTINED = "QUARANTINED"
    HELD = "HELD"


class CaseEvent(StrEnum):
    """What happens to a case."""

    OPENED = "OPENED"
    AMBIGUOUS = "AMBIGUOUS"
    STAGES_FINISHED = "STAGES_FINISHED"
    STAGE_STUCK = "STAGE_STUCK"
    RETRIED = "RETRIED"
    LATE_INSTANCES = "LATE_INSTANCES"
    REPROCESSING_ASKED = "REPROCESSING_ASKED"
    EDIT_ACCEPTED = "EDIT_ACCEPTED"
    SIGNED_OFF = "SIGNED_OFF"
    DISCARDED = "DISCARDED"
    QUARANTINE = "QUARANTINE"
    RELEASED = "RELEASED"
    REOPENED = "REOPENED"


S, E = CaseState, CaseEvent

#: (state, event) -> next state; what is not listed is refused.
TRANSITIONS: dict[tuple[CaseState, CaseEvent], CaseState] = {
    (S.COLLECTING, E.OPENED): S.RUNNING,
    (S.COLLECTING, E.AMBIGUOUS): S.HELD,
    (S.COLLECTING, E.LATE_INSTANCES): S.COLLECTING,
    (S.RUNNING, E.STAGES_FINISHED): S.IN_REVIEW,
    (S.RUNNING, E.STAGE_STUCK): S.HELD,
    (S.RUNNING, E.LATE_INSTANCES): S.RUNNING,
    (S.IN_REVIEW, E.REPROCESSING_ASKED): S.AWAITING_EDIT,
    (S.IN_REVIEW, E.EDIT_ACCEPTED): S.RUNNING,
    (S.IN_REVIEW, E.SIGNED_OFF): S.FINAL,
    (S.IN_REVIEW, E.DISCARDED): S.FINAL,
    (S.IN_REVIEW, E.QUARANTINE): S.QUARANTINED,
    (S.IN_REVIEW, E.LATE_INSTANCES): S.RUNNING,
    (S.AWAITING_EDIT, E.EDIT_ACCEPTED): S.RUNNING,
    (S.AWAITING_EDIT, E.SIGNED_OFF): S.FINAL,
    (S.AWAITING_EDIT, E.DISCARDED): S.FINAL,
    (S.AWAITING_EDIT, E.QUARANTINE): S.QUARANTINED,
    (S.AWAITING_EDIT, E.LATE_INSTANCES): S.RUNNING,
    (S.AWAITING_EDIT, E.RELEASED): S.IN_REVIEW,
    (S.QUARANTINED, E.RELEASED): S.IN_REVIEW,
    (S.QUARANTINED, E.DISCARDED): S.FINAL,
    (S.QUARANTINED, E.LATE_INSTANCES): S.RUNNING,
    (S.HELD, E.RETRIED): S.RUNNING,
    (S.HELD, E.LATE_INSTANCES): S.RUNNING,
    (S.HELD, E.AMBIGUOUS): S.HELD,
    (S.HELD, E.DISCARDED): S.FINAL,
    (S.FINAL, E.REOPENED): S.IN_REVIEW,
    (S.FINAL, E.LATE_INSTANCES): S.RUNNING,
}

#: States from which an edited SEG may start the next iteration at once.
EDITABLE = frozenset({S.IN_REVIEW, S.AWAITING_EDIT})


def next_state(state: CaseState, event: CaseEvent) -> CaseState:
    """Return the state after `event`.

    Raises
    ------
    IllegalTransition
        If the table has no such cell.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"a case that is {state} cannot take the event {event}") from None


def case_id(study_instance_uid: str, pipeline: str) -> str:
    """Derive the id of the one case of this study under this pipeline: 16 hexadecimal digits after ``c``."""
    return "c" + hashlib.sha256(f"{study_instance_uid}\x1f{pipeline}".encode()).hexdigest()[:16]
