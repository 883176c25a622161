"""Waits for the verdicts of studies that were just sent."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from gateway.client.http import GatewayClient
from gateway.domain.case import CaseState
from gateway.domain.errors import PeerUnreachable

_PAUSE_S = 0.5
#: States in which a case waits for a person, so its verdict is there or never comes.
_SETTLED = frozenset({CaseState.IN_REVIEW, CaseState.FINAL, CaseState.HELD, CaseState.QUARANTINED})


def wait_for_verdicts(
    client: GatewayClient, studies: Collection[str], *, timeout_s: float, iteration: int = 0
) -> list[dict[str, Any]]:
    """Poll until each study's cases wait for a person, and return them in full.

    Parameters
    ----------
    client : GatewayClient
        The gateway.
    studies : collection of str
        Study Instance UIDs.
    timeout_s : float
        Longest wait, seconds.
    iteration : int
        Iteration that must be reached.

    Raises
    ------
    PeerUnreachable
        If the time runs out.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        cases = [case for study in sorted(studies) for case in client.get("/api/v1/cases", study_uid=study)["cases"]]
        covered = {case["study_instance_uid"] for case in cases}
        if covered >= set(studies) and all(
            case["state"] in _SETTLED and case["iteration"] >= iteration for case in cases
        ):
            return [client.get(f"/api/v1/cases/{case['id']}") for case in cases]
        if time.monotonic() > deadline:
            raise PeerUnreachable(f"no verdict after {timeout_s:.0f} s; 'overread cases' shows how far the case is")
        time.sleep(_PAUSE_S)
