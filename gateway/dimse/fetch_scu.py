"""Studies of peers by C-FIND, C-GET and C-MOVE as SCU: what is missed here, or is a prior, is sent to us.

References
----------
PS3.4 Annex C.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import islice
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom import StoragePresentationContexts

from gateway.config import NodeConfig, Peer
from gateway.dimse.contexts import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_CLASSES,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    TRANSFER_SYNTAXES,
)
from gateway.dimse.remotes import remote_node
from gateway.dimse.retrieve_scu import Retrieved, RetrievingAssociation
from gateway.dimse.scu import MAXIMUM_CONTEXTS, RemoteNode, RequestedAssociation
from gateway.dimse.status import SUCCESS, meaning
from gateway.dimse.store_scp import StoreScp
from gateway.domain.errors import NotFound, PeerRejected
from gateway.domain.priors import Candidate, PatientIdentity
from gateway.services.fetch import Fetched, FetchOrder, FetchWay, FoundStudy, StudyQuery
from gateway.services.record_transfer import Transfer

#: Matches taken of one query.
MAXIMUM_MATCHES: Final = 200
_ANSWER_SECONDS: Final = 60.0
_PLAIN: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
#: Proposed after the classes that the peer says the study has.
_USUAL_CLASSES: Final = tuple(str(context.abstract_syntax) for context in StoragePresentationContexts)
_MOVE_DESTINATION_UNKNOWN: Final = 0xA801
_CANCELLED: Final = 0xFE00
_MEANINGS: Final = {
    0xA701: "it cannot count the matches",
    0xA702: "it could not send the instances",
    0xA900: "it does not understand the identifier",
    0xB000: "some instances could not be sent",
    _CANCELLED: "it was cancelled because it took too long",
}

#: Counts an association of ours that brings instances, and yields who stores them: `DicomNode.called_out`.
CallingOut = Callable[[Transfer], AbstractContextManager[StoreScp]]


class FetchScu:
    """Asks peers; see `gateway.services.fetch.PeerArchive`.

    Parameters
    ----------
    node : NodeConfig
        Our titles and certificate.
    calling_out : callable
        Takes what C-GET brings.
    address : callable
        Where we listen, ``host:port``, for the sentence to an administrator whose peer does not know us.
    """

    def __init__(self, node: NodeConfig, calling_out: CallingOut, address: Callable[[], str]) -> None:
        self._node = node
        self._calling_out = calling_out
        self._address = address
        self._lock = threading.Lock()
        self._open: set[RetrievingAssociation] = set()
        self._is_stopped = False

    def find(self, peer: Peer, query: StudyQuery) -> tuple[FoundStudy, ...]:
        """Return at most `MAXIMUM_MATCHES` studies that match; errors as the protocol says."""
        with RequestedAssociation(self._remote(peer), [(STUDY_ROOT_FIND, _PLAIN)]) as association:
            matches = list(islice(association.find(_identifier(query)), MAXIMUM_MATCHES))
        return tuple(_found(match) for match in matches)

    def studies_of_patient(self, peer: Peer, query: StudyQuery) -> tuple[Candidate, ...]:
        """Return the studies of a patient; see `gateway.services.priors.PriorArchive`."""
        identifier = _identifier(query)
        identifier.IssuerOfPatientID = identifier.PatientBirthDate = ""
        with RequestedAssociation(self._remote(peer), [(STUDY_ROOT_FIND, _PLAIN)]) as association:
            matches = list(islice(association.find(identifier), MAXIMUM_MATCHES))
        return tuple(_candidate(match) for match in matches)

    def fetch(self, peer: Peer, order: FetchOrder) -> Fetched:
        """Have a study sent to us, by C-GET where the peer takes it; errors as the protocol says."""
        remote = self._remote(peer)
        offered, classes = self._look(remote, order.study_instance_uid)
        ways = [
            (service, way)
            for service, way in ((STUDY_ROOT_GET, FetchWay.GET), (STUDY_ROOT_MOVE, FetchWay.MOVE))
            if service in offered and order.way in (way, FetchWay.ANY)
        ]
        if not ways:
            wanted = {FetchWay.GET: "C-GET", FetchWay.MOVE: "C-MOVE"}.get(order.way, "C-GET or C-MOVE")
            raise PeerRejected(
                f"{remote.name} does not offer {wanted} to us: allow query and retrieve for '{self._node.ae_title}' "
                "there, or have it send the study",
                code="NO_RETRIEVAL",
            )
        for _, way in ways:
            try:
                fetched = self._by(way, remote, peer, order, classes)
            except PeerRejected as rejected:
                if rejected.code != "ABORTED_AT_ONCE" or way is ways[-1][1]:
                    raise
                continue
            # A peer may negotiate C-GET, and then refuse it or lack a transfer syntax for it: C-MOVE may do.
            if fetched.is_complete or fetched.completed or fetched.warnings or fetched.status == _CANCELLED:
                return fetched
        unknown = fetched.status == _MOVE_DESTINATION_UNKNOWN
        raise PeerRejected(fetched.sentence, code="MOVE_DESTINATION_UNKNOWN" if unknown else "NOTHING_SENT")

    def stop(self) -> None:
        """End the fetches in progress, and let none begin."""
        with self._lock:
            self._is_stopped = True
            for association in self._open:
                association.cut()

    def _remote(self, peer: Peer) -> RemoteNode:
        return remote_node(self._node, peer, answer_seconds=_ANSWER_SECONDS)

    def _look(self, remote: RemoteNode, study_instance_uid: str) -> tuple[set[str], list[str]]:
        """Return what the peer offers of query and retrieve, and the SOP classes of the study as far as it tells."""
        services = (STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE)
        with RequestedAssociation(remote, [(service, _PLAIN) for service in services]) as association:
            offered = {service for service in services if association.accepted(service)}
            if STUDY_ROOT_FIND not in offered:
                return offered, []
            matches = list(association.find(_identifier(StudyQuery(study_instance_uid=study_instance_uid))))
        if not matches:
            raise NotFound(f"{remote.name} has no study with this Study Instance UID", code="UNKNOWN_STUDY")
        return offered, _texts(matches[0], "SOPClassesInStudy")

    def _by(self, way: FetchWay, remote: RemoteNode, peer: Peer, order: FetchOrder, classes: list[str]) -> Fetched:
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "STUDY"
        identifier.StudyInstanceUID = order.study_instance_uid
        if way is FetchWay.MOVE:
            with self._opened(remote, [(STUDY_ROOT_MOVE, _PLAIN)], ()) as association:
                retrieved = association.move(identifier, order.called_aet, seconds=order.seconds)
        else:
            storage = _storage_contexts(classes)
            proposals = [(STUDY_ROOT_GET, _PLAIN), *storage]
            roles = tuple(dict.fromkeys(storage_class for storage_class, _ in storage))
            transfer = Transfer(sender=peer.ae_title, called_aet=order.called_aet, peer_address=peer.host)
            with (
                self._calling_out(transfer) as store,
                self._opened(remote, proposals, roles) as association,
            ):
                retrieved = association.get(identifier, store, transfer, seconds=order.seconds)
        return Fetched(
            peer=peer.ae_title,
            study_instance_uid=order.study_instance_uid,
            called_aet=order.called_aet,
            service="C-MOVE" if way is FetchWay.MOVE else "C-GET",
            status=retrieved.status,
            completed=retrieved.completed,
            failed=retrieved.failed,
            warnings=retrieved.warned,
            is_complete=retrieved.status == SUCCESS and not retrieved.failed,
            sentence=self._sentence(way, remote, order, retrieved),
        )

    @contextmanager
    def _opened(
        self, remote: RemoteNode, proposals: list[tuple[str, tuple[str, ...]]], roles: tuple[str, ...]
    ) -> Iterator[RetrievingAssociation]:
        with RetrievingAssociation(remote, proposals, scp_roles=roles) as association:
            with self._lock:
                if self._is_stopped:
                    raise PeerRejected("the gateway is being stopped", code="STOPPING")
                self._open.add(association)
            try:
                yield association
            finally:
                with self._lock:
                    self._open.discard(association)

    def _sentence(self, way: FetchWay, remote: RemoteNode, order: FetchOrder, retrieved: Retrieved) -> str:
        if retrieved.status == _MOVE_DESTINATION_UNKNOWN:
            return (
                f"{remote.name} does not know '{order.called_aet}' as a destination of C-MOVE: register it there with "
                f"the address and port of this gateway ({self._address()})"
            )
        sent = f"{retrieved.completed + retrieved.warned} instances were sent"
        if retrieved.status == SUCCESS and not retrieved.failed:
            return sent
        why = _MEANINGS.get(retrieved.status) or f"it answered {_meaning(retrieved.status)}"
        return f"{remote.name}: {sent}, {retrieved.failed} failed; {why}. {self._advice(way, order, retrieved)}"

    def _advice(self, way: FetchWay, order: FetchOrder, retrieved: Retrieved) -> str:
        if retrieved.status == _CANCELLED:
            return "Fetch it again with more time; what came is kept"
        if way is FetchWay.MOVE:
            where = f"'{order.called_aet}' at {self._address()}"
            return f"It must know {where} as a destination and reach it: see its log, and ours for what was refused"
        return "See our log for instances that were refused, or fetch it by C-MOVE"


def _meaning(status: int) -> str:
    """Return a status with its meaning in the query and retrieve service, which differs from that of storage."""
    return f"0x{status:04X} unable to process" if 0xC000 <= status <= 0xCFFF else meaning(status)


def _storage_contexts(of_study: list[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the contexts to propose for C-GET beside its own.

    A context for each transfer syntax of the classes that the study has, so that the peer sends each object as it holds
    it: Orthanc 1.10 breaks a C-GET off when it cannot transcode. Then the usual classes, as far as there is room.
    """
    known = [one for one in dict.fromkeys(of_study) if one in STORAGE_CLASSES]
    exact: list[tuple[str, tuple[str, ...]]] = [(one, (syntax,)) for one in known for syntax in TRANSFER_SYNTAXES]
    room = MAXIMUM_CONTEXTS - 1
    if len(exact) > room:
        exact = [(one, tuple(TRANSFER_SYNTAXES)) for one in known]
    usual = [(one, tuple(TRANSFER_SYNTAXES)) for one in _USUAL_CLASSES if one not in known]
    return [*exact, *usual][:room]


