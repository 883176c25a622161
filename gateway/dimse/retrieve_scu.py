"""An association on which we retrieve: C-MOVE to ourselves, or C-GET with its C-STOREs on the same association.

Data sets of C-GET stream from the socket to the disk, as those of callers do.

References
----------
PS3.7 sections 9.1.3, 9.1.4 and 9.3.2.3; PS3.4 sections C.4.2 and C.4.3.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from gateway.dimse import command_set
from gateway.dimse.command_set import Command, MalformedCommand
from gateway.dimse.contexts import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from gateway.dimse.pdu import DATA_TF, MalformedPdu
from gateway.dimse.scu import RemoteNode, RequestedAssociation
from gateway.dimse.status import CANNOT_UNDERSTAND
from gateway.dimse.store_scp import StoreScp, Storing
from gateway.dimse.wire import COMMAND, LAST, ConnectionLost, fragments
from gateway.domain.errors import PeerRejected, PeerUnreachable
from gateway.services.record_transfer import Transfer

#: Longest command set.
_MAXIMUM_COMMAND: Final = 65_536
#: How long a peer may take to end what was cancelled, seconds.
CANCEL_SECONDS: Final = 5.0
_GROUP_LENGTH: Final = b"\x00\x00\x00\x00\x04\x00\x00\x00"
_PENDING: Final = (0xFF00, 0xFF01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """How a retrieval ended.

    Parameters
    ----------
    status : int
        Of the final response.
    completed, failed, warned : int
        Sub-operations, as the peer counts them.
    """

    status: int
    completed: int
    failed: int
    warned: int


class RetrievingAssociation(RequestedAssociation):
    """An association for one retrieval.

    Parameters
    ----------
    remote, proposals, scp_roles
        See `RequestedAssociation`; C-GET needs the role of SCP for each storage class.
    """

    def __init__(
        self,
        remote: RemoteNode,
        proposals: Sequence[tuple[str, tuple[str, ...]]],
        *,
        scp_roles: Sequence[str] = (),
    ) -> None:
        super().__init__(remote, proposals, scp_roles=scp_roles)
        self._forms = {
            context_id: (abstract, syntax)
            for abstract, of_class in self._accepted.items()
            for syntax, context_id in of_class.items()
        }
        self._store: tuple[StoreScp, Transfer] | None = None
        self._half_command = bytearray()
        self._has_answered = False
        self._passes_over = False
        self._storing: tuple[int, Command, Storing] | None = None

    def move(self, identifier: Dataset, destination: str, *, seconds: float) -> Retrieved:
        """C-MOVE; wait for its end and cancel it after `seconds`.

        Parameters
        ----------
        identifier : Dataset
            Level and unique keys.
        destination : str
            AE title of ours.
        seconds : float
            How long it may take; many peers are silent until the end.

        Raises
        ------
        PeerRejected
            ``NOT_OFFERED``, or ``ABORTED_AT_ONCE`` if the peer broke off without a word.
        PeerUnreachable
            If the peer is lost; ``TOOK_TOO_LONG`` if it was cancelled and does not end.
        """
        return self._retrieve(STUDY_ROOT_MOVE, identifier, destination, seconds)

    def get(self, identifier: Dataset, store: StoreScp, transfer: Transfer, *, seconds: float) -> Retrieved:
        """C-GET into the store of the node; errors as in `move`.

        Parameters
        ----------
        identifier : Dataset
            Level and unique keys.
        store : StoreScp
            Takes the instances.
        transfer : Transfer
            Counts them.
        seconds : float
            It is cancelled after this.
        """
        self._store = store, transfer
        try:
            return self._retrieve(STUDY_ROOT_GET, identifier, "", seconds)
        finally:
            if self._storing is not None:
                self._storing[2].interrupt()

    def cut(self) -> None:
        """End it from another thread: who waits for the peer is told that it was lost."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _retrieve(self, sop_class: str, identifier: Dataset, destination: str, seconds: float) -> Retrieved:
        context_id, encoded = self._encoded(sop_class, identifier)
        command = Command(
            field=command_set.C_MOVE_RQ if sop_class == STUDY_ROOT_MOVE else command_set.C_GET_RQ,
            message_id=self._next_id(),
            sop_class=sop_class,
            has_dataset=True,
            move_destination=destination,
        )
        self._send(context_id, command, encoded)
        until, is_cancelled, counts = time.monotonic() + seconds, False, (0, 0, 0)
        while True:
            left = until - time.monotonic()
            if left <= 0 and is_cancelled:
                raise PeerUnreachable(
                    f"{self._remote.name} was not done after {seconds:g} s and did not end when that was cancelled; "
                    "what came until then is kept",
                    code="TOOK_TOO_LONG",
                )
            if left <= 0:
                is_cancelled, until = True, time.monotonic() + CANCEL_SECONDS
                self._send(context_id, Command(field=command_set.C_CANCEL_RQ, message_id=command.message_id), b"")
                continue
            answer = self._next_answer(left if destination else min(left, self._remote.answer_seconds), until)
            if answer is None:
                continue
            # A final response may leave its counts out; those of the last pending one hold then.
            if answer.completed or answer.failed or answer.warned:
                counts = answer.completed, answer.failed, answer.warned
            if answer.status not in _PENDING:
                return Retrieved(status=answer.status, completed=counts[0], failed=counts[1], warned=counts[2])

    def _next_answer(self, idle_seconds: float, until: float) -> Command | None:
        """Read a PDU; return the last response in it, None if it has none or time ran out."""
        self._wire.idle_seconds = idle_seconds
        try:
            kind, body = self._wire.read_pdu()
            if kind != DATA_TF:
                raise self._aborted()
            self._has_answered = True
            answer = None
            for context_id, control, fragment in fragments(body):
                answer = self._take(context_id, control, fragment) or answer
                if answer is not None and answer.status not in _PENDING:
                    break
        except ConnectionLost as lost:
            if time.monotonic() < until:
                raise PeerUnreachable(
                    f"{self._remote.name} was lost while it had to send: {lost}; what came until then is kept"
                ) from None
        except (MalformedPdu, MalformedCommand) as malformed:
            raise PeerUnreachable(f"{self._remote.name} sent something unreadable: {malformed}") from None
        else:
            return answer
        return None

    def _aborted(self) -> PeerRejected | PeerUnreachable:
        if self._has_answered:
            return PeerUnreachable(f"{self._remote.name} aborted the association; what came until then is kept")
        # So does Orthanc with whom it does not allow what was asked for.
        return PeerRejected(
            f"{self._remote.name} aborted the association instead of answering: allow retrieval by C-GET or C-MOVE for "
            f"'{self._remote.calling_aet}' there (Orthanc: AllowGet and AllowMove of that modality), and see its log",
            code="ABORTED_AT_ONCE",
        )

    def _take(self, context_id: int, control: int, fragment: memoryview) -> Command | None:
        if not control & COMMAND:
            self._take_data(context_id, fragment, is_last=bool(control & LAST))
            return None
        if self._storing is not None or len(self._half_command) + len(fragment) > _MAXIMUM_COMMAND:
            raise MalformedPdu("a command inside a data set, or without end")
        self._half_command += fragment
        if not control & LAST:
            return None
        command = command_set.decode(_command_group(self._half_command))
        self._half_command.clear()
        if command.field == command_set.C_STORE_RQ and self._store is not None and context_id in self._forms:
            self._begin(context_id, command)
            return None
        if command.field not in (command_set.C_GET_RSP, command_set.C_MOVE_RSP):
            raise MalformedCommand("a command that was not asked for")
        # The identifier of a response lists what failed; some announce it and send none, and the counts say as much.
        self._passes_over = command.has_dataset
        return command

    def _begin(self, context_id: int, command: Command) -> None:
        assert self._store is not None
        if not command.has_dataset:
            self._respond(context_id, command, CANNOT_UNDERSTAND)
            return
        store, transfer = self._store
        context_class, syntax = self._forms[context_id]
        storing = store.begin(
            transfer,
            context_class=context_class,
            transfer_syntax=syntax,
            sop_class=command.sop_class,
            sop_instance=command.sop_instance,
        )
        self._storing = context_id, command, storing

    def _take_data(self, context_id: int, fragment: memoryview, *, is_last: bool) -> None:
        if self._storing is not None and self._storing[0] == context_id:
            _, command, storing = self._storing
            storing.write(fragment)
            if is_last:
                status = storing.finish()
                self._storing = None
                self._respond(context_id, command, status)
        elif not self._passes_over:
            raise MalformedPdu("a data set without its command")
        elif is_last:
            self._passes_over = False

    def _respond(self, context_id: int, request: Command, status: int) -> None:
        response = Command(
            field=command_set.C_STORE_RSP,
            message_id=request.message_id,
            sop_class=request.sop_class,
            sop_instance=request.sop_instance,
            status=status,
        )
        self._send(context_id, response, b"")


def _command_group(content: bytearray) -> bytes:
    """Return the elements of group 0000; behind them Orthanc 1.10 writes into the command what C-GET could not send."""
    if content[:8] != _GROUP_LENGTH:
        return bytes(content)
    return bytes(content[: 12 + int.from_bytes(content[8:12], "little")])
