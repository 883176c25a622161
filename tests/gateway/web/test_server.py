from __future__ import annotations

import socket
import time

import pytest
import requests

from gateway.config import Config
from gateway.web.access import http_bind
from gateway.web.server import AddressNotUsable, WebServer
from tests.support.web_gateway import Bench


def test_a_server_answers_as_soon_as_start_returns(bench: Bench) -> None:
    server = WebServer(bench.app, "127.0.0.1", 0)
    host, port = server.start()
    try:
        assert requests.get(f"http://{host}:{port}/healthz", timeout=5).status_code == 200
    finally:
        server.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{host}:{port}/healthz", timeout=5)


def test_small_answers_on_a_kept_connection_do_not_wait_for_an_acknowledgement(bench: Bench) -> None:
    server = WebServer(bench.app, "127.0.0.1", 0)
    host, port = server.start()
    try:
        with requests.Session() as session:
            seconds = [_timed(session, f"http://{host}:{port}/healthz") for _ in range(60)]
    finally:
        server.stop()
    # Nagle's algorithm against a delayed ACK takes 40 ms each time, whatever the machine has to do besides.
    assert min(seconds[30:]) < 0.035


def _timed(session: requests.Session, url: str) -> float:
    started = time.monotonic()
    session.get(url, timeout=5)
    return time.monotonic() - started


def test_a_port_in_use_is_named_with_the_key_to_change(bench: Bench) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(AddressNotUsable) as refused:
            WebServer(bench.app, "127.0.0.1", other.getsockname()[1]).start()
    assert "in use" in refused.value.detail
    assert "web.port" in refused.value.detail


def test_without_users_http_stays_on_loopback_wherever_dicom_listens() -> None:
    config = Config.model_validate({"node": {"bind": "0.0.0.0"}})
    assert http_bind(config) == "127.0.0.1"


def test_with_users_http_listens_where_the_node_does() -> None:
    users = [{"name": "a", "token_file": "/nowhere"}]
    config = Config.model_validate({"node": {"bind": "0.0.0.0"}, "web": {"users": users}})
    assert http_bind(config) == "0.0.0.0"
