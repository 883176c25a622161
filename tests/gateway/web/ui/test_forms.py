from __future__ import annotations

import re

import pytest

from dicom_sr.uids import derive_uid
from gateway.domain.case import CaseState
from gateway.domain.instance import LABEL_MAP_SEGMENTATION_STORAGE
from gateway.store.tables import Case, Hold
from tests.support.seed import output_file
from tests.support.web_gateway import Bench


def _case(bench: Bench, **more: object) -> Case:
    case = bench.seed.case(bench.seed.study(1), **more)
    bench.seed.iteration(case)
    return case


def _post(bench: Bench, path: str, **form: str):
    return bench.client(origin="http://127.0.0.1:8080").post(path, data=form)


def test_a_decision_leads_back_to_the_case(bench: Bench) -> None:
    case = _case(bench)
    answer = _post(bench, f"/cases/{case.id}/decide", qc_status="PASS", comment="fine")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/cases/{case.id}?notice=decided")
    record = bench.client().get(f"/api/v1/cases/{case.id}").json()
    assert (record["state"], record["qc_comment"]) == ("FINAL", "fine")


def test_a_refused_decision_comes_back_with_its_comment_and_the_reason(bench: Bench) -> None:
    case = _case(bench)
    answer = _post(bench, f"/cases/{case.id}/decide", qc_status="PASS_WITH_EDITS", comment="my words")
    assert answer.status_code == 409
    assert "PASS_WITH_EDITS needs at least one accepted edit" in answer.text
    assert ">my words</textarea>" in answer.text
    answer = _post(bench, f"/cases/{case.id}/decide", qc_status="FAIL")
    assert "FAIL needs a reason in the comment" in answer.text
    assert 'aria-invalid="true"' in answer.text


def test_a_form_of_another_site_is_refused(bench: Bench) -> None:
    case = _case(bench)
    answer = bench.client(origin="https://evil.example").post(f"/cases/{case.id}/decide", data={"qc_status": "PASS"})
    assert answer.status_code == 403
    assert bench.client().get(f"/api/v1/cases/{case.id}").json()["state"] == "IN_REVIEW"


def test_an_upload_that_is_held_leads_to_its_reason(bench: Bench) -> None:
    case = _case(bench)
    uid = derive_uid("edit", case.id)
    content = output_file(case, uid, "SEG", "hippocampus", LABEL_MAP_SEGMENTATION_STORAGE, 1)
    bench.react = lambda _: bench.write(Hold(sop_instance_uid=uid, sha256="0" * 64, held_at=bench.now))
    answer = bench.client().post(f"/cases/{case.id}/edits", files={"file": ("x.dcm", content)})
    assert answer.headers["location"] == "/holds?notice=edit-held#hold-1"


def test_a_file_that_is_no_edit_leads_back_to_the_case_with_the_reason(bench: Bench) -> None:
    case = _case(bench)
    client = bench.client(accept="text/html")
    for file in (b"no", b"\xff\xd8\xff\xe0\x00\x10JFIF", b""):
        answer = client.post(f"/cases/{case.id}/edits", files={"file": ("photo.jpg", file)})
        assert answer.status_code == 422
        assert re.search(
            r'<p class="notice bad" role="status">(This is not a DICOM file|The file is empty)', answer.text
        )
        assert "Your decision" in answer.text
    assert client.post("/cases/c0/edits", files={"file": ("x", b"y")}).status_code == 404


def test_where_no_users_are_configured_the_sign_in_leads_on(bench: Bench) -> None:
    assert bench.client().get("/sign-in?next=/holds").headers["location"] == "/holds"


@pytest.mark.parametrize(("content", "notice"), [(b"nothing", "upload-refused"), (b"", "upload-refused")])
def test_uploading_what_is_no_dicom_file_says_so(bench: Bench, content: bytes, notice: str) -> None:
    answer = bench.client().post("/uploads", files={"files": ("x", content)})
    assert answer.headers["location"] == f"/?notice={notice}"


def test_a_hold_is_resolved_and_a_refusal_keeps_the_page(bench: Bench) -> None:
    hold = bench.seed.hold()
    answer = _post(bench, f"/holds/{hold.id}/resolve", action="discard", reason=" ")
    assert answer.status_code == 409
    assert "A reason is needed." in answer.text
    answer = _post(bench, f"/holds/{hold.id}/resolve", action="discard", reason="twice")
    assert answer.headers["location"] == "/holds?notice=hold-discarded"
    assert _post(bench, f"/holds/{hold.id}/resolve", action="burn").status_code == 400


@pytest.mark.parametrize(
    ("back", "target"),
    [("/node", "/node?notice=retried"), ("/cases/c1?tab=outputs", "/cases/c1?tab=outputs&notice=retried"),
     ("https://evil.example", "/?notice=retried"), ("//evil.example", "/?notice=retried")],
)  # fmt: skip
def test_a_retry_leads_back_within_this_site(bench: Bench, back: str, target: str) -> None:
    case = bench.seed.case(bench.seed.study(1))
    bench.seed.iteration(case, delivered="DEAD")
    assert _post(bench, "/deliveries/1/retry", back=back).headers["location"] == target


def test_a_held_case_can_be_run_again(bench: Bench) -> None:
    case = _case(bench, state=CaseState.HELD)
    assert _post(bench, f"/cases/{case.id}/retry").headers["location"] == f"/cases/{case.id}?notice=retried"
