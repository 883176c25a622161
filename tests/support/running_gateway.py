"""A real `overread serve` as a process of its own on free loopback ports, ended by its process id."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

_READY = re.compile(r"overread ready dicom=([^:]+):(\d+) aet=(\S+) http=(\S+)")


@dataclass
class RunningGateway:
    """A gateway process.

    Parameters
    ----------
    folder : Path
        Configuration, data folder and log.
    """

    folder: Path
    process: subprocess.Popen[str] | None = None
    dicom_port: int = 0
    url: str = ""
    fixed_ports: tuple[int, int] = field(default=(0, 0))

    @property
    def log(self) -> str:
        """Everything it has logged so far."""
        return (self.folder / "gateway.log").read_text(encoding="utf-8")

    def start(self) -> None:
        """Start it and wait for its ready line."""
        command = ["serve", "--config", str(self.folder / "overread.json"), "--data", str(self.folder / "data")]
        command += ["--dicom-port", str(self.fixed_ports[0]), "--http-port", str(self.fixed_ports[1])]
        with (self.folder / "gateway.log").open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from gateway.cli import main; main()", *command],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        assert self.process.stdout is not None
        found = _READY.match(self.process.stdout.readline())
        assert found is not None, f"no ready line; the log ends: {self.log[-2000:]}"
        self.dicom_port, self.url = int(found[2]), f"http://{found[4]}"

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)
        self._close()

    def stop(self) -> int:
        """End it by SIGTERM and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self._close()

    def get(self, path: str, **query: object) -> Any:
        """GET JSON."""
        answer = requests.get(f"{self.url}{path}", params={k: str(v) for k, v in query.items()}, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def cases(self) -> list[dict[str, Any]]:
        """Return every case in full."""
        return [self.get(f"/api/v1/cases/{row['id']}") for row in self.get("/api/v1/cases", limit=200)["cases"]]

    def wait_for(self, holds: Callable[[], Any], *, what: str, seconds: float = 180.0) -> Any:
        """Wait until `holds` returns something true, and return it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            value = holds()
            if value:
                return value
            assert self.process is None or self.process.poll() is None, f"the gateway ended: {self.log[-2000:]}"
            time.sleep(0.25)
        raise AssertionError(f"not within {seconds:.0f} s: {what}; the log ends: {self.log[-3000:]}")

    def wait_for_case(
        self, *, iteration: int = 0, state: str = "IN_REVIEW", delivered: bool = True, seconds: float = 300.0
    ) -> dict[str, Any]:
        """Wait for the one case to reach a state in an iteration, everything delivered (where it has destinations)."""

        def reached() -> dict[str, Any] | None:
            cases = self.cases()
            if len(cases) != 1 or cases[0]["state"] != state or cases[0]["iteration"] != iteration:
                return None
            outputs = cases[0]["iterations"][-1]["outputs"]
            return cases[0] if outputs and (not delivered or all(one["delivered"] for one in outputs)) else None

        case = self.wait_for(reached, what=f"{state} in iteration {iteration}", seconds=seconds)
        assert isinstance(case, dict)
        return case

    def _close(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None


@contextmanager
def running_gateway(
    folder: Path, config: Mapping[str, Any], *, ports: tuple[int, int] = (0, 0)
) -> Iterator[RunningGateway]:
    """Start a gateway with this configuration; end it whatever happens."""
    folder.mkdir(parents=True, exist_ok=True)
    # A journal as large as the default would be laid for every test.
    data = {"receive_journal_mb": 16, **config.get("data", {})}
    (folder / "overread.json").write_text(json.dumps({**config, "data": data}))
    gateway = RunningGateway(folder=folder, fixed_ports=ports)
    gateway.start()
    try:
        yield gateway
    finally:
        if gateway.process is not None:
            gateway.stop()


def stage_outcomes(case: Mapping[str, Any], iteration: int = -1) -> dict[str, str]:
    """Return stage outcomes of an iteration of a case as the API gives them."""
    return {run["stage"]: run["outcome"] for run in case["iterations"][iteration]["stage_runs"]}
