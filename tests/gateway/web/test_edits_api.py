from __future__ import annotations

import gzip
import io

import pydicom
import pytest

from dicom_sr.uids import derive_uid
from gateway.domain.case import CaseState
from gateway.domain.instance import LABEL_MAP_SEGMENTATION_STORAGE
from gateway.store.tables import Case, Edit, Hold, Instance
from tests.support.seed import image_file, output_file
from tests.support.web_gateway import Bench


def _case(bench: Bench) -> Case:
    case = bench.seed.case(bench.seed.study(1), qc_assignee="K. Holm")
    bench.seed.iteration(case)
    return case


def _seg(case: Case, *, name: str = "edit") -> tuple[str, bytes]:
    uid = derive_uid(name, case.id)
    return uid, output_file(case, uid, "SEG", "hippocampus", LABEL_MAP_SEGMENTATION_STORAGE, 1)


def _post(bench: Bench, case: Case, content: bytes):
    return bench.client().post(
        f"/api/v1/cases/{case.id}/edits", content=content, headers={"Content-Type": "application/dicom"}
    )


def test_an_edit_nobody_has_looked_at_in_time_is_pending_and_kept(bench: Bench) -> None:
    case = _case(bench)
    uid, content = _seg(case)
    answer = _post(bench, case, content)
    assert (answer.status_code, answer.json()["outcome"]) == (202, "PENDING")
    with bench.database.read() as session:
        kept = session.get(Instance, uid)
    assert kept is not None
    assert (kept.door, kept.sender, kept.case_hint) == ("upload", "local", case.id)


def test_an_accepted_edit_is_200_with_its_stage_and_iteration(bench: Bench) -> None:
    case = _case(bench)
    uid, content = _seg(case)

    def accept(received: object) -> None:
        bench.write(Edit(case_id=case.id, generation=1, iteration=1, stage="hippocampus", sop_instance_uid=uid,
                         accepted_at=bench.now))  # fmt: skip

    bench.react = accept
    answer = _post(bench, case, content)
    assert answer.status_code == 200
    assert {k: answer.json()[k] for k in ("outcome", "stage", "iteration", "received")} == {
        "outcome": "ACCEPTED", "stage": "hippocampus", "iteration": 1, "received": "NEW",
    }  # fmt: skip


def test_a_held_edit_is_202_with_its_reasons(bench: Bench) -> None:
    case = _case(bench)
    uid, content = _seg(case)
    reason = {"code": "DOOR_CLOSED", "detail": "this case takes edits only after it was marked for reprocessing"}
    bench.react = lambda _: bench.write(
        Hold(sop_instance_uid=uid, sha256="0" * 64, case_id=case.id, reasons=[reason], held_at=bench.now)
    )
    answer = _post(bench, case, content)
    assert (answer.status_code, answer.json()["outcome"], answer.json()["reasons"]) == (202, "HELD", [reason])
    assert answer.json()["hold_id"] == 1


def test_an_edit_that_changes_nothing_is_ignored_with_its_reason(bench: Bench) -> None:
    case = _case(bench)
    uid, content = _seg(case)

    def ignore(received: object) -> None:
        with bench.database.write() as session:
            kept = session.get(Instance, uid)
            assert kept is not None
            kept.handled = True
            session.add(kept)

    bench.react = ignore
    answer = _post(bench, case, content)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "IGNORED")


def test_our_own_segmentation_coming_back_is_an_echo(bench: Bench) -> None:
    case = _case(bench)
    outputs = bench.client().get(f"/api/v1/cases/{case.id}").json()["iterations"][0]["outputs"]
    output = next(output for output in outputs if output["kind"] == "SEG")
    content = bench.blobs.read(output["sha256"])
    answer = _post(bench, case, content)
    assert answer.json()["outcome"] == "IGNORED"
    assert answer.json()["reasons"][0]["code"] == "OWN_ECHO"


