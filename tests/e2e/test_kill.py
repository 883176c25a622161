"""`kill -9` of the whole service again and again while cases are in flight: nothing is lost, doubled or different."""

from __future__ import annotations

import hashlib
import random
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread

from gateway.client.sending import find_parcels, is_accepted, send_parcels
from gateway.demo.pacs import StandInPacs
from gateway.dimse.scu import RemoteNode
from gateway.domain.errors import GatewayError
from gateway.services.part10 import file_layout
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import Artifact, Instance, Output, StageRun
from tests.support.make_series import make_mr_series
from tests.support.ports import free_port
from tests.support.running_gateway import RunningGateway, running_gateway

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kill")]

KILLS = 30
CASES = 20
SHAPE = (6, 24, 24)
_CODE = {"value": "12738006", "meaning": "Brain"}


def pipeline() -> dict[str, Any]:
    """Stages that cost next to nothing: a voxel's value in the image is its label, so `cp` is the network."""
    copy = ["cp", "{image}", "{output}"]
    return {
        "name": "copy",
        "match": {"modality": ["MR"]},
        "stages": {
            "image_qc": {"kind": "image_qc", "parameters": {"target": "any"}},
            "core": {
                "kind": "segmentation", "command": copy, "needs": ["image_qc"], "editable": True,
                "segments": [{"number": 1, "label": "Core", "type": _CODE}],
            },
            "rim": {
                "kind": "segmentation", "command": copy, "needs": ["core"], "editable": True,
                "segments": [{"number": 2, "label": "Rim", "type": _CODE}],
            },
            "measure": {"kind": "measure", "needs": ["core", "rim"]},
            "report": {"kind": "report", "needs": ["image_qc", "measure"]},
        },
        "destinations": ["pacs"],
    }  # fmt: skip


def config(pacs_port: int) -> dict[str, Any]:
    return {
        "node": {"quiet_seconds": 0.5},
        "destinations": [
            {
                "name": "pacs", "kind": "dicom", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs_port,
                "read_back": False, "retry_seconds": 0.5,
            }
        ],
        "pipelines": [pipeline()],
    }  # fmt: skip


def labelled_noise(seed: int) -> npt.NDArray[np.int16]:
    """Noise in which the values 1 and 2 are the labels of a core and its rim, (z, y, x)."""
    voxels = np.random.default_rng(seed).integers(100, 900, SHAPE).astype(np.int16)
    voxels[1:5, 6:18, 6:18] = 2
    voxels[2:4, 8:16, 8:16] = 1
    return voxels


def make_studies(folder: Path) -> list[list[Path]]:
    studies = []
    for number in range(CASES):
        voxels = labelled_noise(number)
        study, patient = f"study {number}", f"P{number:04d}"
        studies.append(
            make_mr_series(
                folder / str(number), shape=SHAPE, voxels=voxels, study=study, seed=study, patient_id=patient
            )
        )
    return studies


class Scanner(threading.Thread):
    """Sends every study until every instance of it was acknowledged, as modalities do."""

    def __init__(self, port: int, studies: list[list[Path]]) -> None:
        super().__init__()
        self._remote = RemoteNode(ae_title="OVERREAD", host="127.0.0.1", port=port, calling_aet="SCANNER")
        self._studies = studies
        self.acknowledged: set[str] = set()

    def run(self) -> None:
        """Send and send again."""
        waiting = [find_parcels(files) for files in self._studies]
        while waiting:
            parcels = waiting.pop(0)
            try:
                receipts = send_parcels(parcels, self._remote)
            except GatewayError:
                receipts = []
                time.sleep(0.1)
            self.acknowledged |= {r.sop_instance_uid for r in receipts if is_accepted(r)}
            if any(parcel.sop_instance_uid not in self.acknowledged for parcel in parcels):
                waiting.append(parcels)


