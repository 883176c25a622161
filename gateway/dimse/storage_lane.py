"""The fast lane: C-STORE and C-ECHO on a blocking socket, a thread for each association, no polling.

Associations that propose nothing but storage and verification come here, which is nearly all there are; the data set
streams from the socket to the disk, and the response leaves only when the receiver has recorded the instance.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import Final

from gateway.dimse import command_set
from gateway.dimse.command_set import Command, MalformedCommand
from gateway.dimse.contexts import STORAGE_CLASSES, VERIFICATION, choose_transfer_syntax
from gateway.dimse.pdu import (
    ABORT,
    ABORT_BY_USER,
    ABORT_INVALID,
    ABORT_UNEXPECTED,
    DATA_TF,
    RELEASE_RESPONSE,
    RELEASE_RQ,
    AnsweredContext,
    AssociateRequest,
    MalformedPdu,
    ProposedContext,
    encode_associate_ac,
)
from gateway.dimse.status import CANNOT_UNDERSTAND, SUCCESS
from gateway.dimse.store_scp import StoreScp, Storing
from gateway.dimse.tls import wire_on
from gateway.dimse.wire import COMMAND, LAST, ConnectionLost, Wire, fragments
from gateway.services.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.services.receive import Transfer

#: An association without a word is given up after this, seconds.
IDLE_SECONDS: Final = 300.0
#: How long one PDU may take from its first byte to its last, seconds.
PDU_SECONDS: Final = 60.0
#: Longest command set.
MAXIMUM_COMMAND_LENGTH: Final = 65_536

_ACCEPTED: Final = 0
_ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
_TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4


class StorageLane:
    """Serves storage and verification.

    Parameters
    ----------
    store : StoreScp
        The storage service.
    """

    def __init__(self, store: StoreScp) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()

    def serve(self, connection: socket.socket, request: AssociateRequest, transfer: Transfer) -> str:
        """Serve one association to its end; return ``released``, ``aborted`` or ``lost``.

        Parameters
        ----------
        connection : socket.socket
            The A-ASSOCIATE-RQ was read from it.
        request : AssociateRequest
            What was asked for.
        transfer : Transfer
            Counts what it brings.
        """
        with self._lock:
            self._connections.add(connection)
        try:
            return _Association(
                wire_on(connection, idle_seconds=IDLE_SECONDS, pdu_seconds=PDU_SECONDS), self._store
            ).run(request, transfer)
        finally:
            with self._lock:
                self._connections.discard(connection)

    def abort_all(self) -> None:
        """Abort every association of this lane."""
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    # The thread that serves it may be reading, and TLS must not be used by two at once.
                    if not isinstance(connection, ssl.SSLSocket):
                        connection.sendall(ABORT_BY_USER)
                    connection.shutdown(socket.SHUT_RDWR)


class _Association:
    """One association; lives in one thread."""

    def __init__(self, wire: Wire, store: StoreScp) -> None:
        self._wire = wire
        self._store = store
        self._contexts: dict[int, tuple[str, str]] = {}
        self._encoded_command = bytearray()
        self._storing: tuple[int, Command, Storing] | None = None

    def run(self, request: AssociateRequest, transfer: Transfer) -> str:
        self._transfer = transfer
        try:
            self._accept(request)
            return self._until_end()
        except ConnectionLost:
            return "lost"
        except (MalformedPdu, MalformedCommand):
            with suppress(ConnectionLost):
                self._wire.send(ABORT_INVALID)
            return "aborted"
        finally:
            if self._storing is not None:
                self._storing[2].interrupt()

    def _accept(self, request: AssociateRequest) -> None:
        answers = [_answer(context) for context in request.contexts]
        self._contexts = {
            answer.context_id: (proposed.abstract_syntax, answer.transfer_syntax)
            for proposed, answer in zip(request.contexts, answers, strict=True)
            if answer.result == _ACCEPTED
        }
        implementation = (IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
        self._wire.send(encode_associate_ac(request, answers, implementation=implementation))

    def _until_end(self) -> str:
        while True:
            kind, length = self._wire.read_header()
            if kind == DATA_TF:
                if not self._take_in_place(length):
                    for context_id, control, fragment in fragments(self._wire.read_body(length)):
                        self._take(context_id, control, fragment)
                continue
            self._wire.read_body(length)
            if kind == RELEASE_RQ:
                self._wire.send(RELEASE_RESPONSE)
                return "released"
            if kind != ABORT:
                self._wire.send(ABORT_UNEXPECTED)
            return "aborted"

    def _take_in_place(self, length: int) -> bool:
        """Read the only fragment of a P-DATA-TF to where its instance is held; False if the PDU is to be read whole."""
        if self._storing is None:
            return False
        fragment = self._wire.only_fragment(length)
        if fragment is None or fragment[0] != self._storing[0] or fragment[1] & COMMAND:
            return False
        _, control, size = fragment
        room = self._storing[2].room(size)
        if room is None:
            return False
        self._wire.read_fragment(room)
        self._storing[2].filled(size)
        if control & LAST:
            self._finish()
        return True

    def _take(self, context_id: int, control: int, fragment: memoryview) -> None:
        """Take one fragment of a command or of a data set."""
        if context_id not in self._contexts:
            raise MalformedPdu("a message in a presentation context that was not accepted")
        if not control & COMMAND:
            self._take_data(context_id, fragment, is_last=bool(control & LAST))
            return
        if self._storing is not None or len(self._encoded_command) + len(fragment) > MAXIMUM_COMMAND_LENGTH:
            raise MalformedPdu("a command inside a data set, or without end")
        self._encoded_command += fragment
        if control & LAST:
            command = command_set.decode(bytes(self._encoded_command))
            self._encoded_command.clear()
            self._obey(context_id, command)

    def _obey(self, context_id: int, command: Command) -> None:
        abstract_syntax, transfer_syntax = self._contexts[context_id]
        if command.field == command_set.C_ECHO_RQ and not command.has_dataset:
            self._respond(context_id, command, SUCCESS)
        elif command.field == command_set.C_STORE_RQ and command.has_dataset:
            storing = self._store.begin(
                self._transfer,
                context_class=abstract_syntax,
                transfer_syntax=transfer_syntax,
                sop_class=command.sop_class,
                sop_instance=command.sop_instance,
            )
            self._storing = context_id, command, storing
        elif command.field == command_set.C_STORE_RQ:
            self._respond(context_id, command, CANNOT_UNDERSTAND)
        else:
            raise MalformedCommand("a command that this association does not offer")

    def _take_data(self, context_id: int, fragment: memoryview, *, is_last: bool) -> None:
        if self._storing is None or self._storing[0] != context_id:
            raise MalformedPdu("a data set without its command")
        self._storing[2].write(fragment)
        if is_last:
            self._finish()

    def _finish(self) -> None:
        assert self._storing is not None
        context_id, command, storing = self._storing
        status = storing.finish()
        self._storing = None
        self._respond(context_id, command, status)

    def _respond(self, context_id: int, request: Command, status: int) -> None:
        response = Command(
            field=request.field | 0x8000,
            message_id=request.message_id,
            sop_class=request.sop_class,
            sop_instance=request.sop_instance,
            status=status,
        )
        self._wire.send_message(context_id, response.encode())


def _answer(context: ProposedContext) -> AnsweredContext:
    chosen = choose_transfer_syntax(context.transfer_syntaxes)
    if context.abstract_syntax != VERIFICATION and context.abstract_syntax not in STORAGE_CLASSES:
        result = _ABSTRACT_SYNTAX_NOT_SUPPORTED
    else:
        result = _TRANSFER_SYNTAXES_NOT_SUPPORTED if chosen is None else _ACCEPTED
    return AnsweredContext(
        context_id=context.context_id, result=result, transfer_syntax=chosen or context.transfer_syntaxes[0]
    )
