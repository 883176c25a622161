"""Fetch a study that a configured peer holds: find it there, have it sent, and leave one audit row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from gateway.config import NodeConfig, Peer
from gateway.domain.errors import GatewayError, IllegalTransition, NotFound, PeerRejected
from gateway.services.received_header import require_uid
from gateway.store import audit
from gateway.store.database import Database

#: Fetches at the same time; each holds a thread of the web server.
MAXIMUM_FETCHES: Final = 4
_WILDCARDS: Final = frozenset("*?\\")


class QueryTooWide(GatewayError):
    """A query that would list more than what somebody looks for."""

    code = "QUERY_TOO_WIDE"


class FetchWay(StrEnum):
    """How instances are asked for."""

    #: C-GET where the peer takes it, else C-MOVE.
    ANY = "any"
    GET = "get"
    MOVE = "move"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyQuery:
    """Which studies to find; at least one key is given, and none has wildcards.

    Parameters
    ----------
    patient_id, study_instance_uid : str
        Exact values.
    study_date : str
        A day, ``YYYYMMDD``, or a range of days, ``YYYYMMDD-YYYYMMDD`` with either end left open.

    Raises
    ------
    QueryTooWide
        Without a key, or with wildcards.
    """

    patient_id: str = ""
    study_instance_uid: str = ""
    study_date: str = ""

    def __post_init__(self) -> None:
        """Refuse a query for everything."""
        given = self.patient_id, self.study_instance_uid, self.study_date
        if not any(given) or any(_WILDCARDS & set(key) for key in given):
            raise QueryTooWide("name a Patient ID, a Study Instance UID or a study date, without wildcards")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundStudy:
    """A study that a peer holds, without what names the patient.

    Parameters
    ----------
    study_instance_uid, study_date, description : str
        As the peer tells them; empty when it does not.
    modalities : tuple of str
        Modalities in Study.
    series, instances : int or None
        How many it has, None where the peer does not count.
    """

    study_instance_uid: str
    study_date: str
    description: str
    modalities: tuple[str, ...]
    series: int | None
    instances: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOrder:
    """What to fetch and how.

    Parameters
    ----------
    study_instance_uid : str
        Which study.
    called_aet : str
        The AE title of ours it is received under, for pipelines that match on it.
    way : FetchWay
        How.
    seconds : float
        It is cancelled after this.
    """

    study_instance_uid: str
    called_aet: str
    way: FetchWay = FetchWay.ANY
    seconds: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a peer sent of a study.

    Parameters
    ----------
    peer, study_instance_uid, called_aet : str
        From whom, what, and under which of our AE titles.
    service : str
        ``C-GET`` or ``C-MOVE``.
    status : int
        Of the last response.
    completed, failed, warnings : int
        Sub-operations as the peer counts them.
    is_complete : bool
        Whether all of the study was sent.
    sentence : str
        What happened, and what to do about it.
    """

    peer: str
    study_instance_uid: str
    called_aet: str
    service: str
    status: int
    completed: int
    failed: int
    warnings: int
    is_complete: bool
    sentence: str


class PeerArchive(Protocol):
    """Asks peers for studies; `gateway.dimse.fetch_scu.FetchScu` is it."""

    def find(self, peer: Peer, query: StudyQuery) -> tuple[FoundStudy, ...]:
        """Return the studies that match.

        Raises
        ------
        PeerUnreachable, PeerRejected
            It cannot be asked, or refuses.
        """
        ...

    def fetch(self, peer: Peer, order: FetchOrder) -> Fetched:
        """Have a study sent to us.

        Raises
        ------
        NotFound
            If the peer says that it has no such study.
        PeerUnreachable, PeerRejected
            It cannot be asked, refuses, sends nothing, or is lost; what came is kept.
        """
        ...


