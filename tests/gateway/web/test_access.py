from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.domain.errors import ConfigurationError
from gateway.web.access import Gatekeeper, is_loopback, require_local_host, require_same_origin
from gateway.web.problems import NotAllowed
from tests.support.seed import NOW
from tests.support.web_gateway import Bench


@pytest.fixture
def guarded(memory_folder: Path) -> Bench:
    users = []
    for name, role in (("ann", "reader"), ("ben", "reviewer"), ("cleo", "admin")):
        (memory_folder / f"{name}.token").write_text(f"secret-of-{name}\n")
        users.append({"name": name, "role": role, "token_file": str(memory_folder / f"{name}.token")})
    return Bench(folder=memory_folder, config=Config.model_validate({"web": {"users": users}}))


def _as(bench: Bench, name: str):
    return bench.client(authorization=f"Bearer secret-of-{name}")


def test_without_users_everybody_on_this_machine_is_local(bench: Bench) -> None:
    bench.client().post("/api/v1/instances", content=b"x", headers={"Content-Type": "application/dicom"})
    assert bench.client().get("/api/v1/cases").status_code == 200


def test_without_users_nobody_else_is_served(bench: Bench) -> None:
    from fastapi.testclient import TestClient

    far = TestClient(bench.app, base_url="http://127.0.0.1:8080", client=("10.1.2.3", 5))
    answer = far.get("/api/v1/cases")
    assert (answer.status_code, answer.json()["code"]) == (403, "NOT_ALLOWED")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""])
