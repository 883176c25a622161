"""`overread serve` as a process: the ready line, the drain, and how each bad start ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

pytestmark = pytest.mark.slow

READY = re.compile(r"overread ready dicom=(127\.0\.0\.1):(\d+) aet=(\S+) http=(127\.0\.0\.1:\d+)\n")
LONGEST_S = 200
COMMAND = (sys.executable, "-c", "from gateway.cli import main; main()")


@dataclass
class Served:
    """A running gateway: its process, what it said when ready, and its data folder."""

    process: subprocess.Popen[str]
    dicom_port: int
    aet: str
    http: str
    data: Path


def start(data: Path, *more: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "serve", "--data", str(data), "--dicom-port", "0", "--http-port", "0", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("served") / "data"
    process = start(data)
    assert process.stdout is not None
    try:
        ready = READY.fullmatch(process.stdout.readline())
        assert ready is not None
        _, port, aet, http = ready.groups()
        yield Served(process, int(port), aet, http, data)
    finally:
        process.kill()
        process.communicate()


def refusal(data: Path, *more: str) -> tuple[int, list[str]]:
    """Start a gateway that must not start; return its exit code and what it says beside its log."""
    process = start(data, *more)
    out, err = process.communicate(timeout=LONGEST_S)
    assert out == ""
    assert "Traceback" not in err
    return process.returncode, [line for line in err.splitlines() if not line.startswith("{")]


def test_it_says_when_it_is_ready_and_where(served: Served) -> None:
    assert served.aet == "OVERREAD"
    assert requests.get(f"http://{served.http}/healthz", timeout=30).status_code == 200
    socket.create_connection(("127.0.0.1", served.dicom_port), timeout=30).close()


def test_a_second_gateway_on_the_same_data_folder_ends_with_a_sentence(served: Served) -> None:
    code, said = refusal(served.data)
    assert code == 1
    assert len(said) == 1
    assert "data folder" in said[0]


@pytest.mark.parametrize("door", ["--dicom-port", "--http-port"])
def test_a_port_in_use_ends_with_a_sentence_that_names_it(served: Served, tmp_path: Path, door: str) -> None:
    port = str(served.dicom_port) if door == "--dicom-port" else served.http.rpartition(":")[2]
    code, said = refusal(tmp_path / "data", door, port)
    assert code == 1
    assert len(said) == 1
    assert port in said[0]


def test_a_data_folder_that_cannot_be_used_ends_with_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way", encoding="utf-8")
    code, said = refusal(file / "data")
    assert code == 1
    assert len(said) == 1


def test_an_unknown_model_ends_with_a_sentence(tmp_path: Path) -> None:
    config = tmp_path / "overread.yaml"
    config.write_text(
        "pipelines: [{use: hippocampus-mr, stages: {hippocampus: {model: hippocampis}}}]\n", encoding="utf-8"
    )
    code, said = refusal(tmp_path / "data", "--config", str(config))
    assert code in (1, 3)
    assert len(said) == 1
    assert "hippocampis" in said[0]


def test_sigterm_drains_and_ends_with_0_and_its_log_is_json(served: Served) -> None:
    served.process.send_signal(signal.SIGTERM)
    out, err = served.process.communicate(timeout=LONGEST_S)
    assert served.process.returncode == 0
    assert out == ""
    assert [line for line in err.splitlines() if not isinstance(json.loads(line), dict)] == []
    assert any(json.loads(line)["event"] == "draining" for line in err.splitlines())