class Fetcher:
    """Finds and fetches studies on behalf of a person; safe to use from many threads.

    Parameters
    ----------
    node : NodeConfig
        Peers, and titles of ours.
    archive : PeerArchive
        Who asks them.
    database : Database
        For the audit row.
    clock : callable
        Gives the time, with zone.
    """

    def __init__(
        self, node: NodeConfig, archive: PeerArchive, database: Database, clock: Callable[[], datetime]
    ) -> None:
        self._node = node
        self._archive = archive
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._running: set[tuple[str, str]] = set()

    def find(self, ae_title: str, query: StudyQuery, *, actor: str) -> tuple[FoundStudy, ...]:
        """Return the studies of a peer that match; the audit row says who asked, not for whom.

        Raises
        ------
        NotFound
            If there is no such peer.
        PeerUnreachable, PeerRejected
            It cannot be asked, or refuses.
        """
        found = self._archive.find(self._peer(ae_title), query)
        self._note("PEER_QUERIED", actor, "", {"peer": ae_title, "studies": len(found)})
        return found

    def fetch(self, ae_title: str, order: FetchOrder, *, actor: str) -> Fetched:
        """Fetch a study and wait until it is here.

        Raises
        ------
        NotFound
            If there is no such peer, or no such study there.
        UnacceptableInstance
            ``INVALID_UID`` or ``MISSING_UID``.
        IllegalTransition
            ``NOT_OUR_TITLE``, ``FETCH_RUNS`` if that study is being fetched from there, ``TOO_MANY_FETCHES``.
        PeerUnreachable, PeerRejected
            It cannot be asked, refuses, or is lost; what came is kept.
        """
        peer = self._peer(ae_title)
        require_uid(order.study_instance_uid, "Study Instance UID")
        if order.called_aet not in (self._node.ae_title, *self._node.more_ae_titles):
            raise IllegalTransition(
                f"'{order.called_aet}' is no AE title of this gateway: see node.ae_title and node.more_ae_titles",
                code="NOT_OUR_TITLE",
            )
        asked = {"peer": ae_title, "called_aet": order.called_aet}
        with self._one_at_a_time(ae_title, order.study_instance_uid):
            try:
                fetched = self._archive.fetch(peer, order)
            except GatewayError as error:
                self._note("FETCH_FAILED", actor, order.study_instance_uid, {**asked, "code": error.code})
                raise
        outcome: dict[str, str | int] = {
            "service": fetched.service,
            "status": f"0x{fetched.status:04X}",
            "completed": fetched.completed,
            "failed": fetched.failed,
            "warnings": fetched.warnings,
        }
        action = "STUDY_FETCHED" if fetched.is_complete else "STUDY_FETCHED_IN_PART"
        self._note(action, actor, order.study_instance_uid, {**asked, **outcome})
        return fetched

    def _peer(self, ae_title: str) -> Peer:
        peer = next((one for one in self._node.peers if one.ae_title == ae_title), None)
        if peer is None:
            known = ", ".join(f"'{one.ae_title}'" for one in self._node.peers) or "none is listed"
            raise NotFound(f"there is no such peer in node.peers ({known})", code="UNKNOWN_PEER")
        if not peer.host:
            raise PeerRejected(
                f"peer '{ae_title}' has no address here: add host and port to it in node.peers", code="PEER_NO_ADDRESS"
            )
        return peer

    @contextmanager
    def _one_at_a_time(self, ae_title: str, study_instance_uid: str) -> Iterator[None]:
        this = ae_title, study_instance_uid
        with self._lock:
            if this in self._running:
                raise IllegalTransition("this study is being fetched from there already", code="FETCH_RUNS")
            if len(self._running) >= MAXIMUM_FETCHES:
                raise IllegalTransition(
                    f"{MAXIMUM_FETCHES} studies are being fetched already: try again later", code="TOO_MANY_FETCHES"
                )
            self._running.add(this)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(this)

    def _note(self, action: str, actor: str, subject: str, detail: dict[str, str | int]) -> None:
        with self._database.write() as session:
            audit.append(session, at=self._clock(), actor=actor, action=action, subject=subject, detail=detail)
