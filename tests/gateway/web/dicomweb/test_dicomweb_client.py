"""The calls of dicomweb-client, a peer nobody here wrote, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient

from dicom_sr.uids import derive_uid
from gateway.web.server import WebServer
from tests.support.web_gateway import Bench

_STUDY, _SERIES, _IMAGE = derive_uid("study", 1), derive_uid("series", 1), derive_uid("image", 1, 0)


@pytest.fixture
def client(busy: Bench) -> Iterator[DICOMwebClient]:
    server = WebServer(busy.app, "127.0.0.1", 0)
    host, port = server.start()
    yield DICOMwebClient(f"http://{host}:{port}/dicom-web")
    server.stop()


def test_searches(client: DICOMwebClient) -> None:
    found = client.search_for_studies(search_filters={"PatientID": "NM-004471"}, fields=["StudyDescription"])
    assert [study["0020000D"]["Value"][0] for study in found] == [_STUDY]
    assert len(client.search_for_studies(limit=3, offset=1)) == 3
    assert len(client.search_for_series(_STUDY, search_filters={"Modality": "SEG"})) == 3
    assert len(client.search_for_instances(_STUDY, _SERIES)) == 2


def test_retrieval_of_instances_and_metadata(client: DICOMwebClient) -> None:
    assert client.retrieve_instance(_STUDY, _SERIES, _IMAGE).SOPInstanceUID == _IMAGE
    assert len(client.retrieve_series(_STUDY, _SERIES)) == 2
    assert len(list(client.iter_series(_STUDY, _SERIES))) == 2
    assert len(client.retrieve_study(_STUDY)) == 12
    assert len(client.retrieve_study_metadata(_STUDY)) == 12
    assert len(client.retrieve_series_metadata(_STUDY, _SERIES)) == 2
    assert client.retrieve_instance_metadata(_STUDY, _SERIES, _IMAGE)["00080018"]["Value"] == [_IMAGE]


def test_frames_bulk_data_and_pictures(client: DICOMwebClient) -> None:
    (frame,) = client.retrieve_instance_frames(_STUDY, _SERIES, _IMAGE, [1])
    assert np.frombuffer(frame, "<u2").tolist() == [n * 20 for n in range(48)]
    octets = (("application/octet-stream", "1.2.840.10008.1.2.1"),)
    assert client.retrieve_instance_frames(_STUDY, _SERIES, _IMAGE, [1], media_types=octets) == [frame]
    metadata = client.retrieve_instance_metadata(_STUDY, _SERIES, _IMAGE)
    assert client.retrieve_bulkdata(metadata["7FE00010"]["BulkDataURI"]) == [frame]
    assert client.retrieve_instance_rendered(_STUDY, _SERIES, _IMAGE, media_types=("image/png",))[:4] == b"\x89PNG"
    assert client.retrieve_instance_frames_rendered(_STUDY, _SERIES, _IMAGE, [1])[:2] == b"\xff\xd8"


def test_storing(client: DICOMwebClient) -> None:
    ds = client.retrieve_instance(_STUDY, _SERIES, _IMAGE)
    answer = client.store_instances([ds])
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [_IMAGE]
