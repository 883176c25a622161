"""Whether the blobs on the disk and the rows that name them agree; what belongs to nobody is put aside, never deleted.

A look may run beside a working gateway: files are listed before the rows are read, what is missing is looked for once
more, and a file that came in the last minutes is not judged, since its row may be on the way.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlmodel import Session

from gateway.services.blob_references import named_blobs, purged_blobs
from gateway.store import audit
from gateway.store.database import Database
from gateway.store.journal_segment import JournalSegment, UnreadableSegment

#: A file younger than this is not called an orphan, seconds.
SETTLED_AFTER_S: Final = 900.0
INCOMING: Final = "incoming"
_HEX: Final = frozenset("0123456789abcdef")
_SHA256_DIGITS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingBlob:
    """A blob that rows name and the disk does not have; `tables` are those rows' tables."""

    sha256: str
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """What a look at the store found.

    Parameters
    ----------
    blobs, size : int
        Files that are blobs, and their bytes together.
    orphans : tuple of Path
        Blobs that no row names, older than `SETTLED_AFTER_S`.
    strangers : tuple of Path
        Files in the folders of blobs that are none.
    damaged : tuple of Path
        Blobs whose content is not what their name says; only a deep look finds them.
    missing : tuple of MissingBlob
        Named by rows, not on the disk, and not purged.
    half_received : int
        Temporary files; a start of the gateway removes what a crash left.
    unsettled : int
        Blobs that no row names yet, too young to be judged.
    journaled : int
        Blobs that have no file yet and are safe in the receive journal.
    purged : int
        Blobs that retention removed.
    """

    blobs: int
    size: int
    orphans: tuple[Path, ...]
    strangers: tuple[Path, ...]
    damaged: tuple[Path, ...]
    missing: tuple[MissingBlob, ...]
    half_received: int
    unsettled: int
    journaled: int
    purged: int

    @property
    def displaced(self) -> tuple[Path, ...]:
        """Files that a repair puts aside."""
        return (*self.orphans, *self.strangers, *self.damaged)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    size: int
    modified: float
    is_blob: bool


def look(
    database: Database, folder: Path, *, now: datetime, deep: bool = False, journal: Path | None = None
) -> StoreState:
    """Compare the blobs below `folder` with the rows.

    Parameters
    ----------
    database : Database
        The rows.
    folder : Path
        The folder of the blob store; it need not be open.
    now : datetime
        The time, with zone.
    deep : bool
        Read every blob and compare its SHA-256 with its name.
    journal : Path, optional
        The folder of the receive journal, which may hold what has no file yet.

    Raises
    ------
    StorageUnavailable
        If the database cannot be read.
    """
    files = list(_files(folder))
    blobs = {file.path.name: file for file in files if file.is_blob}
    with database.read() as session:
        named = {sha256 for sha256, _ in named_blobs(session)}
        purged = purged_blobs(session)
        missing = {name for name in named - blobs.keys() - purged if not (folder / name[:2] / name).is_file()}
        journaled = missing & journaled_digests(journal) if missing and journal is not None else set()
        # What was settled between the two looks has left the journal and has its file.
        missing = {name for name in missing - journaled if not (folder / name[:2] / name).is_file()}
        tables = _tables_that_name(session, missing)
    unnamed = [file for name, file in blobs.items() if name not in named]
    old = [file for file in unnamed if file.modified < now.timestamp() - SETTLED_AFTER_S]
    return StoreState(
        blobs=len(blobs),
        size=sum(file.size for file in blobs.values()),
        orphans=tuple(file.path for file in old),
        strangers=tuple(file.path for file in files if not file.is_blob),
        damaged=tuple(file.path for file in blobs.values() if not _is_whole(file.path)) if deep else (),
        missing=tuple(MissingBlob(sha256=name, tables=tables[name]) for name in sorted(missing)),
        half_received=sum(1 for _ in os.scandir(folder / INCOMING)) if (folder / INCOMING).is_dir() else 0,
        unsettled=len(unnamed) - len(old),
        journaled=len(journaled),
        purged=len(purged),
    )


def put_aside(database: Database, files: Sequence[Path], quarantine: Path, *, actor: str, at: datetime) -> Path | None:
    """Move files into a folder of their own below `quarantine`, with one audit row; return it, None if there are none.

    The gateway must not be running: the caller holds the lock on the data folder. A damaged blob that was put aside
    makes room for the right one, from a back-up or by sending the instance again.

    Raises
    ------
    OSError
        If a file cannot be moved.
    """
    if not files:
        return None
    target = quarantine / at.strftime("%Y%m%dT%H%M%SZ")
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        file.rename(_free_name(target / file.name))
    with database.write() as session:
        audit.append(session, at=at, actor=actor, action="STORE_REPAIRED", detail={"files_put_aside": len(files)})
    return target


def journaled_digests(folder: Path) -> set[str]:
    """Return the SHA-256 (hex) of everything that the receive journal in `folder` holds now."""
    found: set[str] = set()
    for path in sorted(folder.glob("*.journal")):
        try:
            segment = JournalSegment(path)
        except (OSError, UnreadableSegment):
            # Being laid or put away just now, or damaged: the gateway says so at its start.
            continue
        try:
            found.update(record.sha256 for record in segment.records())
        finally:
            segment.close()
    return found


def _files(folder: Path) -> Iterator[_File]:
    """Yield the files of the 256 folders; what disappears meanwhile is passed over."""
    for number in range(256):
        place = folder / f"{number:02x}"
        if not place.is_dir():
            continue
        for entry in os.scandir(place):
            try:
                facts = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            is_blob = entry.is_file(follow_symlinks=False) and _is_name(entry.name, place.name)
            yield _File(path=Path(entry.path), size=facts.st_size, modified=facts.st_mtime, is_blob=is_blob)


def _tables_that_name(session: Session, digests: set[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for sha256, table in named_blobs(session) if digests else ():
        if sha256 in digests:
            found.setdefault(sha256, set()).add(table)
    return {sha256: tuple(sorted(tables)) for sha256, tables in found.items()}


def _is_name(name: str, folder: str) -> bool:
    return len(name) == _SHA256_DIGITS and _HEX.issuperset(name) and name.startswith(folder)


def _is_whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == path.name
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number, free = number + 1, path.with_name(f"{path.name}.{number}")
    return free
