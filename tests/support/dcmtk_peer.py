"""dcmtk's programs as peers: senders run to their end, storescp on a free loopback port ended by its process id."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_port, wait_for_port


def require_program(name: str) -> str:
    """Return the path of a program, or skip the calling test."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt install dcmtk)")
    return found


def run_scu(program: str, *arguments: object, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run one of dcmtk's clients to its end and return what it said."""
    command = [require_program(program), *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


@dataclass(frozen=True, kw_only=True)
class StoreScp:
    """A running storescp.

    Parameters
    ----------
    port : int
        Loopback port.
    folder : Path
        Where it writes what it gets.
    """

    port: int
    folder: Path
    ae_title: str = "STORESCP"


@contextmanager
def running_storescp(folder: Path, options: Sequence[str] = ()) -> Iterator[StoreScp]:
    """Start a storescp that writes into `folder`."""
    program = require_program("storescp")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = subprocess.Popen(
        [program, "-od", str(folder), *options, str(port)],
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        yield StoreScp(port=port, folder=folder)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
