"""kill -9 while receiving: whatever was acknowledged is there with equal bytes, and a resend completes the rest."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlmodel import select

from gateway.dimse.wire import ConnectionLost
from gateway.services.part10 import file_layout
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import Hold, Instance, Study
from tests.support.instances import make_instance, uid
from tests.support.node_process import POINTS
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
    """Check that every acknowledged instance is recorded and every recorded one has its bytes; return the recorded."""
    database, blobs = Database.in_folder(folder), BlobStore(folder / "blobs")
    blobs.sweep_incoming()
    with database.read() as session:
        rows = {row.sop_instance_uid: row for row in session.exec(select(Instance))}
        assert not session.exec(select(Hold)).all()
        assert session.exec(select(Study.revision)).one_or_none() in (len(rows), None)
    recorded = {number for number in range(1000) if uid("study", series, number) in rows}
    assert acknowledged <= recorded
    for number in recorded:
        kept = blobs.read(rows[uid("study", series, number)].sha256)
        assert kept[file_layout(kept).dataset_offset :] == _dataset(number, series)
    database.close()
    return recorded


@pytest.mark.parametrize("point", sorted(POINTS))
def test_a_kill_at_a_named_point_loses_nothing_acknowledged(tmp_path: Path, point: str) -> None:
    port, acknowledged = free_port(), set[int]()
    with node_process(tmp_path, port, "--die-at", point, "--after", "3") as process:
        _send(port, range(10), acknowledged)
        assert process.wait(10) == -9
    recorded = _check_store(tmp_path, acknowledged)
    assert len(acknowledged) in (3, 4)
    assert recorded == set(range(4 if point.endswith("response") else 3))
    assert not list((tmp_path / "blobs" / "incoming").iterdir())
    with node_process(tmp_path, port):
        _send(port, range(10), acknowledged)
    assert _check_store(tmp_path, acknowledged) == acknowledged == set(range(10))


@pytest.mark.slow
def test_random_kills_under_load_lose_nothing_acknowledged(tmp_path: Path) -> None:
    chance, acknowledged = random.Random(7), set[int]()
    for round_ in range(12):
        port, sent = free_port(), set[int]()
        with node_process(tmp_path, port) as process:
            senders = [
                threading.Thread(target=_send, args=(port, range(start, start + 20), sent))
                for start in (round_ * 40, round_ * 40 + 20)
            ]
            for sender in senders:
                sender.start()
            time.sleep(chance.uniform(0.0, 0.25))
            process.kill()
            for sender in senders:
                sender.join()
        acknowledged |= sent
        _check_store(tmp_path, acknowledged)
    assert acknowledged
