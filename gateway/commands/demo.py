"""The verb `demo`: the whole loop on loopback, on a synthetic study or on a folder of yours."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

_SEED = 8


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Exit after the loop instead of leaving the gateway up.")
    ] = False,
    study: Annotated[
        Path | None, typer.Option("--study", exists=True, file_okay=False, help="A study folder of your own.")
    ] = None,
) -> None:
    """Show the whole loop on this machine.

    Study in, verdict, SEG and reports out, an edit back, and only what it touches runs again.
    """
    from gateway import logs
    from gateway.demo.tour import Tour

    logs.configure()
    folder = Path(tempfile.mkdtemp(prefix="overread-demo-"))
    images = _sample(folder) if study is None else sorted(file for file in study.rglob("*") if file.is_file())
    what = "a synthetic T1 crop made by code" if study is None else f"{study}"
    typer.echo(f"study     {what}")
    tour = Tour(folder, typer.echo, ports=(0, 0) if once else _usual_ports())
    try:
        tour.run(images)
        typer.echo("")
        typer.echo(f"look      at the case on {tour.url}/ ; everything lies in {folder}")
        if not once:
            typer.echo("          the gateway goes on running; Ctrl-C stops it")
            tour.wait()
    except KeyboardInterrupt:
        typer.echo("stopping")
    finally:
        tour.stop()


def _sample(folder: Path) -> list[Path]:
    from gateway.demo.sample_study import write_study
    from models.phantom import hippocampus_phantom

    volume, _labels = hippocampus_phantom(_SEED)
    return write_study(volume, folder / "study", seed=_SEED)


def _usual_ports() -> tuple[int, int]:
    """Return the usual ports where they are free, else 0: a demonstration must not fail over a port."""
    import socket

    found = []
    for port in (11112, 8080):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.append(port if probe.connect_ex(("127.0.0.1", port)) != 0 else 0)
    return found[0], found[1]
