"""The README and the operator guide: the commands they show are commands that exist."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from gateway import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL_BLOCKS = "\n".join(re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
MAKE_LINES = sorted(set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)))
OPERATORS = (ROOT / "gateway" / "docs" / "operators.md").read_text(encoding="utf-8")
OVERREAD_LINES = sorted(
    {line.partition("#")[0].strip() for line in README.splitlines() if "bin/overread " in line}
    | set(re.findall(r"`(overread (?!ready)[a-z]+ -[^`]*|overread send [^`]*)`", OPERATORS))
)


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


@pytest.mark.parametrize("line", OVERREAD_LINES)
def test_a_number_it_shows_is_the_value_of_an_option(line: str) -> None:
    """A flag takes no value: ``--wait 300`` would send a file named 300."""
    _, verb, *arguments = shlex.split(line)
    command = typer.main.get_command(cli.app).commands[verb]  # type: ignore[attr-defined]
    flags = {
        option for parameter in command.params if getattr(parameter, "is_flag", False) for option in parameter.opts
    }
    assert [word for before, word in pairwise(arguments) if word.isdigit() and before in flags] == []


def test_it_shows_the_commands_of_the_contract() -> None:
    assert {"demo", "test", "check", "bench"} <= set(MAKE_LINES)
    assert len(OVERREAD_LINES) >= 4
    assert "make demo" in SHELL_BLOCKS


def test_ci_calls_the_commands_that_it_names() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make check" in ci
    assert "make test" in ci
