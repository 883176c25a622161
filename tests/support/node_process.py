"""A DICOM node in a process of its own that can be killed, and that kills itself at a named point of receiving.

usage: python -m tests.support.node_process --port PORT --dir FOLDER [--die-at POINT --after COUNT]
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

from gateway.config import NodeConfig
from gateway.dimse.node import DicomNode
from gateway.dimse.storage_lane import _Association
from gateway.services import receive
from gateway.services.receive import Receiver
from gateway.store.blobs import BlobStore, Incoming
from gateway.store.database import Database

#: Point by name: whose method, which, and whether the process dies before or after it.
POINTS: dict[str, tuple[Any, str, str]] = {
    "before the blob is synced": (Incoming, "commit", "before"),
    "after the blob has its name": (Incoming, "commit", "after"),
    "before the row is committed": (receive, "record_new", "after"),
    "before the response": (_Association, "_respond", "before"),
    "after the response": (_Association, "_respond", "after"),
}


def die_at(point: str, after: int) -> None:
    """Let this process kill itself when it passes a point for the (`after` + 1)-th time."""
    owner, name, when = POINTS[point]
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
    parser.add_argument("--ae-title", default="OVERREAD")
    parser.add_argument("--die-at", choices=sorted(POINTS))
    parser.add_argument("--after", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.die_at:
        die_at(arguments.die_at, arguments.after)
    arguments.dir.mkdir(parents=True, exist_ok=True)
    database, blobs = Database.in_folder(arguments.dir), BlobStore(arguments.dir / "blobs")
    SQLModel.metadata.create_all(database.engine)
    blobs.sweep_incoming()
    receiver = Receiver(database, blobs, lambda: datetime.now(UTC), 0, lambda _received: None)
    config = NodeConfig(port=arguments.port, ae_title=arguments.ae_title)
    node = DicomNode(config, receiver, lambda _transfer: None)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    node.start()
    stopped.wait()
    node.stop(5.0)
    database.close()


if __name__ == "__main__":
    main()
