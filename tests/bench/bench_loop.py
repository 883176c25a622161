"""The whole loop on the embedded default: a gateway process, real C-STORE both ways, a synthetic study, an edit."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.client.http import GatewayClient
from gateway.client.sending import find_parcels, is_accepted, send_parcels
from gateway.client.waiting import wait_for_verdicts
from gateway.demo.pacs import StandInPacs
from gateway.demo.sample_study import write_study
from gateway.demo.viewer import edit_seg
from gateway.dimse.scu import RemoteNode
from models.phantom import hippocampus_phantom
from tests.bench.row import Row

_STUDIES = 5
_PHANTOM = 1
_IDLE_S = 15.0
_LONGEST_S = 900.0
_READY = re.compile(r"overread ready dicom=([^:]+):(\d+) aet=(\S+) http=(\S+)")
_CONFIG = """\
node: {{quiet_seconds: 0.5}}
destinations: [{{name: pacs, kind: dicom, ae_title: DEMOPACS, host: 127.0.0.1, port: {port}}}]
pipelines: [{{use: hippocampus-mr, destinations: [pacs]}}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """A gateway process with its PACS, and how long it took to be ready, s."""

    process: subprocess.Popen[str]
    client: GatewayClient
    remote: RemoteNode
    pacs: StandInPacs
    ready_s: float


def run() -> list[Row]:
    """Measure one warm-up study, then five with an edit each."""
    with tempfile.TemporaryDirectory(prefix="overread-bench-") as name, _gateway(Path(name)) as gateway:
        idle = _cpu_share(gateway.process.pid, _IDLE_S)
        _first(gateway, Path(name), seed=30)
        cases = [_with_edit(gateway, Path(name), seed=seed) for seed in range(_STUDIES)]
        peak = _peak_megabytes(gateway.process.pid)
    return [
        Row(what="start to ready", value=gateway.ready_s, unit="s"),
        Row(what="idle CPU of serve", value=100 * idle, unit="% of a core", bar=3, note=f"over {_IDLE_S:.0f} s"),
        Row(what="peak memory of serve without stage host", value=peak, unit="MB", bar=250, note="after 6 studies"),
        *_case_rows(cases),
    ]


def _case_rows(cases: list[dict[str, Any]]) -> list[Row]:
    first = [case["iterations"][0] for case in cases]
    runs = [run for iteration in first for run in iteration["stage_runs"]]
    overhead = [1000 * (r["seconds"] - r["model_seconds"]) for r in runs if r["stage"] != "report"]
    report = [r["seconds"] for r in runs if r["stage"] == "report"]
    own = [_delivered_s(iteration) - _model_s(iteration) for iteration in first]
    shares = [100 * _delivered_s(case["iterations"][1]) / _delivered_s(case["iterations"][0]) for case in cases]
    count = len(cases)
    return [
        Row(
            what="own overhead of a stage",
            value=statistics.median(overhead),
            unit="ms",
            bar=50,
            repetitions=len(overhead),
            note="claim to completion without model time; report apart",
        ),
        Row(
            what="report stage", value=statistics.median(report), unit="s", repetitions=count, note="2 SEG, 2 SR, 1 SC"
        ),
        Row(
            what="study closed to results delivered, without model time",
            value=statistics.median(own),
            unit="s",
            bar=1.5,
            repetitions=count,
        ),
        Row(
            what="model time of a full run", value=statistics.median(map(_model_s, first)), unit="s", repetitions=count
        ),
        Row(
            what="partial rerun from subfields",
            value=statistics.median(shares),
            unit="% of a full run",
            bar=50,
            repetitions=count,
            note="opened to delivered, both ways",
        ),
    ]


def _delivered_s(iteration: dict[str, Any]) -> float:
    """Seconds from opening an iteration to the delivery of the last object that it made."""
    made = [o for o in iteration["outputs"] if o["made_in_iteration"] == iteration["number"]]
    last = max(datetime.fromisoformat(d["delivered_at"]) for o in made for d in o["deliveries"])
    return (last - datetime.fromisoformat(iteration["opened_at"])).total_seconds()


def _model_s(iteration: dict[str, Any]) -> float:
    return sum(run["model_seconds"] for run in iteration["stage_runs"])


@contextmanager
def _gateway(folder: Path) -> Iterator[_Running]:
    pacs = StandInPacs(folder / "pacs")
    config = folder / "overread.yaml"
    config.write_text(_CONFIG.format(port=pacs.port), encoding="utf-8")
    command = [
        "serve",
        "--config",
        str(config),
        "--data",
        str(folder / "data"),
        "--dicom-port",
        "0",
        "--http-port",
        "0",
    ]
    began = time.perf_counter()
    with (folder / "gateway.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "from gateway.cli import main; main()", *command],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        found = _READY.match(process.stdout.readline())
        if found is None:
            raise RuntimeError("the gateway did not start: " + (folder / "gateway.log").read_text()[-500:])
        host, port, title, http = found.groups()
        remote = RemoteNode(ae_title=title, host=host, port=int(port), calling_aet="BENCH")
        ready = time.perf_counter() - began
        yield _Running(process=process, client=GatewayClient(f"http://{http}"), remote=remote, pacs=pacs, ready_s=ready)
    finally:
        process.terminate()
        process.wait(60)
        pacs.stop()


def _first(gateway: _Running, folder: Path, *, seed: int) -> tuple[dict[str, Any], list[Path]]:
    volume, _ = hippocampus_phantom(_PHANTOM)
    # The same picture but for one voxel: equal pixels would have equal keys, and nothing would run.
    voxels = volume.voxels.copy()
    voxels[0, 0, seed % voxels.shape[2]] = voxels.mean()
    images = write_study(replace(volume, voxels=voxels), folder / f"study{seed}", seed=seed)
    _send(gateway, images)
    (study,) = {parcel.study_instance_uid for parcel in find_parcels(images)}
    return _delivered_case(gateway, study, iteration=0), images


def _with_edit(gateway: _Running, folder: Path, *, seed: int) -> dict[str, Any]:
    case, images = _first(gateway, folder, seed=seed)
    if not any(o["kind"] == "SEG" for o in case["iterations"][0]["outputs"]):
        raise RuntimeError(f"no segmentation was made: {case['state']} {case['state_reason']} {case['verdict']}")
    output = next(o for o in case["iterations"][0]["outputs"] if o["kind"] == "SEG" and o["stage"] == "subfields")
    edited, _ = edit_seg(gateway.pacs.path(output["sop_instance_uid"]), images, seed=1000 + seed)
    path = folder / f"edit{seed}.dcm"
    edited.save_as(path, enforce_file_format=True)
    _send(gateway, [path])
    return _delivered_case(gateway, case["study_instance_uid"], iteration=1)


def _delivered_case(gateway: _Running, study: str, *, iteration: int) -> dict[str, Any]:
    until = time.monotonic() + _LONGEST_S
    while time.monotonic() < until:
        (case,) = wait_for_verdicts(gateway.client, {study}, timeout_s=_LONGEST_S, iteration=iteration).cases
        current = next(i for i in case["iterations"] if i["number"] == iteration)
        if all(output["delivered"] for output in current["outputs"]):
            return case
        time.sleep(0.1)
    raise RuntimeError("the results were not delivered in time")


def _send(gateway: _Running, files: list[Path]) -> None:
    assert all(is_accepted(receipt) for receipt in send_parcels(find_parcels(files), gateway.remote))


def _cpu_share(pid: int, seconds: float) -> float:
    """Share of one core that a process, without its children, uses."""
    before = _cpu_ticks(pid)
    time.sleep(seconds)
    return (_cpu_ticks(pid) - before) / os.sysconf("SC_CLK_TCK") / seconds


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024
