"""Spoil what a client says, byte by byte and length by length, and watch the node that hears it.

usage: python -m tests.support.fuzz_wire --cases 200000 [--seed 0] [--jobs 2] [--services]
"""

from __future__ import annotations

import argparse
import random
import select
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

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from gateway.dimse.command_set import C_FIND_RQ, C_STORE_RQ, N_ACTION_RQ, Command
from gateway.dimse.contexts import (
    COMMITMENT_INSTANCE,
    PERFORMED_PROCEDURE_STEP,
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
)
from gateway.dimse.pdu import HEADER, RELEASE_REQUEST, ProposedContext, encode_associate_rq
from gateway.services.part10 import file_layout
from tests.support.instances import EXPLICIT, MR, make_instance, uid
from tests.support.ports import free_port, wait_for_port
from tests.support.raw_association import RawAssociation

REPOSITORY = Path(__file__).resolve().parents[2]
#: A case may take this long, seconds; one that took longer is tried again, for the machine may have been busy.
LIMIT = 1.0
_N_CREATE_RQ = 0x0140
#: Command and instance of a request by its SOP class.
_SERVICES = {
    STUDY_ROOT_FIND: (C_FIND_RQ, ""),
    STORAGE_COMMITMENT: (N_ACTION_RQ, COMMITMENT_INSTANCE),
    PERFORMED_PROCEDURE_STEP: (_N_CREATE_RQ, "1.2.3.4.5"),
}
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
    dead_threads : int
        Threads of the node that ended by an exception.
    """

    cases: int
    slowest: float
    hangs: tuple[int, ...]
    growth_mb: float
    dead_threads: int


def conversation(number: int, *, services: bool = False) -> list[bytearray]:
    """Return what a client says that makes one request and releases, PDU by PDU.

    Parameters
    ----------
    number : int
        Chooses image and request.
    services : bool
        Propose query, commitment and procedure steps too, and ask for one of them or store; else store.
    """
    asked = [MR, *_SERVICES] if services else [MR]
    contexts = [
        ProposedContext(context_id=2 * index + 1, abstract_syntax=abstract, transfer_syntaxes=(EXPLICIT,))
        for index, abstract in enumerate(asked)
    ]
    request = encode_associate_rq(
        called_aet="OVERREAD", calling_aet="FUZZ", contexts=contexts, implementation=("1.2.3", "FUZZ")
    )
    which = number % len(asked)
    command, dataset = _store(number) if which == 0 else _request(asked[which], number)
    context, half = 2 * which + 1, min(300, len(dataset) // 2)
    pieces = [(context, 3, command.encode()), (context, 0, dataset[:half]), (context, 2, dataset[half:])]
    pdus = [struct.pack(">IBB", len(piece) + 2, context, control) + piece for context, control, piece in pieces]
    return [bytearray(pdu) for pdu in (request, *(HEADER.pack(4, len(pdu)) + pdu for pdu in pdus), RELEASE_REQUEST)]


def _store(number: int) -> tuple[Command, bytes]:
    content, name = make_instance(number, side=8), uid("study", "series", number)
    command = Command(field=C_STORE_RQ, message_id=1, sop_class=MR, sop_instance=name, has_dataset=True)
    return command, content[file_layout(content).dataset_offset :]


def _request(sop_class: str, number: int) -> tuple[Command, bytes]:
    field, name = _SERVICES[sop_class]
    command = Command(
        field=field, message_id=1, sop_class=sop_class, sop_instance=name, has_dataset=True,
        action_type=1 if field == N_ACTION_RQ else 0,
    )  # fmt: skip
    asked, item = Dataset(), Dataset()
    if field == C_FIND_RQ:
        asked.QueryRetrieveLevel, asked.StudyInstanceUID, asked.PatientName = "STUDY", uid("study"), "*"
    elif field == N_ACTION_RQ:
        asked.TransactionUID = uid("transaction", number)
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MR, uid("study", "series", number)
        asked.ReferencedSOPSequence = [item]
    else:
        item.StudyInstanceUID = uid("study")
        asked.ScheduledStepAttributesSequence, asked.PerformedProcedureStepStatus = [item], "IN PROGRESS"
        asked.PatientName = "Müller^Zoë"
    return command, encode(asked, False, True) or b""


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


def say(port: int, content: bytes, *, first: int = 0) -> float:
    """Say it, close our side, and return how long the node took to close its own, seconds; it is left after 30.

    Parameters
    ----------
    port : int
        Where the node listens.
    content : bytes
        What to say.
    first : int
        Bytes after which an answer is waited for, if only for a moment; 0 says all in one go.
    """
    started = time.monotonic()
    left = suppress(OSError)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, left:
        if first:
            connection.sendall(content[:first])
            select.select([connection], [], [], 0.05)
        connection.sendall(content[first:])
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
    services : bool
        See `conversation`.
    """

    def __init__(self, port: int, services: bool) -> None:
        self._port = port
        self._services = services
        self._lock = threading.Lock()
        self.cases = 0
        self.slowest = 0.0
        self.hangs: list[int] = []

    def run(self, seeds: range) -> None:
        """Run the conversations of these seeds; one that hangs is tried four times more."""
        for seed in seeds:
            said = conversation(seed % 50, services=self._services)
            content = spoiled(said, seed)
            # pynetdicom takes nothing before it has accepted; our own lane does.
            first = len(said[0]) if self._services else 0
            took = say(self._port, content, first=first)
            for _ in range(4):
                if took > LIMIT:
                    took = min(took, say(self._port, content, first=first))
            with self._lock:
                self.cases += 1
                self.slowest = max(self.slowest, took)
                if took > LIMIT:
                    self.hangs.append(seed)


def fuzz(cases: int, *, seed: int = 0, jobs: int = 2, services: bool = False) -> Outcome:
    """Run spoiled conversations against a node of its own.

    Parameters
    ----------
    cases : int
        How many.
    seed : int
        Of the first; the others follow.
    jobs : int
        Conversations at the same time.
    services : bool
        See `conversation`.

    Raises
    ------
    RuntimeError, OSError
        If the node died, or serves no more.
    """
    port = free_port()
    watch = _Watch(port, services)
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "said.txt").open("w+") as said:
        command = [sys.executable, "-m", "tests.support.node_process", "--port", str(port), "--dir", folder]
        options = ["--journal-mb", "8", *(["--services"] if services else [])]
        with subprocess.Popen([*command, *options], cwd=REPOSITORY, stderr=said) as node:
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
        said.seek(0)
        dead = sum(line.startswith("Exception in thread") for line in said)
    return Outcome(
        cases=watch.cases, slowest=watch.slowest, hangs=tuple(watch.hangs), growth_mb=growth, dead_threads=dead
    )


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--services", action="store_true", help="spoil queries, commitments and procedure steps too")
    arguments = parser.parse_args()
    started = time.monotonic()
    outcome = fuzz(arguments.cases, seed=arguments.seed, jobs=arguments.jobs, services=arguments.services)
    sys.stdout.write(f"{outcome} in {time.monotonic() - started:.0f} s\n")
    sys.exit(1 if outcome.hangs or outcome.dead_threads else 0)


if __name__ == "__main__":
    main()
