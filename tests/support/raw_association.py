"""A DICOM client that says exactly what a test wants on the wire, well-formed or not."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gateway.dimse import command_set
from gateway.dimse.command_set import Command
from gateway.dimse.pdu import (
    ABORT,
    ASSOCIATE_AC,
    DATA_TF,
    RELEASE_REQUEST,
    RELEASE_RP,
    AssociateAccept,
    ProposedContext,
    encode_associate_rq,
    parse_associate_ac,
)
from gateway.dimse.wire import COMMAND, ConnectionLost, Wire, fragments
from tests.support.instances import EXPLICIT, MR

VERIFICATION = "1.2.840.10008.1.1"
PROPOSALS = ((MR, (EXPLICIT,)), (VERIFICATION, (EXPLICIT,)))


@dataclass
class RawAssociation:
    """An association opened by hand; the first proposal is the context that stores."""

    port: int
    called_aet: str = "OVERREAD"
    calling_aet: str = "RAW"
    proposals: Sequence[tuple[str, tuple[str, ...]]] = PROPOSALS
    seconds: float = 10.0
    accept: AssociateAccept = field(init=False)

    def __enter__(self) -> Self:
        """Connect and negotiate."""
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=self.seconds)
        try:
            self._negotiate()
        except BaseException:
            self.socket.close()
            raise
        return self

    def _negotiate(self) -> None:
        self.wire = Wire(self.socket, idle_seconds=self.seconds)
        contexts = [
            ProposedContext(context_id=2 * i + 1, abstract_syntax=abstract, transfer_syntaxes=tuple(syntaxes))
            for i, (abstract, syntaxes) in enumerate(self.proposals)
        ]
        self.wire.send(
            encode_associate_rq(
                called_aet=self.called_aet,
                calling_aet=self.calling_aet,
                contexts=contexts,
                implementation=("1.2.3.4", "RAW"),
            )
        )
        kind, body = self.wire.read_pdu()
        self.answer = kind, bytes(body)
        if kind == ASSOCIATE_AC:
            self.accept = parse_associate_ac(bytes(body))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close without a word."""
        self.socket.close()

    def send_store(self, sop_instance: str, dataset: bytes, *, sop_class: str = MR, context_id: int = 1) -> None:
        """Send a C-STORE-RQ without waiting."""
        command = Command(
            field=command_set.C_STORE_RQ, message_id=7, sop_class=sop_class, sop_instance=sop_instance, has_dataset=True
        )
        limit = self.accept.maximum_length
        self.wire.send_message(context_id, command.encode(), dataset, maximum_length=limit)

    def store(self, sop_instance: str, dataset: bytes, *, sop_class: str = MR, context_id: int = 1) -> int | str:
        """Send a C-STORE-RQ and return the status, or ``abort`` or ``lost``."""
        self.send_store(sop_instance, dataset, sop_class=sop_class, context_id=context_id)
        return self.status()

    def echo(self, context_id: int = 3) -> int | str:
        """Send a C-ECHO-RQ and return the status, or ``abort`` or ``lost``."""
        command = Command(field=command_set.C_ECHO_RQ, message_id=9, sop_class=VERIFICATION)
        self.wire.send_message(context_id, command.encode())
        return self.status()

    def status(self) -> int | str:
        """Return the status of the next response, or ``abort`` or ``lost``."""
        try:
            kind, body = self.wire.read_pdu()
        except ConnectionLost:
            return "lost"
        if kind == ABORT:
            return "abort"
        assert kind == DATA_TF, f"PDU {kind}"
        encoded = b"".join(bytes(piece) for _, control, piece in fragments(body) if control & COMMAND)
        return command_set.decode(encoded).status

    def release(self) -> bool:
        """Ask for release; return whether the peer agreed."""
        self.wire.send(RELEASE_REQUEST)
        return self.wire.read_pdu()[0] == RELEASE_RP
