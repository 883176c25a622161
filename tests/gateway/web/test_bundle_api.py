from __future__ import annotations

import hashlib
import io
import json
import zipfile

from tests.support.web_gateway import Bench


def _edited_case(bench: Bench) -> str:
    case = bench.seed.case(bench.seed.study(1, patient_name="LINDQVIST^ASTRID", patient_id="NM-004471"))
    bench.seed.iteration(case)
    bench.seed.iteration(case, number=1, cause="EDIT", changed=("hippocampus", "subfields"))
    bench.seed.edit(case, iteration=1)
    return case.id


def test_the_bundle_holds_every_output_and_edit_with_matching_hashes(bench: Bench) -> None:
    answer = bench.client().get(f"/api/v1/cases/{_edited_case(bench)}/bundle")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        sums = dict(reversed(line.split("  ")) for line in archive.read("SHA256SUMS").decode().splitlines())
        contents = {name: archive.read(name) for name in archive.namelist()}
    kinds = sorted((file["iteration"], file["kind"], file["stage"]) for file in manifest["files"])
    assert kinds == [
        (0, "IMAGE_QC_SR", ""),
        (0, "SEG", "hippocampus"),
        (0, "SEG", "subfields"),
        (0, "SEG_QC_SR", ""),
        (0, "SUMMARY_SC", ""),
        (1, "EDIT", "hippocampus"),
        (1, "SEG", "hippocampus"),
        (1, "SEG", "subfields"),
        (1, "SEG_QC_SR", ""),
        (1, "SUMMARY_SC", ""),
    ]
    for file in manifest["files"]:
        assert hashlib.sha256(contents[file["name"]]).hexdigest() == file["sha256"] == sums[file["name"]]
    assert {"manifest.json", "SHA256SUMS", *sums} == set(contents)


def test_taking_the_bundle_makes_the_caller_the_assignee(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(1), qc_assignee="K. Holm")
    bench.seed.iteration(case)
    bench.client().get(f"/api/v1/cases/{case.id}/bundle")
    assert bench.client().get(f"/api/v1/cases/{case.id}").json()["qc_assignee"] == "local"
    newest = bench.client().get("/api/v1/audit?limit=1").json()[0]
    assert (newest["action"], newest["detail"]["assignee_before"]) == ("RESULTS_TAKEN", "K. Holm")


def test_names_inside_the_bundle_are_free_of_patient_data(bench: Bench) -> None:
    answer = bench.client().get(f"/api/v1/cases/{_edited_case(bench)}/bundle")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        text = (
            " ".join(archive.namelist())
            + archive.read("manifest.json").decode()
            + answer.headers["content-disposition"]
        )
    assert not any(mark in text for mark in ("LINDQVIST", "NM-004471", "ACC000001"))


def test_a_case_without_outputs_has_no_bundle_and_no_new_assignee(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(1))
    assert bench.client().get(f"/api/v1/cases/{case.id}/bundle").status_code == 404
    assert bench.client().get(f"/api/v1/cases/{case.id}").json()["qc_assignee"] == ""
