"""A wish to stop that comes by a signal is never lost, and never makes the process stand."""

from __future__ import annotations

import subprocess
import sys

#: With a `threading.Event` in place of the request this stands, or calls itself without end, in every run.
_PROGRAM = """
import signal, sys, threading, time
from gateway.stop_request import StopRequest

request = StopRequest()
signal.signal(signal.SIGUSR1, lambda *_: request.make())
sys.setswitchinterval(1e-6)

def storm(waiting):
    while True:
        signal.pthread_kill(waiting, signal.SIGUSR1)
        time.sleep(0)

threading.Thread(target=storm, args=[threading.main_thread().ident], daemon=True).start()
until = time.monotonic() + 1.0
while time.monotonic() < until:
    request.wait()
print("each was taken")
"""


def test_signals_may_come_at_any_moment_of_the_wait() -> None:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "each was taken\n", ended.stderr[-500:]
