"""A new study makes the gateway fetch the patient's earlier ones from Orthanc, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.client.sending import find_parcels, is_accepted, send_parcels
from gateway.dimse.scu import RemoteNode
from tests.support.lab import toy_pipeline
from tests.support.make_series import make_mr_series
from tests.support.orthanc_peer import running_orthanc
from tests.support.ports import free_port
from tests.support.running_gateway import RunningGateway, running_gateway

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SHAPE = (3, 16, 16)


def _series(folder: Path, study: str, issuer: str, patient: str = "P1") -> list[Path]:
    attributes = {"IssuerOfPatientID": issuer, "StudyDate": "20250101" if study == "new" else "20240101"}
    return make_mr_series(
        folder / study, shape=SHAPE, study=study, seed=study, patient_id=patient, attributes=attributes
    )


def _held(gateway: RunningGateway) -> set[str]:
    return {study["0020000D"]["Value"][0] for study in gateway.get("/dicom-web/studies", limit=50)}


def _study_of(files: list[Path]) -> str:
    return find_parcels(files)[0].study_instance_uid


def test_an_earlier_study_of_the_same_patient_comes_and_nobody_elses(tmp_path: Path) -> None:
    port = free_port()
    modalities = {"us": {"AET": "OVERREAD", "Host": "127.0.0.1", "Port": port, "AllowGet": True, "AllowMove": True}}
    with running_orthanc(tmp_path / "orthanc", modalities=modalities) as orthanc:  # type: ignore[arg-type]
        studies = {
            "prior": _series(tmp_path, "prior", "HOSP"),
            "another hospital's": _series(tmp_path, "another", "OTHER"),
            "somebody else's": _series(tmp_path, "else", "HOSP", patient="P2"),
        }
        for file in (file for files in studies.values() for file in files):
            orthanc.upload(file.read_bytes())
        peers = [
            {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port},
            {"ae_title": "SCANNER"},
        ]
        node = {"quiet_seconds": 0.5, "peers": peers, "priors": {"peer": "ORTHANC"}}
        config = {"node": node, "pipelines": [toy_pipeline(destinations=[])]}
        with running_gateway(tmp_path / "gateway", config, ports=(port, 0)) as gateway:
            new = _series(tmp_path, "new", "HOSP")
            remote = RemoteNode(ae_title="OVERREAD", host="127.0.0.1", port=port, calling_aet="SCANNER")
            assert all(is_accepted(receipt) for receipt in send_parcels(find_parcels(new), remote))
            expected = {_study_of(new), _study_of(studies["prior"])}
            gateway.wait_for(lambda: expected <= _held(gateway), what="the prior", seconds=60)
            [event] = gateway.wait_for(
                lambda: gateway.get("/api/v1/audit", action="PRIORS_SOUGHT"), what="it on record", seconds=30
            )
            assert (event["detail"]["state"], event["detail"]["fetched"]) == ("DONE", 1)
            assert _held(gateway) == expected
