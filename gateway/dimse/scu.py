"""An association we request: C-ECHO, C-STORE, C-FIND and storage commitment, synchronous and without Nagle.

References
----------
PS3.7 sections 9.1.1, 9.1.2, 9.1.5, 10.1.1, 10.1.4; PS3.4 Annexes A, B, C, J.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Final, Self

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode as decode_dataset
from pynetdicom.dsutils import encode as encode_dataset

from gateway.dimse import command_set
from gateway.dimse.command_set import Command, MalformedCommand
from gateway.dimse.contexts import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STUDY_ROOT_FIND,
    VERIFICATION,
)
from gateway.dimse.pdu import (
    ABORT,
    ABORT_BY_USER,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    DATA_TF,
    RELEASE_REQUEST,
    RELEASE_RP,
    MalformedPdu,
    ProposedContext,
    encode_associate_rq,
    parse_associate_ac,
)
from gateway.dimse.status import is_success, meaning
from gateway.dimse.tls import ClientTls, TlsRefused, part, raise_refused, wire_on
from gateway.dimse.user_identity import UserIdentity
from gateway.dimse.wire import COMMAND, LAST, ConnectionLost, fragments
from gateway.domain.errors import PeerRejected, PeerUnreachable
from gateway.services.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

#: Most presentation contexts of one association, PS3.8 9.3.2.2: odd ids up to 255.
MAXIMUM_CONTEXTS: Final = 128

_NO_REASON: Final = "it gives no reason, as for a wrong user name or passcode, or a call without TLS"
_REJECTIONS: Final = {
    bytes((1, 1, 1)): _NO_REASON,
    bytes((1, 2, 1)): _NO_REASON,
    bytes((2, 1, 1)): _NO_REASON,
    bytes((2, 2, 1)): _NO_REASON,
    bytes((1, 1, 2)): "it does not know the application context",
    bytes((1, 1, 3)): "it does not know our AE title: register ours there",
    bytes((1, 1, 7)): "it does not answer to the AE title we called",
    bytes((2, 3, 1)): "it is congested for the moment",
    bytes((2, 3, 2)): "it has no more associations for the moment",
}
_PENDING: Final = (0xFF00, 0xFF01)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteNode:
    """A DICOM node to call.

    Parameters
    ----------
    ae_title, host : str
        Called AE title and address.
    port : int
        Its port.
    calling_aet : str
        Ours.
    connect_seconds : float
        How long to wait for a connection, and for the answer to the request.
    answer_seconds : float
        How long to wait for a response.
    tls : ClientTls or None
        How to speak TLS with it, None for plain DICOM.
    user : UserIdentity or None
        Who we say we are, beside our AE title.
    """

    ae_title: str
    host: str
    port: int
    calling_aet: str
    connect_seconds: float = 10.0
    answer_seconds: float = 120.0
    tls: ClientTls | None = None
    user: UserIdentity | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return f"'{self.ae_title}' at {self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What an N-EVENT-REPORT said.

    Parameters
    ----------
    event_type : int
        Event Type ID.
    information : Dataset
        Event Information.
    """

    event_type: int
    information: Dataset


