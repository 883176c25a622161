"""Studies of peers through the API: listed without the patient, fetched by administrators only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.domain.errors import PeerRejected
from gateway.services.fetch import Fetched, FetchOrder, FetchWay, FoundStudy, StudyQuery
from tests.support.web_gateway import Bench

UID = "1.2.3"
STUDY = FoundStudy(
    study_instance_uid=UID, study_date="20250101", description="Head", modalities=("MR",), series=1, instances=3
)
FETCHED = Fetched(
    peer="PACS",
    study_instance_uid=UID,
    called_aet="OVERREAD",
    service="C-MOVE",
    status=0,
    completed=3,
    failed=0,
    warnings=0,
    is_complete=True,
    sentence="3 instances were sent",
)


@pytest.fixture
def site(memory_folder: Path) -> Iterator[Bench]:
    config = Config.model_validate({"node": {"peers": [{"ae_title": "PACS", "host": "127.0.0.1"}]}})
    bench = Bench(folder=memory_folder, config=config)
    bench.archive.studies = (STUDY,)
    bench.archive.fetched = FETCHED
    yield bench
    bench.close()


def test_candidates_are_asked_for_in_the_body_and_answered_without_the_patient(site: Bench) -> None:
    answer = site.client().post("/api/v1/peers/PACS/studies", json={"patient_id": "P1", "study_date": "20250101-"})
    assert answer.status_code == 200
    assert answer.json() == [
        {
            "study_instance_uid": UID,
            "study_date": "20250101",
            "description": "Head",
            "modalities": ["MR"],
            "series": 1,
            "instances": 3,
        }
    ]
    assert site.archive.asked == [StudyQuery(patient_id="P1", study_date="20250101-")]


def test_a_study_is_fetched_under_the_own_title_unless_another_is_named(site: Bench) -> None:
    answer = site.client().post("/api/v1/peers/PACS/fetch", json={"study_instance_uid": UID})
    assert (answer.status_code, answer.json()["sentence"]) == (200, "3 instances were sent")
    site.client().post("/api/v1/peers/PACS/fetch", json={"study_instance_uid": UID, "way": "move", "seconds": 30})
    assert site.archive.asked == [
        FetchOrder(study_instance_uid=UID, called_aet="OVERREAD"),
        FetchOrder(study_instance_uid=UID, called_aet="OVERREAD", way=FetchWay.MOVE, seconds=30),
    ]


@pytest.mark.parametrize(
    ("path", "content", "status", "code"),
    [
        ("PACS/fetch", {"study_instance_uid": "a/b"}, 422, "INVALID_UID"),
        ("PACS/fetch", {"study_instance_uid": UID, "called_aet": "OTHER"}, 409, "NOT_OUR_TITLE"),
        ("ELSE/fetch", {"study_instance_uid": UID}, 404, "UNKNOWN_PEER"),
        ("PACS/studies", {}, 400, "QUERY_TOO_WIDE"),
        ("PACS/studies", {"patient_id": "*"}, 400, "QUERY_TOO_WIDE"),
        ("PACS/studies", {"study_date": "yesterday"}, 400, "BAD_REQUEST"),
    ],
)
def test_what_cannot_be_asked_is_named(site: Bench, path: str, content: dict[str, str], status: int, code: str) -> None:
    answer = site.client().post(f"/api/v1/peers/{path}", json=content)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert site.archive.asked == []


def test_what_the_peer_refuses_is_told_in_its_sentence(site: Bench) -> None:
    site.archive.fetched = PeerRejected("'PACS' does not know us", code="MOVE_DESTINATION_UNKNOWN")
    answer = site.client().post("/api/v1/peers/PACS/fetch", json={"study_instance_uid": UID})
    assert (answer.status_code, answer.json()["detail"]) == (502, "'PACS' does not know us")


def test_only_administrators_may_fetch(site: Bench, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-that-is-long-enough-for-it\n")
    users = [{"name": "anna", "role": "reviewer", "token_file": str(tmp_path / "token")}]
    config = Config.model_validate({"node": site.config.node.model_dump(), "web": {"users": users}})
    client = site.with_config(config)
    client.headers["Authorization"] = "Bearer a-token-that-is-long-enough-for-it"
    assert client.get("/api/v1/peers").status_code == 200
    assert client.post("/api/v1/peers/PACS/fetch", json={"study_instance_uid": UID}).status_code == 403
    assert client.post("/api/v1/peers/PACS/studies", json={"patient_id": "P1"}).status_code == 403
    assert site.archive.asked == []
