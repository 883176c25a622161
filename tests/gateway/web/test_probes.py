from __future__ import annotations

import json
import time

import requests

from gateway.web.server import WebServer
from tests.support.web_gateway import Bench


def test_health_says_that_the_process_answers(bench: Bench) -> None:
    assert bench.client().get("/healthz").json() == {"status": "ok", "version": "0.1.0"}


def test_a_load_balancer_may_ask_for_the_head_alone(bench: Bench) -> None:
    for probe in ("/healthz", "/readyz"):
        answer = bench.client().head(probe)
        assert (answer.status_code, answer.content) == (200, b"")


def test_readiness_gives_the_reasons_why_not(bench: Bench) -> None:
    assert bench.client().get("/readyz").json() == {"ready": True, "reasons": []}
    bench.not_ready = ("the stage host is not running",)
    answer = bench.client().get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["the stage host is not running"])


def test_metrics_count_cases_by_state_and_hold_no_identifier(busy: Bench) -> None:
    client = busy.client()
    client.get(f"/api/v1/cases/{busy.edited}")
    text = client.get("/metrics").text
    assert 'overread_cases{state="FINAL"} 4.0' in text
    assert 'overread_deliveries{destination="pacs",state="DEAD"} 5.0' in text
    assert 'overread_case_verdicts{pipeline="hippocampus-mr",verdict="REJECT"} 1.0' in text
    assert 'route="/api/v1/cases/{case_id}"' in text
    assert busy.edited not in text
    assert not any(mark in text for mark in ("LINDQVIST", "NM-004471", "2.25."))


def test_unknown_paths_share_one_label_so_that_callers_cannot_grow_the_metrics(bench: Bench) -> None:
    client = bench.client()
    for number in range(3):
        client.get(f"/PATIENT-{number}")
    text = client.get("/metrics").text
    assert 'overread_http_requests_total{method="GET",route="unknown",status="404"} 3.0' in text
    assert "PATIENT" not in text


def _next_event(lines) -> dict[str, object]:
    for line in lines:
        if line.startswith(b"data: "):
            return json.loads(line[6:])
    raise AssertionError("the stream ended")


def test_events_arrive_while_somebody_listens_and_catch_up_after_a_break(bench: Bench) -> None:
    server = WebServer(bench.app, "127.0.0.1", 0)
    host, port = server.start()
    url = f"http://{host}:{port}/api/v1/events"
    try:
        with requests.get(url, stream=True, timeout=10) as stream:
            lines = stream.iter_lines(chunk_size=1)
            assert next(lines).startswith(b":")
            bench.seed.audit("FIRST", case="c1")
            first = _next_event(lines)
            assert (first["action"], first["case_id"]) == ("FIRST", "c1")
        bench.seed.audit("MISSED", case="c1")
        with requests.get(url, stream=True, timeout=10, headers={"Last-Event-ID": str(first["id"])}) as stream:
            assert _next_event(stream.iter_lines(chunk_size=1))["action"] == "MISSED"
    finally:
        server.stop()


def test_an_open_event_stream_does_not_hold_up_the_end(bench: Bench) -> None:
    server = WebServer(bench.app, "127.0.0.1", 0)
    host, port = server.start()
    with requests.get(f"http://{host}:{port}/api/v1/events", stream=True, timeout=10) as stream:
        next(stream.iter_lines(chunk_size=1))
        started = time.monotonic()
        server.stop()
    assert time.monotonic() - started < 5


def test_nobody_looks_at_the_database_while_nobody_listens(bench: Bench) -> None:
    assert bench.app.state.feed._task is None
