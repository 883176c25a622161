"""kill -9 while receiving: whatever was acknowledged is there with equal bytes, and a resend completes the rest."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import select

from gateway.dimse.wire import ConnectionLost
from gateway.services.part10 import file_layout
from gateway.services.receive import Receiver
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.receive_journal import ReceiveJournal
from gateway.store.tables import Hold, Instance, Study
from tests.support.instances import make_instance, uid
from tests.support.node_process import DIRECTLY, POINTS, SETTLING
from tests.support.ports import free_port, wait_for_port
from tests.support.raw_association import RawAssociation

REPOSITORY = Path(__file__).parents[3]


@contextmanager
def node_process(folder: Path, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node in a process; kill it at the end."""
    command = [sys.executable, "-m", "tests.support.node_process", "--port", str(port), "--dir", str(folder), *options]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        wait_for_port(port, seconds=60)
        yield process
    finally:
        process.kill()
        process.wait()


def _dataset(number: int, series: str = "series") -> bytes:
    content = make_instance(number, series=series, pixels=number.to_bytes(4, "little"), side=64)
    return content[file_layout(content).dataset_offset :]


def _send(port: int, numbers: range, acknowledged: set[int], series: str = "series") -> None:
    """Send until done or the node dies; note what was acknowledged."""
    try:
        with RawAssociation(port) as association:
            for number in numbers:
                if association.store(uid("study", series, number), _dataset(number, series)) != 0:
                    return
                acknowledged.add(number)
    except (ConnectionLost, OSError):
        return


def _check_store(folder: Path, acknowledged: set[int], series: str = "series") -> set[int]:
    """Start as a node does; check that every acknowledged instance is recorded, every recorded one has its bytes, and
    nothing else is left. Return the recorded."""
    database, blobs = Database.in_folder(folder), BlobStore(folder / "blobs")
    journal = ReceiveJournal(folder / "journal", blobs, database, size_mb=0)
    receiver = Receiver(database, blobs, lambda: datetime.now(UTC), 0, lambda _received: None, journal=journal)
    blobs.sweep_incoming(receiver.is_kept)
    journal.replay(receiver.replay)
    assert journal.replay(receiver.replay) == 0
    with database.read() as session:
        rows = {row.sop_instance_uid: row for row in session.exec(select(Instance))}
        assert not session.exec(select(Hold)).all()
        assert session.exec(select(Study.revision)).one_or_none() in (len(rows), None)
    database.close()
    assert set(blobs.all_digests()) == {row.sha256 for row in rows.values()}
    assert not list((folder / "blobs" / "incoming").iterdir())
    recorded = {number for number in range(2000) if uid("study", series, number) in rows}
    assert acknowledged <= recorded
    for number in recorded:
        kept = blobs.read(rows[uid("study", series, number)].sha256)
        assert kept[file_layout(kept).dataset_offset :] == _dataset(number, series)
    return recorded


@pytest.mark.parametrize("point", sorted(POINTS | DIRECTLY))
def test_a_kill_at_a_named_point_loses_nothing_acknowledged(tmp_path: Path, point: str) -> None:
    port, acknowledged = free_port(), set[int]()
    journal = "0" if point in DIRECTLY else "8"
    with node_process(tmp_path, port, "--die-at", point, "--after", "3", "--journal-mb", journal) as process:
        _send(port, range(10), acknowledged)
        assert process.wait(20) == -9
    assert len(acknowledged) in (3, 4)
    is_in_the_journal = point in POINTS and point != "before the journal has it"
    assert _check_store(tmp_path, acknowledged) == set(range(4 if is_in_the_journal else 3))
    with node_process(tmp_path, port, "--journal-mb", "8") as process:
        _send(port, range(10), acknowledged)
        process.terminate()
        assert process.wait(20) == 0
    assert _check_store(tmp_path, acknowledged) == acknowledged == set(range(10))


@pytest.mark.parametrize("point", sorted(SETTLING))
def test_a_kill_while_files_are_written_from_the_journal_loses_nothing(tmp_path: Path, point: str) -> None:
    port, acknowledged = free_port(), set[int]()
    after = "0" if "sync" in point or "emptied" in point else "3"
    with node_process(tmp_path, port, "--die-at", point, "--after", after, "--journal-mb", "8") as process:
        _send(port, range(10), acknowledged)
        assert process.wait(30) == -9
    assert _check_store(tmp_path, acknowledged) == acknowledged == set(range(10))


def _kill_under_load(folder: Path, *, kills: int, chance: random.Random) -> int:
    """Kill a node again and again while two senders send; return how many instances were acknowledged."""
    acknowledged = set[int]()
    for round_ in range(kills):
        port, sent = free_port(), set[int]()
        with node_process(folder, port, "--journal-mb", chance.choice(["1", "8"])) as process:
            senders = [
                threading.Thread(target=_send, args=(port, range(start, start + 20), sent))
                for start in (round_ * 40, round_ * 40 + 20)
            ]
            for sender in senders:
                sender.start()
            # Most kills fall into receiving, some into the settling that follows.
            time.sleep(chance.uniform(0.0, 0.3) if chance.random() < 0.8 else chance.uniform(0.9, 1.4))
            process.kill()
            for sender in senders:
                sender.join()
        acknowledged |= sent
        if chance.random() < 0.5:
            _check_store(folder, acknowledged)
    _check_store(folder, acknowledged)
    return len(acknowledged)


@pytest.mark.slow
def test_random_kills_under_load_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """OVERREAD_KILLS sets how many; the bench has 200."""
    chance, kills, acknowledged = random.Random(7), int(os.environ.get("OVERREAD_KILLS", "12")), 0
    for folder in range(0, kills, 20):
        acknowledged += _kill_under_load(tmp_path / str(folder), kills=min(20, kills - folder), chance=chance)
    assert acknowledged
