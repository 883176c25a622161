from __future__ import annotations

from typing import Any

import pytest

from gateway.client import waiting
from gateway.client.waiting import wait_for_verdicts
from gateway.domain.errors import PeerUnreachable

STUDY = "1.2.3"
TAKEN = {"id": "c1", "study_instance_uid": STUDY, "state": "IN_REVIEW", "iteration": 0}
RUNNING = {**TAKEN, "state": "RUNNING"}
UNFIT = {"pipeline": "brain-mr", "reason": "modality is not MR", "at": "2026-01-01T00:00:00Z"}


class _Gateway:
    """Answers the worklist and the studies nobody took, one answer after the other; the last one for ever."""

    def __init__(self, cases: list[list[dict[str, Any]]], untaken: list[list[dict[str, Any]]]) -> None:
        self._cases, self._untaken = cases, untaken

    def get(self, path: str, **query: object) -> Any:
        if path.startswith("/api/v1/cases/"):
            return {"id": path.rsplit("/", 1)[-1], "verdict": {"outcome": "ACCEPT"}}
        assert query == {"study_uid": STUDY}
        if path == "/api/v1/cases":
            return {"cases": _next(self._cases)}
        return _next(self._untaken)


def _next(answers: list[Any]) -> Any:
    return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_PAUSE_S", 0.0)


def _wait(gateway: _Gateway, timeout_s: float = 5.0) -> waiting.Settled:
    return wait_for_verdicts(gateway, {STUDY}, timeout_s=timeout_s)  # type: ignore[arg-type]


def test_it_waits_until_the_case_waits_for_a_person() -> None:
    settled = _wait(_Gateway([[], [RUNNING], [TAKEN]], [[]]))
    assert [case["id"] for case in settled.cases] == ["c1"]
    assert settled.untaken == []


def test_a_study_that_no_pipeline_takes_ends_the_wait_with_the_reasons() -> None:
    settled = _wait(_Gateway([[]], [[], [], [UNFIT, UNFIT]]))
    assert settled.cases == []
    assert settled.untaken == ["not taken by brain-mr: modality is not MR"]


def test_what_was_not_taken_before_does_not_count_for_what_was_sent_now() -> None:
    settled = _wait(_Gateway([[], [], [TAKEN]], [[UNFIT]]))
    assert [case["id"] for case in settled.cases] == ["c1"]


def test_when_the_time_runs_out_the_reasons_are_said_where_there_are_any() -> None:
    with pytest.raises(PeerUnreachable, match="no verdict after 0 s; not taken by brain-mr: modality is not MR"):
        _wait(_Gateway([[]], [[UNFIT]]), timeout_s=0.01)
    with pytest.raises(PeerUnreachable, match="'overread cases' shows"):
        _wait(_Gateway([[RUNNING]], [[]]), timeout_s=0.01)
