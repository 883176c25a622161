"""An established association on a blocking socket: PDUs in, messages out, without polling and without Nagle.

Stock dcmtk peers write each PDU in two pieces with Nagle on; with delayed acknowledgements each object then costs
44 ms. Acknowledging at once (TCP_QUICKACK, which Linux forgets after use) and answering in one write cures that alone.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from struct import Struct, pack
from typing import Final

from gateway.dimse.pdu import DATA_TF, HEADER, MAXIMUM_PDU_LENGTH, PDU_LENGTH_TOLERANCE, MalformedPdu

#: Message control header of a PDV, PS3.8 E.2.
COMMAND: Final = 0x01
LAST: Final = 0x02

_PDV: Final = Struct(">IBB")
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)
#: A peer that asks for shorter PDUs than this gets these.
_SMALLEST_PDU: Final = 128
_UNLIMITED: Final = 1 << 20


class ConnectionLost(Exception):
    """The peer closed the connection, or was too slow."""


class Wire:
    """PDUs on a connected socket; belongs to one thread.

    Parameters
    ----------
    connection : socket.socket
        Connected.
    idle_seconds : float
        How long to wait for the first byte of a PDU.
    pdu_seconds : float
        How long one PDU may take from its first byte to its last.
    """

    def __init__(self, connection: socket.socket, *, idle_seconds: float, pdu_seconds: float = 60.0) -> None:
        self._connection = connection
        self.idle_seconds = idle_seconds
        self._pdu_seconds = pdu_seconds
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(None)
        whole, rest = int(pdu_seconds), int(pdu_seconds % 1 * 1e6)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, pack("@ll", whole, rest))
        self._buffer = bytearray(MAXIMUM_PDU_LENGTH + PDU_LENGTH_TOLERANCE)
        self._view = memoryview(self._buffer)
        self._timeout = 0.0

    def read_pdu(self) -> tuple[int, memoryview]:
        """Read one PDU; the view is valid until the next one is read.

        Returns
        -------
        int, memoryview
            PDU type, bytes after the header.

        Raises
        ------
        ConnectionLost
            If the peer is gone or too slow.
        MalformedPdu
            If it is longer than agreed, or of no known type.
        """
        header = self._view[: HEADER.size]
        self._read(header, self.idle_seconds)
        kind, length = HEADER.unpack(header)
        if not 1 <= kind <= 7:
            raise MalformedPdu("a PDU of unknown type")
        if length > len(self._buffer):
            raise MalformedPdu("a PDU longer than agreed")
        body = self._view[:length]
        self._read(body, self._pdu_seconds)
        return kind, body

    def send(self, content: bytes) -> None:
        """Send bytes in one write.

        Raises
        ------
        ConnectionLost
            If the peer is gone or too slow.
        """
        try:
            self._connection.sendall(content)
        except OSError:
            raise ConnectionLost("the peer is gone or too slow") from None

    def send_message(
        self, context_id: int, command: bytes, dataset: bytes | memoryview = b"", *, maximum_length: int = 0
    ) -> None:
        """Send a DIMSE message: command and first fragment of the data set in one write.

        Parameters
        ----------
        context_id : int
            Presentation context.
        command, dataset : bytes
            Encoded.
        maximum_length : int
            Longest PDU the peer takes, 0 for any.

        Raises
        ------
        ConnectionLost
            If the peer is gone or too slow.
        """
        fragment = max(_SMALLEST_PDU, maximum_length or _UNLIMITED) - _PDV.size
        pending = bytearray(_data_pdu_header(context_id, COMMAND | LAST, len(command)))
        pending += command
        view = memoryview(dataset)
        for start in range(0, len(view), fragment):
            piece = view[start : start + fragment]
            is_last = start + fragment >= len(view)
            pending += _data_pdu_header(context_id, LAST if is_last else 0, len(piece))
            pending += piece
            if is_last or len(pending) >= _UNLIMITED:
                self.send(bytes(pending))
                pending.clear()
        if pending:
            self.send(bytes(pending))

    def _read(self, target: memoryview, seconds: float) -> None:
        position, count = 0, len(target)
        until = 0.0
        while position < count:
            self._arm(seconds)
            try:
                received = self._connection.recv_into(target[position:], 0, socket.MSG_WAITALL)
            except OSError:
                raise ConnectionLost("the peer is gone or too slow") from None
            if received == 0:
                raise ConnectionLost("the peer closed the connection")
            position += received
            if position < count:
                until = until or time.monotonic() + self._pdu_seconds
                seconds = until - time.monotonic()
                if seconds <= 0:
                    raise ConnectionLost("the peer is too slow")

    def _arm(self, seconds: float) -> None:
        if seconds != self._timeout:
            value = pack("@ll", int(seconds), max(1, int(seconds % 1 * 1e6)))
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self._timeout = seconds
        if _QUICKACK is not None:
            self._connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def fragments(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield context id, message control header and fragment of each PDV in a P-DATA-TF.

    Raises
    ------
    MalformedPdu
        If lengths do not fit.
    """
    position, end = 0, len(body)
    while position < end:
        if position + _PDV.size > end:
            raise MalformedPdu("a presentation data value is cut")
        length, context_id, control = _PDV.unpack_from(body, position)
        stop = position + 4 + length
        if length < 2 or stop > end:
            raise MalformedPdu("a presentation data value is longer than its PDU")
        yield context_id, control, body[position + _PDV.size : stop]
        position = stop


def _data_pdu_header(context_id: int, control: int, length: int) -> bytes:
    return HEADER.pack(DATA_TF, length + _PDV.size) + _PDV.pack(length + 2, context_id, control)
