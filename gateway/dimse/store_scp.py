"""C-STORE as the lanes share it: hand the data set to the receiver, answer what went wrong with a status and why."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from gateway.dimse.associations import OpenAssociations
from gateway.dimse.status import PROCESSING_FAILURE, SUCCESS, meaning, store_status
from gateway.domain.errors import GatewayError, UnacceptableInstance
from gateway.services.receive import Arrival, Door, Receiver, Transfer

logger = logging.getLogger(__name__)


class StoreScp:
    """The storage service of the node.

    Parameters
    ----------
    receiver : Receiver
        Where instances go.
    associations : OpenAssociations
        Counts what each association brings.
    """

    def __init__(self, receiver: Receiver, associations: OpenAssociations) -> None:
        self._receiver = receiver
        self._associations = associations

    def store(
        self,
        transfer: Transfer,
        *,
        context_class: str,
        transfer_syntax: str,
        sop_class: str,
        sop_instance: str,
        dataset: Iterable[bytes | memoryview],
    ) -> int:
        """Keep one instance and return the status to answer.

        Parameters
        ----------
        transfer : Transfer
            The association.
        context_class, transfer_syntax : str
            Abstract and transfer syntax of the presentation context.
        sop_class, sop_instance : str
            As the command names them.
        dataset : iterable of bytes
            The encoded data set in pieces.
        """
        try:
            if sop_class != context_class:
                raise UnacceptableInstance(
                    "the command names another SOP class than its presentation context", code="CLASS_NOT_AS_ANNOUNCED"
                )
            arrival = Arrival(
                door=Door.DICOM,
                sender=transfer.sender,
                called_aet=transfer.called_aet,
                peer_address=transfer.peer_address,
                expected_sop_class_uid=sop_class,
                expected_sop_instance_uid=sop_instance,
            )
            instance = self._receiver.open(arrival, transfer_syntax)
            try:
                for piece in dataset:
                    instance.write(piece)
                received = instance.finish()
            finally:
                instance.close()
        except GatewayError as error:
            status = store_status(error)
            self._refuse(transfer, f"{error.code}: {error.detail}", status)
            return status
        except Exception as error:  # noqa: BLE001 - an SCP answers and goes on; the message may quote values
            self._refuse(transfer, f"unforeseen {type(error).__name__}", PROCESSING_FAILURE)
            return PROCESSING_FAILURE
        self._associations.received(transfer, received)
        return SUCCESS

    def _refuse(self, transfer: Transfer, why: str, status: int) -> None:
        self._associations.refused(transfer)
        logger.warning(
            "an instance from '%s' at %s was answered %s: %s",
            transfer.sender,
            transfer.peer_address,
            meaning(status),
            why,
        )
