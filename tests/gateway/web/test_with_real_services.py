"""The web layer on the services that really do the work: a study is graded, edited by upload, decided, looked at."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from gateway.services import claim, holds, review
from gateway.services.accept_edit import handle_edit, pending_edits
from gateway.services.edit_upload import EditUploads
from gateway.services.fetch import Fetcher
from gateway.services.load_series import load_image
from gateway.services.picture_cache import PictureCache
from gateway.services.pictures import Pictures
from gateway.services.receive import Receiver
from gateway.store.tables import Case
from gateway.web.app import create_app
from gateway.web.services import Services
from tests.support.lab import Lab
from tests.support.make_series import make_mr_series
from tests.support.web_gateway import ToldArchive

# One case goes through all of these, so they stay in one process.
pytestmark = pytest.mark.xdist_group("real_services")


class _Site:
    """A lab with its web application; what is received is matched and run at once."""

    def __init__(self, folder: Path) -> None:
        self.lab = Lab.create(folder / "data")
        self.images = make_mr_series(folder / "study" / "series")
        self.case: Case = self.lab.process(self.images)
        env = self.lab.env
        services = Services(
            config=env.config,
            database=env.database,
            blobs=env.blobs,
            clock=env.clock,
            version="0.0.0",
            scratch=folder / "scratch",
            pictures=Pictures(env.database, env.blobs, partial(load_image, env), PictureCache(folder / "pictures")),
            receiver=Receiver(env.database, env.blobs, env.clock, 0, self._work_on),
            edits=EditUploads(env=env, on_settled=self.lab.run),
            decide=partial(review.decide, env.database),
            resolve_hold=partial(holds.resolve, env),
            retry_delivery=lambda **_: None,
            retry_case=lambda *, case_id, actor, at: claim.retry(env, case_id=case_id, actor=actor),
            fetcher=Fetcher(env.config.node, ToldArchive(), env.database, env.clock),
            edit_wait_s=0.5,
        )
        services.scratch.mkdir()
        self.client = TestClient(
            create_app(services), base_url="http://127.0.0.1:8080", client=("127.0.0.1", 5), follow_redirects=False
        )

    def _work_on(self, _received: object) -> None:
        for uid in pending_edits(self.lab.env):
            handle_edit(self.lab.env, uid)
        self.lab.run()

    def record(self) -> dict[str, Any]:
        """The case as the API gives it."""
        answer = self.client.get(f"/api/v1/cases/{self.case.id}")
        assert answer.status_code == 200
        return answer.json()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "data").mkdir()
    site = _Site(folder)
    yield site
    site.lab.env.database.close()


@dataclass(frozen=True, slots=True)
class _Upload:
    """An edit that was uploaded once."""

    content: bytes
    answer: dict[str, Any]


@pytest.fixture(scope="module")
def uploaded(site: _Site) -> _Upload:
    content = site.lab.edited(site.lab.newest_seg(site.case, "core"), site.images).read_bytes()
    return _Upload(content, _upload(site, content))


def _upload(site: _Site, content: bytes) -> dict[str, Any]:
    answer = site.client.post(
        f"/api/v1/cases/{site.case.id}/edits", content=content, headers={"Content-Type": "application/dicom"}
    )
    assert answer.status_code == 200
    return answer.json()


def test_a_graded_case_is_complete_in_the_api(site: _Site) -> None:
    record = site.record()
    (iteration, *_) = record["iterations"]
    assert [run["outcome"] for run in iteration["stage_runs"]] == ["EXECUTED"] * 5
    assert {output["kind"] for output in iteration["outputs"]} >= {"SEG", "IMAGE_QC_SR", "SEG_QC_SR", "SUMMARY_SC"}
    assert iteration["findings"]
    assert record["verdict"]["outcome"] in ("ACCEPT", "REVIEW", "REJECT", "NOT_ASSESSABLE")


def test_every_output_can_be_fetched_described_and_where_it_is_a_picture_shown(site: _Site) -> None:
    for output in site.record()["iterations"][0]["outputs"]:
        path = (
            f"/dicom-web/studies/{site.case.study_instance_uid}/series/{output['series_instance_uid']}"
            f"/instances/{output['sop_instance_uid']}"
        )
        stored = site.client.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"})
        assert stored.status_code == 200, output["kind"]
        (described,) = site.client.get(f"{path}/metadata").json()
        assert described["0020000E"]["Value"] == [output["series_instance_uid"]]
        picture = site.client.get(f"{path}/rendered", headers={"Accept": "image/png"})
        assert picture.status_code == (200 if output["kind"] in ("SEG", "SUMMARY_SC") else 406), output["kind"]


def test_pictures_are_of_the_received_series(site: _Site) -> None:
    base = f"/cases/{site.case.id}/pictures"
    page = site.client.get(f"{base}?generation=1&iteration=0")
    assert "Front half" in page.text
    image = Image.open(io.BytesIO(site.client.get(f"{base}/1/0/z/12/image.png").content))
    overlay = Image.open(io.BytesIO(site.client.get(f"{base}/1/0/z/12/overlay.png").content))
    assert image.size == overlay.size
    # 1.5 mm rows and 1.25 mm columns come out as square pixels.
    assert image.height / image.width == pytest.approx(32 * 1.5 / (32 * 1.25), rel=0.02)


def test_an_uploaded_edit_is_accepted_and_its_change_is_shown(site: _Site, uploaded: _Upload) -> None:
    assert (uploaded.answer["outcome"], uploaded.answer["iteration"]) == ("ACCEPTED", 1)
    record = site.record()
    outcomes = {run["stage"]: run["outcome"] for run in record["iterations"][1]["stage_runs"]}
    assert (outcomes["image_qc"], outcomes["core"], outcomes["halves"]) == ("REUSED", "REPLACED", "EXECUTED")
    (change,) = record["iterations"][1]["edits"][0]["changes"]
    assert change["label"] == "Core"
    page = site.client.get(f"/cases/{site.case.id}").text
    assert "What the edit changed" in page
    assert f"+{change['voxels_added']} " in page
    changed = site.client.get(f"/cases/{site.case.id}/pictures?generation=1&iteration=1&stage=core").text
    assert 'data-mode="before.png?stage=core"' in changed
    assert _upload(site, uploaded.content)["received"] == "DUPLICATE"


@pytest.mark.usefixtures("uploaded")
def test_decision_signed_report_and_bundle(site: _Site) -> None:
    answer = site.client.post(f"/api/v1/cases/{site.case.id}/qc", json={"qc_status": "PASS_WITH_EDITS"})
    assert (answer.status_code, answer.json()["state"]) == (200, "FINAL")
    site.lab.run()
    assert site.client.get(f"/cases/{site.case.id}").status_code == 200
    bundle = site.client.get(f"/api/v1/cases/{site.case.id}/bundle")
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert archive.testzip() is None
    assert {"SEG", "EDIT", "SEG_QC_SR"} <= {file["kind"] for file in manifest["files"]}
    assert site.client.get("/api/v1/audit/verify").json()["whole"] is True
