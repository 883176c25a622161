"""Spoil what a storage client says, byte by byte and length by length, and watch the node that hears it.

usage: python -m tests.support.fuzz_wire --cases 200000 [--seed 0] [--jobs 2]
"""

from __future__ import annotations

import argparse
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.dimse.command_set import C_STORE_RQ, Command
from gateway.dimse.pdu import HEADER, RELEASE_REQUEST, ProposedContext, encode_associate_rq
from gateway.services.part10 import file_layout
from tests.support.instances import EXPLICIT, MR, make_instance, uid
from tests.support.ports import free_port, wait_for_port
from tests.support.raw_association import RawAssociation

REPOSITORY = Path(__file__).resolve().parents[2]
#: A case may take this long, seconds; one that took longer is tried again, for the machine may have been busy.
LIMIT = 1.0
_EXTREMES = (0, 1, 5, 6, 127, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run of the fuzzer saw.

    Parameters
    ----------
    cases : int
        Conversations.
    slowest : float
        Seconds of the slowest.
    hangs : tuple of int
        Seeds that were slow again and again.
    growth_mb : float
        Resident memory of the node at the end over that after the first hundred cases.
    """

    cases: int
    slowest: float
    hangs: tuple[int, ...]
    growth_mb: float


def conversation(number: int) -> list[bytearray]:
    """Return what a client says that stores one image and releases, PDU by PDU."""
    contexts = [ProposedContext(context_id=1, abstract_syntax=MR, transfer_syntaxes=(EXPLICIT,))]
    request = encode_associate_rq(
        called_aet="OVERREAD", calling_aet="FUZZ", contexts=contexts, implementation=("1.2.3", "FUZZ")
    )
    content = make_instance(number, side=8)
    dataset = content[file_layout(content).dataset_offset :]
    command = Command(
        field=C_STORE_RQ, message_id=1, sop_class=MR, sop_instance=uid("study", "series", number), has_dataset=True
    ).encode()
    pieces = [(1, 3, command), (1, 0, dataset[:300]), (1, 2, dataset[300:])]
    pdus = [struct.pack(">IBB", len(piece) + 2, context, control) + piece for context, control, piece in pieces]
    return [bytearray(pdu) for pdu in (request, *(HEADER.pack(4, len(pdu)) + pdu for pdu in pdus), RELEASE_REQUEST)]


def spoiled(said: list[bytearray], seed: int) -> bytes:
    """Return a conversation spoiled in the way that `seed` chooses."""
    chance = random.Random(seed)
    pdus = [bytearray(pdu) for pdu in said]
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        chance.choice(_WAYS)(pdus, chance)
    return b"".join(pdus)


def _flip(pdus: list[bytearray], chance: random.Random) -> None:
    pdu = chance.choice(pdus)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if pdu:
            pdu[chance.randrange(len(pdu))] = chance.randrange(256)


def _length(pdus: list[bytearray], chance: random.Random) -> None:
    """Put an extreme number where a length may stand, in either byte order."""
    pdu = chance.choice(pdus)
    form = chance.choice((">I", "<I", ">H", "<H"))
    size = struct.calcsize(form)
    if len(pdu) > size:
        at = chance.choice((2, 6, chance.randrange(len(pdu) - size)))
        pdu[at : at + size] = struct.pack(form, chance.choice(_EXTREMES) & (0xFFFFFFFF if size == 4 else 0xFFFF))


def _cut(pdus: list[bytearray], chance: random.Random) -> None:
    pdu = chance.choice(pdus)
    del pdu[chance.randrange(len(pdu) + 1) :]


def _repeat(pdus: list[bytearray], chance: random.Random) -> None:
    pdus.insert(chance.randrange(len(pdus) + 1), bytearray(chance.choice(pdus)))


def _leave_out(pdus: list[bytearray], chance: random.Random) -> None:
    if len(pdus) > 1:
        del pdus[chance.randrange(len(pdus))]


def _insert(pdus: list[bytearray], chance: random.Random) -> None:
    pdu = chance.choice(pdus)
    at = chance.randrange(len(pdu) + 1)
    pdu[at:at] = chance.randbytes(chance.choice((1, 2, 7, 100, 5000)))


def _swap(pdus: list[bytearray], chance: random.Random) -> None:
    chance.shuffle(pdus)


_WAYS: tuple[Callable[[list[bytearray], random.Random], None], ...] = (
    _flip, _flip, _length, _length, _length, _cut, _repeat, _leave_out, _insert, _swap,
)  # fmt: skip


def say(port: int, content: bytes) -> float:
    """Say it, close our side, and return how long the node took to close its own, seconds; it is left after 30."""
    started = time.monotonic()
    left = suppress(ConnectionResetError, BrokenPipeError, TimeoutError)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, left:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    return time.monotonic() - started


class _Watch:
    """What many threads see of one node.

    Parameters
    ----------
    port : int
        Where it listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self.cases = 0
        self.slowest = 0.0
        self.hangs: list[int] = []

    def run(self, seeds: range) -> None:
        """Run the conversations of these seeds; one that hangs is tried four times more."""
        for seed in seeds:
            content = spoiled(conversation(seed % 50), seed)
            took = say(self._port, content)
            for _ in range(4):
                if took > LIMIT:
                    took = min(took, say(self._port, content))
            with self._lock:
                self.cases += 1
                self.slowest = max(self.slowest, took)
                if took > LIMIT:
                    self.hangs.append(seed)


def fuzz(cases: int, *, seed: int = 0, jobs: int = 2) -> Outcome:
    """Run spoiled conversations against a node of its own.

    Parameters
    ----------
    cases : int
        How many.
    seed : int
        Of the first; the others follow.
    jobs : int
        Conversations at the same time.

    Raises
    ------
    RuntimeError, OSError
        If the node died, or serves no more.
    """
    port = free_port()
    watch = _Watch(port)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.support.node_process", "--port", str(port), "--dir", folder]
        with subprocess.Popen([*command, "--journal-mb", "8"], cwd=REPOSITORY, stderr=subprocess.DEVNULL) as node:
            try:
                wait_for_port(port, seconds=60)
                watch.run(range(seed, seed + min(cases, 100)))
                before = _resident_mb(node.pid)
                with ThreadPoolExecutor(jobs) as pool:
                    # What a thread raises, such as a refused connection, is raised here.
                    list(pool.map(watch.run, [range(seed + 100 + job, seed + cases, jobs) for job in range(jobs)]))
                growth = _resident_mb(node.pid) - before
                if node.poll() is not None:
                    raise RuntimeError(f"the node died with {node.returncode}")
                with RawAssociation(port, seconds=30) as association:
                    if association.echo() != 0:
                        raise RuntimeError("the node serves no more")
                    association.release()
            finally:
                node.kill()
    return Outcome(cases=watch.cases, slowest=watch.slowest, hangs=tuple(watch.hangs), growth_mb=growth)


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    started = time.monotonic()
    outcome = fuzz(arguments.cases, seed=arguments.seed, jobs=arguments.jobs)
    sys.stdout.write(f"{outcome} in {time.monotonic() - started:.0f} s\n")
    sys.exit(1 if outcome.hangs else 0)


if __name__ == "__main__":
    main()
