"""Kill a node again and again while it receives, and check what is left: acknowledged is recorded, recorded is whole.

usage: python -m tests.support.kill_node --kills 200 [--seed 7]
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlmodel import select

from gateway.dimse.wire import ConnectionLost
from gateway.services.part10 import file_layout
from gateway.services.receive import Receiver
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.receive_journal import ReceiveJournal
from gateway.store.tables import Hold, Instance, Study
from tests.support.instances import make_instance, uid
from tests.support.ports import free_port, wait_for_port
from tests.support.raw_association import RawAssociation

REPOSITORY = Path(__file__).resolve().parents[2]
#: Kills of one data folder, which grows; then a new one is begun.
KILLS_OF_A_FOLDER = 20
#: Images that each of the two senders sends in a round, if the node lives that long.
_IMAGES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run of kills left.

    Parameters
    ----------
    kills : int
        How often the node was killed.
    acknowledged : int
        Instances that were answered with success before.
    recorded : int
        Instances that were there after the last start; those whose answer was lost are among them.
    slowest_start : float
        Longest time from start to listening, seconds: what the journal held is received again before.
    """

    kills: int
    acknowledged: int
    recorded: int
    slowest_start: float


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


def dataset(number: int, series: str = "series") -> bytes:
    """Return the data set of the image with this number."""
    content = make_instance(number, series=series, pixels=number.to_bytes(4, "little"), side=64)
    return content[file_layout(content).dataset_offset :]


def send(port: int, numbers: range, acknowledged: set[int], series: str = "series") -> None:
    """Send until done or the node dies; note what was acknowledged."""
    try:
        with RawAssociation(port) as association:
            for number in numbers:
                if association.store(uid("study", series, number), dataset(number, series)) != 0:
                    return
                acknowledged.add(number)
    except (ConnectionLost, OSError):
        return


def check_store(folder: Path, acknowledged: set[int], series: str = "series") -> set[int]:
    """Start as a node does, and return the numbers of the images that are recorded.

    Raises
    ------
    AssertionError
        If something acknowledged is not recorded, something recorded has other bytes, or a file belongs to nobody.
    """
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
        assert kept[file_layout(kept).dataset_offset :] == dataset(number, series)
    return recorded


def kill_under_load(folder: Path, *, kills: int, chance: random.Random) -> Outcome:
    """Kill a node on one folder again and again while two senders send; errors as of `check_store`."""
    acknowledged, slowest = set[int](), 0.0
    for round_ in range(kills):
        port, sent, began = free_port(), set[int](), time.monotonic()
        with node_process(folder, port, "--journal-mb", chance.choice(["1", "8"])) as process:
            slowest = max(slowest, time.monotonic() - began)
            first = round_ * 2 * _IMAGES
            senders = [
                threading.Thread(target=send, args=(port, range(start, start + _IMAGES), sent))
                for start in (first, first + _IMAGES)
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
            check_store(folder, acknowledged)
    recorded = check_store(folder, acknowledged)
    return Outcome(kills=kills, acknowledged=len(acknowledged), recorded=len(recorded), slowest_start=slowest)


def kill_many(scratch: Path, *, kills: int, seed: int = 7) -> Outcome:
    """Kill a node so often, on a new folder in `scratch` every now and then; errors as of `check_store`."""
    chance = random.Random(seed)
    of_folders = [
        kill_under_load(scratch / str(done), kills=min(KILLS_OF_A_FOLDER, kills - done), chance=chance)
        for done in range(0, kills, KILLS_OF_A_FOLDER)
    ]
    return Outcome(
        kills=sum(one.kills for one in of_folders),
        acknowledged=sum(one.acknowledged for one in of_folders),
        recorded=sum(one.recorded for one in of_folders),
        slowest_start=max(one.slowest_start for one in of_folders),
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=REPOSITORY, prefix=".bench-") as scratch:
        outcome = kill_many(Path(scratch), kills=arguments.kills, seed=arguments.seed)
    sys.stdout.write(f"{outcome} in {time.monotonic() - started:.0f} s\n")


if __name__ == "__main__":
    main()
