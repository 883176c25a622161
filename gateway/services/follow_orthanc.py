"""Follow the change feed of an Orthanc: what is new there comes in as if it had been sent to us.

Where we stand is stored after everything before it was received durably, so a crash of either side loses nothing; what
is read twice is recognised as a repeat. An Orthanc that was set up anew counts from one again: that is noticed by the
newest change seen no longer being the one at its place, and the feed is read from its start.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Literal

from gateway.config import FollowedOrthanc
from gateway.domain.errors import PeerRejected, PeerUnreachable, UnacceptableInstance
from gateway.domain.instance import RT_STRUCTURE_SET_STORAGE, SEGMENTATION_CLASSES
from gateway.services.announce import announce_stable
from gateway.services.arrival import Door, Outcome
from gateway.services.password_file import read_password
from gateway.services.receive import Receiver
from gateway.services.record_transfer import Transfer
from gateway.store import audit
from gateway.store.database import Database
from gateway.store.tables import Cursor
from orthanc import (
    NEW_INSTANCE,
    STABLE_STUDY,
    Change,
    ChangesPage,
    OrthancClient,
    OrthancError,
    OrthancNotFound,
    OrthancUnreachable,
)

logger = logging.getLogger(__name__)

_EDITS: Final = SEGMENTATION_CLASSES | {RT_STRUCTURE_SET_STORAGE}
#: Changes read in one step.
PAGE: Final = 100


class OrthancFollower:
    """Reads one Orthanc's feed; one thread each.

    Parameters
    ----------
    name : str
        Of the Orthanc in the configuration; the sender of what it brings.
    client : OrthancClient
        The Orthanc.
    receiver : Receiver
        Where instances go.
    database : Database
        Holds the cursor.
    clock : callable
        Gives the time, with zone.
    take : str
        ``edits`` for segmentations only, ``all`` for every instance.
    """

    def __init__(
        self,
        *,
        name: str,
        client: OrthancClient,
        receiver: Receiver,
        database: Database,
        clock: Callable[[], datetime],
        take: Literal["edits", "all"],
    ) -> None:
        self._name = name
        self._client = client
        self._receiver = receiver
        self._database = database
        self._clock = clock
        self._take = take

    def step(self) -> int:
        """Read one page of the feed and receive what is new; return how many instances were.

        Raises
        ------
        PeerUnreachable, PeerRejected
            The Orthanc does not answer, or refuses us; the next step goes on where this one stopped.
        StorageFull, StorageUnavailable
            There is no room; likewise.
        """
        with _named_errors(self._name):
            page = self._next_page()
            transfer = Transfer(sender=self._name, door=Door.ORTHANC)
            new = sum(self._receive(change, transfer) for change in page.changes if change.kind == NEW_INSTANCE)
            if self._take == "all":
                stable = dict.fromkeys(one.resource_id for one in page.changes if one.kind == STABLE_STUDY)
                for resource_id in stable:
                    self._announce(resource_id)
        if transfer.counts:
            self._receiver.transfer_ended(transfer, ended="read")
        if page.changes:
            self._store_position(page.last, _fingerprint(page.changes[-1]))
        return new

    def _next_page(self) -> ChangesPage:
        """Return what follows the cursor, or the start of the feed if the feed is no longer the one we know."""
        position, fingerprint = self._position()
        if position == 0:
            return self._client.changes(0, PAGE)
        page = self._client.changes(position - 1, PAGE + 1)
        if page.changes and page.changes[0].sequence == position:
            if _fingerprint(page.changes[0]) == fingerprint:
                return ChangesPage(changes=page.changes[1:], last=page.last, is_end=page.is_end)
        elif page.changes or self._client.last_change().last >= position:
            # The resource of the change we stood at was deleted, and its entry with it.
            return page
        logger.warning("the Orthanc '%s' counts its changes anew: its feed is read from the start", self._name)
        return self._client.changes(0, PAGE)

    def _receive(self, change: Change, transfer: Transfer) -> bool:
        try:
            if self._take == "edits" and self._client.sop_class_of(change.resource_id) not in _EDITS:
                return False
            content = self._client.instance_file(change.resource_id)
            received = self._receiver.receive(content, door=Door.ORTHANC, sender=self._name)
        except OrthancNotFound:
            # Deleted there meanwhile.
            return False
        except UnacceptableInstance as error:
            self._note_unacceptable(change, error)
            transfer.add_refused(error.code)
            return False
        transfer.add(received)
        return received.outcome is Outcome.NEW

    def _announce(self, resource_id: str) -> None:
        """Keep what a stable study has there, as evidence that all of it is here."""
        try:
            study, instances = self._client.study_instances(resource_id)
        except OrthancNotFound:
            # Deleted there meanwhile.
            return
        announce_stable(
            self._database,
            source=f"orthanc:{resource_id}",
            study=study,
            instances=instances,
            sender=self._name,
            at=self._clock(),
        )

    def _note_unacceptable(self, change: Change, error: UnacceptableInstance) -> None:
        logger.warning("an instance of the Orthanc '%s' cannot be taken: %s: %s", self._name, error.code, error.detail)
        with self._database.write() as session:
            audit.append(
                session,
                at=self._clock(),
                actor=self._name,
                action="INSTANCE_REFUSED",
                detail={"door": str(Door.ORTHANC), "code": error.code, "resource": change.resource_id},
            )

    def _position(self) -> tuple[int, int]:
        with self._database.read() as session:
            position, fingerprint = (session.get(Cursor, name) for name in self._cursor_names)
        return (position.position if position else 0), (fingerprint.position if fingerprint else 0)

    def _store_position(self, position: int, fingerprint: int) -> None:
        with self._database.write() as session:
            for name, value in zip(self._cursor_names, (position, fingerprint), strict=True):
                session.merge(Cursor(name=name, position=value, changed_at=self._clock()))

    @property
    def _cursor_names(self) -> tuple[str, str]:
        return f"orthanc:{self._name}", f"orthanc:{self._name}:fingerprint"


def orthanc_follower(
    followed: FollowedOrthanc, *, receiver: Receiver, database: Database, clock: Callable[[], datetime]
) -> OrthancFollower:
    """Return the follower of a configured Orthanc.

    Raises
    ------
    ConfigurationError
        If its password file cannot be read.
    """
    password = read_password(followed.password_file, f"the followed Orthanc '{followed.name}'")
    return OrthancFollower(
        name=followed.name,
        client=OrthancClient(followed.url, username=followed.username, password=password),
        receiver=receiver,
        database=database,
        clock=clock,
        take=followed.take,
    )


def _fingerprint(change: Change) -> int:
    """Return a number that a change of another Orthanc, or of the same one set up anew, will not have."""
    text = f"{change.sequence} {change.kind} {change.resource_id} {change.date}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OrthancUnreachable as error:
        raise PeerUnreachable(f"'{name}': {error.detail}") from None
    except OrthancError as error:
        raise PeerRejected(f"'{name}': {error.detail}") from None
