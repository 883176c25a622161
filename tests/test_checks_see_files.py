"""The checks check: ruff, mypy, import-linter, interrogate and pytest must each see the files they are meant for.

A hook that looks at a folder that does not exist passes for ever; so what each tool would read is compared with what
is there.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("gateway", "models", "orthanc", "dicom_sr")
#: Folders of other code that may hold Python files.
OTHERS = ("tests", "docker")
#: Alembic runs these as scripts; they are no package, so nothing can import them.
SCRIPTS = "migrations"
#: Fewer would mean that the comparison itself looks in the wrong place.
LEAST_FILES = 60


def python_files(*folders: str) -> set[Path]:
    return {path for folder in folders for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts}


def settings() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


def test_there_are_files_to_check() -> None:
    assert len(python_files(*PACKAGES)) >= LEAST_FILES
    assert all(python_files(package) for package in PACKAGES)


def test_ruff_sees_every_python_file() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--show-files", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    seen = {Path(line) for line in listed.stdout.splitlines() if line.endswith(".py")}
    assert python_files(*PACKAGES, *OTHERS) - seen == set()


def test_mypy_sees_every_module_and_is_strict() -> None:
    from mypy.main import process_options

    sources, options = process_options(["--config-file", str(ROOT / "pyproject.toml"), "--strict"])
    seen = {Path(source.path).resolve() for source in sources if source.path}
    assert python_files(*PACKAGES) - seen == set()
    assert options.disallow_untyped_defs
    assert options.warn_unused_ignores
    # Nothing of ours is let off by an override.
    relaxed = [name for override in settings()["mypy"]["overrides"] for name in override["module"]]
    assert not [name for name in relaxed if name.partition(".")[0] in PACKAGES]


def test_interrogate_sees_every_module_and_asks_for_everything_public() -> None:
    from interrogate.config import InterrogateConfig
    from interrogate.coverage import InterrogateCoverage

    chosen = settings()["interrogate"]
    assert chosen["fail-under"] == 100
    coverage = InterrogateCoverage(
        paths=[str(ROOT / package) for package in PACKAGES], conf=InterrogateConfig(), excluded=tuple(chosen["exclude"])
    )
    seen = {Path(name).resolve() for name in coverage.get_filenames_from_paths()}
    assert python_files(*PACKAGES) - seen == set()


def test_import_linter_sees_every_module_and_its_contracts_name_modules_that_exist() -> None:
    import grimp

    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    expected = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in python_files(*PACKAGES)
        if SCRIPTS not in path.parts
    }
    assert expected - graph.modules == set()
    contracts = settings()["importlinter"]["contracts"]
    assert {"layers", "forbidden"} <= {contract["type"] for contract in contracts}
    named = {name for contract in contracts for name in contract.get("source_modules", [])}
    assert named - graph.modules == set()


def test_every_folder_of_modules_is_a_package() -> None:
    """A folder without __init__.py is skipped by setuptools, import-linter and mypy's package walk alike."""
    folders = {path.parent for path in python_files(*PACKAGES) if SCRIPTS not in path.parts}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_every_test_file_is_one_that_pytest_collects() -> None:
    helpers = {"support", "bench"}
    strays = [
        path.relative_to(ROOT)
        for path in python_files("tests")
        if path.name != "conftest.py"
        and not path.name.startswith("test_")
        and not helpers.intersection(path.relative_to(ROOT).parts)
    ]
    assert strays == []
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("marker", ["noqa", "type: ignore"])
def test_an_exception_to_a_check_names_the_rule(marker: str) -> None:
    bare = []
    for path in python_files(*PACKAGES, *OTHERS):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            _, found, rest = line.partition(f"# {marker}")
            if found and not rest.startswith((": ", "[")):
                bare.append(f"{path.relative_to(ROOT)}:{number}")
    assert bare == []
