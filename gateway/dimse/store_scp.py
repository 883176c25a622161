"""C-STORE as the lanes share it: hand the data set to the receiver, answer what went wrong with a status and why."""

from __future__ import annotations

import logging

from gateway.dimse.associations import OpenAssociations
from gateway.dimse.status import PROCESSING_FAILURE, SUCCESS, meaning, store_status
from gateway.domain.errors import GatewayError, UnacceptableInstance
from gateway.services.receive import Arrival, Door, IncomingInstance, Receiver, Transfer

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

    def begin(
        self, transfer: Transfer, *, context_class: str, transfer_syntax: str, sop_class: str, sop_instance: str
    ) -> Storing:
        """Begin one C-STORE; whatever is wrong with it is answered at its end.

        Parameters
        ----------
        transfer : Transfer
            The association.
        context_class, transfer_syntax : str
            Abstract and transfer syntax of the presentation context.
        sop_class, sop_instance : str
            As the command names them.
        """
        return Storing(
            self._receiver,
            self._associations,
            transfer,
            Arrival(
                door=Door.DICOM,
                sender=transfer.sender,
                called_aet=transfer.called_aet,
                peer_address=transfer.peer_address,
                expected_sop_class_uid=sop_class,
                expected_sop_instance_uid=sop_instance,
            ),
            (context_class, transfer_syntax),
        )


class Storing:
    """One C-STORE in progress; belongs to one thread. After a failure the rest of the data set is passed over.

    Parameters
    ----------
    receiver, associations, transfer, arrival
        See `StoreScp`.
    context : (str, str)
        Abstract and transfer syntax of the presentation context.
    """

    def __init__(
        self,
        receiver: Receiver,
        associations: OpenAssociations,
        transfer: Transfer,
        arrival: Arrival,
        context: tuple[str, str],
    ) -> None:
        self._associations = associations
        self._transfer = transfer
        self._instance: IncomingInstance | None = None
        self._failure = SUCCESS
        try:
            if arrival.expected_sop_class_uid != context[0]:
                raise UnacceptableInstance(
                    "the command names another SOP class than its presentation context", code="CLASS_NOT_AS_ANNOUNCED"
                )
            self._instance = receiver.open(arrival, context[1])
        except Exception as error:  # noqa: BLE001 - an SCP answers and goes on
            self._fail(error)

    def write(self, fragment: bytes | memoryview) -> None:
        """Take bytes of the data set."""
        if self._instance is not None:
            try:
                self._instance.write(fragment)
            except Exception as error:  # noqa: BLE001 - an SCP answers and goes on
                self._fail(error)

    def room(self, size: int) -> memoryview | None:
        """Return memory for the next bytes of the data set, to be told of by `filled`; None: hand them to `write`."""
        return None if self._instance is None else self._instance.room(size)

    def filled(self, size: int) -> None:
        """Take the bytes that were read to where `room` said."""
        if self._instance is not None:
            self._instance.filled(size)

    def finish(self) -> int:
        """Keep the instance; return the status to answer."""
        if self._instance is None:
            return self._failure
        try:
            received = self._instance.finish()
        except Exception as error:  # noqa: BLE001 - an SCP answers and goes on
            self._fail(error)
            return self._failure
        self._drop()
        self._associations.received(self._transfer, received)
        return SUCCESS

    def interrupt(self) -> None:
        """Drop what came so far: the association has ended."""
        if self._instance is not None:
            self._drop()
            self._associations.interrupted(self._transfer)

    def _drop(self) -> None:
        if self._instance is not None:
            self._instance.close()
            self._instance = None

    def _fail(self, error: Exception) -> None:
        self._drop()
        # The message of an error that is not ours may quote values, so only its name is told.
        if isinstance(error, GatewayError):
            self._failure, code, why = store_status(error), error.code, f"{error.code}: {error.detail}"
        else:
            self._failure, code, why = PROCESSING_FAILURE, "UNFORESEEN", f"unforeseen {type(error).__name__}"
        self._associations.refused(self._transfer, code)
        logger.warning(
            "an instance from '%s' at %s was answered %s: %s",
            self._transfer.sender,
            self._transfer.peer_address,
            meaning(self._failure),
            why,
        )
