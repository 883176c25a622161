"""A segment of the receive journal in use, and the instances that are being kept with its help."""

from __future__ import annotations

import hashlib
import logging
import threading
import time

from gateway.domain.errors import StorageUnavailable
from gateway.store.journal_segment import BLOCK, JournalSegment, record_length

logger = logging.getLogger(__name__)


class Span:
    """A segment from its first record until what it holds is safe without it; guarded by the journal's lock.

    Parameters
    ----------
    segment : JournalSegment
        Empty, or read back.
    """

    def __init__(self, segment: JournalSegment) -> None:
        self.segment = segment
        #: The blobs its records hold by SHA-256: where the content starts, and its length.
        self.contents: dict[str, tuple[int, int]] = {}
        #: Records whose instances are not yet written where they belong.
        self.open_entries = 0
        self._room = segment.size - BLOCK
        self._appended = self._synced = 0
        self._appended_at = 0.0
        self._syncing = threading.Lock()
        self._is_broken = False

    def has_room(self, length: int) -> bool:
        """Whether it may take a record of so many bytes."""
        return not self._is_broken and self._room >= length

    def append(self, description: bytes, content: bytes | memoryview, sha256: str) -> JournalEntry:
        """Append a record for which it has room; it is safe after the entry's `sync`.

        Raises
        ------
        OSError
            If the disk fails.
        """
        start = self.segment.append(description, content, bytes.fromhex(sha256))
        assert start is not None
        self.contents[sha256] = start, len(content)
        self.open_entries += 1
        self._room -= record_length(len(description), len(content))
        self._appended += 1
        self._appended_at = time.monotonic()
        return JournalEntry(self, self._appended)

    def is_idle(self, seconds: float) -> bool:
        """Whether it holds something, nobody is using it, and nothing came for `seconds`."""
        return self._appended > 0 and self.open_entries == 0 and time.monotonic() - self._appended_at > seconds

    def content(self, sha256: str) -> bytes:
        """Return a blob its records hold.

        Raises
        ------
        StorageUnavailable
            If the disk does not give it back.
        """
        try:
            content = self.segment.read(*self.contents[sha256])
        except OSError as error:
            raise StorageUnavailable(f"the receive journal cannot be read: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StorageUnavailable("the receive journal gave other bytes back than it was given")
        return content

    def sync(self, number: int) -> None:
        """Return when record `number` is safe; one sync does for all that were appended before it.

        Raises
        ------
        StorageUnavailable
            If the disk failed, now or before. Nobody knows then what it holds, and a record is found only over those
            before it, so the segment takes no more.
        """
        with self._syncing:
            if not self._is_broken and self._synced < number:
                appended = self._appended
                try:
                    self.segment.sync()
                except OSError as error:
                    self._is_broken = True
                    logger.error("the receive journal cannot be synced (%s)", error.strerror)
                self._synced = appended
            if self._is_broken:
                raise StorageUnavailable("the disk of the data folder does not sync: nothing was kept")


class JournalEntry:
    """An instance in the journal; its segment is kept until the journal's `done`.

    Parameters
    ----------
    span : Span
        Where it is.
    number : int
        Its place there, from 1.
    """

    def __init__(self, span: Span, number: int) -> None:
        self.span = span
        self._number = number

    def sync(self) -> None:
        """Make the instance safe, together with all that wait for the same.

        Raises
        ------
        StorageUnavailable
            If the disk failed.
        """
        self.span.sync(self._number)
