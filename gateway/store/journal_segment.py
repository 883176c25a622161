"""One file of the receive journal: records behind each other in blocks written before, so a sync moves no metadata.

A file system that must allocate blocks or move the end of a file commits its own journal at every sync; overwriting
blocks that are there costs one write to the disk and nothing else. That is why a segment is filled with zeros once and
then used again and again: what it holds of its life before carries another generation and counts as nothing.

A record is whole or does not exist: its head carries the SHA-256 of itself and that of its content.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

#: Everything starts at a multiple of this, so no sector is shared by two records.
BLOCK: Final = 4096

_SEGMENT_MAGIC: Final = b"OVRDSEG1"
_RECORD_MAGIC: Final = b"OVRDREC1"
_SEGMENT_HEAD: Final = Struct("<8sQ")
_RECORD_HEAD: Final = Struct("<8sQIIQ32s")
_DIGEST_SIZE: Final = 32
_ZEROS: Final = bytes(1 << 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRecord:
    """A record read back; its content was compared with its digest.

    Parameters
    ----------
    description : bytes
        What the writer said about the content.
    content : bytes
        As appended.
    sha256 : str
        Of the content, hex.
    """

    description: bytes
    content: bytes
    sha256: str


class UnreadableSegment(Exception):
    """A file in the journal's folder that is no segment of it."""


class JournalSegment:
    """One segment, open for writing.

    Parameters
    ----------
    path : Path
        An existing file.

    Raises
    ------
    UnreadableSegment
        If its head is damaged.
    OSError
        If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size
        head = os.pread(self._descriptor, _SEGMENT_HEAD.size + _DIGEST_SIZE, 0)
        fields, digest = head[: _SEGMENT_HEAD.size], head[_SEGMENT_HEAD.size :]
        if fields[:8] != _SEGMENT_MAGIC or hashlib.sha256(fields).digest() != digest:
            self.close()
            raise UnreadableSegment(path.name)
        self.generation: int = _SEGMENT_HEAD.unpack(fields)[1]
        self._end, self._count = BLOCK, 0

    @classmethod
    def create(cls, path: Path, size: int, generation: int) -> JournalSegment:
        """Lay an empty segment: every block written and synced under a temporary name first.

        Parameters
        ----------
        path : Path
            Its name.
        size : int
            Bytes, a multiple of `BLOCK`.
        generation : int
            Above that of every segment before.

        Raises
        ------
        OSError
            If there is no room; nothing is left.
        """
        unfinished = path.with_suffix(".new")
        try:
            with unfinished.open("wb", buffering=0) as file:
                file.write(_head(generation))
                while file.tell() < size:
                    file.write(_ZEROS[: size - file.tell()])
                os.fsync(file.fileno())
            unfinished.rename(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        return cls(path)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was appended since it was opened or restarted."""
        return self._count == 0

    def append(self, description: bytes, content: bytes | memoryview, digest: bytes) -> int | None:
        """Append a record, not synced; return where its content lies, None if there is no room. One caller at a time.

        Parameters
        ----------
        description : bytes
            Kept beside the content.
        content : bytes-like
            Any.
        digest : bytes
            SHA-256 of the content.

        Raises
        ------
        OSError
            If the disk fails; the record does not exist, and the next one takes its place.
        """
        length = record_length(len(description), len(content))
        if self._end + length > self.size:
            return None
        fields = _RECORD_HEAD.pack(_RECORD_MAGIC, self.generation, self._count, len(description), len(content), digest)
        head = fields + hashlib.sha256(fields + description).digest() + description
        # Whole blocks, or the system would have to read the last one first.
        padding = bytes(length - len(head) - len(content))
        written = os.pwritev(self._descriptor, [head, content, padding], self._end)
        if written < length:
            # Interrupted or short: the rest is written the slow way.
            rest = memoryview(head + bytes(content) + padding)
            while written < length:
                written += os.pwrite(self._descriptor, rest[written:], self._end + written)
        # The disk begins now, and is nearly done when the sync comes.
        os.posix_fadvise(self._descriptor, self._end, length, os.POSIX_FADV_DONTNEED)
        start, self._end, self._count = self._end + len(head), self._end + length, self._count + 1
        return start

    def read(self, start: int, length: int) -> bytes:
        """Read content that was appended.

        Raises
        ------
        OSError
            If the disk fails.
        """
        return os.pread(self._descriptor, length, start)

    def sync(self) -> None:
        """Make everything appended so far durable.

        Raises
        ------
        OSError
            If the disk fails; nothing is known then about what was appended since the last sync.
        """
        os.fdatasync(self._descriptor)

    def restart(self, generation: int) -> None:
        """Forget every record, durably.

        Raises
        ------
        OSError
            If the disk fails; the records may be forgotten or not.
        """
        os.pwrite(self._descriptor, _head(generation), 0)
        os.fdatasync(self._descriptor)
        self.generation, self._end, self._count = generation, BLOCK, 0

    def records(self) -> Iterator[JournalRecord]:
        """Yield the records from the first to the last whole one; what was torn by a crash ends them."""
        position, count = BLOCK, 0
        while True:
            found = self._record_at(position, count)
            if found is None:
                return
            yield found
            position += record_length(len(found.description), len(found.content))
            count += 1

    def close(self) -> None:
        """Close the file; what it holds stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _record_at(self, position: int, count: int) -> JournalRecord | None:
        head = os.pread(self._descriptor, _RECORD_HEAD.size + _DIGEST_SIZE, position)
        if len(head) < _RECORD_HEAD.size + _DIGEST_SIZE:
            return None
        fields, head_digest = head[: _RECORD_HEAD.size], head[_RECORD_HEAD.size :]
        magic, generation, number, description_length, content_length, digest = _RECORD_HEAD.unpack(fields)
        if (magic, generation, number) != (_RECORD_MAGIC, self.generation, count):
            return None
        if position + record_length(description_length, content_length) > self.size:
            return None
        position += len(head)
        description = os.pread(self._descriptor, description_length, position)
        if hashlib.sha256(fields + description).digest() != head_digest:
            return None
        content = os.pread(self._descriptor, content_length, position + description_length)
        if hashlib.sha256(content).digest() != digest:
            return None
        return JournalRecord(description=description, content=content, sha256=digest.hex())


def record_length(description: int, content: int) -> int:
    """Return the bytes a record takes in a segment, by the lengths of its parts."""
    length = _RECORD_HEAD.size + _DIGEST_SIZE + description + content
    return -(-length // BLOCK) * BLOCK


def _head(generation: int) -> bytes:
    fields = _SEGMENT_HEAD.pack(_SEGMENT_MAGIC, generation)
    return (fields + hashlib.sha256(fields).digest()).ljust(BLOCK, b"\x00")
