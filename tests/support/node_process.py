"""A DICOM node in a process of its own that can be killed, and that kills itself at a named point of receiving.

usage: python -m tests.support.node_process --port PORT --dir FOLDER [--journal-mb N --die-at POINT --after COUNT]
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlmodel import SQLModel

from gateway.config import Config, NodeConfig
from gateway.dimse.archive import archive_of
from gateway.dimse.node import DicomNode
from gateway.dimse.storage_lane import _Association
from gateway.services import receive
from gateway.services.receive import Receiver
from gateway.store.blobs import BlobStore, Incoming
from gateway.store.database import Database
from gateway.store.group_commit import GroupCommit
from gateway.store.journal_segment import JournalSegment
from gateway.store.journal_span import JournalEntry
from gateway.store.receive_journal import ReceiveJournal

#: Point by name: whose method, which, and whether the process dies before or after it.
POINTS: dict[str, tuple[Any, str, str]] = {
    "before the journal has it": (ReceiveJournal, "append", "before"),
    "before the journal is synced": (ReceiveJournal, "append", "after"),
    "after the journal was synced": (JournalEntry, "sync", "after"),
    "after the row is committed": (GroupCommit, "run", "after"),
    "before the response": (_Association, "_respond", "before"),
    "after the response": (_Association, "_respond", "after"),
}
#: Points of the way from the journal to the files, when the sender pauses.
SETTLING: dict[str, tuple[Any, str, str]] = {
    "before a file is written": (BlobStore, "publish", "before"),
    "after a file is written": (BlobStore, "publish", "after"),
    "before the files are synced": (BlobStore, "sync", "before"),
    "after the files were synced": (BlobStore, "sync", "after"),
    "before the journal is emptied": (JournalSegment, "restart", "before"),
    "after the journal was emptied": (JournalSegment, "restart", "after"),
}
#: Points of an instance that is kept without the journal.
DIRECTLY: dict[str, tuple[Any, str, str]] = {
    "before the file has its name": (Incoming, "commit", "before"),
    "after the file has its name": (Incoming, "commit", "after"),
    "before the row is committed": (receive, "record_new", "after"),
}


def die_at(point: str, after: int) -> None:
    """Let this process kill itself when it passes a point for the (`after` + 1)-th time."""
    owner, name, when = (POINTS | SETTLING | DIRECTLY)[point]
    real: Callable[..., Any] = getattr(owner, name)
    passed = 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal passed
        passed += 1
        is_last = passed > after
        if is_last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--blobs", type=Path, help="folder of the objects alone; database and journal stay in --dir")
    parser.add_argument("--ae-title", default="OVERREAD")
    parser.add_argument("--die-at", choices=sorted(POINTS | SETTLING | DIRECTLY))
    parser.add_argument("--after", type=int, default=0)
    parser.add_argument("--journal-mb", type=int, default=512)
    parser.add_argument("--services", action="store_true", help="offer query, retrieve, commitment and announcements")
    arguments = parser.parse_args()
    if arguments.die_at:
        die_at(arguments.die_at, arguments.after)
    arguments.dir.mkdir(parents=True, exist_ok=True)
    database, blobs = Database.in_folder(arguments.dir), BlobStore(arguments.blobs or arguments.dir / "blobs")
    SQLModel.metadata.create_all(database.engine)
    journal = ReceiveJournal(arguments.dir / "journal", blobs, database, size_mb=arguments.journal_mb)
    receiver = Receiver(database, blobs, lambda: datetime.now(UTC), 0, lambda _received: None, journal=journal)
    blobs.sweep_incoming(receiver.is_kept)
    journal.replay(receiver.replay)
    journal.start()
    receiver.prepare()
    config = NodeConfig(port=arguments.port, ae_title=arguments.ae_title, maximum_associations=200)
    archive = archive_of(Config(), database, blobs, lambda: datetime.now(UTC)) if arguments.services else None
    node = DicomNode(config, receiver, lambda _transfer: None, archive)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    node.start()
    stopped.wait()
    node.stop(5.0)
    journal.close()
    database.close()


if __name__ == "__main__":
    main()
