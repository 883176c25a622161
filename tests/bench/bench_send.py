"""Sending results to Orthanc: one SEG, two SR and a picture over one association, beside storescu without Nagle.

Both send the same bytes under new UIDs in every repetition, in turns, to one Orthanc. Ours runs in this process, as in
the gateway; storescu is a process of its own, so what starting it takes is measured beside it and stands in the note.
It proposes what it needs only (-R): its usual list lacks Comprehensive 3D SR.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread

from dicom_sr.uids import derive_uid
from gateway.client.sending import find_parcels, is_accepted, send_parcels
from gateway.dimse.scu import RemoteNode
from tests.bench.row import Row, median_seconds
from tests.support.lab import Lab
from tests.support.make_series import make_mr_series
from tests.support.orthanc_peer import OrthancPeer, running_orthanc

REPETITIONS = 15
SHAPE = (24, 256, 256)


def run() -> list[Row]:
    """Make the results of a case, and send them again and again."""
    if shutil.which("storescu") is None:
        raise RuntimeError("storescu is not installed (apt install dcmtk)")
    with tempfile.TemporaryDirectory(prefix="overread-bench-") as name, running_orthanc(Path(name) / "orthanc") as peer:
        results = _results(Path(name))
        size = sum(file.stat().st_size for file in results) / 1e6
        times: dict[str, list[float]] = {"ours": [], "storescu": []}
        for repetition in range(REPETITIONS + 1):
            for who, send in (("ours", _send), ("storescu", _storescu)):
                files = _renamed(results, Path(name) / f"{who} {repetition}", who, repetition)
                seconds = send(files, peer)
                # The first of each warms up: programs, caches, and the peer's database.
                if repetition:
                    times[who].append(seconds)
        start = median_seconds(lambda: _run(["storescu", "--version"]), repetitions=REPETITIONS)
    ours, theirs = (statistics.median(times[who]) for who in ("ours", "storescu"))
    return [
        Row(
            what="one SEG, two SR and a picture to Orthanc",
            value=1000 * ours,
            unit="ms",
            repetitions=REPETITIONS,
            note=f"{size:.1f} MB, one association",
        ),
        Row(
            what="  against storescu with TCP_NODELAY=1",
            value=ours / theirs,
            unit="x",
            bar=1.2,
            repetitions=REPETITIONS,
            note=f"storescu {1000 * theirs:.0f} ms, of which its start {1000 * start:.0f} ms",
        ),
        Row(what="  and less the start of storescu", value=ours / (theirs - start), unit="x", repetitions=REPETITIONS),
    ]


def _results(folder: Path) -> list[Path]:
    """Return one SEG, both reports and the picture of a case."""
    lab = Lab.create(folder / "data")
    case = lab.process(make_mr_series(folder / "images", shape=SHAPE))
    kinds = ("SEG", "IMAGE_QC_SR", "SEG_QC_SR", "SUMMARY_SC")
    files = [lab.output_file(lab.outputs(case, kind=kind)[-1]) for kind in kinds]
    lab.env.database.close()
    return files


def _renamed(files: Sequence[Path], folder: Path, *names: str | int) -> list[Path]:
    """Copy objects under new UIDs: Orthanc passes over what it has."""
    folder.mkdir()
    copies = []
    for number, file in enumerate(files):
        dataset = dcmread(file)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = derive_uid("send", *names, number)
        copies.append(folder / f"{number}.dcm")
        dataset.save_as(copies[-1])
    return copies


def _send(files: Sequence[Path], peer: OrthancPeer) -> float:
    remote = RemoteNode(ae_title=peer.ae_title, host="127.0.0.1", port=peer.dicom_port, calling_aet="OVERREAD")
    parcels = find_parcels(files)
    began = time.perf_counter()
    receipts = send_parcels(parcels, remote)
    seconds = time.perf_counter() - began
    if not all(is_accepted(receipt) for receipt in receipts):
        raise RuntimeError(f"Orthanc refused: {receipts}")
    return seconds


def _storescu(files: Sequence[Path], peer: OrthancPeer) -> float:
    command = ["storescu", "-R", "-aec", peer.ae_title, "127.0.0.1", str(peer.dicom_port), *map(str, files)]
    began = time.perf_counter()
    _run(command)
    return time.perf_counter() - began


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TCP_NODELAY": "1"}, timeout=60)
