"""The README: the commands it shows are commands that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from gateway import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL_BLOCKS = "\n".join(re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
MAKE_LINES = sorted(set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)))
OVERREAD_LINES = sorted({line.partition("#")[0].strip() for line in README.splitlines() if "bin/overread " in line})


@pytest.mark.parametrize("target", MAKE_LINES)
def test_every_make_target_it_names_exists(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("line", OVERREAD_LINES)
def test_every_command_line_it_shows_is_understood(line: str) -> None:
    _, verb, *arguments = shlex.split(line)
    command = typer.main.get_command(cli.app).commands[verb]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in arguments if word.startswith("-")} <= known


def test_it_shows_the_commands_of_the_contract() -> None:
    assert {"demo", "test", "check", "bench"} <= set(MAKE_LINES)
    assert len(OVERREAD_LINES) >= 4
    assert "make demo" in SHELL_BLOCKS


def test_ci_calls_the_commands_that_it_names() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make check" in ci
    assert "make test" in ci