def dataset_digest(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha256(content[file_layout(content).dataset_offset :]).hexdigest()


def finished(gateway: RunningGateway) -> bool:
    rows = gateway.get("/api/v1/cases", limit=200)["cases"]
    return len(rows) == CASES and all(row["state"] == "IN_REVIEW" for row in rows)


def stages_done(folder: Path) -> int:
    """How many stage runs are done; read past the gateway, which need not be up."""
    with sqlite3.connect(f"file:{folder / 'data' / 'overread.sqlite'}?mode=ro", uri=True) as connection:
        (count,) = connection.execute("SELECT count(*) FROM stagerun WHERE state = 'DONE'").fetchone()
    return int(count)


def wait_for_progress(folder: Path, before: int) -> None:
    """Wait until one more stage run is done, or half a minute: there may be nothing left to do."""
    until = time.monotonic() + 30
    while stages_done(folder) <= before and before < CASES * 5 and time.monotonic() < until:
        time.sleep(0.05)


def run_to_the_end(folder: Path, studies: list[list[Path]], pacs: StandInPacs, *, kills: int) -> set[str]:
    """Run a gateway over all studies, killed at random; return what was acknowledged to the scanner."""
    rng = random.Random(4)
    port = free_port()
    with running_gateway(folder, config(pacs.port), ports=(port, 0)) as gateway:
        scanner = Scanner(port, studies)
        scanner.start()
        for _ in range(kills):
            if rng.random() < 0.7:
                # Let something get done first, so that most kills fall into a stage, a report or a delivery.
                wait_for_progress(folder, stages_done(folder))
            time.sleep(rng.uniform(0.0, 0.7))
            gateway.kill()
            gateway.start()
        scanner.join(240)
        assert not scanner.is_alive()
        gateway.wait_for(lambda: finished(gateway), what="every case in review", seconds=300)
        gateway.wait_for(lambda: delivered_everything(folder, pacs), what="every output delivered", seconds=120)
        assert gateway.stop() == 0
        return scanner.acknowledged


def delivered_everything(folder: Path, pacs: StandInPacs) -> bool:
    database = Database.in_folder(folder / "data")
    try:
        with database.read() as session:
            uids = {uid for (uid,) in session.query(Output.sop_instance_uid).all()}
    finally:
        database.close()
    return uids <= set(pacs.names())


def artifacts(folder: Path) -> dict[tuple[str, str, str], str]:
    database = Database.in_folder(folder / "data")
    with database.read() as session:
        rows = session.query(StageRun, Artifact).filter(Artifact.stage_run_id == StageRun.id).all()
        found = {(run.case_id, run.stage, artifact.role): artifact.digest for run, artifact in rows}
    database.close()
    return found


@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="the stage host dies with its parent on Linux only")
def test_after_thirty_kills_all_cases_finish_as_if_nothing_had_happened(tmp_path: Path) -> None:
    studies = make_studies(tmp_path / "studies")
    disturbed, calm = StandInPacs(tmp_path / "pacs"), StandInPacs(tmp_path / "calm_pacs")
    try:
        acknowledged = run_to_the_end(tmp_path / "disturbed", studies, disturbed, kills=KILLS)
        run_to_the_end(tmp_path / "calm", studies, calm, kills=0)
    finally:
        disturbed.stop()
        calm.stop()

    sent = {str(dcmread(file, stop_before_pixels=True).SOPInstanceUID): file for study in studies for file in study}
    assert acknowledged == set(sent)
    database, blobs = Database.in_folder(tmp_path / "disturbed/data"), BlobStore(tmp_path / "disturbed/data/blobs")
    with database.read() as session:
        kept = {row.sop_instance_uid: row.sha256 for row in session.query(Instance).all()}
        outputs = session.query(Output).all()
    database.close()
    assert set(kept) == set(sent)
    assert {uid: dataset_digest(blobs.path(kept[uid])) for uid in sent} == {
        uid: dataset_digest(file) for uid, file in sent.items()
    }
    of_each = [(output.case_id, output.generation, output.iteration, output.kind, output.stage) for output in outputs]
    current = [one for one, output in zip(of_each, outputs, strict=True) if not output.superseded]
    assert len(current) == len(set(current)) == CASES * 5
    assert set(disturbed.names()) == {output.sop_instance_uid for output in outputs}
    assert {k[1:]: v for k, v in artifacts(tmp_path / "disturbed").items()}.keys() == {
        k[1:]: v for k, v in artifacts(tmp_path / "calm").items()
    }.keys()
    assert artifacts(tmp_path / "disturbed") == artifacts(tmp_path / "calm")
