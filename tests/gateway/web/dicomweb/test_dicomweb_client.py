"""The calls of dicomweb-client, a peer nobody here wrote, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless
from requests import HTTPError

from dicom_sr.uids import derive_uid
from tests.support.web_gateway import Bench, serving

_STUDY, _SERIES, _IMAGE = derive_uid("study", 1), derive_uid("series", 1), derive_uid("image", 1, 0)


@contextmanager
def _client_of(gateway: Bench) -> Iterator[DICOMwebClient]:
    with serving(gateway) as address:
        yield DICOMwebClient(f"{address}/dicom-web")


@pytest.fixture
def client(busy: Bench) -> Iterator[DICOMwebClient]:
    with _client_of(busy) as client:
        yield client


@pytest.fixture
def storing(bench: Bench) -> Iterator[DICOMwebClient]:
    """A client of a gateway that holds nothing yet."""
    with _client_of(bench) as client:
        yield client


def test_searches(client: DICOMwebClient) -> None:
    found = client.search_for_studies(search_filters={"PatientID": "NM-004471"}, fields=["StudyDescription"])
    assert [study["0020000D"]["Value"][0] for study in found] == [_STUDY]
    assert len(client.search_for_studies(limit=3, offset=1)) == 3
    assert len(client.search_for_series(_STUDY, search_filters={"Modality": "SEG"})) == 3
    assert len(client.search_for_instances(_STUDY, _SERIES)) == 2


def test_searches_at_every_level_with_further_fields(client: DICOMwebClient) -> None:
    (series,) = client.search_for_series(search_filters={"SeriesInstanceUID": _SERIES}, fields=["SeriesDescription"])
    assert (series["0020000D"]["Value"], series["00201209"]["Value"]) == ([_STUDY], [2])
    assert len(client.search_for_series(_STUDY)) == 7
    assert len(client.search_for_instances(_STUDY)) == 12
    (image,) = client.search_for_instances(search_filters={"SOPInstanceUID": _IMAGE}, fields=["00280030"])
    assert image["00280030"]["vr"] == "DS"
    (everything,) = client.search_for_instances(
        _STUDY, _SERIES, search_filters={"SOPInstanceUID": _IMAGE}, fields=["all"]
    )
    assert {"00200032", "00280103"} <= everything.keys()
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []


def test_pages_follow_each_other_until_all_is_seen(client: DICOMwebClient) -> None:
    def uids(found: list[dict[str, dict[str, object]]], tag: str) -> list[object]:
        return [one[tag]["Value"] for one in found]

    whole = uids(client.search_for_studies(limit=100), "0020000D")
    pages = [uids(client.search_for_studies(limit=4, offset=offset), "0020000D") for offset in (0, 4, 8, 12, 16)]
    assert [len(page) for page in pages] == [4, 4, 4, 1, 0]
    assert [uid for page in pages for uid in page] == whole
    assert uids(client.search_for_studies(limit=4, get_remaining=True), "0020000D") == whole
    instances = uids(client.search_for_instances(_STUDY), "00080018")
    pages = [uids(client.search_for_instances(_STUDY, limit=5, offset=n), "00080018") for n in (0, 5, 10)]
    assert [uid for page in pages for uid in page] == instances


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


def test_compressed_pixels_as_stored_and_as_native(client: DICOMwebClient, storing: DICOMwebClient) -> None:
    ds = client.retrieve_instance(_STUDY, _SERIES, _IMAGE)
    native = ds.PixelData
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    storing.store_instances([ds])
    (frame,) = storing.retrieve_instance_frames(
        _STUDY, _SERIES, _IMAGE, [1], media_types=(("image/jls", JPEGLSLossless),)
    )
    assert frame.startswith(b"\xff\xd8\xff")
    assert storing.retrieve_instance_frames(_STUDY, _SERIES, _IMAGE, [1]) == [native]
    explicit = (("application/dicom", ExplicitVRLittleEndian),)
    assert storing.retrieve_instance(_STUDY, _SERIES, _IMAGE, media_types=explicit).PixelData == native
    assert storing.retrieve_instance(_STUDY, _SERIES, _IMAGE).file_meta.TransferSyntaxUID == JPEGLSLossless
    metadata = storing.retrieve_instance_metadata(_STUDY, _SERIES, _IMAGE)
    (bulk,) = storing.retrieve_bulkdata(metadata["7FE00010"]["BulkDataURI"])
    assert bulk in (native, frame)


def test_storing_into_a_study_refuses_what_is_of_another(client: DICOMwebClient, storing: DICOMwebClient) -> None:
    ds = client.retrieve_instance(_STUDY, _SERIES, _IMAGE)
    answer = storing.store_instances([ds], study_instance_uid=_STUDY)
    assert answer.ReferencedSOPSequence[0].RetrieveURL.endswith(f"/instances/{_IMAGE}")
    with pytest.raises(HTTPError, match="409"):
        storing.store_instances([ds], study_instance_uid=derive_uid("study", "elsewhere"))


def test_storing(client: DICOMwebClient) -> None:
    ds = client.retrieve_instance(_STUDY, _SERIES, _IMAGE)
    answer = client.store_instances([ds])
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [_IMAGE]
