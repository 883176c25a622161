"""Receive an instance through any door: checked, durable and recorded before anybody is told it was a success.

The way of every instance: room on the disk, UID syntax, a complete data set, class and UID as announced, synced in the
receive journal while its file and its rows are written, then one transaction with study, series, instance and audit
rows. Without a journal, or too large for it: blob synced, then the transaction, synced as well. Instances are kept in
one form (`part10`), so equal
blobs mean equal data sets. Nothing received is dropped or overwritten: the same UID with other content becomes a hold
and leaves the instance, and the case that runs on it, as they are.
"""

from __future__ import annotations

import mmap
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from gateway.domain.errors import GatewayError, NotFound, StorageFull, StorageUnavailable, UnacceptableInstance
from gateway.domain.instance import InstanceKind
from gateway.services.arrival import Arrival, Door, KeptBlob, Outcome, Received
from gateway.services.in_flight import Claims, RecentSeries
from gateway.services.part10 import file_layout, file_meta
from gateway.services.purged import is_purged, take_back
from gateway.services.received_header import ReceivedHeader, read_header, require_uid
from gateway.services.record_image import ImageRows
from gateway.services.record_instance import (
    KnownVersion,
    is_referenced,
    kind_of,
    known_version,
    record_conflict,
    record_echo,
    record_new,
)
from gateway.services.record_transfer import Transfer, record_transfer
from gateway.services.rehearsal import rehearse
from gateway.services.replay_journal import Keeping, described, replayed
from gateway.services.same_content import same_content
from gateway.store.blobs import BlobStore, Incoming
from gateway.store.database import Database
from gateway.store.group_commit import GroupCommit
from gateway.store.journal_segment import JournalRecord
from gateway.store.journaled_rows import JournaledRows, JournaledTransaction
from gateway.store.receive_journal import ReceiveJournal

__all__ = ["Arrival", "Door", "IncomingInstance", "InstanceKind", "Outcome", "Received", "Receiver", "Transfer"]

_MB = 1_000_000
#: Attempts to record an instance when somebody else records the same one at the same moment.
_ATTEMPTS = 5


