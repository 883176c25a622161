from __future__ import annotations

import io
import zipfile

import pytest

from dicom_sr.uids import derive_uid
from gateway.domain.errors import StorageFull
from gateway.services.arrival import Received
from gateway.store.tables import Series, Study
from tests.support.seed import NOW, image_file
from tests.support.web_gateway import Bench


def _files(count: int) -> list[bytes]:
    study = Study(
        study_instance_uid=derive_uid("sent"), patient_id="P1", patient_name="CANARY^NAME", study_id="9",
        first_received_at=NOW, last_received_at=NOW,
    )  # fmt: skip
    series = Series(series_instance_uid=derive_uid("sent series"), study_instance_uid=study.study_instance_uid)
    return [image_file(study, series, index) for index in range(count)]


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _post(bench: Bench, content: bytes, kind: str = "application/zip"):
    return bench.client().post("/api/v1/instances", content=content, headers={"Content-Type": kind})


def test_one_file_is_received_through_the_upload_door(bench: Bench) -> None:
    answer = _post(bench, _files(1)[0], "application/dicom").json()
    assert (answer["new"], answer["files"][0]["kind"]) == (1, "IMAGE")
    assert [received.outcome for received in bench.new] == ["NEW"]


def test_a_zip_is_received_member_by_member_and_what_is_no_dicom_is_refused_by_name(bench: Bench) -> None:
    first, second = _files(2)
    content = _zip({"a/CANARY_NAME.dcm": first, "a/2.dcm": second, "a/again.dcm": first, "notes.txt": b"CANARY"})
    answer = _post(bench, content)
    assert {k: answer.json()[k] for k in ("new", "duplicate", "conflict", "refused")} == {
        "new": 2, "duplicate": 1, "conflict": 0, "refused": 1,
    }  # fmt: skip
    assert answer.json()["files"][3]["code"] == "UNREADABLE"
    assert "CANARY" not in answer.text


def test_a_form_takes_many_files(bench: Bench) -> None:
    files = [("files", (f"{n}.dcm", content)) for n, content in enumerate(_files(3))]
    assert bench.client().post("/api/v1/instances", files=files).json()["new"] == 3


def test_an_upload_ends_like_an_association_so_that_the_study_can_close(bench: Bench) -> None:
    _post(bench, _files(1)[0], "application/dicom")
    newest = bench.client().get("/api/v1/audit?limit=1").json()[0]
    assert (newest["action"], newest["detail"]["door"], newest["detail"]["IMAGE"]) == (
        "INSTANCES_RECEIVED",
        "upload",
        1,
    )
    with bench.database.read() as session:
        study = session.get(Study, derive_uid("sent"))
        assert study is not None
        assert study.association_ended_at is not None


@pytest.mark.parametrize("content", [b"PK\x03\x04 and nothing more", _zip({"a": b"1"})[:-30]])
def test_a_damaged_zip_is_refused(bench: Bench, content: bytes) -> None:
    answer = _post(bench, content).json()
    assert (answer["refused"], answer["files"][0]["code"]) == (1, "UNREADABLE")


def test_a_zip_member_that_unpacks_beyond_the_limit_is_refused_and_the_rest_taken(bench: Bench) -> None:
    content = _zip({"bomb": b"\0" * 3_000_000, "good": _files(1)[0]})
    node = bench.config.node.model_copy(update={"maximum_object_mb": 1})
    client = bench.with_config(bench.config.model_copy(update={"node": node}))
    answer = client.post("/api/v1/instances", content=content, headers={"Content-Type": "application/zip"}).json()
    assert [file["outcome"] for file in answer["files"]] == ["REFUSED", "NEW"]
    assert answer["files"][0]["code"] == "TOO_LARGE"


def test_a_full_disk_is_507_and_leaves_no_scratch_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> Received:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(bench.services.receiver, "receive", full)
    answer = _post(bench, _files(1)[0], "application/dicom")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (507, "STORAGE_FULL", "30")
    assert list(bench.services.scratch.iterdir()) == []


def test_a_form_without_files_is_400_and_another_media_type_415(bench: Bench) -> None:
    assert bench.client().post("/api/v1/instances", data={"a": "b"}, files={}).status_code == 415
    assert bench.client().post("/api/v1/instances", files={"x": (None, "text")}).status_code == 400
    assert _post(bench, b"x", "text/plain").status_code == 415
