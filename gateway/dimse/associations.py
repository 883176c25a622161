"""The associations that are open now and the studies they bring: evidence for closing a study, lost in a crash rightly.

After a crash no association is open, so this is kept in memory and not in the database.
"""

from __future__ import annotations

import threading

from gateway.services.arrival import Received
from gateway.services.record_transfer import Transfer


class OpenAssociations:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, Transfer] = {}

    def opened(self, transfer: Transfer) -> None:
        """Note an association that was accepted."""
        with self._lock:
            self._open[id(transfer)] = transfer

    def received(self, transfer: Transfer, received: Received) -> None:
        """Count an instance that an association brought."""
        with self._lock:
            transfer.add(received)

    def refused(self, transfer: Transfer, code: str) -> None:
        """Count an instance that was refused."""
        with self._lock:
            transfer.add_refused(code)

    def interrupted(self, transfer: Transfer) -> None:
        """Count an instance whose sender was lost before its end."""
        with self._lock:
            transfer.add_interrupted()

    def closed(self, transfer: Transfer) -> None:
        """Note that it ended."""
        with self._lock:
            self._open.pop(id(transfer), None)

    def studies(self) -> frozenset[str]:
        """Study Instance UIDs that an open association has brought something of."""
        with self._lock:
            return frozenset().union(*(transfer.studies for transfer in self._open.values()))

    def of(self, sender: str) -> int:
        """How many of a caller are open."""
        with self._lock:
            return sum(transfer.sender == sender for transfer in self._open.values())

    def __len__(self) -> int:
        """How many are open."""
        with self._lock:
            return len(self._open)