def test_the_same_uid_with_other_content_is_reported_as_the_conflict_it_is(bench: Bench) -> None:
    case = _case(bench)
    _, content = _seg(case)
    _post(bench, case, content)
    changed = pydicom.dcmread(io.BytesIO(content))
    changed.SeriesDescription = "other"
    buffer = io.BytesIO()
    changed.save_as(buffer)
    answer = _post(bench, case, buffer.getvalue()).json()
    assert (answer["received"], answer["outcome"]) == ("CONFLICT", "HELD")
    assert [reason["code"] for reason in answer["reasons"]] == ["SAME_UID_OTHER_BYTES"]


def test_an_edit_may_come_as_a_form(bench: Bench) -> None:
    case = _case(bench)
    _, content = _seg(case)
    answer = bench.client().post(f"/api/v1/cases/{case.id}/edits", files={"file": ("x.dcm", content)})
    assert answer.json()["received"] == "NEW"


def test_an_image_is_no_edit_and_is_not_kept(bench: Bench) -> None:
    study = bench.seed.study(1)
    case = bench.seed.case(study)
    bench.seed.iteration(case)
    with bench.database.read() as session:
        from gateway.store.tables import Series

        series = session.get(Series, derive_uid("series", 1))
    assert series is not None
    answer = _post(bench, case, image_file(study, series, 99))
    assert (answer.status_code, answer.json()["code"]) == (422, "NOT_A_SEGMENTATION")
    with bench.database.read() as session:
        assert session.get(Instance, derive_uid("image", "1", 99)) is None


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "UNREADABLE"), (b"garbage" * 40, "UNREADABLE"), (b"\0" * 128 + b"DICM", "UNREADABLE")],
)
def test_bytes_that_are_no_dicom_file_are_refused_by_name(bench: Bench, content: bytes, code: str) -> None:
    answer = _post(bench, _case(bench), content)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_truncated_file_is_refused(bench: Bench) -> None:
    case = _case(bench)
    _, content = _seg(case)
    assert _post(bench, case, content[:-7]).json()["code"] == "TRUNCATED_DATASET"


def test_an_edit_for_no_case_is_404_before_anything_is_read(bench: Bench) -> None:
    answer = bench.client().post("/api/v1/cases/c0/edits", content=b"x", headers={"Content-Type": "application/dicom"})
    assert answer.status_code == 404


def test_another_media_type_is_415(bench: Bench) -> None:
    case = _case(bench)
    answer = bench.client().post(f"/api/v1/cases/{case.id}/edits", json={})
    assert answer.status_code == 415


def test_an_upload_larger_than_allowed_is_413_and_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case(bench)
    node = bench.config.node.model_copy(update={"maximum_object_mb": 1})
    small = bench.with_config(bench.config.model_copy(update={"node": node}))
    answer = small.post(
        f"/api/v1/cases/{case.id}/edits", content=b"x" * 1_100_000, headers={"Content-Type": "application/dicom"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")
    assert list(bench.services.scratch.iterdir()) == []


def test_the_bundle_of_a_final_case_leaves_its_assignee(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(2), state=CaseState.FINAL, qc_assignee="K. Holm")
    bench.seed.iteration(case)
    assert bench.client().get(f"/api/v1/cases/{case.id}/bundle").status_code == 200
    assert bench.client().get(f"/api/v1/cases/{case.id}").json()["qc_assignee"] == "K. Holm"


def test_a_form_may_name_the_stage_of_a_label_map(bench: Bench) -> None:
    case = _case(bench)
    path = f"/api/v1/cases/{case.id}/edits"
    file = {"file": ("edit.nii.gz", gzip.compress(bytes(400)))}
    unnamed = bench.client().post(path, files=file)
    assert (unnamed.status_code, unnamed.json()["code"]) == (422, "STAGE_NOT_NAMED")
    named = bench.client().post(path, files=file, data={"stage": "hippocampus"})
    assert (named.status_code, named.json()["outcome"]) == (202, "HELD")
    assert [reason["code"] for reason in named.json()["reasons"]] == ["NO_OPEN_OUTPUT"]
    with bench.database.read() as session:
        hold = session.get(Hold, named.json()["hold_id"])
    assert hold is not None
    assert (hold.case_id, hold.stage, hold.format, hold.sender) == (case.id, "hippocampus", "NIFTI", "local")
