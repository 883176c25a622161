from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_sr.uids import derive_uid
from gateway.domain.errors import StorageFull
from gateway.store.tables import Instance
from tests.support.seed import as_file
from tests.support.web_gateway import Bench


def _instance(number: int, *, study: str = "1.2.840.99.2", description: str = "") -> bytes:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", f"1.2.840.99.1.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.7"
    ds.PatientName, ds.PatientID, ds.Modality, ds.SeriesDescription = "CANARY^NAME", "CANARYID", "MR", description
    ds.Rows, ds.Columns = 2, 2
    return as_file(ds)


def _store(bench: Bench, parts: list[bytes], *, path: str = "studies", kind: str = "application/dicom"):
    head = f"\r\n--B\r\nContent-Type: {kind}\r\n\r\n".encode()
    body = b"".join(head + part for part in parts) + b"\r\n--B--"
    content_type = f'multipart/related; type="{kind}"; boundary=B'
    return bench.client().post(f"/dicom-web/{path}", content=body, headers={"Content-Type": content_type})


def _reasons(answer, sequence: str = "FailedSOPSequence") -> list[int]:
    ds = Dataset.from_json(answer.json())
    return [item.FailureReason for item in ds.get(sequence, [])]


def test_stored_instances_are_listed_with_where_to_get_them(bench: Bench) -> None:
    answer = _store(bench, [_instance(1), _instance(2)])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    ds = Dataset.from_json(answer.json())
    assert [item.ReferencedSOPInstanceUID for item in ds.ReferencedSOPSequence] == ["1.2.840.99.1.1", "1.2.840.99.1.2"]
    assert ds.RetrieveURL == "http://127.0.0.1:8080/dicom-web/studies/1.2.840.99.2"
    given = bench.client().get(ds.ReferencedSOPSequence[0].RetrieveURL, headers={"Accept": "application/dicom"})
    assert pydicom.dcmread(io.BytesIO(given.content)).SOPInstanceUID == "1.2.840.99.1.1"
    with bench.database.read() as session:
        row = session.get(Instance, "1.2.840.99.1.1")
    assert row is not None
    assert (row.door, row.sender) == ("stow", "local")


def test_storing_again_is_harmless(bench: Bench) -> None:
    _store(bench, [_instance(1)])
    assert _store(bench, [_instance(1)]).status_code == 200
    assert [received.outcome for received in bench.new] == ["NEW"]


def test_some_good_and_some_bad_is_202_with_a_reason_for_each_bad_one(bench: Bench) -> None:
    answer = _store(bench, [_instance(1), b"garbage" * 30, _instance(2)[:-3]])
    assert answer.status_code == 202
    assert _reasons(answer, "OtherFailuresSequence") == [0xC000, 0xC000]
    assert len(Dataset.from_json(answer.json()).ReferencedSOPSequence) == 1


def test_only_bad_ones_is_409(bench: Bench) -> None:
    answer = _store(bench, [b"garbage" * 30])
    assert (answer.status_code, _reasons(answer, "OtherFailuresSequence")) == (409, [0xC000])


def test_instances_of_another_study_than_the_url_are_refused(bench: Bench) -> None:
    answer = _store(bench, [_instance(1), _instance(2, study="1.2.840.98")], path="studies/1.2.840.99.2")
    assert (answer.status_code, _reasons(answer)) == (202, [0xA901])
    with bench.database.read() as session:
        assert session.get(Instance, "1.2.840.99.1.2") is None


def test_a_uid_that_is_none_is_refused_before_anything_is_named_by_it(bench: Bench) -> None:
    ds = pydicom.dcmread(io.BytesIO(_instance(1)))
    ds.add(pydicom.DataElement(0x00080018, "UI", "../../evil", validation_mode=pydicom.config.IGNORE))
    buffer = io.BytesIO()
    ds.save_as(buffer)
    answer = _store(bench, [buffer.getvalue()])
    assert (answer.status_code, _reasons(answer, "OtherFailuresSequence")) == (409, [0x0117])


def test_a_conflict_is_kept_and_promises_no_url(bench: Bench) -> None:
    _store(bench, [_instance(1)])
    answer = _store(bench, [_instance(1, description="other")])
    (item,) = Dataset.from_json(answer.json()).ReferencedSOPSequence
    assert answer.status_code == 200
    assert "RetrieveURL" not in item
    assert len(bench.client().get("/api/v1/holds").json()) == 1


def test_a_full_disk_is_507_with_out_of_resources(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageFull("full")

    monkeypatch.setattr(bench.services.receiver, "receive", full)
    answer = _store(bench, [_instance(1), _instance(2)])
    assert (answer.status_code, _reasons(answer)) == (507, [0xA700])
    assert list(bench.services.scratch.iterdir()) == []


def test_a_body_that_is_cut_keeps_what_was_whole_and_says_so(bench: Bench) -> None:
    head = b"--B\r\nContent-Type: application/dicom\r\n\r\n"
    body = head + _instance(1) + b"\r\n" + head + _instance(2)[:100]
    answer = bench.client().post(
        "/dicom-web/studies", content=body, headers={"Content-Type": "multipart/related; boundary=B"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    with bench.database.read() as session:
        assert session.get(Instance, "1.2.840.99.1.1") is not None
    newest = bench.client().get("/api/v1/audit?limit=1").json()[0]
    assert newest["detail"]["ended"] == "aborted"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ('multipart/related; type="application/dicom+json"; boundary=B', 415),
        ('multipart/related; type="application/dicom"', 400),
    ],
)
def test_other_bodies_are_refused(bench: Bench, content_type: str, status: int) -> None:
    answer = bench.client().post("/dicom-web/studies", content=b"--B--", headers={"Content-Type": content_type})
    assert answer.status_code == status


def test_a_request_without_instances_is_400(bench: Bench) -> None:
    assert _store(bench, []).status_code == 400


def test_a_single_instance_may_come_without_multipart(bench: Bench) -> None:
    answer = bench.client().post(
        "/dicom-web/studies", content=_instance(1), headers={"Content-Type": "application/dicom"}
    )
    assert answer.status_code == 200


def test_an_instance_beyond_the_limit_is_out_of_resources_and_the_others_are_kept(bench: Bench) -> None:
    node = bench.config.node.model_copy(update={"maximum_object_mb": 1})
    client = bench.with_config(bench.config.model_copy(update={"node": node}))
    head = b"\r\n--B\r\nContent-Type: application/dicom\r\n\r\n"
    body = head + b"\0" * 1_200_000 + head + _instance(1) + b"\r\n--B--"
    answer = client.post("/dicom-web/studies", content=body, headers={"Content-Type": "multipart/related; boundary=B"})
    assert (answer.status_code, _reasons(answer, "OtherFailuresSequence")) == (202, [0xA700])


def test_nothing_a_caller_is_told_names_the_patient(bench: Bench) -> None:
    answer = _store(bench, [_instance(1), _instance(2)[:-3], b"CANARY" * 40])
    assert "CANARY" not in answer.text
    assert "CANARY" not in bench.client().get("/api/v1/audit").text


def test_our_own_output_coming_back_starts_nothing(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(1))
    bench.seed.iteration(case)
    outputs = bench.client().get(f"/api/v1/cases/{case.id}").json()["iterations"][0]["outputs"]
    answer = _store(bench, [bench.blobs.read(outputs[0]["sha256"])])
    assert answer.status_code == 200
    assert derive_uid("study", 1) in answer.text
    assert bench.client().get("/api/v1/holds").json() == []
