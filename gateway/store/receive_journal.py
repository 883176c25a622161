"""The receive journal: an instance is safe after one sync, its file and its row are made safe later, many at once.

A blob in its folder with its row in the database takes three syncs to survive a crash: file, folder, database. Here the
bytes and what is known of their arrival are appended to a journal instead, and one sync of that makes them safe. The
row is committed before the sender is answered, visible to everybody, and left to the operating system. When the journal
is half full, or nothing came for a while, or somebody asks for a blob, its file is written; files and database are
synced for a whole segment at once, and only then is the segment used again. A start after a crash receives once more
whatever the journal still holds, before any door opens (`services.replay_journal`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.domain.errors import GatewayError, StorageUnavailable
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.journal_segment import BLOCK, JournalRecord, JournalSegment, UnreadableSegment, record_length
from gateway.store.journal_span import JournalEntry, Span

logger = logging.getLogger(__name__)

#: Segments of a journal.
SEGMENTS: Final = 8
#: Segments that may be full before any is settled: a study comes in at full speed, and the disk is its own till then.
UNSETTLED: Final = 5
#: Everything is settled when nothing was appended for this long, seconds.
IDLE_SECONDS: Final = 1.0
#: How long an instance waits for a segment to be settled before it is kept without the journal, seconds.
ROOM_SECONDS: Final = 2.0
#: Pause before a segment that could not be settled is tried again, seconds.
RETRY_SECONDS: Final = 10.0


class ReceiveJournal:
    """The journal of one data folder; `append` is safe to use from many threads.

    Parameters
    ----------
    folder : Path
        Of its own.
    blobs, database
        Where instances go in the end.
    size_mb : int
        Of all segments together; 0: nothing is appended any more, what is there is replayed.
    """

    def __init__(self, folder: Path, blobs: BlobStore, database: Database, *, size_mb: int) -> None:
        self._folder = folder
        self._blobs = blobs
        self._database = database
        self._segment_size = size_mb * 1_048_576 // SEGMENTS
        self._generation = 0
        self._changed = threading.Condition()
        self._active: Span | None = None
        self._full: deque[Span] = deque()
        self._free: deque[JournalSegment] = deque()
        #: Blobs that have no file yet.
        self._unwritten: dict[str, Span] = {}
        self._writing = threading.Lock()
        #: Segments being settled.
        self._in_the_works = 0
        self._is_stuck = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def maximum_content(self) -> int:
        """Longest content taken, bytes; for more, three syncs cost little beside the writing."""
        return self._segment_size // 2

    # ------------------------------------------------------------------------------------------ start and end
    def replay(self, receive: Callable[[JournalRecord], bool]) -> int:
        """Receive again what a crash left, make it safe and empty the segments; before `start`.

        Parameters
        ----------
        receive : callable
            Keeps a record's content as it should have been kept, again if need be; False if it cannot ever.

        Returns
        -------
        int
            Records seen.

        Raises
        ------
        StorageFull, StorageUnavailable
            If something cannot be kept now; the journal is as it was.
        """
        segments = sorted(self._existing(), key=lambda segment: segment.generation)
        self._generation = max((segment.generation for segment in segments), default=0)
        seen = 0
        for segment in segments:
            span, is_whole = Span(segment), True
            for record in segment.records():
                is_whole &= receive(record)
                span.contents[record.sha256] = 0, len(record.content)
                seen += 1
            if span.contents:
                self._settle(span)
            self._put_back(segment, is_whole=is_whole)
        return seen

    def start(self) -> None:
        """Begin to take records; `replay` has been called."""
        if self._segment_size == 0:
            return
        while len(self._free) < SEGMENTS and self._lay_segment():
            pass
        self._blobs.write_on_demand(self)
        self._thread = threading.Thread(target=self._settle_until_end, name="journal-settle", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Settle everything, so that a start finds nothing to replay; what cannot be settled waits for it."""
        with self._changed:
            self._stopping = True
            self._retire_active()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        while self._full:
            span = self._full.popleft()
            with suppress(GatewayError, OSError):
                if span.open_entries == 0 and not self._is_stuck:
                    self._settle(span)
                    self._recycle(span.segment)
                    continue
            span.segment.close()
        while self._free:
            self._free.popleft().close()

    # ------------------------------------------------------------------------------------------ appending
    def append(
        self, description: bytes, content: bytes | memoryview, sha256: str, *, is_written_later: bool
    ) -> JournalEntry | None:
        """Append an instance; it is safe after the entry's `sync`.

        Parameters
        ----------
        description : bytes
            What `services.replay_journal` needs beside the content.
        content : bytes-like
            The blob.
        sha256 : str
            Of the content, hex.
        is_written_later : bool
            Whether the blob's file is to be written when a segment is settled, or somebody asks the store for it.

        Returns
        -------
        JournalEntry or None
            To sync, and to give back to `done`; None if the journal has no room now: keep the instance without it.
        """
        length = record_length(len(description), len(content))
        with self._changed:
            if not self._has_room(length):
                return None
            span = self._active
            assert span is not None
            try:
                entry = span.append(description, content, sha256)
            except OSError as error:
                logger.error("the receive journal cannot be written (%s): doing without", error.strerror)
                return None
        if is_written_later:
            with self._writing:
                self._unwritten[sha256] = span
        return entry

    def write_out(self, sha256: str) -> bool:
        """Write the file of a blob that has none yet; return False if there is no such blob here.

        Raises
        ------
        StorageFull, StorageUnavailable
            If the disk does not take it, or does not give it back.
        """
        with self._writing:
            span = self._unwritten.get(sha256)
            if span is None:
                return False
            self._blobs.publish(sha256, span.content(sha256))
            del self._unwritten[sha256]
        return True

    def forget(self, sha256: str) -> None:
        """Do not write the file of a blob: no row names it."""
        with self._writing:
            self._unwritten.pop(sha256, None)

    def _has_room(self, length: int) -> bool:
        """Make sure that the active segment has room, waiting a little for one to be settled; holds the lock."""
        if length > self._segment_size - BLOCK:
            return False
        until = time.monotonic() + ROOM_SECONDS
        while self._active is None or not self._active.has_room(length):
            self._retire_active()
            if self._free:
                self._active = Span(self._free.popleft())
                # Someone settles it when nothing more comes.
                self._changed.notify_all()
            elif not self._may_come() or not self._changed.wait(until - time.monotonic()):
                return False
        return True

    def _may_come(self) -> bool:
        return self._in_the_works + len(self._full) > 0 and not self._is_stuck and not self._stopping

    def _retire_active(self) -> None:
        if self._active is not None:
            self._full.append(self._active)
            self._active = None
            self._changed.notify_all()

    def done(self, entry: JournalEntry) -> None:
        """Note that the file and the row of an entry are written, or never will be: its segment may be settled."""
        span = entry.span
        with self._changed:
            span.open_entries -= 1
            if span.open_entries == 0 and span is not self._active:
                self._changed.notify_all()

    # ------------------------------------------------------------------------------------------ settling
    def _settle_until_end(self) -> None:
        while True:
            with self._changed:
                span = self._next_to_settle()
            if span is None:
                return
            try:
                self._settle(span)
                self._recycle(span.segment)
            except (GatewayError, OSError) as error:
                logger.error("received instances cannot be settled (%s); the journal keeps them", type(error).__name__)
                with self._changed:
                    self._full.appendleft(span)
                    self._changed.wait_for(lambda: self._stopping, timeout=RETRY_SECONDS)
            finally:
                with self._changed:
                    self._in_the_works -= 1

    def _next_to_settle(self) -> Span | None:
        """Wait for a full or idle segment that nobody is using; None at the end. Holds the lock."""
        while not self._stopping:
            is_idle = self._active is None or self._active.is_idle(IDLE_SECONDS)
            if is_idle:
                self._retire_active()
            if is_idle or len(self._full) > UNSETTLED:
                for span in self._full:
                    if span.open_entries == 0 and not self._is_stuck:
                        self._full.remove(span)
                        self._in_the_works += 1
                        return span
            self._changed.wait(None if self._active is None else IDLE_SECONDS)
        return None

    def _settle(self, span: Span) -> None:
        """Make files and rows of a segment durable without it.

        Raises
        ------
        StorageFull, StorageUnavailable
            If that fails.
        """
        for sha256 in span.contents:
            self.write_out(sha256)
        lost = self._blobs.sync(span.contents)
        if lost:
            # What a failed sync leaves in the cache is not what the disk holds, so they are written anew.
            for record in span.segment.records():
                if record.sha256 in lost:
                    self._blobs.restore(record.sha256, record.content)
        try:
            self._database.sync()
        except OSError as error:
            self._is_stuck = True
            logger.error("the database cannot be synced (%s): restart the gateway", error.strerror)
            raise StorageUnavailable("the database cannot be synced") from None

    def _put_back(self, segment: JournalSegment, *, is_whole: bool) -> None:
        """Use a replayed segment again, or not."""
        try:
            if is_whole and segment.size == self._segment_size and len(self._free) < SEGMENTS:
                self._recycle(segment)
                return
            segment.close()
            if is_whole:
                segment.path.unlink()
            else:
                self._set_aside(segment.path)
        except OSError as error:
            raise StorageUnavailable(f"the receive journal cannot be written: {error.strerror}") from None

    def _recycle(self, segment: JournalSegment) -> None:
        self._generation += 1
        segment.restart(self._generation)
        with self._changed:
            self._free.append(segment)
            self._changed.notify_all()

    # ------------------------------------------------------------------------------------------ files
    def _lay_segment(self) -> bool:
        """Add an empty segment where the disk has room for it."""
        try:
            self._folder.mkdir(exist_ok=True)
            if self._blobs.free_bytes() < SEGMENTS * self._segment_size:
                logger.warning("too little room for the receive journal: instances are kept without it")
                return False
            self._generation += 1
            path = self._folder / f"{self._generation:08d}.journal"
            segment = JournalSegment.create(path, self._segment_size, self._generation)
        except (OSError, GatewayError) as error:
            logger.warning("a segment of the receive journal cannot be laid (%s)", type(error).__name__)
            return False
        with self._changed:
            self._free.append(segment)
            self._changed.notify_all()
        return True

    def _existing(self) -> list[JournalSegment]:
        segments = []
        for path in sorted(self._folder.glob("*.journal")):
            try:
                segments.append(JournalSegment(path))
            except UnreadableSegment:
                self._set_aside(path)
            except OSError as error:
                raise StorageUnavailable(f"the receive journal cannot be read: {error.strerror}") from None
        for path in self._folder.glob("*.new"):
            path.unlink(missing_ok=True)
        return segments

    def _set_aside(self, path: Path) -> None:
        logger.error("'%s' of the receive journal cannot be replayed and is kept beside it", path.name)
        path.rename(path.with_name(f"{path.name}.{time.time_ns()}.kept"))
