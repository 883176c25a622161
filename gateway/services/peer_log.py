"""Who calls the DICOM node: last seen, what was agreed on, and why somebody was refused; for administrators.

Kept in memory, because an association must not wait for a disk, and written down now and then: what a crash loses is a
few seconds of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlmodel import col, select

from gateway.store.database import Database
from gateway.store.tables import PeerContact

#: Most callers remembered: a scan of the network must not fill memory.
MOST_PEERS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A caller at an address; the times are None when it was never welcome, or never refused.

    Parameters
    ----------
    ae_title, address : str
        Who, from where.
    last_seen : datetime
        When it called last.
    associations, last_instances : int
        Associations accepted, and instances that the last of them brought.
    accepted : tuple of (str, str)
        SOP class and transfer syntax of each presentation context accepted in the last association.
    refusal : str
        The sentence that explains the last refusal, empty if none.
    refused_at : datetime or None
        When that was.
    """

    ae_title: str
    address: str
    last_seen: datetime
    associations: int = 0
    last_instances: int = 0
    accepted: tuple[tuple[str, str], ...] = ()
    refusal: str = ""
    refused_at: datetime | None = None


class PeerLog:
    """Safe to use from many threads.

    Parameters
    ----------
    database : Database
        Keeps it over a restart.
    clock : callable
        Gives the time, with zone.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._known = {(one.ae_title, one.address): one for one in saved_contacts(database)}
        self._changed: set[tuple[str, str]] = set()

    def associated(
        self, ae_title: str, address: str, accepted: Iterable[tuple[str, str]], refused: Sequence[str] = ()
    ) -> None:
        """Note an association that was accepted.

        Parameters
        ----------
        ae_title, address : str
            The caller.
        accepted : iterable of (str, str)
            SOP class and transfer syntax of each accepted presentation context.
        refused : sequence of str
            A sentence for each that was not.
        """
        agreed = tuple(sorted(set(accepted)))
        with self._lock:
            before = self._of(ae_title, address)
            now = before.last_seen
            noted = replace(before, associations=before.associations + 1, last_instances=0, accepted=agreed)
            if refused:
                more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
                noted = replace(noted, refusal=refused[0] + more, refused_at=now)
            self._known[ae_title, address] = noted

    def brought(self, ae_title: str, address: str, instances: int) -> None:
        """Note what an association had brought when it ended."""
        with self._lock:
            self._known[ae_title, address] = replace(self._of(ae_title, address), last_instances=instances)

    def refused(self, ae_title: str, address: str, sentence: str) -> None:
        """Note an association that was refused, and why."""
        with self._lock:
            before = self._of(ae_title, address)
            self._known[ae_title, address] = replace(before, refusal=sentence, refused_at=before.last_seen)

    def contacts(self) -> tuple[Contact, ...]:
        """Return every known caller, the newest first."""
        with self._lock:
            return tuple(sorted(self._known.values(), key=lambda one: one.last_seen, reverse=True))

    def save(self) -> int:
        """Write down what changed; return how many callers.

        Raises
        ------
        StorageFull, StorageUnavailable
            If the database does not take it; the next call tries again.
        """
        with self._lock:
            changed, self._changed = self._changed, set()
            rows = [_row(self._known[key]) for key in changed if key in self._known]
        if not rows:
            return 0
        try:
            with self._database.write() as session:
                for row in rows:
                    session.merge(row)
                stale = select(PeerContact).order_by(col(PeerContact.last_seen).desc()).offset(MOST_PEERS)
                for row in session.exec(stale):
                    session.delete(row)
        except BaseException:
            with self._lock:
                self._changed |= changed
            raise
        return len(rows)

    def _of(self, ae_title: str, address: str) -> Contact:
        """Return a caller as known, seen now; called with the lock held."""
        key = ae_title, address
        self._changed.add(key)
        if key not in self._known and len(self._known) >= MOST_PEERS:
            oldest = min(self._known, key=lambda other: self._known[other].last_seen)
            del self._known[oldest]
        now = self._clock()
        known = self._known.get(key)
        return replace(known, last_seen=now) if known else Contact(ae_title=ae_title, address=address, last_seen=now)


def saved_contacts(database: Database) -> tuple[Contact, ...]:
    """Return the callers that were written down, the newest first."""
    query = select(PeerContact).order_by(col(PeerContact.last_seen).desc()).limit(MOST_PEERS)
    with database.read() as session:
        return tuple(
            Contact(
                ae_title=row.ae_title,
                address=row.address,
                last_seen=row.last_seen,
                associations=row.associations,
                last_instances=row.last_instances,
                accepted=tuple((sop_class, syntax) for sop_class, syntax in row.accepted),
                refusal=row.refusal,
                refused_at=row.refused_at,
            )
            for row in session.exec(query)
        )


def _row(contact: Contact) -> PeerContact:
    return PeerContact(
        ae_title=contact.ae_title,
        address=contact.address,
        last_seen=contact.last_seen,
        associations=contact.associations,
        last_instances=contact.last_instances,
        accepted=[list(pair) for pair in contact.accepted],
        refusal=contact.refusal,
        refused_at=contact.refused_at,
    )
