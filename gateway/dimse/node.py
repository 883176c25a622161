"""The DICOM node: front door, admission, and the lanes that serve associations."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from gateway.config import NodeConfig
from gateway.dimse.admission import Caller, accepted_contexts, peer_of, refusal, refused_contexts
from gateway.dimse.archive import Archive
from gateway.dimse.associations import OpenAssociations
from gateway.dimse.contexts import SERVICE_CLASSES, STORAGE_CLASSES, VERIFICATION
from gateway.dimse.front_door import FrontDoor
from gateway.dimse.library_settings import quiet_pynetdicom
from gateway.dimse.pdu import (
    ABORT_INVALID,
    ABORT_UNRECOGNIZED,
    ASSOCIATE_RQ,
    HEADER,
    MAXIMUM_ASSOCIATE_LENGTH,
    AssociateRequest,
    MalformedPdu,
    parse_associate_rq,
)
from gateway.dimse.services_lane import ServicesLane
from gateway.dimse.storage_lane import StorageLane
from gateway.dimse.store_scp import StoreScp
from gateway.dimse.tls import TlsRefused, part, server_tls, speaks_tls
from gateway.domain.errors import GatewayError
from gateway.services.peer_log import PeerLog
from gateway.services.receive import Receiver, Transfer

logger = logging.getLogger(__name__)

#: A connection must ask for an association within this, seconds (the ARTIM timer of PS3.8 9.1.5).
GREETING_SECONDS: Final = 10.0


class DicomNode:
    """Serves DICOM associations.

    Parameters
    ----------
    config : NodeConfig
        Titles, port, peers and limits.
    receiver : Receiver
        Where instances go.
    on_association_closed : callable
        Called with what an association brought, when it has ended.
    archive : Archive, optional
        What may be queried, retrieved and committed; without it the node only stores.
    peers : PeerLog, optional
        Notes who called, what was agreed on and why somebody was refused.

    Raises
    ------
    ConfigurationError
        ``TLS_FILES`` if a file of node.tls cannot be used.
    """

    def __init__(
        self,
        config: NodeConfig,
        receiver: Receiver,
        on_association_closed: Callable[[Transfer], None],
        archive: Archive | None = None,
        *,
        peers: PeerLog | None = None,
    ) -> None:
        self._config = config
        self._peers = peers
        self._receiver = receiver
        self._on_association_closed = on_association_closed
        self._associations = OpenAssociations()
        self._tls = server_tls(config)
        self._store = StoreScp(receiver, self._associations)
        self._storage = StorageLane(self._store)
        self._services = ServicesLane(config.ae_title, self._store, config.maximum_object_mb, archive)
        self._services_offered = frozenset(SERVICE_CLASSES) if archive is not None else frozenset()
        self._door = FrontDoor(self._greet)
        self._secured_door = FrontDoor(self._greet_secured)
        #: Where TLS has a port of its own; None where it has not.
        self.tls_address: tuple[str, int] | None = None

    def start(self) -> tuple[str, int]:
        """Listen; return the address and port.

        Raises
        ------
        StorageUnavailable
            ``PORT_IN_USE``.
        """
        quiet_pynetdicom()
        if self._tls is not None and self._config.tls.port is not None:
            self.tls_address = self._secured_door.open(self._config.bind, self._config.tls.port)
            logger.info("DICOM over TLS at %s:%d", *self.tls_address)
        return self._door.open(self._config.bind, self._config.port)

    def stop(self, drain_seconds: float) -> None:
        """Take no more associations, let the open ones finish, abort what is left after `drain_seconds`."""
        self._door.close()
        self._secured_door.close()
        if not self._door.wait(drain_seconds) or not self._secured_door.wait(0):
            logger.warning(
                "%d associations were aborted after %g s of draining", len(self._associations), drain_seconds
            )
            self._storage.abort_all()
            self._services.abort_all()
            self._door.wait(5.0)
            self._secured_door.wait(5.0)

    def report_commitments(self) -> int:
        """Try again to report storage commitments that are owed for a while; return how many were tried."""
        return self._services.report_commitments()

    @property
    def open_associations(self) -> int:
        """Associations that are open now."""
        return len(self._associations)

    def studies_open(self) -> frozenset[str]:
        """Study Instance UIDs that associations open now have brought something of."""
        return self._associations.studies()

    @contextmanager
    def called_out(self, transfer: Transfer) -> Iterator[StoreScp]:
        """Count an association that we open, and that brings instances, as one of a caller; yield who stores them.

        Parameters
        ----------
        transfer : Transfer
            Sender is the peer that is called.
        """
        self._associations.opened(transfer)
        ended = "lost"
        try:
            yield self._store
            ended = "released"
        finally:
            self._end(transfer, ended)

    def _greet(self, connection: socket.socket, address: str, greeted: Callable[[], None]) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        shares_port = self._tls is not None and self._config.tls.port is None
        if shares_port and speaks_tls(connection, GREETING_SECONDS):
            self._greet_secured(connection, address, greeted)
        else:
            self._take_request(connection, address, greeted)

    def _greet_secured(self, connection: socket.socket, address: str, greeted: Callable[[], None]) -> None:
        assert self._tls is not None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            secured = self._tls.secure(connection, GREETING_SECONDS)
        except TlsRefused as refused:
            logger.warning("%s was refused: %s", address, refused)
            if self._peers is not None:
                self._peers.refused("", address, f"{address} was refused: {refused}")
            return
        try:
            self._take_request(secured, address, greeted)
        finally:
            part(secured)

    def _take_request(self, connection: socket.socket, address: str, greeted: Callable[[], None]) -> None:
        raw = _read_request(connection, address)
        if raw is None:
            return
        greeted()
        try:
            request = parse_associate_rq(raw[HEADER.size :])
        except MalformedPdu as error:
            connection.sendall(ABORT_INVALID)
            logger.warning("%s sent an A-ASSOCIATE-RQ that cannot be read: %s", address, error)
            return
        caller = Caller(
            request=request,
            address=address,
            active=len(self._associations),
            active_of_it=self._associations.of(request.calling_aet),
            is_secured=isinstance(connection, ssl.SSLSocket),
        )
        refused = refusal(self._config, caller)
        if refused is not None:
            connection.sendall(refused.encode())
            logger.warning("%s", refused.sentence)
            if self._peers is not None:
                self._peers.refused(request.calling_aet, address, refused.sentence)
            return
        peer = peer_of(self._config, request)
        confirmed = replace(request, is_confirmed=peer is not None and bool(peer.username))
        self._serve(connection, raw, confirmed, address)

    def _serve(self, connection: socket.socket, raw: bytes, request: AssociateRequest, address: str) -> None:
        offered = STORAGE_CLASSES | self._services_offered | {VERIFICATION}
        sentences = refused_contexts(request, offered)
        for sentence in sentences:
            logger.warning("'%s' at %s: %s", request.calling_aet, address, sentence)
        if self._peers is not None:
            self._peers.associated(request.calling_aet, address, accepted_contexts(request, offered), sentences)
        transfer = Transfer(sender=request.calling_aet, called_aet=request.called_aet, peer_address=address)
        self._associations.opened(transfer)
        ended = "lost"
        try:
            if any(context.abstract_syntax in self._services_offered for context in request.contexts):
                ended = self._services.serve(connection, raw, request, transfer)
            else:
                ended = self._storage.serve(connection, request, transfer)
        finally:
            self._end(transfer, ended)

    def _end(self, transfer: Transfer, ended: str) -> None:
        self._associations.closed(transfer)
        self._record_end(transfer, ended)
        self._on_association_closed(transfer)

    def _record_end(self, transfer: Transfer, ended: str) -> None:
        if not transfer.counts:
            return
        if self._peers is not None:
            self._peers.brought(transfer.sender, transfer.peer_address, sum(transfer.counts.values()))
        logger.info(
            "association with '%s' at %s was %s: %s", transfer.sender, transfer.peer_address, ended, transfer.counts
        )
        try:
            self._receiver.transfer_ended(transfer, ended=ended)
        except GatewayError as error:
            # What it brought is recorded already; only the count is lost.
            logger.warning("the end of an association could not be recorded: %s", error.detail)


def _read_request(connection: socket.socket, address: str) -> bytes | None:
    """Read the A-ASSOCIATE-RQ with its header; None if something else came, and was answered."""
    until = time.monotonic() + GREETING_SECONDS
    header = _read_exactly(connection, HEADER.size, until)
    if not header:
        return None
    kind, length = HEADER.unpack(header) if len(header) == HEADER.size else (0, 0)
    if kind != ASSOCIATE_RQ or length > MAXIMUM_ASSOCIATE_LENGTH:
        connection.sendall(ABORT_UNRECOGNIZED)
        logger.warning("%s was cut off: %s", address, _what_is(header))
        return None
    body = _read_exactly(connection, length, until)
    if len(body) < length:
        return None
    return header + body


def _read_exactly(connection: socket.socket, count: int, until: float) -> bytes:
    """Read `count` bytes; fewer if the peer closed or was too slow."""
    pieces, left = [], count
    while left > 0:
        connection.settimeout(max(0.001, until - time.monotonic()))
        try:
            piece = connection.recv(left)
        except TimeoutError:
            break
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    connection.settimeout(None)
    return b"".join(pieces)


def _what_is(header: bytes) -> str:
    if header[:1] == b"\x16":
        return "it speaks TLS, and this port does not: see node.tls.certificate_file and port"
    if header[:4] in (b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI"):
        return "it speaks HTTP on the DICOM port (the HTTP port is web.port)"
    if header[:1] == b"\x01":
        return "its A-ASSOCIATE-RQ is longer than 1 MB"
    return "it does not speak DICOM"
