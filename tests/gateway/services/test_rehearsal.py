"""The first image after a start finds everything ready, and the rehearsal leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dicom_sr.uids import is_path_safe_uid
from gateway.services.rehearsal import _NOBODY
from gateway.store.tables import AuditEvent, Instance, Series, Study
from tests.support.instances import make_instance
from tests.support.receiving import ReceivingFolder

#: Receives one image in a process of its own, as after a start, and tells how many statements were compiled for it.
_FIRST_IMAGE = """
import sys
from pathlib import Path
from sqlalchemy.sql import compiler
from tests.support.instances import make_instance
from tests.support.receiving import ReceivingFolder

folder = ReceivingFolder(Path(sys.argv[1]))
if sys.argv[2] == "prepared":
    folder.receiver.prepare()
compiled, real = [], compiler.SQLCompiler.__init__
compiler.SQLCompiler.__init__ = lambda *args, **kwargs: (compiled.append(1), real(*args, **kwargs))[1]
folder.upload(make_instance(1))
print(len(compiled))
"""


def test_a_rehearsal_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = ReceivingFolder(tmp_path / "data")
    folder.receiver.prepare()
    assert [folder.rows(table) for table in (Study, Series, Instance, AuditEvent)] == [[], [], [], []]
    folder.upload(make_instance(1))
    folder.receiver.prepare()
    folder.upload(make_instance(2))
    assert (len(folder.rows(Study)), len(folder.rows(Series)), len(folder.rows(Instance))) == (1, 1, 2)


def test_nothing_that_can_be_received_stands_in_the_way_of_a_start(tmp_path: Path) -> None:
    folder = ReceivingFolder(tmp_path / "data")
    nil = dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), "2.25.0")
    folder.upload(make_instance(1, **nil))
    folder.receiver.prepare()
    assert len(folder.rows(Instance)) == 1
    assert not is_path_safe_uid(_NOBODY)


@pytest.mark.parametrize(("how", "is_ready"), [("prepared", True), ("unprepared", False)])
def test_the_first_image_after_a_start_waits_for_no_statement_to_be_compiled(
    tmp_path: Path, how: str, is_ready: bool
) -> None:
    command = [sys.executable, "-c", _FIRST_IMAGE, str(tmp_path / "data"), how]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (int(told.stdout) == 0) == is_ready
