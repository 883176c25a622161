"""Verbs about an installation: init, check, version, conformance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.output import AsJson, ConfigFile, DataFolder, ExitCode, end, print_facts, print_json, print_table

#: Packages whose versions decide what comes out.
_REPORTED = ("torch", "monai", "pydicom", "pynetdicom", "highdicom", "numpy")


def init(
    file: Annotated[Path, typer.Argument(help="Where to write; '-' for standard output.")] = Path("overread.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write a commented configuration file.

    It holds every key at its default, with its meaning.
    """
    from gateway.config_template import template

    if str(file) == "-":
        typer.echo(template(), nl=False)
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(template())
    except FileExistsError:
        end(ExitCode.FAILED, f"{file} is there already; --force overwrites it")
    except OSError as error:
        end(ExitCode.FAILED, f"{file} cannot be written: {error.strerror}")
    typer.echo(f"wrote {file}; look through it, then: overread check --config {file}")


def check(
    config: ConfigFile = None,
    data: DataFolder = None,
    no_peers: Annotated[bool, typer.Option("--no-peers", help="Do not call any peer.")] = False,
    study: Annotated[
        Path | None,
        typer.Option(help="Also say what would happen to the study in this folder.", exists=True, file_okay=False),
    ] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Also compare the stored objects with the rows that name them.")
    ] = False,
    deep: Annotated[bool, typer.Option("--deep", help="With --store: read every object and compare its hash.")] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="With --store, gateway stopped: put aside what belongs to nobody."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Test the configuration, the machine and every peer.

    Looks at configuration, data folder, audit chain, clock, ports, models, device, destinations and peers; with --store
    also at every stored object, and what retention would take.
    """
    from gateway.commands.check_line import Outcome
    from gateway.commands.check_store import StoreOrder
    from gateway.commands.checks import run_checks

    if (deep or repair) and not store:
        end(ExitCode.USAGE, "--deep and --repair go with --store")
    order = StoreOrder(deep=deep, repair=repair) if store else None
    results = run_checks(config, data, peers=not no_peers, study=study, store=order)
    if as_json:
        print_json([{"check": r.name, "outcome": r.outcome, "detail": r.detail, "code": r.code} for r in results])
    else:
        print_table(("", "check", "finding"), [(r.outcome.value, r.name, r.detail) for r in results], empty="")
    failed = [r for r in results if r.outcome is Outcome.FAILED]
    if failed:
        raise typer.Exit(max(failed, key=lambda r: r.code is not ExitCode.PEER_UNREACHABLE).code)


def version(as_json: AsJson = False) -> None:
    """Print versions.

    Of Overread, and of the libraries that decide what comes out.
    """
    import platform
    from importlib import metadata

    facts = {"overread": metadata.version("overread"), "python": platform.python_version()}
    facts |= {name: metadata.version(name) for name in _REPORTED}
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


def conformance(as_json: AsJson = False) -> None:
    """Print the DICOM conformance statement."""
    from importlib import resources

    file = resources.files("gateway").joinpath("docs", "conformance.md")
    if not file.is_file():
        end(ExitCode.FAILED, "this installation holds no conformance statement")
    text = file.read_text(encoding="utf-8")
    if as_json:
        print_json({"format": "text/markdown", "statement": text})
    else:
        typer.echo(text, nl=False)
