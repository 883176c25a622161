"""Waits for the verdicts of studies that were just sent."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.client.http import GatewayClient
from gateway.domain.case import CaseState
from gateway.domain.errors import PeerUnreachable

_PAUSE_S = 0.5
#: States in which a case waits for a person, so its verdict is there or never comes.
_SETTLED = frozenset({CaseState.IN_REVIEW, CaseState.FINAL, CaseState.HELD, CaseState.QUARANTINED})

_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of the studies.

    Parameters
    ----------
    cases : list of dict
        Cases in full, as the gateway gives them.
    untaken : list of str
        Why no pipeline took any series of a study, a sentence for each pipeline and reason.
    """

    cases: list[dict[str, Any]]
    untaken: list[str]


def wait_for_verdicts(
    client: GatewayClient, studies: Collection[str], *, timeout_s: float, iteration: int = 0
) -> Settled:
    """Poll until each study's cases wait for a person, or the gateway has found that no pipeline takes it.

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
    # What was found before may be about less than has been sent now.
    known = {study: _untaken(client, study) for study in studies}
    while True:
        cases = [case for study in sorted(studies) for case in client.get("/api/v1/cases", study_uid=study)["cases"]]
        open_studies = set(studies) - {case["study_instance_uid"] for case in cases}
        untaken = {study: _untaken(client, study) for study in sorted(open_studies)}
        if all(rows and rows != known[study] for study, rows in untaken.items()) and all(
            case["state"] in _SETTLED and case["iteration"] >= iteration for case in cases
        ):
            return Settled(
                cases=[client.get(f"/api/v1/cases/{case['id']}") for case in cases],
                untaken=_sentences([row for rows in untaken.values() for row in rows]),
            )
        if time.monotonic() > deadline:
            said = _sentences([row for rows in untaken.values() for row in rows])
            way_out = "; ".join(said) or "'overread cases' shows how far the case is"
            raise PeerUnreachable(f"no verdict after {timeout_s:.0f} s; {way_out}")
        time.sleep(_PAUSE_S)


def _untaken(client: GatewayClient, study: str) -> Sequence[_Row]:
    rows: Sequence[_Row] = client.get("/api/v1/untaken", study_uid=study)
    return rows


def _sentences(rows: Sequence[_Row]) -> list[str]:
    return list(dict.fromkeys(f"not taken by {row['pipeline']}: {row['reason']}" for row in rows))
