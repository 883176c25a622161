from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.domain.case import CaseState
from gateway.domain.qc_status import QcStatus
from gateway.domain.stage_run import StageRunState
from tests.support.seed import NOW, Seed, make_segmentations
from tests.support.web_gateway import Bench

_CASE_FIELDS = {
    "id", "study_instance_uid", "pipeline", "generation", "iteration", "state", "verdict", "qc_status",
    "qc_assignee", "qc_comment", "iterations",
}  # fmt: skip


def _case(seed: Seed, **more: object) -> str:
    case = seed.case(seed.study(1), **more)
    seed.iteration(case)
    return case.id


def test_a_case_has_the_fields_of_the_contract(busy: Bench) -> None:
    case = busy.client().get(f"/api/v1/cases/{busy.edited}").json()
    assert case.keys() >= _CASE_FIELDS
    assert case["verdict"].keys() >= {"outcome", "reasons"}
    first, second = case["iterations"]
    assert first["stage_runs"][0].keys() >= {"stage", "outcome", "key", "seconds"}
    assert first["outputs"][0].keys() >= {
        "kind", "stage", "sop_class_uid", "sop_instance_uid", "series_instance_uid", "delivered",
    }  # fmt: skip
    assert first["findings"][0].keys() >= {"stage", "code", "value", "unit", "outcome"}
    assert [run["outcome"] for run in second["stage_runs"]] == [
        "REUSED", "REPLACED", "EXECUTED", "EXECUTED", "EXECUTED", "EXECUTED",
    ]  # fmt: skip


def test_an_output_counts_as_delivered_only_when_every_destination_has_it(busy: Bench) -> None:
    first, second = busy.client().get(f"/api/v1/cases/{busy.edited}").json()["iterations"]
    assert all(output["delivered"] for output in first["outputs"])
    carried = [output for output in second["outputs"] if output["delivered"]]
    assert [(output["kind"], output["made_in_iteration"]) for output in carried] == [("IMAGE_QC_SR", 0)]


def test_a_stage_that_is_not_settled_has_a_state_and_no_outcome(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(1), state=CaseState.RUNNING)
    bench.seed.iteration(case, verdict="", states={"report": StageRunState.WAITING})
    run = bench.client().get(f"/api/v1/cases/{case.id}").json()["iterations"][0]["stage_runs"][-1]
    assert (run["stage"], run["outcome"], run["state"]) == ("report", None, "WAITING")


def test_an_unknown_case_is_a_404_problem_with_code_and_request_id(busy: Bench) -> None:
    answer = busy.client().get("/api/v1/cases/c0")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "NOT_FOUND"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_worklist_pages_join_without_gap_or_overlap(busy: Bench) -> None:
    client, seen, cursor = busy.client(), [], ""
    while True:
        page = client.get("/api/v1/cases", params={"limit": 5, "cursor": cursor}).json()
        seen += [case["id"] for case in page["cases"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    everything = client.get("/api/v1/cases", params={"limit": 500}).json()["cases"]
    assert seen == [case["id"] for case in everything]
    assert len(seen) == 12


def test_cases_changed_at_the_same_moment_are_paged_by_id(bench: Bench) -> None:
    for number in range(4):
        bench.seed.case(bench.seed.study(number), minutes_ago=5)
    client = bench.client()
    first = client.get("/api/v1/cases?limit=3").json()
    rest = client.get("/api/v1/cases", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert len({case["id"] for case in first["cases"] + rest["cases"]}) == 4


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("state=FINAL", 4),
        ("state=FINAL&state=HELD", 5),
        ("verdict=REJECT", 1),
        ("qc_status=QUARANTINED", 1),
        ("assignee=K.+Holm", 3),
        ("assignee=-", 5),
        ("site=Northmoor", 1),
        ("pipeline=other", 0),
        ("text=LINDQ", 1),
        ("text=lindq", 1),
        ("text=NM-0044", 1),
        ("text=ACC000010", 1),
        ("text=nobody", 0),
        ("state=&qc_status=&study_uid=&assignee=", 12),
    ],
)
def test_worklist_filters(busy: Bench, query: str, count: int) -> None:
    assert len(busy.client().get(f"/api/v1/cases?{query}").json()["cases"]) == count


def test_a_misspelt_filter_is_refused_rather_than_ignored(busy: Bench) -> None:
    answer = busy.client().get("/api/v1/cases?stat=FINAL")
    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"where": "query.stat", "message": "Extra inputs are not permitted"}]


