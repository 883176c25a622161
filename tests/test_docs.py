"""The documentation: generated tables are what the code says, links lead somewhere, versions agree."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.config_keys import all_keys
from tests.support.generated_docs import ROOT, block_names, documents, generators, refreshed

DOCS = ROOT / "gateway" / "docs"
DOCUMENTS = [pytest.param(path, id=path.relative_to(ROOT).as_posix()) for path in documents() if path.is_file()]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_generated_blocks_are_what_the_code_says(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(block_names(text)) <= set(generators())
    assert refreshed(text) == text, "out of date: run 'make docs'"


def test_every_generated_table_is_shown_somewhere() -> None:
    shown = {name for path in documents() if path.is_file() for name in block_names(path.read_text(encoding="utf-8"))}
    assert shown == set(generators())


def test_operators_find_every_key_of_the_configuration() -> None:
    text = (DOCS / "operators.md").read_text(encoding="utf-8")
    assert [key.path for key in all_keys() if f"| `{key.path}` |" not in text] == []


@pytest.mark.parametrize("path", DOCUMENTS)
def test_relative_links_lead_to_files_of_this_repository(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS)
def test_no_document_names_a_path_of_one_machine(path: Path) -> None:
    assert not re.search(r"(/(work|home|root)/|\.library)", path.read_text(encoding="utf-8"))


def test_version_is_the_top_entry_of_the_changelog() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    entries = re.findall(r"^## (.+)$", (DOCS / "changelog.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert entries[0].split()[0] == version


def test_decisions_are_numbered_without_gaps_short_and_complete() -> None:
    files = sorted((DOCS / "adr").glob("*.md"))
    numbers = [int(file.name[:4]) for file in files]
    assert numbers[0] == 1
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert text.startswith(f"# {file.name[:4]} "), file.name
        assert len(text.splitlines()) <= 60, file.name
        for heading in ("Status:", "## Context", "## Decision", "## Alternatives", "## What would change it"):
            assert heading in text, (file.name, heading)
