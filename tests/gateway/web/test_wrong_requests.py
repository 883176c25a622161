"""Requests that nobody should make: each is answered with problem details and a status that says whose fault it is."""

from __future__ import annotations

import pytest

from tests.support.web_gateway import Bench

#: More than any column holds.
_HUGE = 10**24


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/api/v1/holds/{_HUGE}"),
        ("POST", f"/api/v1/holds/{_HUGE}/resolve"),
        ("POST", f"/api/v1/deliveries/{_HUGE}/retry"),
        ("GET", f"/api/v1/audit?before={_HUGE}"),
        ("GET", f"/audit?before={_HUGE}"),
        ("POST", f"/holds/{_HUGE}/resolve"),
        ("POST", f"/deliveries/{_HUGE}/retry"),
        ("GET", f"/cases/c1/pictures/{_HUGE}/0/z/1/image.png"),
        ("GET", f"/cases/c1/pictures?generation=1&iteration={_HUGE}"),
    ],
)
def test_a_number_that_no_database_holds_is_the_callers_mistake(bench: Bench, method: str, path: str) -> None:
    answer = bench.client().request(method, path, headers={"Accept": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"]


def test_an_event_stream_after_no_possible_event_is_refused(bench: Bench) -> None:
    assert bench.client().get("/api/v1/events", headers={"Last-Event-ID": str(_HUGE)}).status_code == 400


def test_a_store_without_a_content_type_is_no_media_type_we_take(bench: Bench) -> None:
    answer = bench.client().post("/dicom-web/studies")
    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("path", ["studies", "series", "instances"])
def test_search_results_are_given_as_json_only(bench: Bench, path: str) -> None:
    answer = bench.client().get(
        f"/dicom-web/{path}", headers={"Accept": 'multipart/related; type="application/dicom+xml"'}
    )
    assert (answer.status_code, answer.json()["code"]) == (406, "NOT_ACCEPTABLE")
    for accepted in ("*/*", "application/json", "text/html, application/dicom+json;q=0.1", ";"):
        assert bench.client().get(f"/dicom-web/{path}", headers={"Accept": accepted}).status_code == 200
