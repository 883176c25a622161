"""An established association on a blocking socket: PDUs in, messages out, without polling and without Nagle.

Stock dcmtk peers write each PDU in two pieces with Nagle on; with delayed acknowledgements each object then costs
44 ms. Acknowledging at once (TCP_QUICKACK, which Linux forgets after use) and answering in one write cures that alone.
"""

from __future__ import annotations

import math
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
_LONGEST_PDU: Final = MAXIMUM_PDU_LENGTH + PDU_LENGTH_TOLERANCE
#: Bytes read at once when they are there.
_READ_AHEAD: Final = 2 * _LONGEST_PDU
_WAIT_FOR_ALL: Final = getattr(socket, "MSG_WAITALL", 0)


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
        self._buffer = bytearray(_READ_AHEAD)
        self._view = memoryview(self._buffer)
        #: What was read and not yet taken.
        self._start = self._end = 0
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
        kind, length = self.read_header()
        return kind, self.read_body(length)

    def read_header(self) -> tuple[int, int]:
        """Read the header of the next PDU; return its type and the length of its body, which is still to be read.

        Raises
        ------
        ConnectionLost
            If the peer is gone or too slow.
        MalformedPdu
            If it is longer than agreed, or of no known type.
        """
        self._need(HEADER.size, self.idle_seconds if self._start == self._end else self._pdu_seconds)
        kind, length = HEADER.unpack_from(self._buffer, self._start)
        if not 1 <= kind <= 7:
            raise MalformedPdu("a PDU of unknown type")
        if length > _LONGEST_PDU:
            raise MalformedPdu("a PDU longer than agreed")
        self._start += HEADER.size
        return kind, length

    def read_body(self, length: int) -> memoryview:
        """Read the body of a PDU; the view is valid until the next one is read.

        Raises
        ------
        ConnectionLost
            If the peer is gone or too slow.
        """
        self._need(length, self._pdu_seconds)
        self._start += length
        return self._view[self._start - length : self._start]

    def only_fragment(self, length: int) -> tuple[int, int, int] | None:
        """Look whether a P-DATA-TF holds one presentation data value, as those with the bulk of a data set do.

        Returns
        -------
        int, int, int or None
            Context id, message control header and size of its fragment, for `read_fragment`; None if it holds something
            else. Nothing of the body is taken, so that `read_body` may read it as well.

        Raises
        ------
        ConnectionLost
            If the peer is gone or too slow.
        """
        if length < _PDV.size:
            return None
        self._need(_PDV.size, self._pdu_seconds)
        size, context_id, control = _PDV.unpack_from(self._buffer, self._start)
        return (context_id, control, length - _PDV.size) if size + 4 == length else None

    def read_fragment(self, target: memoryview) -> None:
        """Read the fragment that `only_fragment` told of to where it is wanted.

        Raises
        ------
        ConnectionLost
            If the peer is gone or too slow.
        """
        begin = self._start + _PDV.size
        is_here = min(self._end - begin, len(target))
        target[:is_here] = self._view[begin : begin + is_here]
        self._start = begin + is_here
        if is_here < len(target):
            self._read_whole(target[is_here:])

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

    def _need(self, count: int, seconds: float) -> None:
        """Have `count` bytes in the buffer, and whatever else is there already: each call of the system is dear."""
        if self._end - self._start >= count:
            return
        if self._start + count > len(self._buffer) or self._start == self._end:
            kept = self._end - self._start
            self._view[:kept] = self._view[self._start : self._end]
            self._start, self._end = 0, kept
        until = 0.0
        while self._end - self._start < count:
            self._end += self._receive(self._view[self._end :], seconds)
            until = until or time.monotonic() + self._pdu_seconds
            seconds = until - time.monotonic()
            if seconds <= 0:
                raise ConnectionLost("the peer is too slow")

    def _read_whole(self, target: memoryview) -> None:
        position, seconds = 0, self._pdu_seconds
        until = time.monotonic() + seconds
        while position < len(target):
            position += self._receive(target[position:], seconds, _WAIT_FOR_ALL)
            seconds = until - time.monotonic()
            if seconds <= 0:
                raise ConnectionLost("the peer is too slow")

    def _receive(self, target: memoryview, seconds: float, flags: int = 0) -> int:
        """Wait for bytes, one at least; return how many came."""
        self._arm(seconds)
        try:
            received = self._connection.recv_into(target, 0, flags)
        except OSError:
            raise ConnectionLost("the peer is gone or too slow") from None
        if received == 0:
            raise ConnectionLost("the peer closed the connection")
        return received

    def _arm(self, seconds: float) -> None:
        if seconds > 2:
            # A second more or less is not worth a call of the system.
            seconds = math.ceil(seconds)
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
