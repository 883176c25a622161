"""Verbs that run the gateway or talk DICOM: serve, send, echo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.output import (
    DEFAULT_URL,
    AsJson,
    ConfigFile,
    DataFolder,
    ExitCode,
    GatewayUrl,
    end,
    print_json,
    print_table,
)

Host = Annotated[str, typer.Option("--host", help="Address of the DICOM peer.")]
DicomPort = Annotated[int, typer.Option("--port", min=1, max=65535, help="Its DICOM port.")]
CalledAet = Annotated[str, typer.Option("--called", help="Its AE title.")]
CallingAet = Annotated[str, typer.Option("--calling", help="Our AE title towards it.")]


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
        bool, typer.Option("--wait", help="Wait for the verdict; exit code 5 if it is not ACCEPT.")
    ] = False,
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send DICOM files by C-STORE.

    With --wait, also wait for the verdicts of the gateway at --url.
    """
    from gateway import logs
    from gateway.commands.client import GatewayClient
    from gateway.commands.waiting import wait_for_verdicts
    from gateway.dimse.scu import send_files

    logs.configure()
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    sent = send_files([file for file in files if file.is_file()], host=host, port=port, called=called, calling=calling)
    report = [{"sop_instance_uid": s.sop_instance_uid, "dimse_status": f"0x{s.dimse_status:04X}"} for s in sent]
    refused = [s for s in sent if s.dimse_status != 0]
    studies = {s.study_instance_uid for s in sent if s.dimse_status == 0}
    cases = wait_for_verdicts(GatewayClient(url), studies, timeout_s=wait) if wait and studies else []
    if as_json:
        print_json({"sent": report, "cases": cases})
    else:
        typer.echo(f"{len(sent) - len(refused)} of {len(sent)} instances accepted by {called}@{host}:{port}")
        if wait:
            print_table(
                ("case", "pipeline", "verdict", "state"),
                [(c["id"], c["pipeline"], c["verdict"]["outcome"], c["state"]) for c in cases],
                empty="no pipeline took the study",
            )
    if refused or not sent:
        end(ExitCode.FAILED, "" if sent else "no DICOM file found")
    if wait and (not cases or any(case["verdict"]["outcome"] != "ACCEPT" for case in cases)):
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
    from gateway.dimse.scu import echo as verify_peer

    logs.configure()
    began = time.perf_counter()
    verify_peer(host=host, port=port, called=called, calling=calling)
    milliseconds = (time.perf_counter() - began) * 1000
    if as_json:
        print_json({"peer": f"{called}@{host}:{port}", "answered": True, "milliseconds": round(milliseconds, 1)})
    else:
        typer.echo(f"{called}@{host}:{port} answers C-ECHO ({milliseconds:.0f} ms)")