class RequestedAssociation:
    """An association with a remote node; a context manager that releases it.

    Parameters
    ----------
    remote : RemoteNode
        Whom to call.
    proposals : sequence of (str, tuple of str)
        Abstract syntax with its transfer syntaxes, a presentation context each; at most `MAXIMUM_CONTEXTS`.
    scp_roles : sequence of str
        SOP classes of which we are the SCP.

    Raises
    ------
    PeerUnreachable
        If nobody answers.
    PeerRejected
        If the association is refused.
    """

    def __init__(
        self,
        remote: RemoteNode,
        proposals: Sequence[tuple[str, tuple[str, ...]]],
        *,
        scp_roles: Sequence[str] = (),
    ) -> None:
        self._remote = remote
        self._scp_roles = tuple(scp_roles)
        self._message_id = 0
        self._events: list[Event] = []
        self._connection = _connect(remote)
        try:
            self._wire = wire_on(self._connection, idle_seconds=remote.connect_seconds)
            self._negotiate(proposals)
            self._wire.idle_seconds = remote.answer_seconds
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    def accepted(self, abstract_syntax: str) -> dict[str, int]:
        """Return the accepted transfer syntaxes of a SOP class with their presentation context ids."""
        return self._accepted.get(abstract_syntax, {})

    def echo(self) -> None:
        """C-ECHO.

        Raises
        ------
        PeerRejected
            If verification was not accepted or fails.
        PeerUnreachable
            If the connection is lost.
        """
        contexts = self.accepted(VERIFICATION)
        if not contexts:
            raise PeerRejected(f"{self._remote.name} accepts the association, and refuses C-ECHO")
        command = Command(field=command_set.C_ECHO_RQ, message_id=self._next_id(), sop_class=VERIFICATION)
        status = self._exchange(next(iter(contexts.values())), command, b"").status
        if not is_success(status):
            raise PeerRejected(f"{self._remote.name} answered C-ECHO with {meaning(status)}")

    def store(self, context_id: int, *, sop_class: str, sop_instance: str, dataset: bytes | memoryview) -> int:
        """C-STORE an encoded data set; return the status.

        Raises
        ------
        PeerUnreachable
            If the connection is lost or aborted.
        """
        command = Command(
            field=command_set.C_STORE_RQ,
            message_id=self._next_id(),
            sop_class=sop_class,
            sop_instance=sop_instance,
            has_dataset=True,
        )
        return self._exchange(context_id, command, dataset).status

    def find(self, identifier: Dataset) -> Iterator[Dataset]:
        """C-FIND in the Study Root model; yield the matches.

        Raises
        ------
        PeerRejected
            If the peer does not offer it, or fails.
        PeerUnreachable
            If the connection is lost.
        """
        contexts = self.accepted(STUDY_ROOT_FIND)
        if not contexts:
            raise PeerRejected(f"{self._remote.name} does not offer C-FIND", code="NO_QUERY")
        syntax, context_id = next(iter(contexts.items()))
        is_implicit = syntax == IMPLICIT_VR_LITTLE_ENDIAN
        command = Command(
            field=command_set.C_FIND_RQ, message_id=self._next_id(), sop_class=STUDY_ROOT_FIND, has_dataset=True
        )
        self._send(context_id, command, encode_dataset(identifier, is_implicit, True) or b"")
        while True:
            response, content = self._receive()
            if response.status not in _PENDING:
                break
            yield decode_dataset(BytesIO(content), is_implicit, True)
        if response.status != 0:
            raise PeerRejected(f"{self._remote.name} answered C-FIND with {meaning(response.status)}")

    def act(self, *, sop_class: str, sop_instance: str, action_type: int, information: Dataset) -> int:
        """N-ACTION; return the status.

        Raises
        ------
        PeerRejected
            ``NOT_OFFERED`` if the SOP class was not accepted.
        PeerUnreachable
            If the connection is lost or aborted.
        """
        context_id, encoded = self._encoded(sop_class, information)
        command = Command(
            field=command_set.N_ACTION_RQ,
            message_id=self._next_id(),
            sop_class=sop_class,
            sop_instance=sop_instance,
            has_dataset=True,
            action_type=action_type,
        )
        self._send(context_id, command, encoded)
        while True:
            response, content = self._receive()
            if response.field == command_set.N_ACTION_RSP:
                return response.status
            # A quick peer reports before it has answered.
            self._take_event(response, content)

    def report(self, *, sop_class: str, sop_instance: str, event_type: int, information: Dataset) -> int:
        """N-EVENT-REPORT, as the SCP of the class; return the status.

        Raises
        ------
        PeerRejected
            ``NOT_OFFERED`` if the SOP class was not accepted.
        PeerUnreachable
            If the connection is lost or aborted.
        """
        context_id, encoded = self._encoded(sop_class, information)
        command = Command(
            field=command_set.N_EVENT_REPORT_RQ,
            message_id=self._next_id(),
            sop_class=sop_class,
            sop_instance=sop_instance,
            has_dataset=True,
            event_type=event_type,
        )
        return self._exchange(context_id, command, encoded).status

    def _encoded(self, sop_class: str, information: Dataset) -> tuple[int, bytes]:
        contexts = self.accepted(sop_class)
        if not contexts:
            raise PeerRejected(f"{self._remote.name} does not offer {UID(sop_class).name}", code="NOT_OFFERED")
        syntax, context_id = next(iter(contexts.items()))
        return context_id, encode_dataset(information, syntax == IMPLICIT_VR_LITTLE_ENDIAN, True) or b""

    def event(self, seconds: float) -> Event | None:
        """Wait for an N-EVENT-REPORT on this association and confirm it; None if none comes in time."""
        if self._events:
            return self._events.pop(0)
        self._wire.idle_seconds = seconds
        try:
            request, content = self._receive()
            self._take_event(request, content)
        except PeerUnreachable:
            return None
        return self._events.pop(0) if self._events else None

    def _take_event(self, request: Command, content: bytes) -> None:
        contexts = self.accepted(request.sop_class)
        if request.field != command_set.N_EVENT_REPORT_RQ or not contexts:
            raise PeerUnreachable(f"{self._remote.name} sent something that was not asked for")
        syntax, context_id = next(iter(contexts.items()))
        self._events.append(
            Event(
                event_type=request.event_type,
                information=decode_dataset(BytesIO(content), syntax == IMPLICIT_VR_LITTLE_ENDIAN, True),
            )
        )
        response = Command(
            field=command_set.N_EVENT_REPORT_RSP,
            message_id=request.message_id,
            sop_class=request.sop_class,
            sop_instance=request.sop_instance,
            event_type=request.event_type,
        )
        self._send(context_id, response, b"")

    def release(self) -> None:
        """Release the association; a peer that does not answer is let go."""
        with suppress(ConnectionLost, MalformedPdu):
            self._wire.idle_seconds = self._remote.connect_seconds
            self._wire.send(RELEASE_REQUEST)
            while self._wire.read_pdu()[0] not in (RELEASE_RP, ABORT):
                pass
        self._close()

    def abort(self) -> None:
        """Abort the association."""
        with suppress(ConnectionLost):
            self._wire.send(ABORT_BY_USER)
        self._close()

    def _close(self) -> None:
        if isinstance(self._connection, ssl.SSLSocket):
            part(self._connection)
        else:
            self._connection.close()

    def _negotiate(self, proposals: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        contexts = [
            ProposedContext(context_id=2 * index + 1, abstract_syntax=abstract, transfer_syntaxes=syntaxes)
            for index, (abstract, syntaxes) in enumerate(proposals[:MAXIMUM_CONTEXTS])
        ]
        request = encode_associate_rq(
            called_aet=self._remote.ae_title,
            calling_aet=self._remote.calling_aet,
            contexts=contexts,
            implementation=(IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME),
            user=self._remote.user,
            scp_roles=self._scp_roles,
        )
        try:
            self._wire.send(request)
            kind, body = self._wire.read_pdu()
            if kind == ASSOCIATE_RJ:
                reason = _REJECTIONS.get(bytes(body[1:4]), f"result, source and reason are {list(body[1:4])}")
                raise PeerRejected(f"{self._remote.name} refused the association: {reason}")
            if kind != ASSOCIATE_AC:
                raise PeerRejected(f"{self._remote.name} broke off the association while it was opened")
            accept = parse_associate_ac(bytes(body))
        except TlsRefused as refused:
            raise raise_refused(self._remote.name, refused) from None
        except ConnectionLost as lost:
            raise PeerUnreachable(f"{self._remote.name} does not answer a request for an association: {lost}") from None
        except MalformedPdu:
            raise PeerUnreachable(f"{self._remote.name} does not speak DICOM") from None
        self._maximum_length = accept.maximum_length
        proposed = {context.context_id: context.abstract_syntax for context in contexts}
        self._accepted: dict[str, dict[str, int]] = {}
        for answer in accept.contexts:
            if answer.result == 0 and answer.context_id in proposed:
                of_class = self._accepted.setdefault(proposed[answer.context_id], {})
                of_class.setdefault(answer.transfer_syntax, answer.context_id)

    def _exchange(self, context_id: int, command: Command, dataset: bytes | memoryview) -> Command:
        self._send(context_id, command, dataset)
        return self._receive()[0]

    def _send(self, context_id: int, command: Command, dataset: bytes | memoryview) -> None:
        try:
            self._wire.send_message(context_id, command.encode(), dataset, maximum_length=self._maximum_length)
        except ConnectionLost as lost:
            raise PeerUnreachable(f"{self._remote.name} was lost while sending: {lost}") from None

    def _receive(self) -> tuple[Command, bytes]:
        encoded, dataset, response = bytearray(), bytearray(), None
        try:
            while True:
                kind, body = self._wire.read_pdu()
                if kind != DATA_TF:
                    raise PeerUnreachable(f"{self._remote.name} aborted the association")
                for _, control, fragment in fragments(body):
                    (encoded if control & COMMAND else dataset).extend(fragment)
                    if control & COMMAND and control & LAST:
                        response = command_set.decode(bytes(encoded))
                    if response is not None and control & LAST and not (control & COMMAND and response.has_dataset):
                        return response, bytes(dataset)
        except ConnectionLost as lost:
            raise PeerUnreachable(f"{self._remote.name} was lost while it had to answer: {lost}") from None
        except (MalformedPdu, MalformedCommand) as malformed:
            raise PeerUnreachable(f"{self._remote.name} answered with something unreadable: {malformed}") from None

    def _next_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id


def echo(remote: RemoteNode) -> None:
    """Verify a node: association and C-ECHO.

    Raises
    ------
    PeerUnreachable, PeerRejected
        With a sentence that says what to do.
    """
    with RequestedAssociation(
        remote, [(VERIFICATION, (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN))]
    ) as open_:
        open_.echo()


def _connect(remote: RemoteNode) -> socket.socket:
    try:
        connection = socket.create_connection((remote.host, remote.port), timeout=remote.connect_seconds)
    except TimeoutError:
        raise PeerUnreachable(
            f"{remote.name} does not answer within {remote.connect_seconds:g} s: check address, port and firewall"
        ) from None
    except OSError as error:
        raise PeerUnreachable(f"{remote.name} cannot be reached: {error.strerror}; check address and port") from None
    if remote.tls is None:
        return connection
    try:
        return remote.tls.secure(connection, remote.host)
    except TlsRefused as refused:
        raise raise_refused(remote.name, refused) from None
