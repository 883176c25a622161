"""What strace sees of the node: nothing is answered before the disk has it and the row is committed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gateway.services.part10 import file_layout
from tests.support.instances import make_instance, uid
from tests.support.ports import free_port, wait_for_port
from tests.support.raw_association import RawAssociation

REPOSITORY = Path(__file__).parents[3]
SENT = 4

_CALL = re.compile(r"^(?:\[pid +)?(?P<pid>\d+)\]? +(?P<call>\w+)\(\d+<(?P<what>[^>]*)>")
_RESUMED = re.compile(r"^(?:\[pid +)?(?P<pid>\d+)\]? +<\.\.\. (?P<call>\w+) resumed>")

#: What a call on a file means, by name of the call and a pattern of the path; the first that fits.
_MEANINGS = (
    ("fdatasync", r"\.journal$", "journal synced"),
    ("pwritev", r"\.journal$", "journal written"),
    ("pwritev2", r"\.journal$", "journal written"),
    ("fsync", r"/blobs/incoming/[^/]+$", "file synced"),
    ("fsync", r"/blobs/\w\w$", "folder synced"),
    ("pwrite64", r"\.sqlite-wal$", "row written"),
    ("fdatasync", r"\.sqlite-wal$", "row synced"),
    ("sendto", r"^(TCP|socket)", "answered"),
)


@contextmanager
def traced_node(folder: Path, port: int, log: Path, *options: str) -> Iterator[None]:
    """Run a node under strace."""
    calls = "trace=fsync,fdatasync,pwrite64,pwritev,pwritev2,sendto"
    node = [sys.executable, "-m", "tests.support.node_process", "--port", str(port), "--dir", str(folder), *options]
    process = subprocess.Popen(
        ["strace", "-f", "--seccomp-bpf", "-yy", "-s", "0", "-e", calls, "-o", str(log), *node], cwd=REPOSITORY
    )
    try:
        wait_for_port(port, seconds=60)
        yield
    finally:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            subprocess.run(["kill", child], check=False)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        # Without strace the node's calls would fail and it would never end.
        for child in children if process.poll() is None else ():
            subprocess.run(["kill", "-9", child], check=False)
        process.kill()
        process.wait()


def events(log: Path) -> list[str]:
    """Return what happened, in the order in which each call had come back."""
    happened, unfinished = [], dict[tuple[str, str], str]()
    for line in log.read_text(errors="replace").splitlines():
        resumed = _RESUMED.match(line)
        if resumed:
            meaning = unfinished.pop((resumed["pid"], resumed["call"]), "")
        else:
            found = _CALL.match(line)
            if found is None:
                continue
            fits = [m for call, what, m in _MEANINGS if call == found["call"] and re.search(what, found["what"])]
            meaning = fits[0] if fits else ""
            if "<unfinished" in line:
                unfinished[found["pid"], found["call"]] = meaning
                continue
        if meaning and happened[-1:] != [meaning]:
            happened.append(meaning)
    return happened


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("journal_mb", "expected"),
    [
        pytest.param(8, ["journal written", "journal synced", "row written", "answered"], id="with the journal"),
        pytest.param(
            0, ["file synced", "folder synced", "row written", "row synced", "answered"], id="without the journal"
        ),
    ],
)
def test_the_disk_has_an_image_and_its_row_is_committed_before_the_answer(
    tmp_path: Path, journal_mb: int, expected: list[str]
) -> None:
    port, log = free_port(), tmp_path / "strace"
    with (
        traced_node(tmp_path / "data", port, log, "--journal-mb", str(journal_mb)),
        RawAssociation(port, seconds=30) as association,
    ):
        for number in range(SENT):
            content = make_instance(number, side=64)
            assert (
                association.store(uid("study", "series", number), content[file_layout(content).dataset_offset :]) == 0
            )
    happened = events(log)
    # The first answer accepts the association. The first image of a series brings more rows, which are always synced.
    start = [index for index, event in enumerate(happened) if event == "answered"][1] + 1
    assert happened[start : start + len(expected) * (SENT - 1)] == expected * (SENT - 1)