class Receiver:
    """The one way in for instances; safe to use from many threads.

    Parameters
    ----------
    database, blobs
        Where they are kept.
    clock : callable
        Gives the time, with zone.
    minimum_free_mb : int
        Below this much free disk space nothing is accepted.
    on_new : callable
        Called after an instance was recorded for the first time; must not block.
    maximum_object_mb : int
        Largest instance accepted.
    journal : ReceiveJournal, optional
        Started; makes instances safe with one sync instead of three.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        clock: Callable[[], datetime],
        minimum_free_mb: int,
        on_new: Callable[[Received], None],
        *,
        maximum_object_mb: int = 2048,
        journal: ReceiveJournal | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._minimum_free = minimum_free_mb * _MB
        self._maximum_object = maximum_object_mb * _MB
        self._on_new = on_new
        self._claims = Claims()
        self._series = RecentSeries()
        self._commits = GroupCommit(database.write, Session.begin_nested)
        self._journal = journal
        self._images = ImageRows()
        self._image_rows = JournaledRows(database)
        self._image_commits = GroupCommit(self._image_rows.write, JournaledTransaction.nested)

    def prepare(self) -> None:
        """Do before the doors open what the first image would wait for.

        Raises
        ------
        StorageFull, StorageUnavailable
            If the database fails.
        """
        rows = self._image_rows if self._database.can_be_journaled else None
        rehearse(self._database, rows, self._images, self._clock())

    def require_room(self) -> None:
        """Refuse before anything is accepted.

        Raises
        ------
        StorageFull
            If less than the minimum is free.
        """
        if self._blobs.free_bytes() < self._minimum_free:
            raise StorageFull(
                f"less than {self._minimum_free // _MB} MB are free on the disk of the data folder "
                "(node.minimum_free_mb): free some space"
            )

    def open(self, arrival: Arrival, transfer_syntax_uid: str) -> IncomingInstance:
        """Open an instance whose data set will be streamed in; class and UID must have been announced.

        Raises
        ------
        UnacceptableInstance
            ``MISSING_UID`` or ``INVALID_UID`` if an announced UID is none.
        StorageFull, StorageUnavailable
            If it cannot be kept.
        """
        require_uid(arrival.expected_sop_class_uid, "Affected SOP Class UID")
        require_uid(arrival.expected_sop_instance_uid, "Affected SOP Instance UID")
        self.require_room()
        return IncomingInstance(self, self._blobs, arrival, transfer_syntax_uid, self._maximum_object)

    def receive(  # noqa: PLR0913 - one argument per fact of an arrival, all by name
        self,
        content: bytes | Path,
        *,
        door: Door | str,
        sender: str,
        called_aet: str = "",
        peer_address: str = "",
        expected_sop_class: str = "",
        expected_sop_instance: str = "",
        case_hint: str = "",
        stage_hint: str = "",
    ) -> Received:
        """Receive a whole DICOM file.

        Parameters
        ----------
        content : bytes or Path
            A DICOM file with file meta information, or where it is.
        door, sender, called_aet, peer_address, expected_sop_class, expected_sop_instance, case_hint, stage_hint
            See `Arrival`.

        Raises
        ------
        UnacceptableInstance
            ``UNREADABLE``, ``TRUNCATED_DATASET``, ``MISSING_UID``, ``INVALID_UID``, ``CLASS_NOT_AS_ANNOUNCED``,
            ``UID_NOT_AS_ANNOUNCED`` or ``TOO_LARGE``; nothing was kept.
        StorageFull, StorageUnavailable
            It cannot be kept now; nothing was kept.
        """
        arrival = Arrival(
            door=Door(door),
            sender=sender,
            called_aet=called_aet,
            peer_address=peer_address,
            expected_sop_class_uid=expected_sop_class,
            expected_sop_instance_uid=expected_sop_instance,
            case_hint=case_hint,
            stage_hint=stage_hint,
        )
        with _opened(content) as file:
            layout = file_layout(file)
            with file[layout.dataset_offset :] as dataset:
                header = read_header(dataset, layout.transfer_syntax_uid)
                _require_announced(arrival, header)
                announced = replace(
                    arrival,
                    expected_sop_class_uid=header.sop_class_uid,
                    expected_sop_instance_uid=header.sop_instance_uid,
                )
                incoming = self.open(announced, layout.transfer_syntax_uid)
                try:
                    incoming.write(dataset)
                    return incoming.finish(header)
                finally:
                    incoming.close()

    def transfer_ended(self, transfer: Transfer, *, ended: str) -> None:
        """Record that an association, or a request that brought instances, is over.

        Parameters
        ----------
        transfer : Transfer
            What it brought.
        ended : str
            ``released``, ``aborted`` or ``lost``.
        """
        with self._database.write() as session:
            record_transfer(session, transfer, ended=ended, at=self._clock())

    def discard_purged(self, sha256: str) -> None:
        """Remove the file of a blob that retention marked, unless it came again meanwhile."""
        with self._claims.of(sha256):
            if is_purged(self._database, sha256):
                self._blobs.discard(sha256)

    def keep(self, arrival: Arrival, header: ReceivedHeader, syntax: str, incoming: Incoming) -> Received:
        """Make a checked file durable and record it; only `IncomingInstance` calls this."""
        with self._claims.of(incoming.sha256):
            blob = KeptBlob(sha256=incoming.sha256, size=incoming.size, transfer_syntax_uid=syntax)
            keeping = Keeping(arrival=arrival, header=header, blob=blob, at=self._clock())
            try:
                received = self._keep_journaled(keeping, incoming) or self._keep_directly(keeping, incoming)
            except GatewayError:
                self._forget(blob.sha256)
                raise
            if received.outcome is Outcome.DUPLICATE:
                take_back(self._database, blob.sha256, sender=arrival.sender, at=self._clock())
        if received.outcome is Outcome.NEW:
            self._on_new(received)
        return received

    def is_kept(self, sha256: str) -> bool:
        """Whether any row names a blob."""
        with self._database.read() as session:
            return is_referenced(session, sha256)

    def replay(self, record: JournalRecord) -> bool:
        """Keep once more what the receive journal holds after a crash; False if it is no instance we know to keep.

        Raises
        ------
        StorageFull, StorageUnavailable
            It cannot be kept now.
        """
        try:
            keeping = replayed(record)
        except UnacceptableInstance:
            return False
        if is_purged(self._database, record.sha256):
            return True
        if not self._blobs.holds(record.sha256, record.content):
            self._blobs.restore(record.sha256, record.content)
        with self._database.read() as session:
            known = known_version(session, keeping.header.sop_instance_uid)
        # Something of ours that came back changes nothing, so nobody misses its note.
        if known is None or not (known.is_output or known.sha256 == record.sha256):
            self._record(keeping)
        return True

    def _keep_directly(self, keeping: Keeping, incoming: Incoming) -> Received:
        incoming.commit()
        return self._record(keeping)

    def _keep_journaled(self, keeping: Keeping, incoming: Incoming) -> Received | None:
        """Keep an instance with the journal's help; None if it gives none now.

        The file of an image is written later, or when somebody asks for it; what a person may be waiting for, at once.
        """
        journal = self._journal
        if journal is None or incoming.size > journal.maximum_content:
            return None
        is_written_later = incoming.is_held and kind_of(keeping.header) is InstanceKind.IMAGE
        with incoming.content() as content:
            entry = journal.append(described(keeping), content, keeping.blob.sha256, is_written_later=is_written_later)
        if entry is None:
            return None

        def publish() -> None:
            entry.sync()
            if not is_written_later:
                incoming.publish()

        try:
            if not is_written_later:
                incoming.stage()
            return self._record(keeping, before_commit=publish)
        finally:
            journal.done(entry)

    def _record(self, keeping: Keeping, *, before_commit: Callable[[], None] | None = None) -> Received:
        header, blob = keeping.header, keeping.blob
        for _ in range(_ATTEMPTS):
            try:
                known = self._record_unless_known(keeping, before_commit)
            except (IntegrityError, sqlite3.IntegrityError):
                # Another process was first, or what we remember of series is out of date.
                self._series.clear()
                continue
            if known is None:
                return _received(header, kind_of(header), Outcome.NEW)
            if known.sha256 == blob.sha256 and not known.is_output:
                return _received(header, known.kind, Outcome.DUPLICATE)
            if self._is_same(known, blob):
                return self._record_repeat(keeping, known)
            with self._database.write() as session:
                record_conflict(session, keeping.arrival, header, blob, at=keeping.at)
            return _received(header, kind_of(header), Outcome.CONFLICT)
        raise StorageUnavailable("others kept recording the same instance at the same moment: send it again")

    def _record_unless_known(self, keeping: Keeping, before_commit: Callable[[], None] | None) -> KnownVersion | None:
        header = keeping.header
        series = header.study_instance_uid, header.series_instance_uid
        is_known_series = series in self._series
        if before_commit is not None and is_known_series and kind_of(header) is InstanceKind.IMAGE:
            return self._image_commits.run(
                lambda transaction: self._images.record_unless_known(transaction, keeping), before_commit=before_commit
            )

        def write(session: Session) -> KnownVersion | None:
            known = known_version(session, header.sop_instance_uid)
            if known is None:
                record_new(
                    session, keeping.arrival, header, keeping.blob, at=keeping.at, is_known_series=is_known_series
                )
            return known

        known = self._commits.run(write, before_commit=before_commit)
        if known is None:
            self._series.add(series)
        return known

    def _record_repeat(self, keeping: Keeping, known: KnownVersion) -> Received:
        """Note the same content in another form; the form that came first is kept."""
        if known.is_output:
            with self._database.write() as session:
                record_echo(session, keeping.arrival, keeping.header, at=keeping.at)
        if known.sha256 != keeping.blob.sha256:
            self._forget(keeping.blob.sha256)
        return _received(keeping.header, known.kind, Outcome.DUPLICATE)

    def _is_same(self, known: KnownVersion, blob: KeptBlob) -> bool:
        if known.sha256 == blob.sha256:
            return True
        try:
            return same_content(self._blobs.path(known.sha256), self._blobs.path(blob.sha256))
        except NotFound:
            # What is kept has lost its file: what came cannot be compared, so a person decides.
            return False

    def _forget(self, sha256: str) -> None:
        """Remove a blob whose row could not be written; without an answer from the database it stays, an orphan."""
        with suppress(GatewayError):
            if not self.is_kept(sha256):
                self._blobs.discard(sha256)


class IncomingInstance:
    """An instance being received; nothing is visible before `finish`, nothing is left after `close`.

    Parameters
    ----------
    receiver, blobs
        Where it goes.
    arrival : Arrival
        With announced class and UID.
    transfer_syntax_uid : str
        How its data set is encoded.
    maximum_size : int
        Bytes.
    """

    def __init__(
        self, receiver: Receiver, blobs: BlobStore, arrival: Arrival, transfer_syntax_uid: str, maximum_size: int
    ) -> None:
        self._receiver = receiver
        self._arrival = arrival
        self._syntax = transfer_syntax_uid
        self._maximum_size = maximum_size
        meta = file_meta(
            sop_class_uid=arrival.expected_sop_class_uid,
            sop_instance_uid=arrival.expected_sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
        )
        self._meta_size = len(meta)
        self._incoming = blobs.open_incoming()
        self._incoming.write(meta)

    def write(self, dataset: bytes | memoryview) -> None:
        """Append bytes of the data set.

        Raises
        ------
        StorageFull
            If the disk has no room.
        UnacceptableInstance
            ``TOO_LARGE``.
        """
        if self._incoming.size + len(dataset) > self._maximum_size:
            raise UnacceptableInstance(
                f"the instance is larger than {self._maximum_size // _MB} MB (node.maximum_object_mb)", code="TOO_LARGE"
            )
        self._incoming.write(dataset)

    def room(self, size: int) -> memoryview | None:
        """Return where the next bytes of the data set may be read to; None if they must go through `write`."""
        return self._incoming.room(size) if self._incoming.size + size <= self._maximum_size else None

    def filled(self, size: int) -> None:
        """Take as many bytes of what was read to where `room` said."""
        self._incoming.filled(size)

    def finish(self, header: ReceivedHeader | None = None) -> Received:
        """Check the whole, make it durable and record it.

        Parameters
        ----------
        header : ReceivedHeader, optional
            If the data set was walked already.

        Raises
        ------
        UnacceptableInstance
            ``UNREADABLE``, ``TRUNCATED_DATASET``, ``MISSING_UID``, ``INVALID_UID``, ``CLASS_NOT_AS_ANNOUNCED`` or
            ``UID_NOT_AS_ANNOUNCED``; nothing was kept.
        StorageFull, StorageUnavailable
            It cannot be kept now; nothing was kept.
        """
        if header is None:
            with self._incoming.content() as file, file[self._meta_size :] as dataset:
                header = read_header(dataset, self._syntax)
            _require_announced(self._arrival, header)
        return self._receiver.keep(self._arrival, header, self._syntax, self._incoming)

    def close(self) -> None:
        """Drop what was not finished."""
        self._incoming.close()


def _received(header: ReceivedHeader, kind: InstanceKind, outcome: Outcome) -> Received:
    return Received(
        sop_instance_uid=header.sop_instance_uid,
        study_instance_uid=header.study_instance_uid,
        kind=kind,
        outcome=outcome,
    )


def _require_announced(arrival: Arrival, header: ReceivedHeader) -> None:
    if arrival.expected_sop_class_uid not in ("", header.sop_class_uid):
        raise UnacceptableInstance(
            "the data set is of another SOP class than the command announced", code="CLASS_NOT_AS_ANNOUNCED"
        )
    if arrival.expected_sop_instance_uid not in ("", header.sop_instance_uid):
        raise UnacceptableInstance(
            "the data set has another SOP Instance UID than the command announced", code="UID_NOT_AS_ANNOUNCED"
        )


@contextmanager
def _opened(content: bytes | Path) -> Iterator[memoryview]:
    """Yield the bytes of a file without copying them."""
    if isinstance(content, bytes):
        with memoryview(content) as view:
            yield view
        return
    with content.open("rb") as file:
        if content.stat().st_size == 0:
            raise UnacceptableInstance("the file is empty", code="UNREADABLE")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            yield view
