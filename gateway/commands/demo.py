"""The verb `demo`: the whole loop on loopback, on a synthetic study or on a folder of yours."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.output import ExitCode, end

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
    from gateway.client.sending import find_parcels
    from gateway.demo.interruption import Interruption
    from gateway.demo.tour import Tour

    logs.configure()
    # Ended by its process id it takes the gateway and the stand-in PACS with it, as by Ctrl-C.
    interruption = Interruption()
    interruption.listen()
    folder = Path(tempfile.mkdtemp(prefix="overread-demo-"))
    parcels = find_parcels([study or _sample(folder)])
    studies = {parcel.study_instance_uid for parcel in parcels}
    if len(studies) != 1:
        found = f"files of {len(studies)} studies" if studies else "no DICOM file"
        end(ExitCode.FAILED, f"{found} found in {study}: name the folder of one study")
    typer.echo(f"study     {study or 'a synthetic T1 crop made by code'}")
    try:
        ports = (0, 0) if once else _usual_ports()
        with Tour(folder, typer.echo, interruption=interruption, ports=ports) as tour:
            case = tour.run(parcels)
            typer.echo("")
            typer.echo(f"look      at {tour.url}/cases/{case} ; everything lies in {folder}")
            if not once:
                typer.echo("          the gateway goes on running; Ctrl-C stops it")
                tour.wait()
    except KeyboardInterrupt:
        typer.echo("stopped")


def _sample(folder: Path) -> Path:
    from gateway.demo.sample_study import write_study
    from models.phantom import hippocampus_phantom

    volume, _labels = hippocampus_phantom(_SEED)
    write_study(volume, folder / "study", seed=_SEED)
    return folder / "study"


def _usual_ports() -> tuple[int, int]:
    """Return the usual ports where they are free, else 0: a demonstration must not fail over a port."""
    import socket

    found = []
    for port in (11112, 8080):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.append(port if probe.connect_ex(("127.0.0.1", port)) != 0 else 0)
    return found[0], found[1]
