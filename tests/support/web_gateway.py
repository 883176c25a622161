"""A web application on a real database, blobs and receiver, with stand-ins for what the stage engine would do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import SQLModel

from dicom_sr.volume import Volume
from gateway.config import Config, Peer
from gateway.domain.case import next_state
from gateway.domain.errors import GatewayError, IllegalTransition, NotFound, PeerUnreachable
from gateway.domain.pipeline import Pipeline, Stage, StageKind
from gateway.domain.qc_status import QcStatus, event_of
from gateway.services.arrival import Received
from gateway.services.catalogue import Catalogue
from gateway.services.edit_upload import EditUploads
from gateway.services.environment import Environment, gateway_equipment
from gateway.services.fetch import Fetched, Fetcher, FetchOrder, FoundStudy, StudyQuery
from gateway.services.picture_cache import PictureCache
from gateway.services.pictures import Pictures
from gateway.services.receive import Receiver
from gateway.store import audit
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import Case, Delivery, Hold
from gateway.web.app import create_app
from gateway.web.server import WebServer
from gateway.web.services import NodeFacts, Services
from tests.support.seed import NOW, Seed, make_volume


def _ignore(received: Received) -> None:
    """Do nothing, as an engine that is too busy."""


@dataclass
class ToldArchive:
    """A peer that answers what it is told, and notes what it was asked."""

    studies: tuple[FoundStudy, ...] = ()
    fetched: Fetched | GatewayError | None = None
    asked: list[StudyQuery | FetchOrder] = field(default_factory=list)

    def find(self, peer: Peer, query: StudyQuery) -> tuple[FoundStudy, ...]:
        """Answer as told."""
        self.asked.append(query)
        return self.studies

    def fetch(self, peer: Peer, order: FetchOrder) -> Fetched:
        """Answer as told."""
        self.asked.append(order)
        if isinstance(self.fetched, Fetched):
            return self.fetched
        raise self.fetched or PeerUnreachable(f"'{peer.ae_title}' does not answer")


@dataclass(kw_only=True)
class Bench:
    """A web application and what it stands on.

    `new` collects what the receiver announced; `facts` and `not_ready` are what the node says of itself;
    `archive` plays the peers;
    `edited` is the case that was edited, where there is one; `react` plays the engine that
    looks at what was received.
    """

    folder: Path
    config: Config = field(default_factory=Config)
    new: list[Received] = field(default_factory=list)
    facts: NodeFacts = field(default_factory=NodeFacts)
    not_ready: tuple[str, ...] = ()
    archive: ToldArchive = field(default_factory=ToldArchive)
    edited: str = ""
    react: Callable[[Received], None] = _ignore
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.blobs = BlobStore(self.folder / "blobs")
        self.database = Database.in_folder(self.folder)
        self.seed = Seed.on(self.database, self.blobs, self.now)
        self.services = Services(
            config=self.config,
            database=self.database,
            blobs=self.blobs,
            clock=self.clock,
            version="0.1.0",
            scratch=self.folder / "scratch",
            pictures=Pictures(self.database, self.blobs, _load_volume, PictureCache(self.folder / "pictures")),
            receiver=Receiver(self.database, self.blobs, self.clock, 0, self._on_new),
            edits=EditUploads(env=self._environment(), on_settled=lambda: None),
            decide=self._decide,
            resolve_hold=self._resolve_hold,
            retry_delivery=self._retry_delivery,
            retry_case=self._retry_case,
            fetcher=Fetcher(self.config.node, self.archive, self.database, self.clock),
            node=lambda: self.facts,
            not_ready=lambda: self.not_ready,
            edit_wait_s=0.3,
            event_poll_s=0.02,
        )
        self.services.scratch.mkdir(exist_ok=True)
        self.app = create_app(self.services)

    def _environment(self) -> Environment:
        """The services' own environment, with the pipeline of the seed declared just enough to name a stage."""
        pipelines = [
            Pipeline(
                name="hippocampus-mr",
                version="1",
                stages=(Stage(name="hippocampus", kind=StageKind.SEGMENTATION, editable=True),),
            )
        ]
        return Environment(
            config=self.config,
            database=self.database,
            blobs=self.blobs,
            pipelines={pipeline.name: pipeline for pipeline in pipelines},
            catalogue=Catalogue(),
            equipment=gateway_equipment(self.config, version="0.1.0"),
            clock=self.clock,
        )

    def clock(self) -> datetime:
        """The time stands still unless a test moves it."""
        self.now += timedelta(microseconds=1)
        return self.now

    def client(self, **headers: str) -> TestClient:
        """A client on this machine."""
        return self._client_of(self.app, headers)

    def _client_of(self, app: FastAPI, headers: dict[str, str]) -> TestClient:
        return TestClient(
            app,
            base_url="http://127.0.0.1:8080",
            client=("127.0.0.1", 50000),
            headers=headers,
            raise_server_exceptions=False,
            follow_redirects=False,
        )

    def with_config(self, config: Config) -> TestClient:
        """A client of the same gateway under another configuration."""
        app = create_app(replace(self.services, config=config))
        return self._client_of(app, {})

    def write(self, *rows: SQLModel) -> None:
        """Add rows as another service would."""
        with self.database.write() as session:
            session.add_all(rows)

    def close(self) -> None:
        """Give the database back."""
        self.database.close()

    def _on_new(self, received: Received) -> None:
        self.new.append(received)
        self.react(received)

    def _decide(self, *, case_id: str, decision: QcStatus, comment: str, actor: str, at: datetime) -> None:
        with self.database.write() as session:
            case = session.get(Case, case_id)
            if case is None:
                raise NotFound("there is no case with this id")
            event = event_of(decision, state=case.state, iteration=case.iteration, comment=comment)
            case.state = next_state(case.state, event)
            case.qc_status, case.qc_comment, case.changed_at = decision, comment, at
            session.add(case)
            audit.append(session, at=at, actor=actor, action="QC_DECIDED", case_id=case_id, detail={"after": decision})

    def _resolve_hold(
        self,
        *,
        hold_id: int,
        action: str,
        case_id: str | None,
        stage: str | None,
        reason: str,
        actor: str,
        at: datetime,
    ) -> None:
        with self.database.write() as session:
            hold = session.get(Hold, hold_id)
            if hold is None:
                raise NotFound("there is no held object with this id")
            if hold.state != "OPEN":
                raise IllegalTransition("this held object was resolved before")
            if not reason.strip():
                raise IllegalTransition("a reason is needed")
            hold.state = "ACCEPTED" if action == "accept" else "DISCARDED"
            hold.case_id, hold.stage = case_id or hold.case_id, stage or hold.stage
            hold.resolved_at, hold.resolved_by, hold.resolution_reason = at, actor, reason
            session.add(hold)

    def _retry_delivery(self, *, delivery_id: int, actor: str, at: datetime) -> None:
        with self.database.write() as session:
            delivery = session.get(Delivery, delivery_id)
            if delivery is None:
                raise NotFound("there is no delivery with this id")
            if delivery.state == "DELIVERED":
                raise IllegalTransition("it was delivered")
            delivery.state, delivery.due_at, delivery.attempts = "PENDING", at, 0
            session.add(delivery)
            audit.append(session, at=at, actor=actor, action="DELIVERY_RETRIED", case_id=delivery.case_id)

    def _retry_case(self, *, case_id: str, actor: str, at: datetime) -> None:
        with self.database.write() as session:
            case = session.get(Case, case_id)
            if case is None:
                raise NotFound("there is no case with this id")
            if case.state != "HELD":
                raise IllegalTransition("nothing of this case is stuck")
            audit.append(session, at=at, actor=actor, action="CASE_RETRIED", case_id=case_id)


@contextmanager
def serving(bench: Bench) -> Iterator[str]:
    """Serve the application of a bench on a free port of loopback; gives its address."""
    server = WebServer(bench.app, "127.0.0.1", 0)
    host, port = server.start()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def _load_volume(*, case_id: str, generation: int, iteration: int) -> Volume:
    return make_volume()
