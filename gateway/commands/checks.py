"""What `overread check` looks at: one function per subject, each says what is wrong and the way out."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gateway.commands.output import ExitCode
from gateway.config import Config, Destination, NodeConfig, Peer
from gateway.domain.errors import ConfigurationError, GatewayError
from gateway.domain.pipeline import StageKind

_PROBE_TIMEOUT_S = 5
_MEGABYTE = 1 << 20


class Outcome(StrEnum):
    """What a check says, as a word that reads without colour."""

    GOOD = "ok"
    NOTE = "note"
    FAILED = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One line of the table: what was looked at, what came out, a sentence, and the exit code if it failed."""

    name: str
    outcome: Outcome
    detail: str
    code: ExitCode = ExitCode.FAILED


def run_checks(
    config_file: Path | None, data: Path | None, *, peers: bool, study: Path | None = None
) -> tuple[CheckResult, ...]:
    """Run every check that makes sense.

    Parameters
    ----------
    config_file : Path, optional
        Configuration; the defaults when None. If it is faulty nothing else is looked at.
    data : Path, optional
        Data folder in place of the configuration's.
    peers : bool
        Whether to call destinations, senders that are asked for counts, and followed Orthancs.
    study : Path, optional
        Folder with DICOM files: say which pipeline would take each series, or why none.
    """
    from gateway.config_file import default_config, load

    name = str(config_file or "built-in defaults")
    try:
        config = load(config_file) if config_file else default_config()
    except ConfigurationError as error:
        return tuple(
            CheckResult(name="configuration", outcome=Outcome.FAILED, detail=line, code=ExitCode.CONFIGURATION)
            for line in error.detail.splitlines()
        )
    pipelines = ", ".join(pipeline.name for pipeline in config.pipelines) or "none: nothing will be segmented"
    results = [_good("configuration", f"{name}; pipelines: {pipelines}")]
    results += _access(config)
    results += _data_folder(data or config.data.folder, config)
    results += _ports(config)
    results += _models(config)
    results.append(_device(config))
    if peers:
        results += _destinations(config)
        results += _callers(config)
        results += _followed(config)
    if study is not None:
        results += _study(config, study)
    return tuple(results)


def _good(name: str, detail: str) -> CheckResult:
    return CheckResult(name=name, outcome=Outcome.GOOD, detail=detail)


def _failed(name: str, detail: str, code: ExitCode = ExitCode.FAILED) -> CheckResult:
    return CheckResult(name=name, outcome=Outcome.FAILED, detail=detail, code=code)


def _note(name: str, detail: str) -> CheckResult:
    return CheckResult(name=name, outcome=Outcome.NOTE, detail=detail)


def _access(config: Config) -> Iterator[CheckResult]:
    is_loopback = config.node.bind in ("127.0.0.1", "::1", "localhost")
    if not config.web.users and not is_loopback:
        yield _note("access", "no web.users: HTTP stays on loopback although node.bind is not")
    if not config.node.peers and not is_loopback:
        yield _note("access", "no node.peers: every AE that reaches the DICOM port may send")


def _data_folder(folder: Path | None, config: Config) -> Iterator[CheckResult]:
    if folder is None:
        yield _note("data folder", "none given: 'overread serve' needs --data or data.folder")
        return
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield _failed("data folder", f"{existing} cannot be written by this user")
        return
    free = shutil.disk_usage(existing).free // _MEGABYTE
    if free < config.node.minimum_free_mb:
        yield _failed("data folder", f"{free} MB free, less than node.minimum_free_mb: instances would be refused")
    else:
        yield _good("data folder", f"{folder}{'' if folder.exists() else ' (will be made)'}, {free} MB free")
    if (folder / "overread.sqlite").is_file():
        yield _audit_chain(folder)


def _audit_chain(folder: Path) -> CheckResult:
    from gateway.store import audit
    from gateway.store.database import Database

    database = Database.in_folder(folder)
    try:
        with database.read() as session:
            broken = audit.first_broken_link(session)
    except GatewayError as error:
        return _failed("database", error.detail)
    finally:
        database.close()
    if broken is not None:
        return _failed("audit chain", f"event {broken} does not fit the one before: a row was changed or removed")
    return _good("audit chain", "whole")


def _ports(config: Config) -> Iterator[CheckResult]:
    for key, port in (("node.port", config.node.port), ("web.port", config.web.port)):
        if port == 0:
            continue
        family = socket.AF_INET6 if ":" in config.node.bind else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((config.node.bind, port))
            except OSError as error:
                yield _note(key, f"{config.node.bind}:{port}: {error.strerror} (fine if this gateway is running)")
            else:
                yield _good(key, f"{config.node.bind}:{port} is free")


