"""The lane of pynetdicom: associations that ask for more than storage, served by its upper layer and services."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import Final, cast

from pynetdicom import AE, build_context, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from gateway.dimse import announcements_scp, retrieve_scp
from gateway.dimse.archive import Archive
from gateway.dimse.commitment_scp import CommitmentScp
from gateway.dimse.commitment_scu import on_event_report
from gateway.dimse.contexts import (
    SERVICE_CLASSES,
    STORAGE_CLASSES,
    STORAGE_COMMITMENT,
    TRANSFER_SYNTAXES,
    VERIFICATION,
    choose_transfer_syntax,
)
from gateway.dimse.guarded_socket import GuardedSocket
from gateway.dimse.pdu import ABORT_INVALID, MAXIMUM_PDU_LENGTH, AssociateRequest
from gateway.dimse.reactor_checkpoint import guard_conversations
from gateway.dimse.status import SUCCESS
from gateway.dimse.store_scp import StoreScp
from gateway.services.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.services.receive import Transfer

logger = logging.getLogger(__name__)

#: An association without a word is aborted after this, seconds.
IDLE_SECONDS: Final = 300.0
_MB: Final = 1_000_000
_OFFERED: Final = STORAGE_CLASSES | SERVICE_CLASSES.keys() | {VERIFICATION}


class ServicesLane:
    """Serves associations with pynetdicom.

    Parameters
    ----------
    ae_title : str
        Ours.
    store : StoreScp
        The storage service.
    maximum_object_mb : int
        Largest instance.
    archive : Archive or None
        What may be queried, retrieved and committed.
    """

    def __init__(self, ae_title: str, store: StoreScp, maximum_object_mb: int, archive: Archive | None) -> None:
        self._store = store
        self._archive = archive
        self._commitment = CommitmentScp(archive) if archive is not None else None
        self._maximum_message = maximum_object_mb * _MB + 2 * MAXIMUM_PDU_LENGTH
        self._ae = AE(ae_title)
        self._ae.maximum_pdu_size = MAXIMUM_PDU_LENGTH
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._ae.network_timeout = IDLE_SECONDS
        self._ae.acse_timeout = 30.0
        # The front door has counted already; pynetdicom counts its own threads, dying ones too.
        self._ae.maximum_associations = 100_000

    def serve(
        self, connection: socket.socket, already_read: bytes, request: AssociateRequest, transfer: Transfer
    ) -> str:
        """Serve one association to its end; return ``released``, ``aborted`` or ``lost``.

        Parameters
        ----------
        connection : socket.socket
            Closed at the end.
        already_read : bytes
            The A-ASSOCIATE-RQ with its header.
        request : AssociateRequest
            The same, parsed.
        transfer : Transfer
            Counts what it brings.
        """
        association = self._association(connection, already_read, request, transfer)
        association.start()
        association.join()
        with suppress(OSError):
            connection.close()
        if association.is_released:
            return "released"
        return "aborted" if association.is_aborted else "lost"

    def report_commitments(self) -> int:
        """Try again to report storage commitments that are owed for a while; return how many were tried."""
        return self._commitment.report_due() if self._commitment is not None else 0

    def abort_all(self) -> None:
        """Abort every association of this lane."""
        for association in self._ae.active_associations:
            association.abort()

    def _association(
        self, connection: socket.socket, already_read: bytes, request: AssociateRequest, transfer: Transfer
    ) -> Association:
        association = Association(self._ae, MODE_ACCEPTOR)
        guarded = GuardedSocket(association, connection, already_read, self._maximum_message)
        association.set_socket(guarded)
        acceptor = association.acceptor
        acceptor.maximum_length = self._ae.maximum_pdu_size
        acceptor.ae_title = request.called_aet
        acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
        acceptor.implementation_class_uid = self._ae.implementation_class_uid
        acceptor.implementation_version_name = self._ae.implementation_version_name
        acceptor.supported_contexts = _contexts_for(request)
        if request.is_confirmed and request.user is not None and request.user.wants_response:
            # pynetdicom answers tickets and tokens only.
            answer = UserIdentityNegotiation()
            answer.server_response = b""
            acceptor.add_negotiation_item(answer)
        association.requestor.address_info = AddressInformation.from_tuple(connection.getpeername())
        _abort_on_rubbish(association)
        guard_conversations(association)
        association.bind(evt.EVT_C_ECHO, _on_echo)
        association.bind(evt.EVT_C_STORE, _on_store, [self._store, transfer])
        association.bind(evt.EVT_DIMSE_RECV, _on_message, [guarded])
        if self._archive is not None and self._commitment is not None:
            for event, handler in (*retrieve_scp.HANDLERS, *announcements_scp.HANDLERS):
                association.bind(event, handler, [self._archive])
            association.bind(evt.EVT_N_ACTION, self._commitment.on_action)
            association.bind(evt.EVT_N_EVENT_REPORT, on_event_report, [self._archive.commitments])
        return association


def _abort_on_rubbish(association: Association) -> None:
    """Abort an association in which something comes that cannot be read, or out of turn.

    pynetdicom raises in the thread that reads, which ends with a traceback, and tells the peer nothing; or it aborts,
    and the other thread waits on for half a minute.
    """
    act, read = association.dul.state_machine.do_action, association.dul.run

    def act_or_abort(event: str) -> None:
        try:
            act(event)
        except Exception as error:  # noqa: BLE001 - whatever it stumbles over, the peer's bytes are to blame
            logger.warning("an association is aborted: %s", type(error).__name__)
            association.is_aborted, association.is_established = True, False
            with suppress(OSError):
                if association.dul.socket is not None:
                    association.dul.socket.send(ABORT_INVALID)
            association.dul.kill_dul()

    def read_and_tell() -> None:
        try:
            read()
        finally:
            # Whoever waits for a request or a response is told that none comes.
            association.dul.to_user_queue.put(None)
            association.dimse.msg_queue.put((None, None))

    association.dul.state_machine.do_action = act_or_abort  # type: ignore[method-assign]
    association.dul.run = read_and_tell  # type: ignore[method-assign]


def _contexts_for(request: AssociateRequest) -> list[PresentationContext]:
    """Return pynetdicom contexts for what was proposed: a full table would be copied for every association."""
    chosen: dict[str, list[str]] = {}
    for context in request.contexts:
        if context.abstract_syntax in _OFFERED:
            syntax = choose_transfer_syntax(context.transfer_syntaxes)
            if syntax is not None:
                chosen.setdefault(context.abstract_syntax, []).append(syntax)
    # The acceptor's order decides in pynetdicom, so what was chosen goes first.
    contexts = [
        build_context(abstract_syntax, list(dict.fromkeys([*syntaxes, *TRANSFER_SYNTAXES])))
        for abstract_syntax, syntaxes in chosen.items()
    ]
    for one in contexts:
        # A C-GET requestor stores what it asked for, and an archive reports as the SCP of a commitment that we asked
        # for, so either may take the other role too.
        if one.abstract_syntax in STORAGE_CLASSES or one.abstract_syntax == STORAGE_COMMITMENT:
            one.scu_role = one.scp_role = True
    return contexts


def _on_echo(_event: evt.Event) -> int:
    return SUCCESS


def _on_store(event: evt.Event, store: StoreScp, transfer: Transfer) -> int:
    request = cast(C_STORE, event.request)
    storing = store.begin(
        transfer,
        context_class=str(event.context.abstract_syntax),
        transfer_syntax=str(event.context.transfer_syntax),
        sop_class=str(request.AffectedSOPClassUID),
        sop_instance=str(request.AffectedSOPInstanceUID),
    )
    if request.DataSet is not None:
        with request.DataSet.getbuffer() as dataset:
            storing.write(dataset)
    return storing.finish()


def _on_message(_event: evt.Event, guarded: GuardedSocket) -> None:
    guarded.message_complete()
