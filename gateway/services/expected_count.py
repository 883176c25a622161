"""How many instances a study has at its sender: one protocol, an adapter for QIDO-RS here, for C-FIND in `dimse`."""

from __future__ import annotations

from typing import Any, Protocol

import requests

from gateway.config import ExpectedCount, Peer
from gateway.domain.errors import PeerRejected, PeerUnreachable

_NUMBER_OF_STUDY_RELATED_INSTANCES = "00201208"
_TIMEOUT_S = 10.0


class ExpectedCounter(Protocol):
    """Asks a peer how many instances a study has there."""

    def expected_instances(self, peer: Peer, study_instance_uid: str) -> int | None:
        """Return the number, None if the peer does not know the study or cannot say.

        Raises
        ------
        PeerUnreachable, PeerRejected
            It cannot be asked now.
        """
        ...


class QidoCount:
    """Asks by QIDO-RS, PS3.18 section 10.6."""

    def expected_instances(self, peer: Peer, study_instance_uid: str) -> int | None:
        """Return Number of Study Related Instances, or else the number of instances listed.

        Raises
        ------
        PeerUnreachable
            If the peer does not answer.
        PeerRejected
            If it refuses.
        """
        base = peer.dicomweb_url.rstrip("/")
        parameters = {"StudyInstanceUID": study_instance_uid, "includefield": _NUMBER_OF_STUDY_RELATED_INSTANCES}
        studies = _get(peer, f"{base}/studies", parameters)
        if not studies:
            return None
        value = studies[0].get(_NUMBER_OF_STUDY_RELATED_INSTANCES, {}).get("Value")
        if value:
            return int(value[0])
        return len(_get(peer, f"{base}/studies/{study_instance_uid}/instances", {})) or None


class ConfiguredCount:
    """Asks each peer in the way its configuration says.

    Parameters
    ----------
    find : ExpectedCounter
        For ``expected_count: find``.
    qido : ExpectedCounter
        For ``expected_count: qido``.
    """

    def __init__(self, find: ExpectedCounter, qido: ExpectedCounter) -> None:
        self._by = {ExpectedCount.FIND: find, ExpectedCount.QIDO: qido}

    def expected_instances(self, peer: Peer, study_instance_uid: str) -> int | None:
        """Return the number; None if the peer is not to be asked, does not know the study, or cannot say.

        Raises
        ------
        PeerUnreachable, PeerRejected
            It cannot be asked now.
        """
        counter = self._by.get(peer.expected_count)
        return None if counter is None else counter.expected_instances(peer, study_instance_uid)


def _get(peer: Peer, url: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
    try:
        answer = requests.get(url, params=parameters, headers={"Accept": "application/dicom+json"}, timeout=_TIMEOUT_S)
    except requests.RequestException as error:
        raise PeerUnreachable(f"the DICOMweb of '{peer.ae_title}' does not answer: {type(error).__name__}") from None
    if answer.status_code in (204, 404):
        return []
    if answer.status_code != 200:
        raise PeerRejected(f"the DICOMweb of '{peer.ae_title}' answered a query with HTTP {answer.status_code}")
    try:
        found = answer.json()
    except requests.exceptions.JSONDecodeError:
        raise PeerRejected(f"the DICOMweb of '{peer.ae_title}' answered a query with something unreadable") from None
    return found if isinstance(found, list) else []
