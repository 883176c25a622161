"""Content-addressed files: a blob's name is its SHA-256, so equal bytes are kept once and never overwritten.

A blob is durable when `put` or `Incoming.commit` returns: file synced, linked to its final name, directory synced. The
temporary name goes when whoever keeps the blob has recorded it, so a start can tell what a crash left without a row.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
from collections.abc import Callable, Collection, Iterator
from itertools import count
from pathlib import Path
from typing import Final, Protocol

from gateway.domain.errors import NotFound, StorageFull, StorageUnavailable

#: A blob no longer than this is held in memory while it comes, bytes; a CT image, but not a film.
HELD_IN_MEMORY: Final = 1 << 20
#: Buffers of that size kept for the next blobs.
_SPARE_BUFFERS: Final = 8


class UnwrittenBlobs(Protocol):
    """Blobs that are safe somewhere else and have no file yet."""

    def write_out(self, sha256: str) -> bool:
        """Write the file of one; return False if it is none of these."""

    def forget(self, sha256: str) -> None:
        """Never write the file of one."""


class BlobStore:
    """Blobs below one folder, in 256 sub-folders by the first two digits of the hash.

    Parameters
    ----------
    folder : Path
        Created if missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._numbers = count()
        self._buffers: list[bytearray] = []
        self._unwritten: UnwrittenBlobs | None = None
        with _named_errors(folder):
            self._incoming.mkdir(parents=True, exist_ok=True)
            for number in range(256):
                (folder / f"{number:02x}").mkdir(exist_ok=True)
            _sync_folder(folder)

    def path(self, sha256: str) -> Path:
        """Return where the blob is.

        Raises
        ------
        NotFound
            If there is none.
        """
        path = self.location(sha256)
        if not path.is_file():
            raise NotFound(f"blob {sha256[:12]} is not in the store: taken off by data.retention, or lost")
        return path

    def location(self, sha256: str) -> Path:
        """Return where a blob lies or would lie."""
        path = self._path(sha256)
        if self._unwritten is not None and not path.is_file():
            self._unwritten.write_out(sha256)
        return path

    def write_on_demand(self, unwritten: UnwrittenBlobs) -> None:
        """Have the files of blobs that have none yet written when somebody asks for them."""
        self._unwritten = unwritten

    def read(self, sha256: str) -> bytes:
        """Return a blob's bytes."""
        return self.path(sha256).read_bytes()

    def put(self, content: bytes) -> str:
        """Keep `content` durably and return its SHA-256 (hex)."""
        incoming = self.open_incoming()
        try:
            incoming.write(content)
            return incoming.commit()
        finally:
            incoming.close()

    def open_incoming(self) -> Incoming:
        """Open a blob to stream into."""
        return Incoming(self, self._incoming)

    def take_buffer(self) -> bytearray:
        """Return memory for a blob of `HELD_IN_MEMORY` bytes, used before where possible: fresh memory is slow."""
        try:
            return self._buffers.pop()
        except IndexError:
            return bytearray(HELD_IN_MEMORY)

    def give_buffer(self, buffer: bytearray) -> None:
        """Take such memory back for the next blob."""
        if len(self._buffers) < _SPARE_BUFFERS:
            self._buffers.append(buffer)

    def open_temporary(self) -> tuple[int, Path]:
        """Make an empty file for half received content; return its descriptor and where it is.

        Raises
        ------
        OSError
            If it cannot be made.
        """
        path = self._incoming / f"{os.getpid()}-{id(self):x}-{next(self._numbers)}"
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path

    def sweep_incoming(self, is_named: Callable[[str], bool] | None = None) -> int:
        """Remove what a crash left half received; return how many files. Only for start-up.

        Parameters
        ----------
        is_named : callable, optional
            Whether a row names a blob. A blob that had its final name when the crash came, and no row yet, goes too.
        """
        left = list(self._incoming.iterdir())
        for path in left:
            if is_named is not None and path.stat().st_nlink > 1:
                sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                if not is_named(sha256):
                    self.discard(sha256)
            path.unlink(missing_ok=True)
        return len(left)

    def sync(self, digests: Collection[str]) -> set[str]:
        """Make blobs that were published durable; return those whose files could not be synced.

        Parameters
        ----------
        digests : collection of str
            SHA-256 of each; one that is not there any more is passed over.

        Raises
        ------
        StorageFull, StorageUnavailable
            If a directory cannot be synced.
        """
        failed: set[str] = set()
        paths = {sha256: self._path(sha256) for sha256 in digests}
        for path in paths.values():
            # All begin to be written before the first is waited for, so they share the commits of the file system.
            _begin_writing(path)
        for sha256, path in paths.items():
            try:
                _sync_file(path)
            except FileNotFoundError:
                continue
            except OSError:
                failed.add(sha256)
        with _named_errors(self._folder):
            for folder in {path.parent for path in paths.values()}:
                _sync_folder(folder)
        return failed

    def publish(self, sha256: str, content: bytes) -> None:
        """Write a blob, whatever is under its name, and sync nothing: for what a journal holds.

        Raises
        ------
        StorageFull, StorageUnavailable
            If the disk does not take it.
        """
        self._write_anew(sha256, content, sync=False)

    def restore(self, sha256: str, content: bytes) -> None:
        """Write a blob anew, durably, whatever is under its name.

        Raises
        ------
        StorageFull, StorageUnavailable
            If the disk does not take it.
        """
        self._write_anew(sha256, content, sync=True)

    def holds(self, sha256: str, content: bytes) -> bool:
        """Whether the file under a name has this content."""
        try:
            return self._path(sha256).read_bytes() == content
        except OSError:
            return False

    def free_bytes(self) -> int:
        """Return how much room the disk has left for us, bytes."""
        with _named_errors(self._folder):
            room = os.statvfs(self._folder)
        return room.f_bavail * room.f_frsize

    def discard(self, sha256: str) -> None:
        """Remove a blob that no row names; the caller proves that none does and none will."""
        if self._unwritten is not None:
            self._unwritten.forget(sha256)
        self._path(sha256).unlink(missing_ok=True)

    def all_digests(self) -> Iterator[str]:
        """Yield the SHA-256 of every blob that has a file."""
        for number in range(256):
            yield from (entry.name for entry in (self._folder / f"{number:02x}").iterdir())

    def _write_anew(self, sha256: str, content: bytes, *, sync: bool) -> None:
        target = self._path(sha256)
        with _named_errors(self._folder):
            descriptor, path = self.open_temporary()
            try:
                with os.fdopen(descriptor, "wb", buffering=0) as file:
                    write_all(descriptor, content)
                    if sync:
                        os.fsync(file.fileno())
                path.rename(target)
            except OSError:
                path.unlink(missing_ok=True)
                raise
            if sync:
                _sync_folder(target.parent)

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256


