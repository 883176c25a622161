"""Storage Commitment as SCU: ask a destination, and take its report on that association or on one it opens.

References
----------
PS3.4 Annex J.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from pynetdicom import evt

from gateway.config import Destination, NodeConfig
from gateway.dimse.commitment_report import REQUEST_COMMITMENT, Reference, read_report, write_request
from gateway.dimse.contexts import (
    COMMITMENT_INSTANCE,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_COMMITMENT,
)
from gateway.dimse.remotes import remote_node
from gateway.dimse.scu import RemoteNode, RequestedAssociation
from gateway.dimse.status import NO_SUCH_INSTANCE, PROCESSING_FAILURE, SUCCESS, meaning
from gateway.domain.errors import GatewayError, PeerRejected
from gateway.services.commitment import CommitmentReport, Commitments
from gateway.services.courier import Parcel

logger = logging.getLogger(__name__)

#: How long the association is kept for a report of a quick archive, seconds; others open one of their own.
LINGER_SECONDS: Final = 1.0
_PROPOSALS: Final = [(STORAGE_COMMITMENT, (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN))]


class CommitmentScu:
    """Asks one destination; see `gateway.services.commitment.CommitmentAsker`.

    Parameters
    ----------
    remote : RemoteNode
        The destination.
    """

    def __init__(self, remote: RemoteNode) -> None:
        self._remote = remote

    def ask(self, transaction_uid: str, parcels: Sequence[Parcel]) -> CommitmentReport | None:
        """Ask for a commitment; return the report if it comes at once.

        Raises
        ------
        PeerUnreachable, PeerRejected
            It was not asked.
        """
        references = [
            Reference(sop_class_uid=parcel.sop_class_uid, sop_instance_uid=parcel.sop_instance_uid)
            for parcel in parcels
        ]
        with RequestedAssociation(self._remote, _PROPOSALS) as association:
            status = association.act(
                sop_class=STORAGE_COMMITMENT,
                sop_instance=COMMITMENT_INSTANCE,
                action_type=REQUEST_COMMITMENT,
                information=write_request(transaction_uid, references),
            )
            if status != SUCCESS:
                raise PeerRejected(f"{self._remote.name} answered the commitment request with {meaning(status)}")
            event = association.event(LINGER_SECONDS)
        return None if event is None else read_report(event.information)


def commitment_askers(node: NodeConfig, destinations: Sequence[Destination]) -> dict[str, CommitmentScu]:
    """Return who asks the destinations that have ``commitment: true``, by name.

    Raises
    ------
    ConfigurationError
        If AE title or host are missing, or a TLS file cannot be used.
    """
    return {
        destination.name: CommitmentScu(remote_node(node, destination, answer_seconds=60.0))
        for destination in destinations
        if destination.commitment
    }


def on_event_report(event: evt.Event, commitments: Commitments) -> tuple[int, None]:
    """Take the report of a destination that opened an association for it."""
    reporter = str(event.assoc.requestor.ae_title).strip()
    try:
        report = read_report(event.event_information)
        if commitments.record(report, reporter=reporter):
            return SUCCESS, None
    except GatewayError as error:
        # It will report again; that is why it is told.
        logger.warning("a storage commitment report of '%s' could not be recorded: %s", reporter, error.detail)
        return PROCESSING_FAILURE, None
    logger.warning("'%s' reports a storage commitment that nobody here asked for", reporter)
    return NO_SUCH_INSTANCE, None
