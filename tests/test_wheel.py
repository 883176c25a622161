"""The wheel: exactly our four packages, with the files they need at run time, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"gateway", "models", "orthanc", "dicom_sr"}
#: Suffixes of files that code reads at run time; `.py` outside packages are database migrations.
DATA = {".yaml", ".html", ".css", ".js", ".svg", ".md", ".mako", ".safetensors", ".json", ".csv"}


def copied_tree(target: Path) -> Path:
    """Copy what a checkout holds: building in place would leave files behind and meet other runs."""
    ignored = shutil.ignore_patterns(
        "__pycache__", "*.egg-info", "build", "dist", "node_modules", ".[!g]*", ".git", "*.part"
    )
    shutil.copytree(ROOT, target, ignore=ignored, symlinks=True)
    return target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("setuptools", reason="setuptools builds the wheel (it comes with the development set-up)")
    folder = tmp_path_factory.mktemp("wheel")
    tree = copied_tree(folder / "tree")
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), "."],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def names(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


@pytest.mark.slow
def test_the_wheel_exposes_exactly_four_packages(wheel: zipfile.ZipFile) -> None:
    assert {name.partition("/")[0] for name in names(wheel)} == PACKAGES


@pytest.mark.slow
def test_every_module_and_every_data_file_is_inside(wheel: zipfile.ZipFile) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and (path.suffix == ".py" or path.suffix in DATA)
        if "__pycache__" not in path.parts and not any(part.startswith(".") for part in path.parts[len(ROOT.parts) :])
    }
    assert expected - names(wheel) == set()
    assert {Path(name).suffix for name in expected} >= {".py", ".yaml", ".md"}


@pytest.mark.slow
def test_licence_and_command_are_there_and_no_test_is(wheel: zipfile.ZipFile) -> None:
    everything = wheel.namelist()
    assert any(name.endswith("licenses/LICENSE") for name in everything)
    assert not any("test" in Path(name).parts or "tests" in Path(name).parts for name in everything)
    entry_points = next(name for name in everything if name.endswith("entry_points.txt"))
    assert "overread = gateway.cli:main" in wheel.read(entry_points).decode()
