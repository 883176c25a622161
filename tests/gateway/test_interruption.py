"""An interruption is never lost, and never comes in the middle of what must not be cut."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import os, signal
from gateway.demo.interruption import Interruption

interruption = Interruption()
interruption.listen()
for number in (signal.SIGTERM, signal.SIGINT):
    try:
        os.kill(os.getpid(), number)
        print("not interrupted")
    except KeyboardInterrupt:
        print("interrupted at once")

interruption = Interruption()
interruption.listen()
with interruption.held_back():
    pass
try:
    with interruption.held_back():
        os.kill(os.getpid(), signal.SIGTERM)
        print("finished what was begun")
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted afterwards")
"""


def test_what_must_not_be_cut_is_finished_before_the_interruption() -> None:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    once = "interrupted at once"
    assert ended.stdout.splitlines() == [once, once, "finished what was begun", "interrupted afterwards"]
