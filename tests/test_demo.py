"""The demonstration: what ends it ends everything it started; a study it cannot show is refused in a sentence."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

_COMMAND = [sys.executable, "-c", "from gateway.cli import main; main()", "demo"]


@pytest.mark.slow
def test_ended_by_its_process_id_it_takes_the_gateway_with_it() -> None:
    demo = subprocess.Popen(_COMMAND, stdout=subprocess.PIPE, text=True)
    try:
        assert demo.stdout is not None
        assert demo.stdout.readline().startswith("study ")
        ready = re.search(r"DICOM (\S+):(\d+)", demo.stdout.readline())
        assert ready is not None
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=60)
    finally:
        demo.kill()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ready[1], int(ready[2])), timeout=5).close()


@pytest.mark.slow
def test_ended_while_its_gateway_starts_it_takes_that_with_it() -> None:
    demo = subprocess.Popen(_COMMAND, stdout=subprocess.PIPE, text=True)
    children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children")
    try:
        assert demo.stdout is not None
        assert demo.stdout.readline().startswith("study ")
        while not (started := children.read_text(encoding="ascii").split()):
            time.sleep(0.01)
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=60)
    finally:
        demo.kill()
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)


@pytest.mark.slow
def test_it_accepts_what_the_networks_drew_and_runs_again_only_what_the_edit_touches() -> None:
    told = subprocess.run([*_COMMAND, "--once"], capture_output=True, text=True, timeout=200, check=True).stdout
    assert re.findall(r"^verdict +(\w+)", told, re.M) == ["ACCEPT", "ACCEPT"]
    runs = re.findall(r"^ +(EXECUTED|REUSED|REPLACED) +(\w+)", told, re.M)
    stages = ["image_qc", "hippocampus", "subfields", "measure", "segmentation_qc", "report"]
    after_the_edit = ["REUSED", "REUSED", "REPLACED", "EXECUTED", "EXECUTED", "EXECUTED"]
    assert runs == [*(("EXECUTED", stage) for stage in stages), *zip(after_the_edit, stages, strict=True)]


def test_a_folder_without_one_study_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    command = [*_COMMAND, "--study", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"overread: no DICOM file found in {tmp_path}: name the folder of one study\n"
