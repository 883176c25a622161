"""A PostgreSQL server of our own on a free loopback port, with a database that wants a password."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_port, wait_for_port

#: Debian keeps the server's programs out of the path, by version.
_PROGRAMS = Path("/usr/lib/postgresql")
_USER = "postgres"
PASSWORD = "correct horse"


@dataclass(frozen=True, kw_only=True)
class PostgresPeer:
    """A running server.

    Parameters
    ----------
    port : int
        Loopback port.
    folder : Path
        Its cluster and log.
    """

    port: int
    folder: Path

    @property
    def url(self) -> str:
        """For database.url: without the password."""
        return f"postgresql+psycopg://overread@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        """End it, open connections too."""
        _run(self.folder, "pg_ctl", "stop", "-D", "cluster", "-m", "fast", "-w")

    def start(self) -> None:
        """Start it and wait until it listens."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        _run(self.folder, "pg_ctl", "start", "-D", "cluster", "-l", "postgres.log", "-w", "-o", options)
        wait_for_port(self.port)


@contextmanager
def running_postgres() -> Iterator[PostgresPeer]:
    """Start a server in a folder of its own, or skip the test with the reason."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("the driver psycopg is not installed (pip install 'psycopg[binary]')")
    _program("initdb")
    # Not below pytest's folder, which is closed to the user that the server has to run as.
    with tempfile.TemporaryDirectory(prefix="overread-postgres-") as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, _USER)
        arguments = ["-D", "cluster", "-U", "overread", "--pwfile", "password", "-A", "scram-sha-256", "--no-sync"]
        _run(folder, "initdb", *arguments, "-E", "UTF8", "--locale", "C.UTF-8")
        peer = PostgresPeer(port=free_port(), folder=folder)
        peer.start()
        try:
            yield peer
        finally:
            if (folder / "cluster" / "postmaster.pid").exists():
                peer.stop()


def _program(name: str) -> str:
    found = [str(path) for path in sorted(_PROGRAMS.glob(f"*/bin/{name}"))] or [shutil.which(name) or ""]
    if not found[-1]:
        pytest.skip(f"{name} is not installed (apt install postgresql)")
    return found[-1]


def _run(folder: Path, program: str, *arguments: str) -> None:
    command: Sequence[str] = [_program(program), *arguments]
    if os.geteuid() == 0:
        # The server refuses to run as root.
        command = ["setpriv", "--reuid", _USER, "--regid", _USER, "--clear-groups", *command]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{program} failed: {done.stdout.decode(errors='replace')[-2000:]}")
