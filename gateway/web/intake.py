"""Bring uploaded files to the receiver: DICOM files as they are, zip archives member by member, within bounds."""

from __future__ import annotations

import contextlib
import errno
import mmap
import tempfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool

from gateway.domain.errors import GatewayError, StorageFull, StorageUnavailable, UnacceptableInstance
from gateway.services.arrival import Received
from gateway.services.part10 import file_layout
from gateway.services.received_header import ReceivedHeader, read_header
from gateway.services.record_transfer import Transfer
from gateway.web.problems import TooLarge
from gateway.web.services import Services

_CHUNK = 1 << 20
_MB = 1_000_000
_ZIP_START = b"PK\x03\x04"
#: Members a zip may have.
MAXIMUM_MEMBERS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What became of one uploaded file or zip member; `position` counts from 0 over all of them.

    `outcome` is NEW, DUPLICATE, CONFLICT or REFUSED; then `code` and `detail` say why. File names are not repeated:
    they often hold a patient's name.
    """

    position: int
    outcome: str
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    kind: str = ""
    code: str = ""
    detail: str = ""


class ScratchFile:
    """A temporary file that is counted against ``node.maximum_object_mb``; gone when closed.

    Parameters
    ----------
    folder : Path
        Created if missing.
    limit_mb : int
        Bytes beyond are counted, not kept.
    """

    def __init__(self, folder: Path, limit_mb: int) -> None:
        self._limit = limit_mb * _MB
        self._size = 0
        with _named_errors():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`

    @property
    def is_too_large(self) -> bool:
        """Whether more was written than is allowed."""
        return self._size > self._limit

    def write(self, chunk: bytes) -> None:
        """Append bytes.

        Raises
        ------
        StorageFull, StorageUnavailable
            If they cannot be kept.
        """
        self._size += len(chunk)
        if not self.is_too_large:
            with _named_errors():
                self._file.write(chunk)

    def finished(self) -> Path:
        """Return where the whole of it can be read."""
        with _named_errors():
            self._file.flush()
        return Path(self._file.name)

    def close(self) -> None:
        """Remove it."""
        with contextlib.suppress(OSError):
            self._file.close()


def scratch_file(services: Services) -> ScratchFile:
    """Open a scratch file of this gateway."""
    return ScratchFile(services.scratch, services.config.node.maximum_object_mb)


def peek(path: Path) -> ReceivedHeader:
    """Read what a DICOM file says about itself, without keeping it.

    Raises
    ------
    UnacceptableInstance
        If it is not a whole DICOM file.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise UnacceptableInstance("the file is empty", code="UNREADABLE")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            layout = file_layout(view)
            with view[layout.dataset_offset :] as dataset:
                return read_header(dataset, layout.transfer_syntax_uid)


@contextlib.asynccontextmanager
async def spooled(services: Services, chunks: AsyncIterator[bytes]) -> AsyncIterator[Path]:
    """Write a request body to a temporary file and yield its path; it is gone afterwards.

    Raises
    ------
    TooLarge
        If it is larger than ``node.maximum_object_mb``.
    """
    with contextlib.closing(scratch_file(services)) as file:
        async for chunk in chunks:
            await run_in_threadpool(file.write, chunk)
            if file.is_too_large:
                raise TooLarge(f"more than {services.config.node.maximum_object_mb} MB (node.maximum_object_mb)")
        yield file.finished()


def take_in(services: Services, files: Iterator[BinaryIO], *, door: str, sender: str) -> tuple[Upload, ...]:
    """Hand every file to the receiver, and the members of every zip.

    Raises
    ------
    StorageFull, StorageUnavailable
        If nothing more can be kept; what was received before stays.
    """
    transfer = Transfer(sender=sender, door=door)
    results: list[Upload] = []
    try:
        for file in files:
            for content in _contents(services, file):
                results.append(_take_one(services, transfer, content, len(results)))
    finally:
        services.receiver.transfer_ended(transfer, ended="released")
    return tuple(results)


def _take_one(services: Services, transfer: Transfer, content: Path | UnacceptableInstance, position: int) -> Upload:
    try:
        if isinstance(content, UnacceptableInstance):
            raise content
        received = services.receiver.receive(content, door=transfer.door, sender=transfer.sender)
    except (StorageFull, StorageUnavailable):
        raise
    except GatewayError as error:
        transfer.add_refused()
        return Upload(position=position, outcome="REFUSED", code=error.code, detail=error.detail)
    transfer.add(received)
    return as_upload(received, position)


def as_upload(received: Received, position: int) -> Upload:
    """Return what became of a received instance."""
    return Upload(
        position=position,
        outcome=received.outcome,
        sop_instance_uid=received.sop_instance_uid,
        study_instance_uid=received.study_instance_uid,
        kind=received.kind,
    )


def _contents(services: Services, file: BinaryIO) -> Iterator[Path | UnacceptableInstance]:
    start = file.read(4)
    file.seek(0)
    if start == _ZIP_START:
        yield from _members(services, file)
    else:
        with _copied(services, file) as path:
            yield path


def _members(services: Services, file: BinaryIO) -> Iterator[Path | UnacceptableInstance]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > MAXIMUM_MEMBERS:
                yield UnacceptableInstance(f"the zip has more than {MAXIMUM_MEMBERS} members", code="TOO_LARGE")
                return
            for member in members:
                yield from _member(services, archive, member)
    except (zipfile.BadZipFile, NotImplementedError, EOFError):  # the middle one: of a newer version than zipfile reads
        yield UnacceptableInstance("the zip archive is damaged", code="UNREADABLE")


def _member(
    services: Services, archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> Iterator[Path | UnacceptableInstance]:
    try:
        with archive.open(member) as content, _copied(services, content) as path:  # type: ignore[arg-type]
            yield path
    except UnacceptableInstance as error:
        yield error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError):
        yield UnacceptableInstance("a member of the zip is damaged, encrypted or packed unusually", code="UNREADABLE")


@contextlib.contextmanager
def _copied(services: Services, content: BinaryIO) -> Iterator[Path]:
    """Copy to a file of our own; a size announced in a zip is not believed, the bytes are counted."""
    with contextlib.closing(scratch_file(services)) as file:
        while chunk := content.read(_CHUNK):
            file.write(chunk)
            if file.is_too_large:
                limit = services.config.node.maximum_object_mb
                raise UnacceptableInstance(f"larger than {limit} MB (node.maximum_object_mb)", code="TOO_LARGE")
        yield file.finished()


@contextlib.contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the disk that holds the data folder is full: free some space") from None
        raise StorageUnavailable("the folder for uploads cannot be used") from error
