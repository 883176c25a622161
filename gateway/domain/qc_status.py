"""A person's decision on a case: which is legal when, and which event of the case it is (ADR 0003)."""

from __future__ import annotations

from enum import StrEnum

from gateway.domain.case import CaseEvent, CaseState
from gateway.domain.errors import IllegalTransition


class QcStatus(StrEnum):
    """Analysis Results Quality Control: what a person decided."""

    NOT_REVIEWED = "NOT_REVIEWED"
    PASS = "PASS"  # noqa: S105 - a verdict, not a secret
    PASS_WITH_EDITS = "PASS_WITH_EDITS"  # noqa: S105
    FAIL_NEEDS_REPROCESSING = "FAIL_NEEDS_REPROCESSING"
    QUARANTINED = "QUARANTINED"
    FAIL = "FAIL"


Q, S = QcStatus, CaseState

#: From which case states each decision may be taken.
LEGAL_STATES: dict[QcStatus, frozenset[CaseState]] = {
    Q.NOT_REVIEWED: frozenset({S.QUARANTINED, S.AWAITING_EDIT, S.FINAL}),
    Q.PASS: frozenset({S.IN_REVIEW}),
    Q.PASS_WITH_EDITS: frozenset({S.IN_REVIEW}),
    Q.FAIL_NEEDS_REPROCESSING: frozenset({S.IN_REVIEW}),
    Q.QUARANTINED: frozenset({S.IN_REVIEW, S.AWAITING_EDIT}),
    Q.FAIL: frozenset({S.IN_REVIEW, S.AWAITING_EDIT, S.QUARANTINED, S.HELD}),
}

#: Decisions that need a reason in the comment.
NEEDS_REASON = frozenset({Q.QUARANTINED, Q.FAIL})

#: Decisions that end an iteration and so are written into a signed report.
SIGNED = frozenset({Q.PASS, Q.PASS_WITH_EDITS, Q.FAIL})

_EVENTS: dict[QcStatus, CaseEvent] = {
    Q.PASS: CaseEvent.SIGNED_OFF,
    Q.PASS_WITH_EDITS: CaseEvent.SIGNED_OFF,
    Q.FAIL_NEEDS_REPROCESSING: CaseEvent.REPROCESSING_ASKED,
    Q.QUARANTINED: CaseEvent.QUARANTINE,
    Q.FAIL: CaseEvent.DISCARDED,
}


def event_of(decision: QcStatus, *, state: CaseState, iteration: int, comment: str) -> CaseEvent:
    """Return the case event a decision stands for.

    Parameters
    ----------
    decision : QcStatus
        NOT_REVIEWED takes a decision back: out of quarantine or of waiting, or reopening a final case (needs a reason).
    state : CaseState
        State of the case now.
    iteration : int
        0 is the automatic run: PASS is legal at 0 only, PASS_WITH_EDITS at 1 and later only.
    comment : str
        Quality Control Comments.

    Raises
    ------
    IllegalTransition
        If the decision is not legal now; nothing is to change.
    """
    if state not in LEGAL_STATES[decision]:
        raise IllegalTransition(f"{decision} cannot be decided while the case is {state}")
    if decision is Q.PASS and iteration > 0:
        raise IllegalTransition(
            f"PASS is for the automatic result; iteration {iteration} was edited: use PASS_WITH_EDITS"
        )
    if decision is Q.PASS_WITH_EDITS and iteration == 0:
        raise IllegalTransition("PASS_WITH_EDITS needs at least one accepted edit; use PASS")
    reopening = decision is Q.NOT_REVIEWED and state is S.FINAL
    if (decision in NEEDS_REASON or reopening) and not comment.strip():
        raise IllegalTransition(f"{'reopening a final case' if reopening else decision} needs a reason in the comment")
    if decision is Q.NOT_REVIEWED:
        return CaseEvent.REOPENED if reopening else CaseEvent.RELEASED
    return _EVENTS[decision]


def legal_decisions(*, state: CaseState, iteration: int) -> tuple[QcStatus, ...]:
    """Return the decisions a person may take now, in the order of the enumeration (a reason may still be needed)."""
    legal = []
    for decision in QcStatus:
        try:
            event_of(decision, state=state, iteration=iteration, comment="given")
        except IllegalTransition:
            continue
        legal.append(decision)
    return tuple(legal)
