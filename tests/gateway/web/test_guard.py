from __future__ import annotations

import logging

import pytest
import structlog

from gateway.domain import errors
from gateway.domain.errors import GatewayError
from gateway.web import guard, problems
from gateway.web.problems import PROBLEMS, problem_of
from tests.support.web_gateway import Bench


@pytest.mark.parametrize("path", ["/", "/api/v1/cases", "/static/overread.css", "/nowhere", "/healthz"])
def test_every_answer_carries_the_protecting_headers_and_a_request_id(busy: Bench, path: str) -> None:
    answer = busy.client().get(path)
    for name, value in guard.SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    assert len(answer.headers["x-request-id"]) == 16
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_answers_with_patient_data_are_not_stored_by_caches(busy: Bench) -> None:
    assert busy.client().get("/api/v1/cases").headers["cache-control"] == "no-store"
    assert busy.client().get("/").headers["cache-control"] == "no-store"


def test_an_unforeseen_error_is_a_problem_without_its_message_anywhere(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("CANARY^PATIENT 19600203")

    monkeypatch.setattr("gateway.services.worklist.list_cases", fail)
    with structlog.testing.capture_logs() as logs, caplog.at_level(logging.DEBUG):
        answer = bench.client().get("/api/v1/cases")
    assert answer.status_code == 500
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert [(entry["event"], entry["error"]) for entry in logs] == [("unforeseen_error", "ValueError")]
    assert logs[0]["request_id"] == answer.headers["x-request-id"]
    assert any("test_guard.py" in place for place in logs[0]["at"])
    assert "CANARY" not in answer.text + str(logs) + caplog.text


def test_every_error_of_the_gateway_has_its_place_in_the_table() -> None:
    declared = [
        kind
        for module in (errors, problems)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, GatewayError)
    ]
    assert {kind for kind in declared if kind not in PROBLEMS} == set()


def test_an_error_of_a_kind_nobody_listed_is_answered_like_its_ancestor() -> None:
    class Special(errors.IllegalTransition):
        code = "SPECIAL"

    problem = problem_of(Special("no"), "r1")
    assert (problem.status, problem.code, problem.type) == (409, "SPECIAL", "urn:overread:problem:SPECIAL")


def test_methods_that_do_not_exist_are_problems_too(bench: Bench) -> None:
    answer = bench.client().delete("/api/v1/cases")
    assert (answer.status_code, answer.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["content-type"] == "application/problem+json"


def test_errors_are_pages_for_browsers_and_problems_for_programs(bench: Bench) -> None:
    page = bench.client().get("/cases/c0", headers={"Accept": "text/html,*/*"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no case with this id" in page.text
    program = bench.client().get("/api/v1/cases/c0", headers={"Accept": "text/html,*/*"})
    assert program.headers["content-type"] == "application/problem+json"
