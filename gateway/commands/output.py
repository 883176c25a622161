"""What verbs print, how they end, and options that several of them share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer


class ExitCode(IntEnum):
    """How a verb ends (DESIGN section 7)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    PEER_UNREACHABLE = 4
    NOT_ACCEPTED = 5


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; without one, every default and the shipped pipelines."),
]
DataFolder = Annotated[Path | None, typer.Option("--data", "-d", help="Data folder; lies over the configuration.")]

DEFAULT_URL = "http://127.0.0.1:8080"


def _address(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{value!r} is no address such as {DEFAULT_URL}")
    return value


GatewayUrl = Annotated[
    str,
    typer.Option("--url", envvar="OVERREAD_URL", callback=_address, help="HTTP address of the running gateway."),
]


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under aligned headings, or the sentence `empty` when there are none; nothing is cut off."""
    body = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not body:
        typer.echo(empty)
        return
    widths = [max(len(line[index]) for line in [list(columns), *body]) for index in range(len(columns))]
    for line in [list(columns), *body]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_facts(facts: Mapping[str, object]) -> None:
    """Print named facts, one a line, aligned; empty ones are left out."""
    shown = {name: value for name, value in facts.items() if value not in (None, "", [], ())}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        typer.echo(f"{name.ljust(width)}  {value}")


def end(code: ExitCode, message: str = "") -> NoReturn:
    """End the verb with a code, and one line on standard error if there is something to say."""
    if message:
        typer.echo(f"overread: {message}", err=True)
    raise typer.Exit(code)
