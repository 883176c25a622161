"""A client that shares no code with dcmtk or pynetdicom: odil (C++) echoes, stores, queries and retrieves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread

from gateway.config import Config
from gateway.dimse.archive import archive_of
from gateway.services.part10 import file_layout
from gateway.store.tables import Instance
from tests.support.instances import make_instance, uid
from tests.support.outbox import Outbox

pytestmark = pytest.mark.peer

RETRIEVE = Path(__file__).parents[2] / "support" / "odil_retrieve.py"


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "data")


@contextmanager
def node(outbox: Outbox) -> Iterator[int]:
    with outbox.node(archive=archive_of(Config(), outbox.database, outbox.blobs, outbox.clock)) as (_, port):
        yield port


def require(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (apt install {program})")
    return found


def run(program: str, *arguments: object) -> str:
    """Run a client to its end; return what it said."""
    # odil is a script for Debian's own Python, which must not find the packages of ours.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    command = [require(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def images(folder: Path) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{number}.dcm" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(make_instance(number, study="sent", PatientName="Müller^Zoë", StudyDate="20250101"))
    return files


def assert_kept_as_sent(outbox: Outbox, files: list[Path]) -> None:
    kept = {row.sop_instance_uid: outbox.kept_bytes(row.sop_instance_uid) for row in outbox.rows(Instance)}
    assert len(kept) == len(files)
    for file in files:
        content, instance = file.read_bytes(), dcmread(file, stop_before_pixels=True)
        ours = kept[str(instance.SOPInstanceUID)]
        assert ours[file_layout(ours).dataset_offset :] == content[file_layout(content).dataset_offset :]


def test_odil_echoes_stores_and_queries(outbox: Outbox, tmp_path: Path) -> None:
    files = images(tmp_path / "images")
    with node(outbox) as port:
        address = "127.0.0.1", port, "ODIL", "OVERREAD"
        run("odil", "echo", *address)
        run("odil", "store", *address, *files)
        assert_kept_as_sent(outbox, files)
        keys = "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={uid('sent')}"
        found = run("odil", "find", *address, "study", *keys, "StudyDate", "NumberOfStudyRelatedInstances")
        assert uid("sent") in found
        assert "20250101" in found


def test_odil_gets_a_study(outbox: Outbox) -> None:
    for number in range(3):
        outbox.upload(make_instance(number, study="held"))
    with node(outbox) as port:
        require("odil")
        came = run("/usr/bin/python3", RETRIEVE, port, uid("held"))
    assert sorted(came.split()) == sorted(uid("held", "series", number) for number in range(3))
