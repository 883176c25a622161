"""Verbs that run the gateway or talk DICOM: serve, send, echo."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.cases import is_case_accepted, print_cases
from gateway.commands.output import (
    DEFAULT_URL,
    AsJson,
    ConfigFile,
    DataFolder,
    ExitCode,
    GatewayUrl,
    end,
    print_json,
)

_AE_TITLE_LENGTH = 16


def _ae_title(value: str) -> str:
    """Refuse what is no AE title (PS3.5 section 6.2): on the wire it has 16 characters, no more."""
    is_short = len(value) <= _AE_TITLE_LENGTH and value.strip() != ""
    if not is_short or not value.isascii() or not value.isprintable() or "\\" in value:
        raise typer.BadParameter(f"an AE title has 1 to {_AE_TITLE_LENGTH} printable ASCII characters, no backslash")
    return value


Host = Annotated[str, typer.Option("--host", help="Address of the DICOM peer.")]
DicomPort = Annotated[int, typer.Option("--port", min=1, max=65535, help="Its DICOM port.")]
CalledAet = Annotated[str, typer.Option("--called", callback=_ae_title, help="Its AE title.")]
CallingAet = Annotated[str, typer.Option("--calling", callback=_ae_title, help="Our AE title towards it.")]


def serve(
    config: ConfigFile = None,
    data: DataFolder = None,
    dicom_port: Annotated[int | None, typer.Option(min=0, max=65535, help="DICOM port; 0 takes a free one.")] = None,
    http_port: Annotated[int | None, typer.Option(min=0, max=65535, help="HTTP port; 0 takes a free one.")] = None,
    bind: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
) -> None:
    """Run the gateway in the foreground.

    One ready line says where it listens; SIGTERM or Ctrl-C ends it when nothing is left half done.
    """
    from gateway import logs
    from gateway.app import build
    from gateway.config_file import default_config, load

    logs.configure()
    settings = load(config) if config else default_config()
    node = settings.node.model_copy(
        update={key: value for key, value in {"port": dicom_port, "bind": bind}.items() if value is not None}
    )
    web = settings.web if http_port is None else settings.web.model_copy(update={"port": http_port})
    folder = data or settings.data.folder
    if folder is None:
        end(ExitCode.CONFIGURATION, "no data folder: give --data DIR, or data.folder in the configuration")
    chosen = settings.model_copy(
        update={"node": node, "web": web, "data": settings.data.model_copy(update={"folder": folder.absolute()})}
    )
    raise typer.Exit(build(chosen).run())


def send(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders to look through.", exists=True)],
    host: Host = "127.0.0.1",
    port: DicomPort = 11112,
    called: CalledAet = "OVERREAD",
    calling: CallingAet = "OVERREAD_SCU",
    wait: Annotated[
        float,
        typer.Option("--wait", min=0, help="Wait for the verdict this many seconds; exit code 5 if it is not ACCEPT."),
    ] = 0,
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send DICOM files by C-STORE.

    With --wait, also wait for the verdicts of the gateway at --url; a study that no pipeline takes ends the wait.
    """
    from gateway import logs
    from gateway.client.http import GatewayClient
    from gateway.client.sending import find_parcels, is_accepted, send_parcels
    from gateway.client.waiting import wait_for_verdicts
    from gateway.dimse.scu import RemoteNode

    logs.configure()
    parcels = find_parcels(paths)
    if not parcels:
        end(ExitCode.FAILED, f"no DICOM file found in {', '.join(map(str, paths))}")
    receipts = send_parcels(parcels, RemoteNode(ae_title=called, host=host, port=port, calling_aet=calling))
    refused = [receipt for receipt in receipts if not is_accepted(receipt)]
    studies = {p.study_instance_uid for p, r in zip(parcels, receipts, strict=True) if is_accepted(r)}
    waited = wait_for_verdicts(GatewayClient(url), studies, timeout_s=wait) if wait and studies else None
    cases, untaken = (waited.cases, waited.untaken) if waited else ([], [])
    if as_json:
        sent = [{"sop_instance_uid": r.sop_instance_uid, "outcome": r.carried, "detail": r.detail} for r in receipts]
        print_json({"sent": sent, "cases": cases, "untaken": untaken})
    else:
        typer.echo(f"{len(receipts) - len(refused)} of {len(receipts)} instances accepted by {called}@{host}:{port}")
        for sentence, count in Counter(receipt.detail for receipt in refused).items():
            typer.echo(f"  {count} not: {sentence}")
        if wait:
            print_cases(cases)
        for sentence in untaken:
            typer.echo(f"  {sentence}")
    if refused:
        end(ExitCode.FAILED)
    if wait and (untaken or not all(is_case_accepted(case) for case in cases)):
        raise typer.Exit(ExitCode.NOT_ACCEPTED)


def echo(
    host: Host = "127.0.0.1",
    port: DicomPort = 11112,
    called: CalledAet = "OVERREAD",
    calling: CallingAet = "OVERREAD_SCU",
    as_json: AsJson = False,
) -> None:
    """Test a DICOM peer by C-ECHO."""
    import time

    from gateway import logs
    from gateway.dimse.scu import RemoteNode
    from gateway.dimse.scu import echo as verify_peer

    logs.configure()
    began = time.perf_counter()
    verify_peer(RemoteNode(ae_title=called, host=host, port=port, calling_aet=calling))
    milliseconds = (time.perf_counter() - began) * 1000
    if as_json:
        print_json({"peer": f"{called}@{host}:{port}", "answered": True, "milliseconds": round(milliseconds, 1)})
    else:
        typer.echo(f"{called}@{host}:{port} answers C-ECHO ({milliseconds:.0f} ms)")
