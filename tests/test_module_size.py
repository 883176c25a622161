"""One concept per module: a long file holds two."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("gateway", "models", "orthanc", "dicom_sr")
MOST_LINES = 600
#: Rooms where anything ends up; the concept has a better name.
NAMES_OF_NOTHING = {"utils", "util", "helper", "helpers", "common", "misc"}


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_longer_than_the_limit(package: str) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules() if package in path.parts}
    assert lengths
    assert {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_every_module_is_named_after_its_concept() -> None:
    assert [path.relative_to(ROOT) for path in modules() if path.stem in NAMES_OF_NOTHING] == []
