"""The composition root: the only place that knows every part, puts them together, and starts and stops them."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import structlog

from gateway.config import Config, FollowedOrthanc, Peer
from gateway.dimse.archive import archive_of
from gateway.dimse.commitment_scu import commitment_askers
from gateway.dimse.contexts import SERVICE_CLASSES, STORAGE_CLASSES, TRANSFER_SYNTAXES
from gateway.dimse.courier import dimse_courier
from gateway.dimse.fetch_scu import FetchScu
from gateway.dimse.find_count import FindCount
from gateway.dimse.node import DicomNode
from gateway.dispatch.folder_lock import FolderLock
from gateway.dispatch.inline import InlineDispatcher
from gateway.dispatch.loop import Loop
from gateway.domain.errors import ConfigurationError, GatewayError, PeerRejected, PeerUnreachable
from gateway.domain.instance import EDIT_KINDS
from gateway.domain.qc_status import QcStatus
from gateway.services import assemble, holds, review
from gateway.services.accept_edit import handle_edit, pending_edits
from gateway.services.claim import release_interrupted, retry
from gateway.services.completeness import GapCheck
from gateway.services.courier import Courier
from gateway.services.courier_http import http_courier
from gateway.services.deliver import Deliverer
from gateway.services.destinations import is_paused
from gateway.services.edit_upload import EditUploads
from gateway.services.environment import Environment, build_environment
from gateway.services.expected_count import ConfiguredCount, QidoCount
from gateway.services.fetch import Fetcher
from gateway.services.follow_orthanc import orthanc_follower
from gateway.services.load_series import load_image
from gateway.services.peer_log import PeerLog
from gateway.services.picture_cache import PictureCache
from gateway.services.pictures import Pictures
from gateway.services.priors import PriorFetcher
from gateway.services.purge import Purger
from gateway.services.receive import Received, Receiver
from gateway.stop_request import StopRequest
from gateway.store.migrate import upgrade
from gateway.store.receive_journal import ReceiveJournal
from gateway.web.access import http_bind
from gateway.web.app import create_app
from gateway.web.server import WebServer
from gateway.web.services import NodeFacts, Services

log = structlog.get_logger(__name__)

_DRAIN_S = 30.0
_LOOK_FOR_STUDIES_S = 1.0
_LOOK_FOR_EDITS_S = 10.0
_LOOK_FOR_DELIVERIES_S = 2.0
_REPORT_COMMITMENTS_S = 10.0
_PURGE_EVERY_S = 3600.0
_SAVE_PEERS_EVERY_S = 20.0
_LOOK_FOR_PRIORS_S = 5.0


def gateway_version() -> str:
    """Return the installed version."""
    return installed_version("overread")


def build(config: Config) -> Gateway:
    """Put a gateway together; nothing is opened before `Gateway.run`.

    Raises
    ------
    ConfigurationError
        If no data folder is named.
    """
    if config.data.folder is None:
        raise ConfigurationError("no data folder: give --data DIR, or data.folder in the configuration")
    return Gateway(config, config.data.folder)


class Gateway:
    """One running gateway.

    Parameters
    ----------
    config : Config
        The configuration.
    data : Path
        Data folder.
    """

    def __init__(self, config: Config, data: Path) -> None:
        self._config = config
        self._data = data
        self._stop_request = StopRequest()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, then drain; return the exit code.

        Raises
        ------
        StorageUnavailable
            If the data folder, the database or a port cannot be used.
        """
        with self._stop_request.made_by(signal.SIGTERM, signal.SIGINT), ExitStack() as stack:
            ready = self._start(stack)
            print(ready, flush=True)  # noqa: T201 - the ready line is the contract with whoever started us
            self._stop_request.wait()
            log.info("draining")
        return 0

    def stop(self) -> None:
        """Ask `run` to drain and return."""
        self._stop_request.make()

    def _start(self, stack: ExitStack) -> str:
        """Start every part; what is started last is stopped first."""
        stack.enter_context(FolderLock(self._data))
        env = build_environment(self._config, self._data, version=gateway_version())
        stack.callback(env.database.close)
        stack.enter_context(env.database.in_use())
        self._check_models(env)
        upgrade(env.database)
        parts = Parts(env, self._data)
        swept, replayed = parts.receive_again()
        released = release_interrupted(env)
        if swept or replayed or released:
            log.warning(
                "resuming after a crash",
                half_received=swept,
                replayed_instances=replayed,
                interrupted_stage_runs=released,
            )
        return parts.start(stack)

    def _check_models(self, env: Environment) -> None:
        for pipeline in env.pipelines.values():
            for stage in pipeline.stages:
                env.catalogue.identity(stage)


