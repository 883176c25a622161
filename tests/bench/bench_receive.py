"""Receiving by C-STORE: our node beside Orthanc and dcmtk in the same run, with one client for all.

Our gateway, whole as `overread serve` starts it, checks, hashes, syncs and commits a row before it answers; storescp
does none of it, Orthanc syncs the file only. The client has every message encoded before the clock starts and sets
TCP_NODELAY.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.dimse.contexts import STORAGE_CLASSES, VERIFICATION
from gateway.services.part10 import file_layout
from tests.bench.row import Row
from tests.support.dcmtk_peer import running_storescp
from tests.support.held_rows import fill_with_rows
from tests.support.instances import EXPLICIT, IMPLICIT, MR, make_instance, uid
from tests.support.orthanc_peer import running_orthanc
from tests.support.ports import free_port, wait_for_port
from tests.support.raw_association import RawAssociation
from tests.support.running_gateway import running_gateway

REPOSITORY = Path(__file__).resolve().parents[2]
REPETITIONS = 3
#: Instances held in the row about a full store.
HELD = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is sent.

    Parameters
    ----------
    name : str
        For the table.
    side : int
        Rows and columns of an image, two bytes a pixel.
    count : int
        Images of each association.
    associations : int
        At the same time.
    times_orthanc : float
        How many times as fast as Orthanc our node should be.
    """

    name: str
    side: int
    count: int
    associations: int = 1
    times_orthanc: float = 3.0


LOADS = (
    Load(name="0.5 MB images, 1 association", side=512, count=100),
    Load(name="0.5 MB images, 4 associations", side=512, count=50, associations=4, times_orthanc=2.5),
    Load(name="0.13 MB images, 1 association", side=256, count=150),
)


def run() -> list[Row]:
    """Measure every load against every receiver that is installed."""
    rows = []
    with tempfile.TemporaryDirectory(dir=REPOSITORY) as scratch:
        for load in LOADS:
            speeds: dict[str, list[float]] = {}
            for repetition in range(REPETITIONS):
                messages = [_images(load, f"{load.name} {repetition} {n}") for n in range(load.associations)]
                for name in ("gateway", "storescp", "Orthanc"):
                    folder = Path(scratch) / f"{name} {repetition}"
                    if name == "gateway" or shutil.which(name):
                        speeds.setdefault(name, []).append(_speed(name, folder, messages))
                        shutil.rmtree(folder)
            rows += _rows(load, {name: statistics.median(values) for name, values in speeds.items()})
    return [*rows, *_association_rates(), _idle_cpu(), *_with_many_held()]


def _rows(load: Load, speeds: dict[str, float]) -> Iterator[Row]:
    note = "checked, hashed, synced in the journal, row committed before each response"
    yield Row(what=f"C-STORE, {load.name}", value=speeds["gateway"], unit="MB/s", repetitions=REPETITIONS, note=note)
    for peer, what, bar in (
        ("Orthanc", "syncs the file only", load.times_orthanc),
        ("storescp", "syncs and hashes nothing", 0.4 if load is LOADS[0] else None),
    ):
        if peer in speeds:
            yield Row(
                what=f"  against {peer}",
                value=speeds["gateway"] / speeds[peer],
                unit="x",
                bar=bar,
                at_least=True,
                repetitions=REPETITIONS,
                note=f"{peer} {speeds[peer]:.0f} MB/s; {what}",
            )


def _speed(name: str, folder: Path, messages: Sequence[Sequence[tuple[str, bytes]]]) -> float:
    """Return MB/s of one receiver, started for this."""
    with _receiver(name, folder) as (port, ae_title):
        threads = [threading.Thread(target=_send, args=(port, ae_title, images[:3])) for images in messages]
        _run_all(threads)
        threads = [threading.Thread(target=_send, args=(port, ae_title, images[3:])) for images in messages]
        began = time.perf_counter()
        _run_all(threads)
        seconds = time.perf_counter() - began
    return sum(len(dataset) for images in messages for _, dataset in images[3:]) / 1e6 / seconds


@contextmanager
def _receiver(name: str, folder: Path) -> Iterator[tuple[int, str]]:
    if name == "storescp":
        with running_storescp(folder, ["--fork", "+B", "-pdu", "131072"]) as scp:
            yield scp.port, scp.ae_title
    elif name == "Orthanc":
        with running_orthanc(folder, settings={"SyncStorageArea": True}) as orthanc:
            yield orthanc.dicom_port, orthanc.ae_title
    elif name == "gateway":
        with running_gateway(folder, {"data": {"receive_journal_mb": 512}}) as gateway:
            # It loads the networks meanwhile, and would be measured doing that.
            gateway.wait_for(lambda: "stage host ready" in gateway.log, what="stage host ready")
            yield gateway.dicom_port, "OVERREAD"
    else:
        with _node(folder) as (port, _):
            yield port, "OVERREAD"


