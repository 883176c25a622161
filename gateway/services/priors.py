"""Fetch earlier studies of the patient of a new study from an archive, by themselves, where the configuration says so.

A study is new when a pipeline took it within the last day. What is fetched is chosen by `gateway.domain.priors`, comes
in like any other study, and has no priors of its own. How far each search is stands in the database, so a restart goes
on; an archive that is away is asked again for a day.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Final, Protocol

import structlog
from sqlmodel import Session, col, select

from gateway.config import NodeConfig, Peer
from gateway.domain.delivery import pause
from gateway.domain.errors import (
    GatewayError,
    IllegalTransition,
    NotFound,
    PeerRejected,
    PeerUnreachable,
    UnacceptableInstance,
)
from gateway.domain.priors import Candidate, PatientIdentity, PriorRule, SearchState, choose
from gateway.services.fetch import Fetched, FetchOrder, StudyQuery
from gateway.services.patient_of_study import patient_of_study
from gateway.store import audit
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import Case, PriorSearch, Study

log = structlog.get_logger(__name__)

#: A study that a pipeline took longer ago is not new: switching this on fetches nothing for what is held already.
NEW_FOR: Final = timedelta(days=1)
#: Searches begun in one go.
_AT_A_TIME: Final = 20
#: A prior that does not come whole is fetched this many times.
MAXIMUM_ATTEMPTS: Final = 3
_FIRST_PAUSE_S: Final = 60.0
#: An archive that is away costs no attempt and is asked again after this, for as long as the study is new.
AWAY_PAUSE: Final = timedelta(minutes=5)
_ACTOR: Final = "overread"
_FETCHED: Final = "FETCHED"
_IN_PART: Final = "IN_PART"


class PriorArchive(Protocol):
    """Asks a peer for the studies of a patient; `gateway.dimse.fetch_scu.FetchScu` is it."""

    def studies_of_patient(self, peer: Peer, query: StudyQuery) -> tuple[Candidate, ...]:
        """Return the studies that match, each with the patient it names.

        Raises
        ------
        PeerUnreachable, PeerRejected
            It cannot be asked, or refuses.
        """
        ...


class StudyFetcher(Protocol):
    """Fetches a study; `gateway.services.fetch.Fetcher` is it."""

    def fetch(self, ae_title: str, order: FetchOrder, *, actor: str) -> Fetched:
        """Fetch a study and wait until it is here; errors as of `gateway.services.fetch.Fetcher.fetch`."""
        ...


class _Unsought(Exception):
    """Why no prior of a study is sought at all."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PriorFetcher:
    """Works through the searches, one at a time; belongs to one thread.

    Parameters
    ----------
    node : NodeConfig
        What to fetch, from whom.
    archive : PriorArchive
        Asks what there is.
    fetcher : StudyFetcher
        Has it sent.
    database, blobs
        Studies and their images.
    clock : callable
        Gives the time, with zone.
    """

    def __init__(
        self,
        node: NodeConfig,
        archive: PriorArchive,
        fetcher: StudyFetcher,
        *,
        database: Database,
        blobs: BlobStore,
        clock: Callable[[], datetime],
    ) -> None:
        self._node = node
        self._settings = node.priors
        self._rule = PriorRule(
            modalities=self._settings.modalities,
            within_days=self._settings.within_days,
            maximum=self._settings.maximum_studies,
        )
        self._archive = archive
        self._fetcher = fetcher
        self._database = database
        self._blobs = blobs
        self._clock = clock

    def run_due(self) -> bool:
        """Begin searches for new studies and work on the one that is due first; return whether one was."""
        self._begin()
        with self._database.read() as session:
            query = select(PriorSearch).where(PriorSearch.state == SearchState.DUE)
            search = session.exec(
                query.where(col(PriorSearch.due_at) <= self._clock()).order_by(col(PriorSearch.due_at)).limit(1)
            ).first()
        if search is None:
            return False
        self._work_on(search)
        return True

    def _begin(self) -> None:
        now = self._clock()
        with self._database.write() as session:
            query = (
                select(Case.study_instance_uid)
                .where(col(Case.opened_at) >= now - NEW_FOR)
                .where(col(Case.study_instance_uid).not_in(select(PriorSearch.study_instance_uid)))
                .distinct()
                .limit(_AT_A_TIME)
            )
            for study in session.exec(query).all():
                session.add(_new_search(study, SearchState.DUE, now))

    def _work_on(self, search: PriorSearch) -> None:
        study, outcomes = search.study_instance_uid, dict(search.priors)
        try:
            for prior in self._chosen(study, outcomes):
                self._mark(prior, study)
                outcomes[prior] = self._fetched(prior)
        except _Unsought as refused:
            self._settle(search, SearchState.REFUSED, outcomes, refused.reason)
        except (PeerUnreachable, PeerRejected, IllegalTransition) as error:
            self._wait(search, outcomes, error.detail, AWAY_PAUSE)
        else:
            if all(code == _FETCHED for code in outcomes.values()):
                self._settle(search, SearchState.DONE, outcomes, "")
            else:
                self._once_more(search, outcomes)

    def _chosen(self, study_instance_uid: str, outcomes: dict[str, str]) -> tuple[str, ...]:
        """Return the Study Instance UIDs of the priors to fetch now: those that are here already are left."""
        patient, of_day = self._patient(study_instance_uid)
        try:
            since = self._rule.earliest(of_day)
            query = StudyQuery(patient_id=patient.patient_id, study_date=f"{since:%Y%m%d}-{of_day:%Y%m%d}")
        except GatewayError:
            raise _Unsought("its Patient ID holds a character that a query takes for a wildcard") from None
        peer = next(one for one in self._node.peers if one.ae_title == self._settings.peer)
        listed = [
            Candidate(
                study_instance_uid=one.study_instance_uid,
                study_date=one.study_date,
                modalities=one.modalities,
                patient=one.patient.with_issuer(self._settings.issuer),
            )
            for one in self._archive.studies_of_patient(peer, query)
        ]
        chosen = choose(listed, study_instance_uid=study_instance_uid, patient=patient, of_day=of_day, rule=self._rule)
        wanted = [one.study_instance_uid for one in chosen if outcomes.get(one.study_instance_uid) != _FETCHED]
        with self._database.read() as session:
            return tuple(uid for uid in wanted if _is_missing(session, uid, study_instance_uid))

    def _patient(self, study_instance_uid: str) -> tuple[PatientIdentity, date]:
        with self._database.read() as session:
            study = session.get_one(Study, study_instance_uid)
            try:
                patient = patient_of_study(session, self._blobs, study_instance_uid).with_issuer(self._settings.issuer)
            except (NotFound, UnacceptableInstance) as error:
                raise _Unsought(error.detail) from None
        if not patient.is_certain:
            raise _Unsought("its images name no Patient ID, or nobody says who issued it: see node.priors.issuer")
        try:
            of_day = datetime.strptime(study.study_date, "%Y%m%d").date()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            of_day = study.first_received_at.date()
        return patient, of_day

    def _fetched(self, prior: str) -> str:
        """Fetch a prior; return what became of it."""
        order = FetchOrder(
            study_instance_uid=prior,
            called_aet=self._settings.called_aet or self._node.ae_title,
            seconds=self._settings.seconds,
        )
        try:
            fetched = self._fetcher.fetch(str(self._settings.peer), order, actor=_ACTOR)
        except (NotFound, PeerRejected, UnacceptableInstance) as error:
            return error.code
        return _FETCHED if fetched.is_complete else _IN_PART

    def _mark(self, prior: str, of_study: str) -> None:
        """Note that a study comes as a prior, before it comes: none are sought for it."""
        now = self._clock()
        with self._database.write() as session:
            if session.get(PriorSearch, prior) is None:
                session.add(_new_search(prior, SearchState.IS_PRIOR, now, reason=of_study))

    def _once_more(self, search: PriorSearch, outcomes: dict[str, str]) -> None:
        missing = sum(code != _FETCHED for code in outcomes.values())
        why = f"{missing} of {len(outcomes)} priors did not come whole"
        search.attempts += 1
        if search.attempts >= MAXIMUM_ATTEMPTS:
            self._settle(search, SearchState.GIVEN_UP, outcomes, why)
        else:
            self._wait(search, outcomes, why, pause(_FIRST_PAUSE_S, search.attempts))

    def _wait(self, search: PriorSearch, outcomes: dict[str, str], why: str, how_long: timedelta) -> None:
        now = self._clock()
        if now - search.begun_at > NEW_FOR:
            self._settle(search, SearchState.GIVEN_UP, outcomes, why)
            return
        with self._database.write() as session:
            row = session.get_one(PriorSearch, search.study_instance_uid)
            row.attempts, row.priors, row.reason = search.attempts, outcomes, why
            row.due_at, row.changed_at = now + how_long, now

    def _settle(self, search: PriorSearch, state: SearchState, outcomes: dict[str, str], why: str) -> None:
        now = self._clock()
        with self._database.write() as session:
            row = session.get_one(PriorSearch, search.study_instance_uid)
            row.state, row.attempts, row.priors = state, search.attempts, outcomes
            row.reason, row.changed_at = why, now
            _audit(session, row, str(self._settings.peer))
        log.info("search for priors ended", state=str(state), priors=len(outcomes), reason=why)


def _new_search(study_instance_uid: str, state: SearchState, at: datetime, *, reason: str = "") -> PriorSearch:
    return PriorSearch(
        study_instance_uid=study_instance_uid,
        state=state,
        reason=reason,
        begun_at=at,
        due_at=at,
        changed_at=at,
        priors={},
    )


def _is_missing(session: Session, prior: str, of_study: str) -> bool:
    """Whether a prior is not here, or began to come for this study and may be here in part."""
    if session.get(Study, prior) is None:
        return True
    mark = session.get(PriorSearch, prior)
    return mark is not None and mark.state == SearchState.IS_PRIOR and mark.reason == of_study


def _audit(session: Session, row: PriorSearch, peer: str) -> None:
    audit.append(
        session,
        at=row.changed_at,
        actor=_ACTOR,
        action="PRIORS_SOUGHT",
        subject=row.study_instance_uid,
        detail={
            "peer": peer,
            "state": row.state,
            "fetched": sum(code == _FETCHED for code in row.priors.values()),
            "not_fetched": sum(code != _FETCHED for code in row.priors.values()),
            "reason": row.reason,
        },
    )
