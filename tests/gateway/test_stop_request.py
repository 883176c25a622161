"""A wish to stop that comes by a signal is never lost, and never makes the process stand."""

from __future__ import annotations

import subprocess
import sys

_STORM = """
import os, signal, sys, threading, time
from gateway.stop_request import StopRequest

request = StopRequest()
sys.setswitchinterval(1e-6)

def storm():
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)

with request.made_by(signal.SIGTERM):
    threading.Thread(target=storm, daemon=True).start()
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        request.wait()
    print("each was taken", flush=True)
    os._exit(0)
"""

_BEFORE_THE_WAIT = """
import os, signal
from gateway.stop_request import StopRequest

request = StopRequest()
with request.made_by(signal.SIGTERM, signal.SIGINT):
    os.kill(os.getpid(), signal.SIGTERM)
    request.wait()
    os.kill(os.getpid(), signal.SIGINT)
    request.wait()
    request.make()
    request.wait()
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, signal.set_wakeup_fd(-1))
"""

#: The kernel gives the signal to another thread: nothing wakes the main thread but what was written.
_WHILE_IT_SLEEPS = """
import signal, threading, time
from gateway.stop_request import StopRequest

def take():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    time.sleep(60)

request = StopRequest()
with request.made_by(signal.SIGTERM):
    threading.Thread(target=take, daemon=True).start()
    request.wait()
print("woken")
"""


def _run(program: str, *, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=seconds, check=False)


def test_signals_may_come_at_any_moment_of_the_wait() -> None:
    """With a `threading.Event` in its place this stands, or calls itself without end."""
    ended = _run(_STORM)
    assert ended.stdout == "each was taken\n", ended.stderr[-500:]


def test_a_signal_before_the_wait_is_not_lost_and_handlers_are_put_back() -> None:
    ended = _run(_BEFORE_THE_WAIT)
    assert ended.stdout == "True -1\n", ended.stderr[-500:]


def test_a_signal_that_does_not_interrupt_the_main_thread_wakes_it() -> None:
    ended = _run(_WHILE_IT_SLEEPS, seconds=20)
    assert ended.stdout == "woken\n", ended.stderr[-500:]
