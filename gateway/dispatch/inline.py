"""The embedded dispatcher: one thread that hands ready stage runs to one stage host child, in order of priority.

The database is the queue. The thread looks when it is woken and otherwise once in a while, so a lost wake-up costs a
moment and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from gateway.domain.errors import GatewayError
from gateway.services.claim import record_crash
from gateway.services.environment import Environment
from gateway.services.schedule import next_ready

log = structlog.get_logger(__name__)

_LOOK_AGAIN_S = 2.0
_PAUSE_AFTER_FAULT_S = 1.0


class StageHostDied(GatewayError):
    """The stage host ended without an answer."""

    code = "STAGE_HOST_DIED"
    retryable = True


class StageHost:
    """The parent's end of one stage host process.

    Parameters
    ----------
    hello : dict
        First message: configuration, data folder, version.
    threads : int
        CPU threads of numerical libraries; 0 leaves them their own choice.
    """

    def __init__(self, hello: dict[str, object], *, threads: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway.dispatch.stage_host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(threads),
        )
        self.is_ready = False
        self._send(hello)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Wait until the host has loaded its libraries.

        Raises
        ------
        StageHostDied
            If it ended instead.
        """
        self._receive()
        self.is_ready = True

    def run(self, run_id: int) -> str:
        """Let the host run a stage run, and return its outcome.

        Raises
        ------
        StageHostDied
            If the host ended before it answered.
        """
        self._send({"run": run_id})
        return str(self._receive()["outcome"])

    def stop(self, *, grace_s: float) -> None:
        """End the process: by the end of its input, and after `grace_s` by SIGKILL."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _send(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise StageHostDied("the stage host does not take messages any more") from None

    def _receive(self) -> dict[str, object]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise StageHostDied(f"the stage host ended with {_described(code)}")
        message = json.loads(line)
        assert isinstance(message, dict)
        return message


class InlineDispatcher:
    """Runs ready stage runs one after another in a stage host.

    Parameters
    ----------
    env : Environment
        The gateway.
    data : Path
        Data folder, for the host.
    version : str
        Version of the gateway, for the host.
    on_settled : callable
        Called after each stage run, for instance to wake delivery; must not block.
    """

    def __init__(self, env: Environment, data: Path, *, version: str, on_settled: Callable[[], None]) -> None:
        self._env = env
        self._hello: dict[str, object] = {
            "config": env.config.model_dump_json(),
            "data": str(data),
            "version": version,
        }
        self._on_settled = on_settled
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="dispatcher")
        self._host: StageHost | None = None

    def start(self) -> None:
        """Start the thread; the host starts with it and warms up at once."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there may be something to run."""
        self._wake.set()

    def stop(self, *, grace_s: float) -> None:
        """Finish the stage run in progress, up to `grace_s`, then end; what is cut off runs again at the next start."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(grace_s)
        if self._host is not None:
            self._host.stop(grace_s=0.0 if self._thread.is_alive() else grace_s)
        self._thread.join()

    @property
    def is_ready(self) -> bool:
        """Whether a stage host is up and has loaded its libraries."""
        return self._host is not None and self._host.is_alive and self._host.is_ready

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self._step():
                    self._wake.wait(_LOOK_AGAIN_S)
                    self._wake.clear()
            except GatewayError as error:
                log.error("dispatcher goes on after a fault", code=error.code, detail=error.detail)
                self._stopping.wait(_PAUSE_AFTER_FAULT_S)

    def _step(self) -> bool:
        host = self._live_host()
        with self._env.database.read() as session:
            run = next_ready(session)
        if run is None or run.id is None:
            return False
        try:
            outcome = host.run(run.id)
        except StageHostDied as error:
            if not self._stopping.is_set():
                state = record_crash(self._env, run.id)
                log.error("stage host died", run=run.id, stage=run.stage, detail=error.detail, state=state)
            return True
        log.info("stage run settled", run=run.id, case=run.case_id, stage=run.stage, outcome=outcome)
        self._on_settled()
        return True

    def _live_host(self) -> StageHost:
        if self._host is None or not self._host.is_alive:
            self._host = StageHost(self._hello, threads=self._env.config.dispatch.threads)
            self._host.wait_ready()
            log.info("stage host ready", pid=self._host.pid)
        return self._host


def _environment(threads: int) -> dict[str, str]:
    """Return the environment of the host; numerical libraries read their thread count when they load."""
    chosen = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} if threads else {}
    return {**os.environ, **chosen}


def _described(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