def _identifier(query: StudyQuery) -> Dataset:
    identifier = Dataset()
    if not query.patient_id.isascii():
        identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = query.study_instance_uid
    identifier.StudyDate = query.study_date
    identifier.PatientID = query.patient_id
    for returned in ("StudyDescription", "ModalitiesInStudy", "SOPClassesInStudy"):
        setattr(identifier, returned, "")
    for returned in ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"):
        setattr(identifier, returned, None)
    return identifier


def _found(match: Dataset) -> FoundStudy:
    return FoundStudy(
        study_instance_uid=str(match.get("StudyInstanceUID", "")),
        study_date=str(match.get("StudyDate", "") or ""),
        description=str(match.get("StudyDescription", "") or ""),
        modalities=tuple(_texts(match, "ModalitiesInStudy")),
        series=_number(match, "NumberOfStudyRelatedSeries"),
        instances=_number(match, "NumberOfStudyRelatedInstances"),
    )


def _candidate(match: Dataset) -> Candidate:
    found = _found(match)
    return Candidate(
        study_instance_uid=found.study_instance_uid,
        study_date=found.study_date,
        modalities=found.modalities,
        patient=PatientIdentity(
            patient_id=_exact(match, "PatientID"),
            issuer=_exact(match, "IssuerOfPatientID"),
            birth_date=_exact(match, "PatientBirthDate"),
        ),
    )


def _exact(match: Dataset, keyword: str) -> str:
    """Return a value without the spaces at its ends, which do not count (PS3.5 6.2)."""
    return str(match.get(keyword, "") or "").strip()


def _texts(match: Dataset, keyword: str) -> list[str]:
    value = match.get(keyword)
    if not value:
        return []
    return [str(value)] if isinstance(value, str) else [str(one) for one in value]


def _number(match: Dataset, keyword: str) -> int | None:
    with suppress(TypeError, ValueError):
        return int(match.get(keyword, None))
    return None
