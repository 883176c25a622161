"""A study whose names, ids and dates are marked goes through every error path: no mark may leak out of its objects."""

from __future__ import annotations

import io
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import dcmread

from gateway.client.sending import find_parcels, send_parcels
from gateway.demo.pacs import StandInPacs
from gateway.demo.viewer import edit_seg
from gateway.dimse.scu import RemoteNode
from gateway.domain.errors import GatewayError
from tests.e2e.test_kill import SHAPE, labelled_noise, pipeline
from tests.support.make_series import make_mr_series
from tests.support.running_gateway import RunningGateway, running_gateway

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("canary")]

MARKS = ("CANARYNAME", "CANARYID77", "19330817", "CANARYACC", "CANARYDESC", "CANARYDOC", "CANARYSERIES")
MARKED = {
    "PatientName": "CANARYNAME^Ada",
    "PatientID": "CANARYID77",
    "PatientBirthDate": "19330817",
    "AccessionNumber": "CANARYACC",
    "StudyDescription": "CANARYDESC",
    "ReferringPhysicianName": "CANARYDOC^Eve",
    "SeriesDescription": "CANARYSERIES",
}


class Probe:
    """Collects everything the gateway says outside its DICOM objects."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.said: list[str] = []

    def ask(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Call the gateway; remember what it answers when it refuses."""
        answer = requests.request(method, f"{self.gateway.url}{path}", timeout=60, **arguments)
        if not answer.ok:
            self.said.append(answer.text)
        return answer

    def leaks(self) -> list[str]:
        """Return which marks appear in logs, refusals, metrics or the audit trail."""
        self.said += [
            self.gateway.log,
            requests.get(f"{self.gateway.url}/metrics", timeout=30).text,
            requests.get(f"{self.gateway.url}/api/v1/audit", params={"limit": "500"}, timeout=30).text,
        ]
        return [
            f"{mark}: ...{text[max(0, place - 60) : place + 60]}..."
            for mark in MARKS
            for text in self.said
            if (place := text.lower().find(mark.lower())) >= 0
        ]


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Probe]:
    pacs = StandInPacs(tmp_path / "pacs")
    config = {
        "node": {"quiet_seconds": 0.5},
        "destinations": [
            {"name": "pacs", "kind": "dicom", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port,
             "read_back": False},
            {"name": "gone", "kind": "dicom", "ae_title": "GONE", "host": "127.0.0.1", "port": 9, "retry_seconds": 0.2},
        ],
        "pipelines": [pipeline() | {"destinations": ["pacs", "gone"]}],
    }  # fmt: skip
    try:
        with running_gateway(tmp_path / "gateway", config) as gateway:
            yield Probe(gateway)
    finally:
        pacs.stop()


def send(probe: Probe, files: list[Path], calling: str = "SCANNER") -> None:
    remote = RemoteNode(ae_title="OVERREAD", host="127.0.0.1", port=probe.gateway.dicom_port, calling_aet=calling)
    try:
        send_parcels(find_parcels(files), remote)
    except GatewayError as refusal:
        probe.said.append(refusal.detail)


def case_with_seg(probe: Probe) -> dict[str, Any] | None:
    """Return the case that has a segmentation, once it is in review."""
    for case in probe.gateway.cases():
        if case["state"] == "IN_REVIEW" and any(o["kind"] == "SEG" for o in case["iterations"][-1]["outputs"]):
            return case
    return None


@pytest.mark.timeout(600)
def test_no_marked_value_leaves_its_dicom_objects_on_any_error_path(tmp_path: Path, probe: Probe) -> None:
    good = make_mr_series(tmp_path / "good", shape=SHAPE, attributes=MARKED, voxels=labelled_noise(1))
    gap = make_mr_series(tmp_path / "gap", shape=(8, 24, 24), gap_at=3, study="gap", seed="gap", attributes=MARKED)
    odd = make_mr_series(tmp_path / "odd", shape=(6, 24, 24), modality="CT", study="odd", seed="odd", attributes=MARKED)
    send(probe, [*good, *gap, *odd])
    case = probe.gateway.wait_for(lambda: case_with_seg(probe), what="a case with a segmentation")

    # Same UID, other content; a truncated file; invalid values in every text; garbage on both ports.
    conflict = dcmread(good[0])
    conflict.PatientComments = "CANARYNAME again"
    conflict.save_as(tmp_path / "conflict.dcm")
    send(probe, [tmp_path / "conflict.dcm"])
    (tmp_path / "truncated.dcm").write_bytes(good[1].read_bytes()[:900])
    probe.ask("POST", "/api/v1/instances", data=(tmp_path / "truncated.dcm").read_bytes(),
              headers={"Content-Type": "application/dicom"})  # fmt: skip
    invalid = dcmread(good[2])
    invalid.SOPInstanceUID = f"{invalid.SOPInstanceUID}.9"
    invalid.file_meta.MediaStorageSOPInstanceUID = invalid.SOPInstanceUID
    raw = io.BytesIO()
    invalid.save_as(raw)
    broken = raw.getvalue().replace(b"19330817", b"CANARYID").replace(b"CANARYACC", b"CANARY\\CC")
    probe.ask("POST", "/api/v1/instances", data=broken, headers={"Content-Type": "application/dicom"})
    for port in (probe.gateway.dicom_port,):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET /CANARYNAME HTTP/1.1\r\n\r\n")
    subprocess.run(
        ["storescu", "-aec", "WRONG", "-aet", "CANARYSCU", "127.0.0.1", str(probe.gateway.dicom_port), str(good[0])],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip

    # An edit, the same again, an edit for somebody else, an unreadable SEG, illegal decisions, unknown things.
    seg = next(o for o in case["iterations"][-1]["outputs"] if o["kind"] == "SEG")
    delivered = tmp_path / "pacs" / f"{seg['sop_instance_uid']}.dcm"
    probe.gateway.wait_for(delivered.exists, what="delivery")
    edited, _painted = edit_seg(delivered, good, seed=3)
    edited.save_as(tmp_path / "edit.dcm", enforce_file_format=True)
    stranger = dcmread(tmp_path / "edit.dcm")
    stranger.PatientID = "CANARYID77-OTHER"
    stranger.SOPInstanceUID = f"{stranger.SOPInstanceUID[:50]}.8"
    stranger.file_meta.MediaStorageSOPInstanceUID = stranger.SOPInstanceUID
    stranger.save_as(tmp_path / "stranger.dcm")
    send(probe, [tmp_path / "stranger.dcm"], calling="READER1")
    send(probe, [tmp_path / "edit.dcm"], calling="READER1")
    probe.gateway.wait_for(lambda: probe.gateway.get("/api/v1/holds"), what="a hold")
    path = f"/api/v1/cases/{case['id']}"
    probe.ask("POST", f"{path}/qc", json={"qc_status": "PASS_WITH_EDITS", "comment": "CANARYNAME is fine"})
    probe.ask("POST", f"{path}/qc", json={"qc_status": "CANARYNAME", "comment": ""})
    probe.ask("POST", f"{path}/edits", data=b"CANARYNAME", headers={"Content-Type": "application/dicom"})
    probe.ask("GET", "/api/v1/cases/CANARYNAME")
    probe.ask("GET", "/dicom-web/studies/CANARYNAME/metadata")
    probe.ask("POST", "/api/v1/holds/999/resolve", json={"action": "accept", "reason": "CANARYNAME"})
    probe.ask("POST", "/api/v1/holds/999/resolve", json={"action": "CANARYNAME"})
    assert probe.leaks() == []
