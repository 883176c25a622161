"""The stage host: a child process that keeps models warm and runs one stage run at a time.

It reads one JSON message a line on standard input and answers one line on standard output. A segmentation fault or a
CUDA error ends this process and not the DICOM node; when the node dies, this process dies with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gateway import logs
from gateway.config import Config
from gateway.services.environment import build_environment

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Serve until standard input ends."""
    _die_with_parent()
    # Libraries print to standard output; the channel to the parent must stay clean.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hello = json.loads(sys.stdin.readline())
    logs.configure()
    config = Config.model_validate_json(hello["config"])
    env = build_environment(config, Path(hello["data"]), version=str(hello["version"]))
    from gateway.services.run_stage import StageRunner

    runner = StageRunner(env, device=config.dispatch.device)
    # Without its reader, the parent, this process has nothing more to do: what it worked on runs again elsewhere.
    with contextlib.suppress(BrokenPipeError):
        _answer(channel, {"ready": True, "pid": os.getpid()})
        for line in sys.stdin:
            message = json.loads(line)
            _answer(channel, {"run": message["run"], "outcome": runner.run(int(message["run"]))})
    return 0


def _answer(channel: Any, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, also by SIGKILL (Linux; elsewhere stdin ends)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