def test_a_foreign_host_header_is_refused_on_loopback(bench: Bench, host: str) -> None:
    assert bench.client().get("/api/v1/cases", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST"])
def test_names_of_this_machine_are_local_hosts(host: str) -> None:
    require_local_host(host)


def test_with_users_a_token_is_needed(guarded: Bench) -> None:
    answer = guarded.client().get("/api/v1/cases")
    assert (answer.status_code, answer.json()["code"]) == (401, "NOT_SIGNED_IN")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert guarded.client(authorization="Bearer wrong").get("/api/v1/cases").status_code == 401
    assert _as(guarded, "ann").get("/api/v1/cases").status_code == 200


def test_probes_need_no_token_and_metrics_do(guarded: Bench) -> None:
    assert guarded.client().get("/healthz").status_code == 200
    assert guarded.client().get("/readyz").status_code == 200
    assert guarded.client().get("/metrics").status_code == 401


def test_dicomweb_clients_may_use_basic_authentication(guarded: Bench) -> None:
    assert guarded.client().get("/dicom-web/studies", auth=("ann", "secret-of-ann")).status_code == 200
    assert guarded.client().get("/dicom-web/studies", auth=("ann", "secret-of-ben")).status_code == 401
    assert guarded.client(authorization="Basic %%%").get("/dicom-web/studies").status_code == 401


@pytest.mark.parametrize(
    ("name", "decide", "operate"),
    [("ann", 403, 403), ("ben", 200, 403), ("cleo", 200, 200)],
)
def test_roles_decide_what_a_caller_may_do(guarded: Bench, name: str, decide: int, operate: int) -> None:
    case = guarded.seed.case(guarded.seed.study(1))
    guarded.seed.iteration(case, delivered="DEAD")
    client = _as(guarded, name)
    delivery = client.get("/api/v1/deliveries").json()[0]["id"]
    assert client.post(f"/api/v1/deliveries/{delivery}/retry").status_code == operate
    assert client.post(f"/api/v1/cases/{case.id}/qc", json={"qc_status": "PASS"}).status_code == decide
    assert client.get(f"/api/v1/cases/{case.id}/bundle").status_code == 200


def test_the_audit_trail_names_the_user(guarded: Bench) -> None:
    case = guarded.seed.case(guarded.seed.study(1))
    guarded.seed.iteration(case)
    _as(guarded, "ben").post(f"/api/v1/cases/{case.id}/qc", json={"qc_status": "PASS"})
    assert _as(guarded, "ben").get("/api/v1/audit?limit=1").json()[0]["actor"] == "ben"


def test_a_browser_is_led_to_the_sign_in_page_and_back(guarded: Bench) -> None:
    client = guarded.client()
    answer = client.get("/holds?state=OPEN", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fholds%3Fstate%3DOPEN")
    form = {"name": "ann", "token": "secret-of-ann", "next": "/holds?state=OPEN"}
    answer = client.post("/sign-in", data=form, headers={"Origin": "http://127.0.0.1:8080"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/holds?state=OPEN")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/holds", headers={"Accept": "text/html"}).status_code == 200


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_sign_in_never_leads_to_another_site(guarded: Bench, target: str) -> None:
    form = {"name": "ann", "token": "secret-of-ann", "next": target}
    assert guarded.client().post("/sign-in", data=form).headers["location"] == "/"


def test_a_wrong_token_does_not_sign_in(guarded: Bench) -> None:
    answer = guarded.client().post("/sign-in", data={"name": "ann", "token": "x"})
    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)


def _gatekeeper(folder: Path, token: str = "t" * 20) -> Gatekeeper:
    (folder / "token").write_text(token)
    user = {"name": "ann", "role": "reader", "token_file": str(folder / "token")}
    return Gatekeeper.of(Config.model_validate({"web": {"users": [user]}}))


def test_a_session_ends_after_its_time_and_with_a_new_token(guarded: Bench) -> None:
    client = guarded.client()
    client.post("/sign-in", data={"name": "ann", "token": "secret-of-ann"}, headers={"Origin": "http://127.0.0.1:8080"})
    assert client.get("/api/v1/cases").status_code == 200
    guarded.now = NOW + timedelta(hours=13)
    assert client.get("/api/v1/cases").status_code == 401


def test_a_forged_session_is_refused(guarded: Bench) -> None:
    client = guarded.client()
    client.post("/sign-in", data={"name": "ann", "token": "secret-of-ann"}, headers={"Origin": "http://127.0.0.1:8080"})
    value = client.cookies["overread_session"]
    name, expires, signature = value.split(".")
    for forged in (f"{name}.{int(expires) + 9}.{signature}", "a.b", "..", f"Y2xlbw.{expires}.{signature}"):
        answer = guarded.client(cookie=f"overread_session={forged}").get("/api/v1/cases")
        assert answer.status_code == 401, forged
    assert guarded.client(cookie=f"overread_session={value}").get("/api/v1/cases").status_code == 200


def test_a_page_of_another_site_cannot_change_anything(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(1))
    bench.seed.iteration(case)
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
        answer = bench.client().post(
            f"/api/v1/cases/{case.id}/qc", json={"qc_status": "PASS"}, headers={"Origin": origin}
        )
        assert answer.status_code == 403, origin
    own = bench.client().post(
        f"/api/v1/cases/{case.id}/qc", json={"qc_status": "PASS"}, headers={"Origin": "http://127.0.0.1:8080"}
    )
    assert own.status_code == 200


def test_a_cookie_without_an_origin_changes_nothing() -> None:
    with pytest.raises(NotAllowed):
        require_same_origin("POST", origin="", host_header="h", has_cookie=True)
    require_same_origin("GET", origin="", host_header="h", has_cookie=True)
    require_same_origin("POST", origin="", host_header="h", has_cookie=False)


@pytest.mark.parametrize("content", ["", "  \n"])
def test_an_empty_token_file_is_a_configuration_error(memory_folder: Path, content: str) -> None:
    with pytest.raises(ConfigurationError, match="ann"):
        _gatekeeper(memory_folder, content)


def test_a_missing_token_file_is_a_configuration_error() -> None:
    user = {"name": "ann", "token_file": "/nowhere/token"}
    with pytest.raises(ConfigurationError, match="ann"):
        Gatekeeper.of(Config.model_validate({"web": {"users": [user]}}))


def test_loopback_addresses() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("10.0.0.1", "localhost.evil.example", "", "::"))