def test_a_foreign_cursor_is_refused(busy: Bench) -> None:
    assert busy.client().get("/api/v1/cases?cursor=%C3%A4x").json()["code"] == "BAD_CURSOR"


def test_a_legal_decision_is_recorded_in_the_callers_name(bench: Bench) -> None:
    case = _case(bench.seed)
    answer = bench.client().post(f"/api/v1/cases/{case}/qc", json={"qc_status": "PASS", "comment": "sauber, ok"})
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["qc_comment"]) == ("FINAL", "sauber, ok")
    newest = bench.client().get("/api/v1/audit?limit=1").json()[0]
    assert (newest["actor"], newest["action"]) == ("local", "QC_DECIDED")


@pytest.mark.parametrize(
    "decision",
    [{"qc_status": "PASS_WITH_EDITS"}, {"qc_status": "FAIL"}, {"qc_status": "QUARANTINED", "comment": "  "}],
)
def test_an_illegal_decision_is_409_and_changes_nothing(bench: Bench, decision: dict[str, str]) -> None:
    case = _case(bench.seed)
    before = bench.client().get(f"/api/v1/cases/{case}").json()
    answer = bench.client().post(f"/api/v1/cases/{case}/qc", json=decision)
    assert (answer.status_code, answer.json()["code"]) == (409, "ILLEGAL_TRANSITION")
    assert bench.client().get(f"/api/v1/cases/{case}").json() == before


def test_a_malformed_decision_is_400_and_does_not_repeat_what_was_sent(busy: Bench) -> None:
    answer = busy.client().post("/api/v1/cases/c1/qc", json={"qc_status": "CANARY^NAME"})
    assert answer.status_code == 400
    assert "CANARY" not in answer.text


def test_legal_decisions_follow_state_and_iteration(busy: Bench) -> None:
    legal = busy.client().get(f"/api/v1/cases/{busy.edited}").json()["legal_decisions"]
    assert legal == ["PASS_WITH_EDITS", "FAIL_NEEDS_REPROCESSING", "QUARANTINED", "FAIL"]


def test_counts_cover_every_state(busy: Bench) -> None:
    counts = busy.client().get("/api/v1/cases/counts").json()
    assert counts["by_state"].keys() == {state.value for state in CaseState}
    assert (counts["by_state"]["FINAL"], counts["open_holds"], counts["dead_deliveries"]) == (4, 3, 5)


def test_retrying_a_case_that_is_not_stuck_is_409(bench: Bench) -> None:
    assert bench.client().post(f"/api/v1/cases/{_case(bench.seed)}/retry").status_code == 409


def test_superseded_generations_stay_visible(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(1))
    bench.seed.iteration(case, segmentations=make_segmentations())
    bench.seed.iteration(case, generation=2, cause="LATE_INSTANCES")
    answer = bench.client().get(f"/api/v1/cases/{case.id}").json()
    assert [(i["generation"], i["number"]) for i in answer["iterations"]] == [(1, 0), (2, 0)]


def test_qc_status_of_the_row_is_the_case_s(bench: Bench) -> None:
    case = _case(bench.seed, qc_status=QcStatus.PASS, state=CaseState.FINAL)
    row = bench.client().get("/api/v1/cases").json()["cases"][0]
    assert (row["id"], row["qc_status"]) == (case, "PASS")
    assert row["changed_at"].startswith((NOW - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M"))
