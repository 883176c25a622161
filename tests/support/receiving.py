"""A receiver over an empty data folder, and what it recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from sqlmodel import SQLModel, select

from gateway.config import NodeConfig
from gateway.dimse.archive import Archive
from gateway.dimse.node import DicomNode
from gateway.services.receive import Received, Receiver, Transfer
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.receive_journal import ReceiveJournal
from gateway.store.tables import Instance

Row = TypeVar("Row", bound=SQLModel)


class TickingClock:
    """A clock that moves on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@dataclass
class ReceivingFolder:
    """A data folder with its receiver."""

    folder: Path
    minimum_free_mb: int = 0
    maximum_object_mb: int = 64
    journal_mb: int = 0
    new: list[Received] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open database and blobs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.database = Database.in_folder(self.folder)
        SQLModel.metadata.create_all(self.database.engine)
        self.blobs = BlobStore(self.folder / "blobs")
        self.clock = TickingClock()
        self.journal = ReceiveJournal(self.folder / "journal", self.blobs, self.database, size_mb=self.journal_mb)
        self.receiver = Receiver(
            self.database,
            self.blobs,
            self.clock,
            self.minimum_free_mb,
            self.new.append,
            maximum_object_mb=self.maximum_object_mb,
            journal=self.journal,
        )
        self.journal.start()

    def close(self) -> None:
        """Settle what the journal holds."""
        self.journal.close()
        self.database.close()

    def upload(self, content: bytes | Path, **arguments: str) -> Received:
        """Receive a file."""
        return self.receiver.receive(content, **{"door": "upload", "sender": "tester", **arguments})  # type: ignore[arg-type]

    def rows(self, table: type[Row]) -> Sequence[Row]:
        """Return all rows of a table."""
        with self.database.read() as session:
            return session.exec(select(table)).all()

    def kept_bytes(self, sop_instance_uid: str) -> bytes:
        """Return the file kept under a UID."""
        with self.database.read() as session:
            return self.blobs.read(session.get_one(Instance, sop_instance_uid).sha256)

    def leftovers(self) -> list[str]:
        """Return files of half received instances."""
        return [path.name for path in (self.folder / "blobs" / "incoming").iterdir()]

    @contextmanager
    def node(self, *, archive: Archive | None = None, **settings: object) -> Iterator[tuple[DicomNode, int]]:
        """Run a DICOM node on a free loopback port."""
        config = NodeConfig.model_validate({"port": 0, **settings})
        node = DicomNode(config, self.receiver, self.transfers.append, archive)
        _, port = node.start()
        try:
            yield node, port
        finally:
            node.stop(2.0)