@contextmanager
def _node(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    port = free_port()
    command = [sys.executable, "-m", "tests.support.node_process", "--port", str(port), "--dir", str(folder)]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        wait_for_port(port, seconds=60)
        yield port, process
    finally:
        process.terminate()
        process.wait(20)


def _send(port: int, ae_title: str, images: Sequence[tuple[str, bytes]]) -> None:
    with RawAssociation(port, called_aet=ae_title, seconds=60) as association:
        for name, dataset in images:
            status = association.store(name, dataset)
            if status != 0:
                raise RuntimeError(f"{ae_title} answered {status}")
        association.release()


def _run_all(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _images(load: Load, series: str) -> list[tuple[str, bytes]]:
    first = make_instance(0, series=series, sop_class=MR, side=load.side)
    dataset = first[file_layout(first).dataset_offset :]
    start = len(dataset) - 2 * load.side * load.side
    images = []
    for number in range(load.count):
        content = make_instance(number, series=series, side=1)
        header = content[file_layout(content).dataset_offset :]
        name = uid("study", series, number)
        # One image is encoded; the others differ in their UID and in a pixel.
        mine = dataset.replace(uid("study", series, 0).encode().ljust(44, b"\x00"), name.encode().ljust(44, b"\x00"))
        if len(mine) == len(dataset) and name.encode() in header:
            images.append((name, mine[:start] + number.to_bytes(2, "little") + mine[start + 2 :]))
    return images


def _association_rates() -> list[Row]:
    """Return associations per second with 121 contexts, and against storescp in the same run."""
    classes = sorted(STORAGE_CLASSES)[:120]
    proposals = ((VERIFICATION, (EXPLICIT,)), *((sop_class, (EXPLICIT, IMPLICIT)) for sop_class in classes))
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=REPOSITORY) as scratch:
        for repetition in range(REPETITIONS):
            for name in ("node", "storescp"):
                if name == "node" or shutil.which(name):
                    with _receiver(name, Path(scratch) / f"{name} {repetition}") as (port, ae_title):
                        rates.setdefault(name, []).append(_association_rate(port, ae_title, proposals))
    ours = statistics.median(rates["node"])
    rows = [Row(what="associations with 121 contexts", value=ours, unit="/s", repetitions=REPETITIONS)]
    if "storescp" in rates:
        ratio = ours / statistics.median(rates["storescp"])
        rows.append(
            Row(
                what="  against storescp --fork", value=ratio, unit="x", bar=2.0, at_least=True, repetitions=REPETITIONS
            )
        )
    return rows


def _association_rate(port: int, ae_title: str, proposals: Sequence[tuple[str, tuple[str, ...]]]) -> float:
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < 1.5:
        with RawAssociation(port, called_aet=ae_title, proposals=proposals, seconds=30) as association:
            association.echo(1)
            association.release()
        count += 1
    return count / (time.perf_counter() - began)


def _with_many_held() -> list[Row]:
    """Return the speed with a million instances held, against an empty store in the same run."""
    load = LOADS[2]
    speeds: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(dir=REPOSITORY) as scratch:
        full = Path(scratch) / "full"
        full.mkdir()
        fill_with_rows(full, HELD)
        for repetition in range(REPETITIONS):
            for is_full in (False, True):
                folder = Path(scratch) / f"held {is_full} {repetition}"
                folder.mkdir()
                if is_full:
                    shutil.copy(full / "overread.sqlite", folder)
                # What the copy leaves to write must not be written while the clock runs.
                os.sync()
                speeds[is_full].append(_speed("node", folder, [_images(load, f"held {repetition}")]))
                shutil.rmtree(folder)
    ratio = statistics.median(speeds[True]) / statistics.median(speeds[False])
    return [
        Row(
            what=f"speed with {HELD:,} instances held, against an empty store",
            value=ratio,
            unit="x",
            bar=0.9,
            at_least=True,
            repetitions=REPETITIONS,
            note=load.name,
        )
    ]


def _idle_cpu() -> Row:
    """Return the share of a core that 100 open, silent associations cost."""
    seconds = 5.0
    with tempfile.TemporaryDirectory(dir=REPOSITORY) as folder, _node(Path(folder)) as (port, process):
        held = [RawAssociation(port, seconds=60).__enter__() for _ in range(100)]
        before = _cpu_seconds(process.pid)
        time.sleep(seconds)
        used = _cpu_seconds(process.pid) - before
        for association in held:
            association.__exit__(None, None, None)
    share = 100 * used / seconds
    return Row(what="CPU of 100 silent associations", value=share, unit="% of a core", bar=1.0, note="over 5 s")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
