"""What `overread check` looks at: one function per subject, each says what is wrong and the way out."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.commands.check_line import CheckResult, Outcome, failed, good, note
from gateway.commands.check_peers import check_peers
from gateway.commands.check_store import StoreOrder, check_store
from gateway.commands.check_study import check_study
from gateway.commands.output import ExitCode
from gateway.config import Config
from gateway.domain.errors import ConfigurationError, GatewayError
from gateway.domain.pipeline import StageKind

_MEGABYTE = 1 << 20
_RENEW_BEFORE = timedelta(days=30)
#: The newest event of the audit trail may lie this far ahead of the clock, for clocks that are adjusted.
_CLOCK_TOLERANCE = timedelta(minutes=2)


def run_checks(
    config_file: Path | None,
    data: Path | None,
    *,
    peers: bool,
    study: Path | None = None,
    store: StoreOrder | None = None,
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
        Folder with DICOM files: say what would happen to them.
    store : StoreOrder, optional
        How to look at the store of the data folder; None: not at all.
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
    results = [good("configuration", f"{name}; pipelines: {pipelines}")]
    results += _access(config)
    folder = data or config.data.folder
    results += _data_folder(folder, config)
    results += _ports(config)
    results += _tls(config)
    results += _models(config)
    results.append(_device(config))
    if peers:
        results += check_peers(config, folder)
    if study is not None:
        results += check_study(config, study, folder)
    if store is not None and folder is None:
        results.append(failed("store", "no data folder is named: give --data, or data.folder"))
    elif store is not None and folder is not None:
        results += check_store(config, folder, store)
    return tuple(results)


def _access(config: Config) -> Iterator[CheckResult]:
    is_loopback = config.node.bind in ("127.0.0.1", "::1", "localhost")
    if not config.web.users and not is_loopback:
        yield note("access", "no web.users: HTTP stays on loopback although node.bind is not")
    if not config.node.peers and not is_loopback:
        yield note("access", "no node.peers: every AE that reaches the DICOM port may send")


def _data_folder(folder: Path | None, config: Config) -> Iterator[CheckResult]:
    if folder is None:
        yield note("data folder", "none given: 'overread serve' needs --data or data.folder")
        return
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield failed("data folder", f"{existing} cannot be written by this user")
        return
    free = shutil.disk_usage(existing).free // _MEGABYTE
    if free < config.node.minimum_free_mb:
        yield failed("data folder", f"{free} MB free, less than node.minimum_free_mb: instances would be refused")
    else:
        yield good("data folder", f"{folder}{'' if folder.exists() else ' (will be made)'}, {free} MB free")
    yield from _database(config, folder)


def _database(config: Config, folder: Path) -> Iterator[CheckResult]:
    from gateway.services import registers
    from gateway.services.open_database import has_database, open_database
    from gateway.store import audit

    try:
        is_there = has_database(config, folder)
    except ConfigurationError as error:
        yield failed("database", error.detail)
        return
    if not is_there:
        if config.database.url:
            yield good("database", "it answers and is empty: 'overread serve' makes the tables")
        return
    database = open_database(config, folder)
    try:
        with database.read() as session:
            broken = audit.first_broken_link(session)
        newest = registers.list_audit(database, limit=1)
    except GatewayError as error:
        yield failed("database", error.detail)
        return
    finally:
        database.close()
    if broken is not None:
        yield failed("audit chain", f"event {broken} does not fit the one before: a row was changed or removed")
    else:
        yield good("audit chain", "whole")
    ahead = newest[0].at - datetime.now(UTC) if newest else timedelta()
    if ahead > _CLOCK_TOLERANCE:
        yield failed(
            "clock", f"the newest event of the audit trail is {ahead.total_seconds():.0f} s ahead of the clock"
        )
    else:
        yield good("clock", "not behind the audit trail")


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
                yield note(key, f"{config.node.bind}:{port}: {error.strerror} (fine if this gateway is running)")
            else:
                yield good(key, f"{config.node.bind}:{port} is free")


def _tls(config: Config) -> Iterator[CheckResult]:
    """Look at our certificate as the node would use it, and at its date."""
    certificate = config.node.tls.certificate_file
    if certificate is None:
        return
    from gateway.dimse.certificate_dates import valid_until
    from gateway.dimse.tls import server_tls

    try:
        server_tls(config.node)
        until = valid_until(certificate)
    except ConfigurationError as error:
        yield failed("node.tls", error.detail, ExitCode.CONFIGURATION)
        return
    left = until - datetime.now(UTC)
    detail = f"our certificate is valid until {until:%Y-%m-%d}"
    if left < timedelta():
        yield failed("node.tls", f"{detail}: it has expired, and peers will refuse it")
    elif left < _RENEW_BEFORE:
        yield note("node.tls", f"{detail}: {left.days} days are left to renew it")
    else:
        yield good("node.tls", detail)


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
            yield failed(f"model {Path(model).name}", f"{error.detail} ({user})")
        else:
            yield good(f"model {card.name}", f"version {card.version}, digest {card.digest[:12]}")


def _device(config: Config) -> CheckResult:
    import torch

    found = torch.cuda.is_available()
    if config.dispatch.device == "cuda" and not found:
        return failed("device", "dispatch.device is cuda, but torch sees no GPU")
    if found and config.dispatch.device != "cpu":
        return good("device", f"GPU {torch.cuda.get_device_name(0)}")
    return good("device", f"CPU, {config.dispatch.threads or os.cpu_count()} threads")