class Parts:
    """The moving parts of a gateway and who wakes whom.

    Parameters
    ----------
    env : Environment
        Database, blobs, pipelines.
    data : Path
        Data folder.
    """

    def __init__(self, env: Environment, data: Path) -> None:
        self._env = env
        self._data = data
        config = env.config
        self._count = ConfiguredCount(FindCount(config.node), QidoCount())
        self._gaps = GapCheck(env)
        self._deliverer = Deliverer(
            env.database,
            env.blobs,
            config.destinations,
            _couriers(config),
            env.clock,
            askers=commitment_askers(config.node, config.destinations),
        )
        self._deliveries = [
            Loop(f"deliver {name}", partial(self._deliver, name), interval_s=_LOOK_FOR_DELIVERIES_S)
            for name in self._deliverer.names
        ]
        self._dispatcher = InlineDispatcher(
            env, data, version=gateway_version(), on_settled=partial(_wake, self._deliveries)
        )
        self._edits = Loop("edits", self._take_edits, interval_s=_LOOK_FOR_EDITS_S)
        self._assembly = Loop("assemble", self._assemble, interval_s=_LOOK_FOR_STUDIES_S)
        self._journal = ReceiveJournal(
            data / "journal",
            env.blobs,
            env.database,
            size_mb=config.data.receive_journal_mb if env.database.can_be_journaled else 0,
        )
        self._receiver = Receiver(
            env.database,
            env.blobs,
            env.clock,
            config.node.minimum_free_mb,
            self._on_received,
            maximum_object_mb=config.node.maximum_object_mb,
            journal=self._journal,
        )
        discard = self._receiver.discard_purged
        self._purger = Purger(env.database, env.blobs, config.data.retention, env.clock, discard)
        self._retention = Loop("retention", self._purge, interval_s=_PURGE_EVERY_S)
        archive = archive_of(config, env.database, env.blobs, env.clock)
        self._peers = PeerLog(env.database, env.clock)
        self._node = DicomNode(
            config.node, self._receiver, lambda _transfer: self._assembly.wake(), archive, peers=self._peers
        )
        self._fetch = FetchScu(config.node, self._node.called_out, lambda: self._dicom_address)
        self._fetcher = Fetcher(config.node, self._fetch, env.database, env.clock)
        self._priors = [self._loop_of_priors()] if config.node.priors.peer is not None else []
        self._peer_notes = Loop("peers", self._save_peers, interval_s=_SAVE_PEERS_EVERY_S)
        self._commitments = Loop("commitments", self._report_commitments, interval_s=_REPORT_COMMITMENTS_S)
        self._followers = [self._loop_of(followed) for followed in config.follow]
        self._dicom_address = ""
        self._started_at = env.clock()

    def receive_again(self) -> tuple[int, int]:
        """Clear away what a crash left half received, and receive again what it left in the journal; count both."""
        swept = self._env.blobs.sweep_incoming(self._receiver.is_kept)
        return swept, self._journal.replay(self._receiver.replay)

    def start(self, stack: ExitStack) -> str:
        """Start everything on `stack`, doors last; return the ready line."""
        self._journal.start()
        stack.callback(self._journal.close)
        self._receiver.prepare()
        self._dispatcher.start()
        stack.callback(partial(self._dispatcher.stop, grace_s=_DRAIN_S))
        keeping = self._retention, self._peer_notes, self._commitments
        for loop in (*self._deliveries, self._edits, self._assembly, *keeping, *self._followers):
            loop.start()
            stack.callback(loop.stop)
        stack.callback(self._save_peers_at_last)
        host, port = self._node.start()
        stack.callback(partial(self._node.stop, _DRAIN_S))
        self._dicom_address = f"{host}:{port}"
        for loop in self._priors:
            # Not before the node listens: an archive may send what is asked for by calling it.
            loop.start()
            stack.callback(loop.stop)
        node = self._env.config.node
        server = WebServer(create_app(self._services()), http_bind(self._env.config), self._env.config.web.port)
        http_host, http_port = server.start()
        stack.callback(server.stop)
        stack.callback(self._fetch.stop)
        return f"overread ready dicom={host}:{port} aet={node.ae_title} http={http_host}:{http_port}"

    def _loop_of(self, followed: FollowedOrthanc) -> Loop:
        env = self._env
        follower = orthanc_follower(followed, receiver=self._receiver, database=env.database, clock=env.clock)
        return Loop(f"follow {followed.name}", lambda: follower.step() > 0, interval_s=followed.poll_seconds)

    def _loop_of_priors(self) -> Loop:
        env = self._env
        priors = PriorFetcher(
            env.config.node, self._fetch, self._fetcher, database=env.database, blobs=env.blobs, clock=env.clock
        )
        return Loop("priors", priors.run_due, interval_s=_LOOK_FOR_PRIORS_S)

    def _assemble(self) -> bool:
        closures = assemble.find_closable(
            self._env,
            now=self._env.clock(),
            still_sending=self._node.studies_open(),
            expected_count=self._expected_count,
            gaps=self._gaps,
        )
        for closure in closures:
            if assemble.close_study(self._env, closure):
                self._dispatcher.wake()
                _wake(self._priors)
        return False

    def _expected_count(self, peer: Peer, study_instance_uid: str) -> int | None:
        try:
            return self._count.expected_instances(peer, study_instance_uid)
        except (PeerUnreachable, PeerRejected) as error:
            log.warning("the sender cannot be asked for its count", peer=peer.ae_title, code=error.code)
            return None

    def _on_received(self, received: Received) -> None:
        # An image wakes nobody: studies are looked at when an association ends, and looking for edits for each image
        # of each study would cost as much as receiving it.
        if received.kind in EDIT_KINDS:
            self._edits.wake()

    def _take_edits(self) -> bool:
        for uid in pending_edits(self._env):
            try:
                handle_edit(self._env, uid)
            except GatewayError as error:
                # One that cannot be looked at now must not keep the others waiting; it is looked at again.
                log.error("an edit cannot be looked at now", code=error.code, detail=error.detail)
            self._dispatcher.wake()
        return False

    def _save_peers_at_last(self) -> None:
        with suppress(GatewayError):
            self._peers.save()

    def _save_peers(self) -> bool:
        self._peers.save()
        return False

    def _purge(self) -> bool:
        self._purger.run()
        return False

    def _report_commitments(self) -> bool:
        self._node.report_commitments()
        return False

    def _deliver(self, destination: str) -> bool:
        return not is_paused(self._env.database, destination) and self._deliverer.run_due(destination) > 0

    def _services(self) -> Services:
        env = self._env
        scratch = self._data / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        return Services(
            config=env.config,
            database=env.database,
            blobs=env.blobs,
            clock=env.clock,
            version=gateway_version(),
            scratch=scratch,
            pictures=Pictures(env.database, env.blobs, partial(load_image, env), PictureCache(self._data / "pictures")),
            receiver=self._receiver,
            edits=EditUploads(env=env, on_settled=self._dispatcher.wake),
            decide=self._decide,
            resolve_hold=self._resolve_hold,
            retry_delivery=self._retry_delivery,
            retry_case=self._retry_case,
            fetcher=self._fetcher,
            node=self._facts,
            not_ready=self._not_ready,
        )

    def _decide(self, *, case_id: str, decision: QcStatus, comment: str, actor: str, at: datetime) -> None:
        review.decide(
            self._env.database,
            case_id=case_id,
            decision=decision,
            comment=comment,
            actor=actor,
            at=at,
            pipelines=self._env.pipelines,
        )
        self._dispatcher.wake()

    def _resolve_hold(self, **order: Any) -> None:
        holds.resolve(self._env, **order)
        self._dispatcher.wake()

    def _retry_delivery(self, *, delivery_id: int, actor: str, at: datetime) -> None:  # noqa: ARG002 - has a clock
        self._deliverer.retry(delivery_id, actor=actor)
        _wake(self._deliveries)

    def _retry_case(self, *, case_id: str, actor: str, at: datetime) -> None:  # noqa: ARG002 - has a clock
        retry(self._env, case_id=case_id, actor=actor)
        self._dispatcher.wake()

    def _facts(self) -> NodeFacts:
        node = self._env.config.node
        return NodeFacts(
            ae_titles=(node.ae_title, *node.more_ae_titles),
            dicom_address=self._dicom_address,
            contexts=len(STORAGE_CLASSES) + len(SERVICE_CLASSES) + 1,
            transfer_syntaxes=len(TRANSFER_SYNTAXES),
            open_associations=self._node.open_associations,
            started_at=self._started_at,
            peers=self._peers.contacts(),
        )

    def _not_ready(self) -> tuple[str, ...]:
        return () if self._dispatcher.is_ready else ("the stage host is still starting",)


def _couriers(config: Config) -> dict[str, Courier]:
    return {
        destination.name: (
            dimse_courier(destination, config.node) if destination.kind == "dicom" else http_courier(destination)
        )
        for destination in config.destinations
    }


def _wake(loops: Iterable[Loop]) -> None:
    for loop in loops:
        loop.wake()
