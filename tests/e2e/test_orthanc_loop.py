"""The main job with real peers: Orthanc forwards a real series, results come back to it, dcmqi edits, stages rerun."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests
from pydicom import dcmread

from dicom_sr.series import read_series
from dicom_sr.volume import Grid
from gateway.domain.keys import Json
from gateway.store.artifacts import decode_segmentation
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import Artifact, StageRun
from tests.support.dicom_tools import dciodvfy_errors, dcmqi_masks, dcmqi_write, pixelmed_sr_errors
from tests.support.orthanc_peer import OrthancPeer, running_orthanc
from tests.support.ports import free_port
from tests.support.running_gateway import RunningGateway, running_gateway, stage_outcomes
from tests.support.shared import shared_data
from tests.support.sr_tools import dcentvfy_complaints

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.xdist_group("orthanc_loop")]


@dataclass
class Loop:
    """Orthanc and gateway that know each other, after the first run of a real hippocampus study."""

    orthanc: OrthancPeer
    gateway: RunningGateway
    images: list[Path]
    grid: Grid
    folder: Path

    def fetch(self, sop_instance_uid: str) -> Path:
        """Download an instance from Orthanc."""
        return self.orthanc.download(sop_instance_uid, self.folder)

    def stored_masks(self, case_id: str, stage: str, iteration: int) -> dict[str, np.ndarray]:
        """Return the masks the gateway itself keeps, by label."""
        database, blobs = (
            Database.in_folder(self.gateway.folder / "data"),
            BlobStore(self.gateway.folder / "data/blobs"),
        )
        with database.read() as session:
            run = session.query(StageRun).filter_by(case_id=case_id, stage=stage, iteration=iteration).one()
            artifact = session.query(Artifact).filter_by(stage_run_id=run.id, role="segmentation").one()
        database.close()
        segmentation = decode_segmentation(blobs.read(artifact.sha256))
        return {segment.label: segmentation.mask(segment) for segment in segmentation.segments}


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    images = sorted((shared_data("converted_dicom") / "hippocampus_001").glob("*.dcm"))
    folder = tmp_path_factory.mktemp("loop")
    gateway_port = free_port()
    modalities = {"overread": ["OVERREAD", "127.0.0.1", gateway_port]}
    with running_orthanc(folder / "orthanc", modalities=modalities) as orthanc:
        config: dict[str, Json] = {
            "node": {"quiet_seconds": 2, "peers": [{"ae_title": "ORTHANC", "host": "127.0.0.1"}]},
            "destinations": [
                {
                    "name": "orthanc", "kind": "dicom", "ae_title": "ORTHANC", "host": "127.0.0.1",
                    "port": orthanc.dicom_port,
                }
            ],
            "pipelines": [{"use": "hippocampus-mr", "destinations": ["orthanc"]}],
        }  # fmt: skip
        with running_gateway(folder / "gateway", config, ports=(gateway_port, 0)) as gateway:
            for image in images:
                orthanc.upload(image.read_bytes())
            (study,) = requests.get(f"{orthanc.url}/studies", timeout=30).json()
            requests.post(f"{orthanc.url}/modalities/overread/store", data=study, timeout=120).raise_for_status()
            gateway.wait_for_case()
            grid = read_series(images).grid
            assert grid is not None
            yield Loop(orthanc=orthanc, gateway=gateway, images=images, grid=grid, folder=folder)


def test_two_segs_two_reports_and_a_picture_arrive_in_orthanc_and_no_validator_complains(loop: Loop) -> None:
    (case,) = loop.gateway.cases()
    outputs = case["iterations"][0]["outputs"]
    assert sorted(o["kind"] for o in outputs) == ["IMAGE_QC_SR", "SEG", "SEG", "SEG_QC_SR", "SUMMARY_SC"]
    files = {output["sop_instance_uid"]: loop.fetch(output["sop_instance_uid"]) for output in outputs}
    assert [error for file in files.values() for error in dciodvfy_errors(file)] == []
    reports = [files[o["sop_instance_uid"]] for o in outputs if o["kind"].endswith("_SR")]
    assert [pixelmed_sr_errors(report) for report in reports] == [[], []]
    assert dcentvfy_complaints([*loop.images, *files.values()]) == []


def test_dcmqi_reads_the_seg_back_without_a_voxel_of_difference(loop: Loop) -> None:
    (case,) = loop.gateway.cases()
    for output in case["iterations"][0]["outputs"]:
        if output["kind"] != "SEG":
            continue
        read = dcmqi_masks(loop.fetch(output["sop_instance_uid"]), loop.folder / "dcmqi", loop.grid)
        stored = loop.stored_masks(case["id"], output["stage"], 0)
        assert {label: int((read[label] != stored[label]).sum()) for label in stored} == dict.fromkeys(stored, 0)


def test_an_edit_by_dcmqi_through_orthanc_reruns_exactly_what_depends_on_it(loop: Loop) -> None:
    (case,) = loop.gateway.cases()
    stored = loop.stored_masks(case["id"], "subfields", 0)
    anterior, posterior = stored["Hippocampus anterior"].copy(), stored["Hippocampus posterior"].copy()
    z = int(np.flatnonzero(posterior.any(axis=(1, 2)))[3])
    anterior[z] |= posterior[z]
    posterior[z] = False
    code = {"CodeValue": "5366008", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Hippocampus"}
    category = {"CodeValue": "91723000", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Anatomical Structure"}
    described = [
        ({"SegmentLabel": label, "SegmentedPropertyTypeCodeSequence": code,
          "SegmentedPropertyCategoryCodeSequence": category, "SegmentDescription": label}, mask)
        for label, mask in (("Hippocampus posterior", posterior), ("Hippocampus anterior", anterior))
    ]  # fmt: skip
    edit = dcmqi_write(described, loop.grid, loop.images, loop.folder / "edit")
    orthanc_id = loop.orthanc.upload(edit.read_bytes())
    requests.post(f"{loop.orthanc.url}/modalities/overread/store", data=orthanc_id, timeout=60).raise_for_status()
    case = loop.gateway.wait_for_case(iteration=1)
    assert stage_outcomes(case) == {
        "image_qc": "REUSED",
        "hippocampus": "REUSED",
        "subfields": "REPLACED",
        "measure": "EXECUTED",
        "segmentation_qc": "EXECUTED",
        "report": "EXECUTED",
    }
    kept = loop.stored_masks(case["id"], "subfields", 1)
    assert int((kept["Hippocampus anterior"] != anterior).sum()) == 0
    (report,) = [o for o in case["iterations"][1]["outputs"] if o["kind"] == "SEG_QC_SR"]
    (before,) = [o for o in case["iterations"][0]["outputs"] if o["kind"] == "SEG_QC_SR"]
    assert before["sop_instance_uid"] in str(
        dcmread(loop.fetch(report["sop_instance_uid"])).PredecessorDocumentsSequence
    )


def test_our_own_results_sent_back_by_orthanc_start_nothing(loop: Loop) -> None:
    (case,) = loop.gateway.cases()
    before = case["iteration"]
    (study,) = requests.get(f"{loop.orthanc.url}/studies", timeout=30).json()
    requests.post(f"{loop.orthanc.url}/modalities/overread/store", data=study, timeout=120).raise_for_status()
    loop.gateway.wait_for(lambda: "OWN_ECHO" in str(loop.gateway.get("/api/v1/audit", limit=200)), what="the echo")
    (case,) = loop.gateway.cases()
    assert (case["iteration"], case["generation"]) == (before, 1)
    assert loop.gateway.get("/api/v1/holds") == []
