"""What holds in every test: no network but loopback, values checked when DICOM is written, one thread per test."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

# Tests run beside each other; networks and BLAS that each take every core would only fight. Set before torch loads.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their number: archives hold the time, and pytest-xdist needs the same names in every process."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture
def overread(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run one command line in this process; returns exit code, standard output and standard error."""
    from gateway import cli

    def run(*arguments: object) -> tuple[int, str, str]:
        # A log set up here would outlive the test; `tests/gateway/test_logs.py` sets it up in processes of their own.
        monkeypatch.setattr("gateway.logs.configure", lambda **_: None)
        monkeypatch.setattr(sys, "argv", ["overread", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """Refuse every connection out of this machine: a test that needs the internet is a defect."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded(self: socket.socket, address: Any) -> None:
        if _leaves_the_machine(self, address):
            raise OSError(errno.ENETUNREACH, "tests reach loopback only")
        connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        return errno.ENETUNREACH if _leaves_the_machine(self, address) else connect_ex(self, address)

    socket.socket.connect = guarded  # type: ignore[method-assign]
    socket.socket.connect_ex = guarded_ex  # type: ignore[method-assign]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]
    socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]


@pytest.fixture(autouse=True, scope="session")
def _strict_writing() -> Iterator[None]:
    """Let pydicom refuse an illegal value when it is written, not warn about it."""
    from pydicom import config

    before = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.RAISE
    yield
    config.settings.writing_validation_mode = before


def _leaves_the_machine(connection: socket.socket, address: Any) -> bool:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    host = str(address[0]).partition("%")[0]
    if host in ("", "localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