def _models(config: Config) -> Iterator[CheckResult]:
    from models.errors import ModelError
    from models.registry import find_model, verify

    wanted: dict[str, str] = {}
    for pipeline in config.pipelines:
        for name, stage in pipeline.stages.items():
            if stage.model and stage.kind in (StageKind.SEGMENTATION, StageKind.SEGMENTATION_QC, StageKind.IMAGE_QC):
                wanted.setdefault(stage.model, f"pipelines {pipeline.name}.stages.{name}")
    for model, user in wanted.items():
        try:
            card = find_model(model)
            verify(card)
        except ModelError as error:
            yield _failed(f"model {Path(model).name}", f"{error.detail} ({user})")
        else:
            yield _good(f"model {card.name}", f"version {card.version}, digest {card.digest[:12]}")


def _device(config: Config) -> CheckResult:
    import torch

    found = torch.cuda.is_available()
    if config.dispatch.device == "cuda" and not found:
        return _failed("device", "dispatch.device is cuda, but torch sees no GPU")
    if found and config.dispatch.device != "cpu":
        return _good("device", f"GPU {torch.cuda.get_device_name(0)}")
    return _good("device", f"CPU, {config.dispatch.threads or os.cpu_count()} threads")


def _destinations(config: Config) -> Iterator[CheckResult]:
    for destination in config.destinations:
        name = f"destination {destination.name}"
        if destination.kind == "dicom":
            yield _echo(name, destination, config.node)
        else:
            path = "/studies?limit=1" if destination.kind == "stow" else "/system"
            yield _http_peer(name, destination.url.rstrip("/") + path, _login(destination))


def _callers(config: Config) -> Iterator[CheckResult]:
    for peer in config.node.peers:
        if peer.expected_count == "find":
            yield _echo(f"peer {peer.ae_title}", peer, config.node)
        elif peer.expected_count == "qido":
            yield _http_peer(f"peer {peer.ae_title}", f"{peer.dicomweb_url.rstrip('/')}/studies?limit=1", None)


def _followed(config: Config) -> Iterator[CheckResult]:
    for followed in config.follow:
        login = _credentials(followed.username, followed.password_file)
        yield _http_peer(f"follow {followed.name}", f"{followed.url.rstrip('/')}/system", login)


def _study(config: Config, folder: Path) -> Iterator[CheckResult]:
    from dicom_sr.errors import DicomObjectError
    from dicom_sr.series import read_series
    from gateway.client.sending import find_parcels
    from gateway.domain.pipeline import match

    series: dict[str, list[Path]] = {}
    for parcel in find_parcels([folder]):
        series.setdefault(parcel.series_instance_uid, []).append(parcel.path)
    if not series:
        yield _failed("study", f"no DICOM file found in {folder}")
    for number, files in enumerate(series.values(), 1):
        name = f"series {number} ({len(files)} files)"
        try:
            acquisition = read_series(files).acquisition
        except DicomObjectError as error:
            yield _failed(name, error.detail)
            continue
        refusals = [match(p.to_domain(), acquisition, called_aet=config.node.ae_title) for p in config.pipelines]
        taken = [p.name for p, refusal in zip(config.pipelines, refusals, strict=True) if refusal is None]
        why = "; ".join(f"{refusal.pipeline}: {refusal.reason}" for refusal in refusals if refusal)
        defects = ", ".join(acquisition.defects)
        detail = f"taken by {', '.join(taken)}" if taken else f"taken by no pipeline ({why or 'there is none'})"
        yield (_good if taken else _note)(name, detail + (f"; defects: {defects}" if defects else ""))


def _echo(name: str, called: Peer | Destination, node: NodeConfig) -> CheckResult:
    """Test TCP and C-ECHO apart: they fail for different reasons, and different people mend them."""
    from gateway.dimse.remotes import remote_node
    from gateway.dimse.scu import echo

    where = f"{called.ae_title}@{called.host}:{called.port}"
    try:
        socket.create_connection((called.host, called.port), timeout=_PROBE_TIMEOUT_S).close()
    except OSError as error:
        cause = error.strerror or str(error)
        return _failed(name, f"{where}: no TCP connection: {cause}", ExitCode.PEER_UNREACHABLE)
    try:
        echo(remote_node(node, called))
    except GatewayError as error:
        return _failed(name, f"{where}: TCP connects, C-ECHO does not: {error.detail}", ExitCode.PEER_UNREACHABLE)
    return _good(name, f"{where}: TCP and C-ECHO")


def _http_peer(name: str, url: str, login: tuple[str, str] | None) -> CheckResult:
    import requests

    try:
        response = requests.get(url, auth=login, timeout=_PROBE_TIMEOUT_S, headers={"Accept": "application/json"})
    except requests.RequestException as error:
        return _failed(name, f"{url}: {type(error).__name__}", ExitCode.PEER_UNREACHABLE)
    if not response.ok:
        return _failed(name, f"{url} answers {response.status_code}", ExitCode.PEER_UNREACHABLE)
    return _good(name, f"{url} answers")


def _login(destination: Destination) -> tuple[str, str] | None:
    return _credentials(destination.username, destination.password_file)


def _credentials(username: str, password_file: Path | None) -> tuple[str, str] | None:
    if not username:
        return None
    return username, password_file.read_text(encoding="utf-8").strip() if password_file else ""
