"""The socket pynetdicom reads from, with the limits it does not have itself.

pynetdicom would buffer a PDU of any length, wait for ever in the middle of one, and read in pieces of 4096 bytes.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Final

from pynetdicom.transport import AssociationSocket

from gateway.dimse.pdu import ABORT_INVALID, MAXIMUM_PDU_LENGTH, PDU_LENGTH_TOLERANCE

if TYPE_CHECKING:
    from pynetdicom.association import Association

#: How long one PDU may take from its first byte to its last, seconds.
PDU_SECONDS: Final = 60.0


class GuardedSocket(AssociationSocket):
    """An association's socket that refuses oversized PDUs and messages at once.

    Parameters
    ----------
    association : Association
        Whose socket it is.
    connection : socket.socket
        Accepted; the A-ASSOCIATE-RQ was read from it.
    already_read : bytes
        The A-ASSOCIATE-RQ.
    maximum_message : int
        Most bytes of one DIMSE message.
    """

    def __init__(
        self, association: Association, connection: socket.socket, already_read: bytes, maximum_message: int
    ) -> None:
        super().__init__(association, client_socket=connection)
        self._already_read = memoryview(already_read)
        self._maximum_message = maximum_message
        self._message_size = 0

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return len(self._already_read) > 0 or bool(super().ready)

    def message_complete(self) -> None:
        """Start counting the next DIMSE message."""
        self._message_size = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """Read `nr_bytes`, fewer only when the peer has closed.

        Raises
        ------
        OSError
            If the PDU or the message is too long, or the peer is too slow; the association was aborted.
        """
        if len(self._already_read) > 0:
            piece = bytearray(self._already_read[:nr_bytes])
            self._already_read = self._already_read[nr_bytes:]
            return piece
        self._message_size += nr_bytes
        if nr_bytes > MAXIMUM_PDU_LENGTH + PDU_LENGTH_TOLERANCE or self._message_size > self._maximum_message:
            self._abort()
        return self._read(nr_bytes)

    def _read(self, count: int) -> bytearray:
        connection = self.socket
        if connection is None:
            return bytearray()
        buffer = bytearray(count)
        view, position = memoryview(buffer), 0
        until = time.monotonic() + PDU_SECONDS
        try:
            while position < count:
                connection.settimeout(max(0.001, until - time.monotonic()))
                received = connection.recv_into(view[position:])
                if received == 0:
                    break
                position += received
        finally:
            view.release()
            connection.settimeout(None)
        del buffer[position:]
        return buffer

    def _abort(self) -> None:
        if self.socket is not None:
            self.socket.sendall(ABORT_INVALID)
        raise ConnectionAbortedError("a PDU or message beyond the limit")
