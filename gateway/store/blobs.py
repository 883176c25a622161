"""Content-addressed files: a blob's name is its SHA-256, so equal bytes are kept once and never overwritten.

A blob is durable when `put` or `Incoming.commit` returns: file synced, renamed to its final name, directory synced.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gateway.domain.errors import NotFound, StorageFull, StorageUnavailable


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
        path = self._path(sha256)
        if not path.is_file():
            raise NotFound(f"blob {sha256[:12]} is not in the store")
        return path

    def location(self, sha256: str) -> Path:
        """Return where a blob lies or would lie."""
        return self._path(sha256)

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
        """Open a temporary file to stream into."""
        with _named_errors(self._folder):
            return Incoming(self, self._incoming)

    def sweep_incoming(self) -> int:
        """Remove what a crash left half received; return how many files. Only for start-up."""
        left = list(self._incoming.iterdir())
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def free_bytes(self) -> int:
        """Return how much room the disk has left for us, bytes."""
        with _named_errors(self._folder):
            room = os.statvfs(self._folder)
        return room.f_bavail * room.f_frsize

    def discard(self, sha256: str) -> None:
        """Remove a blob that no row names; the caller proves that none does and none will."""
        self._path(sha256).unlink(missing_ok=True)

    def all_digests(self) -> Iterator[str]:
        """Yield the SHA-256 of every blob."""
        for number in range(256):
            yield from (entry.name for entry in (self._folder / f"{number:02x}").iterdir())

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256


class Incoming:
    """A blob being received; nothing is visible before `commit`, nothing is left after `close`."""

    def __init__(self, store: BlobStore, folder: Path) -> None:
        self._store = store
        descriptor, name = tempfile.mkstemp(dir=folder)
        self._path: Path | None = Path(name)
        self._kept: Path | None = None
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def temporary_path(self) -> Path:
        """Where the bytes are: all written, not synced before `commit`."""
        path = self._path or self._kept
        assert path is not None
        return path

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
        with _named_errors(self._store.path), memoryview(content) as view:
            written = 0
            while written < len(view):
                written += self._file.write(view[written:])
        self._hash.update(content)
        self.size += len(content)

    def commit(self) -> str:
        """Sync the file, give it its final name, sync the directory; return the SHA-256 (hex). Again: only that."""
        sha256 = self._hash.hexdigest()
        if self._path is None:
            return sha256
        target = self._store._path(sha256)
        with _named_errors(self._path):
            if target.exists():
                self._path.unlink()
            else:
                os.fsync(self._file.fileno())
                self._path.rename(target)
            _sync_folder(target.parent)
        self._path, self._kept = None, target
        self._file.close()
        return sha256

    def close(self) -> None:
        """Drop the temporary file if it was not committed."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None


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
