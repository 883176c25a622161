"""Foreign readers of our documents, and false errors about documents beside those of `dicom_tools`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import dicom_tools
from tests.support.dicom_tools import FalseError

DCENTVFY_FALSE_ERRORS = (
    FalseError(
        r"Different information entities for attribute - Element=<(AccessionNumber|ReferencedStudySequence)>",
        "PS3.3 C.7.2.1 has them in the study for every IOD; dcentvfy takes them for ones of the series of a report",
    ),
)
DOCUMENT_FALSE_ERRORS = (
    FalseError(
        r"\(12900[34],DCM,.*not found in context group 7453",
        "CID 7453 has Image and Results Quality Controller since 2022; the validator has the group of 2019",
    ),
    FalseError(
        r"Conditional content item present when condition not satisfied",
        "TID 2010 rows 3 and 4 ask for the modifier by the title, which the validator seeks among the children",
    ),
)


def dciodvfy_errors(path: Path) -> list[str]:
    """Return the errors of dciodvfy."""
    return dicom_tools.dciodvfy_errors(path)


def dcentvfy_complaints(paths: Sequence[Path]) -> list[str]:
    """Return what dcentvfy says about attributes that differ within a patient, study or series."""
    return dicom_tools.without(dicom_tools.dcentvfy_complaints(paths), DCENTVFY_FALSE_ERRORS)


def pixelmed_errors(path: Path) -> list[str]:
    """Return the errors of PixelMed's validator of structured reports and key object selections."""
    return dicom_tools.without(dicom_tools.pixelmed_sr_errors(path), DOCUMENT_FALSE_ERRORS)


def dsrdump(path: Path) -> str:
    """Return the content tree as DCMTK prints it; fails if DCMTK cannot read it."""
    done = subprocess.run([_program("dsrdump"), "+Pf", "+U8", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tid1500(path: Path, folder: Path) -> dict[str, Any]:
    """Return what dcmqi's tid1500reader makes of a report."""
    target = folder / "tid1500.json"
    subprocess.run(
        [_program("tid1500reader"), "--inputDICOM", str(path), "--outputMetadata", str(target)],
        check=True,
        capture_output=True,
    )
    loaded: dict[str, Any] = json.loads(target.read_text())
    return loaded


def _program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
