from __future__ import annotations

from pathlib import Path

from sqlmodel import select

from gateway.config import Config
from gateway.services.destinations import is_paused
from gateway.store.tables import AuditEvent
from tests.support.web_gateway import Bench


def test_deliveries_are_filtered_by_state_and_case(busy: Bench) -> None:
    client = busy.client()
    dead = client.get("/api/v1/deliveries?state=DEAD").json()
    assert len(dead) == 5
    assert {row["last_failure"] for row in dead} == {"PACS1 at 10.0.4.7:104 does not answer"}
    assert len(client.get("/api/v1/deliveries", params={"case_id": busy.edited}).json()) == 9
    assert client.get("/api/v1/deliveries?destination=nowhere").json() == []


def test_a_dead_delivery_can_be_sent_again_and_a_delivered_one_not(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(1))
    bench.seed.iteration(case, delivered="DEAD")
    dead = bench.client().get("/api/v1/deliveries?state=DEAD").json()[0]
    answer = bench.client().post(f"/api/v1/deliveries/{dead['id']}/retry").json()
    assert (answer["state"], answer["attempts"]) == ("PENDING", 0)
    other = bench.seed.case(bench.seed.study(2))
    bench.seed.iteration(other)
    delivered = bench.client().get("/api/v1/deliveries?state=DELIVERED").json()[0]
    assert bench.client().post(f"/api/v1/deliveries/{delivered['id']}/retry").status_code == 409
    assert bench.client().post("/api/v1/deliveries/9999/retry").status_code == 404


def test_a_destination_is_paused_and_resumed_by_a_person(memory_folder: Path) -> None:
    pacs = {"name": "pacs", "kind": "dicom", "ae_title": "PACS1", "host": "10.0.4.7"}
    bench = Bench(folder=memory_folder, config=Config.model_validate({"destinations": [pacs]}))
    case = bench.seed.case(bench.seed.study(1))
    bench.seed.iteration(case, delivered="DEAD")
    client = bench.client()
    (row,) = client.get("/api/v1/destinations").json()
    assert (row["name"], row["where"], row["dead"], row["paused_at"]) == ("pacs", "PACS1 at 10.0.4.7:104", 5, None)
    assert row["last_failure"] == "PACS1 at 10.0.4.7:104 does not answer"
    paused = client.post("/api/v1/destinations/pacs/pause", json={"reason": "moving the archive"}).json()
    assert (paused["paused_by"], paused["pause_reason"]) == ("local", "moving the archive")
    assert is_paused(bench.database, "pacs")
    assert client.post("/api/v1/destinations/pacs/pause", json={}).status_code == 409
    page = client.get("/node").text
    assert "Paused by local" in page
    assert "moving the archive" in page
    assert client.post("/destinations/pacs/resume").headers["location"] == "/node?notice=retried"
    assert not is_paused(bench.database, "pacs")
    assert client.post("/destinations/pacs/pause", data={"reason": ""}).headers["location"] == "/node?notice=paused"
    assert client.post("/api/v1/destinations/pacs/resume").json()["paused_at"] is None
    assert client.post("/api/v1/destinations/pacs/resume").status_code == 409
    assert client.post("/api/v1/destinations/nowhere/pause", json={}).status_code == 404
    actions = [event["action"] for event in client.get("/api/v1/audit").json()][:4]
    assert actions == ["DESTINATION_RESUMED", "DESTINATION_PAUSED", "DESTINATION_RESUMED", "DESTINATION_PAUSED"]
    assert "moving the archive" not in client.get("/api/v1/audit").text
    bench.close()


def test_peers_are_listed_with_what_was_agreed_on_and_the_last_refusal(busy: Bench) -> None:
    peers = {peer["ae_title"]: peer for peer in busy.client().get("/api/v1/peers").json()}
    assert peers["MRSCAN1"]["accepted"] == [["1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"]]
    assert peers["CTSCAN9"]["refusal"].startswith("CTSCAN9 at 10.0.9.3 called OVERREED")
    page = busy.client().get("/node").text
    assert "MR Image Storage" in page
    assert "Explicit VR Little Endian" in page


def test_the_audit_trail_is_paged_from_newest_to_oldest(busy: Bench) -> None:
    client = busy.client()
    first = client.get("/api/v1/audit?limit=3").json()
    second = client.get(f"/api/v1/audit?limit=3&before={first[-1]['id']}").json()
    ids = [event["id"] for event in first + second]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 6


def test_the_audit_trail_of_one_case_and_action(busy: Bench) -> None:
    events = busy.client().get("/api/v1/audit", params={"case_id": busy.edited, "action": "EDIT_ACCEPTED"}).json()
    assert [event["actor"] for event in events] == ["DR_HOLM"]


def test_a_whole_chain_is_verified_and_a_changed_row_is_found(bench: Bench) -> None:
    for number in range(5):
        bench.seed.audit("TESTED", number=number)
    assert bench.client().get("/api/v1/audit/verify").json()["whole"] is True
    with bench.database.write() as session:
        third = session.exec(select(AuditEvent).where(AuditEvent.id == 3)).one()
        third.actor = "somebody else"
        session.add(third)
    check = bench.client().get("/api/v1/audit/verify").json()
    assert (check["whole"], check["first_broken"], check["events"]) == (False, 3, 5)


def test_the_workload_counts_what_the_audit_trail_says(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(1), qc_assignee="K. Holm")
    bench.seed.iteration(case)
    bench.seed.edit(case, iteration=1)
    bench.client().get(f"/api/v1/cases/{case.id}/bundle")
    bench.client().post(f"/api/v1/cases/{case.id}/qc", json={"qc_status": "FAIL_NEEDS_REPROCESSING"})
    people = {person["name"]: person for person in bench.client().get("/api/v1/workload").json()}
    assert people["local"] == {"name": "local", "assigned": 1, "taken": 1, "edited": 0, "decided": 1}
    assert people["DR_HOLM"]["edited"] == 1
    assert "K. Holm" not in people


def test_studies_no_pipeline_took_say_why(bench: Bench) -> None:
    study = bench.seed.study(1, description="CT abdomen")
    bench.seed.untaken(study, pipeline="hippocampus-mr", reason="modality is not MR")
    taken = bench.seed.study(2)
    bench.seed.untaken(taken, pipeline="other", reason="7 slices, fewer than 16")
    bench.seed.case(taken)
    (found,) = bench.client().get("/api/v1/untaken").json()
    assert (found["study_instance_uid"], found["reason"]) == (study.study_instance_uid, "modality is not MR")
    assert "modality is not MR" in bench.client().get("/node").text
    asked = {
        uid: bench.client().get("/api/v1/untaken", params={"study_uid": uid}).json()
        for uid in ("1.2.3", found["study_instance_uid"])
    }
    assert asked == {"1.2.3": [], study.study_instance_uid: [found]}
