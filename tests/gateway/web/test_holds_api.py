from __future__ import annotations

from tests.support.web_gateway import Bench


def test_open_holds_are_listed_with_reason_codes_and_sentences(busy: Bench) -> None:
    holds = busy.client().get("/api/v1/holds").json()
    assert [[reason["code"] for reason in hold["reasons"]] for hold in holds] == [
        ["UNKNOWN_STUDY"],
        ["AMBIGUOUS_OUTPUT", "OUT_OF_SCOPE"],
        ["GRID_MISMATCH"],
    ]
    assert all(reason["detail"] for hold in holds for reason in hold["reasons"])


def test_holds_of_one_case(busy: Bench) -> None:
    assert len(busy.client().get("/api/v1/holds", params={"case_id": busy.edited}).json()) == 1


def test_a_resolved_hold_says_by_whom_and_why_and_leaves_the_list(bench: Bench) -> None:
    hold = bench.seed.hold()
    body = {"action": "discard", "reason": "sent twice by mistake"}
    answer = bench.client().post(f"/api/v1/holds/{hold.id}/resolve", json=body).json()
    assert (answer["state"], answer["resolved_by"], answer["resolution_reason"]) == (
        "DISCARDED",
        "local",
        body["reason"],
    )
    assert bench.client().get("/api/v1/holds").json() == []
    assert len(bench.client().get("/api/v1/holds?state=DISCARDED").json()) == 1


def test_a_hold_can_be_released_to_a_case_and_stage(bench: Bench) -> None:
    hold = bench.seed.hold()
    body = {"action": "accept", "case_id": "c1", "stage": "hippocampus", "reason": "the reader named it by phone"}
    answer = bench.client().post(f"/api/v1/holds/{hold.id}/resolve", json=body).json()
    assert (answer["state"], answer["case_id"], answer["stage"]) == ("ACCEPTED", "c1", "hippocampus")


def test_a_hold_is_resolved_once(bench: Bench) -> None:
    hold = bench.seed.hold()
    body = {"action": "discard", "reason": "x"}
    bench.client().post(f"/api/v1/holds/{hold.id}/resolve", json=body)
    assert bench.client().post(f"/api/v1/holds/{hold.id}/resolve", json=body).status_code == 409


def test_an_unknown_hold_is_404_and_an_unknown_action_400(bench: Bench) -> None:
    assert bench.client().get("/api/v1/holds/77").status_code == 404
    assert bench.client().post("/api/v1/holds/77/resolve", json={"action": "accept", "reason": "x"}).status_code == 404
    assert bench.client().post("/api/v1/holds/77/resolve", json={"action": "burn"}).status_code == 400