class Incoming:
    """A blob being received; nothing is visible before `commit` or `publish`, nothing is left after `close`.

    A short one is held in memory until its bytes are needed in a file.
    """

    def __init__(self, store: BlobStore, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._held: bytearray | None = store.take_buffer()
        self._descriptor = -1
        self._path: Path | None = None
        self._kept: Path | None = None
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def temporary_path(self) -> Path:
        """Where the bytes are: all written, not synced before `commit`."""
        self.stage()
        path = self._kept or self._path
        assert path is not None
        return path

    @property
    def is_held(self) -> bool:
        """Whether its bytes are in memory only."""
        return self._held is not None

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of what was written so far."""
        return self._hash.hexdigest()

    def write(self, content: bytes | memoryview) -> None:
        """Append bytes.

        Raises
        ------
        StorageFull
            If the disk has no room.
        """
        if self._held is not None and self.size + len(content) > HELD_IN_MEMORY:
            self.stage()
        if self._held is not None:
            # Through a view: assigned to the array itself, the bytes would be copied twice.
            with memoryview(self._held) as whole:
                whole[self.size : self.size + len(content)] = content
        else:
            self._write(content)
        self._hash.update(content)
        self.size += len(content)

    def room(self, size: int) -> memoryview | None:
        """Return where the next bytes may be read to, told of by `filled` then; None where they must be written."""
        if self._held is None or self.size + size > HELD_IN_MEMORY:
            return None
        return memoryview(self._held)[self.size : self.size + size]

    def filled(self, size: int) -> None:
        """Append as many bytes of those that were read to where `room` said."""
        assert self._held is not None
        with memoryview(self._held) as whole, whole[self.size : self.size + size] as content:
            self._hash.update(content)
        self.size += size

    @contextlib.contextmanager
    def content(self) -> Iterator[memoryview]:
        """Yield what was written so far, without copying it."""
        if self._held is not None:
            with memoryview(self._held) as whole, whole[: self.size] as view:
                yield view
            return
        with mmap.mmap(self._descriptor, self.size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            yield view

    def stage(self) -> None:
        """Have all bytes in a temporary file, not synced.

        Raises
        ------
        StorageFull, StorageUnavailable
            If the disk does not take them.
        """
        if self._held is None:
            return
        if self._path is None:
            with _named_errors(self._folder):
                self._descriptor, self._path = self._store.open_temporary()
        with memoryview(self._held) as whole, whole[: self.size] as view:
            self._write(view)
        self._give_buffer_back()

    def publish(self) -> str:
        """Give the file its final name and sync nothing: for what a journal holds. Return the SHA-256 (hex)."""
        return self._name_it(sync=False)

    def commit(self) -> str:
        """Sync the file, give it its final name, sync the directory; return the SHA-256 (hex). Again: only that."""
        return self._name_it(sync=True)

    def close(self) -> None:
        """Drop the temporary file if it was not committed, and the second name if it was."""
        self._give_buffer_back()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _give_buffer_back(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._store.give_buffer(held)

    def _name_it(self, *, sync: bool) -> str:
        sha256 = self._hash.hexdigest()
        if self._kept is not None:
            return sha256
        self.stage()
        assert self._path is not None
        target = self._store.location(sha256)
        with _named_errors(self._path):
            if not sync:
                self._path.rename(target)
                self._path = None
            elif target.exists():
                # It came before; who brought it may still be syncing.
                _sync_file(target)
                _sync_folder(target.parent)
            else:
                os.fsync(self._descriptor)
                _link(self._path, target)
                _sync_folder(target.parent)
        self._kept = target
        return sha256

    def _write(self, content: bytes | bytearray | memoryview) -> None:
        with _named_errors(self._folder):
            write_all(self._descriptor, content)


def write_all(descriptor: int, content: bytes | bytearray | memoryview) -> None:
    """Write all bytes, in as many pieces as it takes.

    Raises
    ------
    OSError
        If the disk does not take them.
    """
    with memoryview(content) as view:
        written = 0
        while written < len(view):
            written += os.write(descriptor, view[written:])


def _link(path: Path, target: Path) -> None:
    """Give a file a second name, or where the file system knows no such thing its final one only."""
    try:
        os.link(path, target)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        path.rename(target)


def _begin_writing(path: Path) -> None:
    """Let the system begin to write a file to the disk."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _named_errors(_where: object) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the disk that holds the data folder is full: free some space") from None
        raise StorageUnavailable(f"the data folder cannot be used: {os.strerror(error.errno or 0)}") from error
