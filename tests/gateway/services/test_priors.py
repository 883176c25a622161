"""The search for priors: opt-in, never of somebody else, bounded, gone on with after a restart, and on record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from gateway.config import NodeConfig, Peer
from gateway.domain.case import CaseState
from gateway.domain.errors import GatewayError, IllegalTransition, NotFound, PeerUnreachable
from gateway.domain.priors import Candidate, PatientIdentity
from gateway.services.fetch import Fetched, FetchOrder, StudyQuery
from gateway.services.priors import AWAY_PAUSE, MAXIMUM_ATTEMPTS, NEW_FOR, PriorFetcher
from gateway.store.tables import AuditEvent, Case, PriorSearch
from tests.support.instances import make_instance, uid
from tests.support.memory import memory_folder
from tests.support.receiving import ReceivingFolder

AWAY = PeerUnreachable("nobody answers")


@dataclass
class ScriptedArchive:
    """Lists what it is told to, and sends a study by handing its image to the receiver.

    Parameters
    ----------
    folder : ReceivingFolder
        Where it sends to.
    listed : list of Candidate
        Its answer to every query.
    fails : list
        What becomes of the fetches in turn: an error, or False for a study that comes in part; then all is well.
    """

    folder: ReceivingFolder
    listed: list[Candidate] = field(default_factory=list)
    fails: list[GatewayError | bool] = field(default_factory=list)
    away: bool = False
    queries: list[StudyQuery] = field(default_factory=list)
    orders: list[FetchOrder] = field(default_factory=list)

    def studies_of_patient(self, peer: Peer, query: StudyQuery) -> tuple[Candidate, ...]:
        assert peer.ae_title == "PACS"
        self.queries.append(query)
        if self.away:
            raise AWAY
        return tuple(self.listed)

    def fetch(self, ae_title: str, order: FetchOrder, *, actor: str) -> Fetched:
        assert (ae_title, actor) == ("PACS", "overread")
        self.orders.append(order)
        outcome = self.fails.pop(0) if self.fails else True
        name = next(n for n in ("old", "older", "oldest") if uid(n) == order.study_instance_uid)
        self.folder.upload(make_instance(1, study=name))
        if isinstance(outcome, GatewayError):
            raise outcome
        return Fetched(
            peer=ae_title, study_instance_uid=order.study_instance_uid, called_aet=order.called_aet, service="C-GET",
            status=0, completed=1, failed=0, warnings=0, is_complete=bool(outcome), sentence="",
        )  # fmt: skip


def candidate(name: str, day: str = "20241201", issuer: str = "", patient_id: str = "P1", birth: str = "") -> Candidate:
    patient = PatientIdentity(patient_id=patient_id, issuer=issuer, birth_date=birth)
    return Candidate(study_instance_uid=uid(name), study_date=day, modalities=("MR",), patient=patient)


@pytest.fixture
def folder() -> Iterator[ReceivingFolder]:
    with memory_folder() as path:
        folder = ReceivingFolder(path)
        yield folder
        folder.close()


@pytest.fixture
def archive(folder: ReceivingFolder) -> ScriptedArchive:
    return ScriptedArchive(folder, [candidate("old"), candidate("older", "20240101")])


def priors(folder: ReceivingFolder, archive: ScriptedArchive, **settings: object) -> PriorFetcher:
    node = NodeConfig.model_validate(
        {
            "peers": [{"ae_title": "PACS", "host": "127.0.0.1"}],
            "more_ae_titles": ["PRIORS"],
            "priors": {"peer": "PACS", "issuer": "HOSP", **settings},
        }
    )
    return PriorFetcher(node, archive, archive, database=folder.database, blobs=folder.blobs, clock=folder.clock)


def take(folder: ReceivingFolder, *images: bytes, study: str = "study") -> None:
    """Receive a study of 2025-01-01 and let a pipeline take it."""
    for image in images or (make_instance(1, study=study),):
        folder.upload(image)
    with folder.database.write() as session:
        session.add(
            Case(
                id=f"C-{study}", study_instance_uid=uid(study), pipeline="p", state=CaseState.RUNNING,
                opened_at=folder.clock(), changed_at=folder.clock(),
            )
        )  # fmt: skip


def search(folder: ReceivingFolder, study: str = "study") -> PriorSearch:
    [row] = [row for row in folder.rows(PriorSearch) if row.study_instance_uid == uid(study)]
    return row


def fetched(archive: ScriptedArchive) -> list[str]:
    return [order.study_instance_uid for order in archive.orders]


def sought(folder: ReceivingFolder) -> list[dict[str, object]]:
    return [row.detail for row in folder.rows(AuditEvent) if row.action == "PRIORS_SOUGHT"]


def test_priors_of_a_new_study_are_fetched_once_newest_first_and_on_record(
    folder: ReceivingFolder, archive: ScriptedArchive
) -> None:
    take(folder)
    fetcher = priors(folder, archive, within_days=731, called_aet="PRIORS", seconds=30)
    assert fetcher.run_due()
    assert fetched(archive) == [uid("old"), uid("older")]
    assert {(order.called_aet, order.seconds) for order in archive.orders} == {("PRIORS", 30)}
    assert archive.queries == [StudyQuery(patient_id="P1", study_date="20230101-20250101")]
    [event] = sought(folder)
    assert (event["state"], event["fetched"], event["not_fetched"]) == ("DONE", 2, 0)
    assert "P1" not in str(folder.rows(AuditEvent))
    assert not fetcher.run_due()
    assert not priors(folder, archive).run_due(), "a restart seeks nothing anew"


def test_what_came_as_a_prior_has_no_priors_of_its_own(folder: ReceivingFolder, archive: ScriptedArchive) -> None:
    take(folder)
    fetcher = priors(folder, archive)
    fetcher.run_due()
    take(folder, study="old")
    assert not fetcher.run_due()
    assert search(folder, "old").state == "IS_PRIOR"


def test_what_is_here_already_is_not_fetched_again(folder: ReceivingFolder, archive: ScriptedArchive) -> None:
    folder.upload(make_instance(1, study="old"))
    take(folder)
    priors(folder, archive).run_due()
    assert fetched(archive) == [uid("older")]


def test_a_study_that_was_taken_longer_ago_is_not_new(folder: ReceivingFolder, archive: ScriptedArchive) -> None:
    take(folder)
    folder.clock.now += NEW_FOR + timedelta(seconds=10)
    assert not priors(folder, archive).run_due()
    assert archive.queries == []


def test_without_a_case_nothing_is_sought(folder: ReceivingFolder, archive: ScriptedArchive) -> None:
    folder.upload(make_instance(1))
    assert not priors(folder, archive).run_due()


@pytest.mark.parametrize(
    ("settings", "image", "words"),
    [
        ({"issuer": ""}, make_instance(1), "who issued it"),
        ({}, make_instance(1, PatientID=""), "no Patient ID"),
        ({}, make_instance(1, PatientID="P*"), "wildcard"),
    ],
)
def test_a_patient_who_is_not_certain_is_not_sought(
    folder: ReceivingFolder, archive: ScriptedArchive, settings: dict[str, object], image: bytes, words: str
) -> None:
    take(folder, image)
    priors(folder, archive, **settings).run_due()
    assert (search(folder).state, archive.queries, archive.orders) == ("REFUSED", [], [])
    assert words in search(folder).reason


def test_series_that_name_two_patients_are_nobodys(folder: ReceivingFolder, archive: ScriptedArchive) -> None:
    take(folder, make_instance(1), make_instance(1, series="other", PatientID="P2"))
    priors(folder, archive).run_due()
    assert (search(folder).state, archive.queries) == ("REFUSED", [])
    assert "same patient" in search(folder).reason


@pytest.mark.parametrize(
    ("issuer_of_image", "configured", "listed", "is_fetched"),
    [
        ("HOSP", "", "HOSP", True),
        ("HOSP", "", "", False),
        ("", "HOSP", "HOSP", True),
        ("HOSP", "HOSP", "", True),
        ("OTHER", "HOSP", "", False),
        ("HOSP", "HOSP", "OTHER", False),
    ],
)
def test_the_issuer_must_be_known_and_the_same_on_both_sides(
    folder: ReceivingFolder,
    archive: ScriptedArchive,
    issuer_of_image: str,
    configured: str,
    listed: str,
    is_fetched: bool,
) -> None:
    take(folder, make_instance(1, IssuerOfPatientID=issuer_of_image))
    archive.listed = [candidate("old", issuer=listed)]
    priors(folder, archive, issuer=configured).run_due()
    assert (fetched(archive) == [uid("old")]) is is_fetched
    assert search(folder).state == "DONE"


def test_an_archive_that_names_somebody_else_is_not_believed(folder: ReceivingFolder, archive: ScriptedArchive) -> None:
    take(folder, make_instance(1, PatientBirthDate="19700102"))
    archive.listed = [candidate("old", patient_id="P1 "), candidate("older", birth="19700103")]
    priors(folder, archive).run_due()
    assert fetched(archive) == []


def test_an_archive_that_is_away_is_asked_again_for_a_day(folder: ReceivingFolder, archive: ScriptedArchive) -> None:
    take(folder)
    archive.away = True
    fetcher = priors(folder, archive)
    assert fetcher.run_due()
    assert not fetcher.run_due(), "it waits"
    assert (search(folder).state, search(folder).reason) == ("DUE", AWAY.detail)
    folder.clock.now += AWAY_PAUSE
    archive.away = False
    fetcher = priors(folder, archive)
    assert fetcher.run_due()
    assert (search(folder).state, len(archive.orders)) == ("DONE", 2)


def test_an_archive_that_stays_away_is_given_up(folder: ReceivingFolder, archive: ScriptedArchive) -> None:
    take(folder)
    archive.away = True
    fetcher = priors(folder, archive)
    fetcher.run_due()
    folder.clock.now += NEW_FOR
    fetcher.run_due()
    assert [event["state"] for event in sought(folder)] == ["GIVEN_UP"]


@pytest.mark.parametrize("failure", [False, AWAY, NotFound("gone"), IllegalTransition("too many", code="X")])
def test_a_prior_that_came_in_part_is_fetched_again_and_the_whole_one_is_not(
    folder: ReceivingFolder, archive: ScriptedArchive, failure: GatewayError | bool
) -> None:
    take(folder)
    archive.fails = [True, failure]
    fetcher = priors(folder, archive)
    fetcher.run_due()
    assert search(folder).state == "DUE"
    folder.clock.now += timedelta(minutes=10)
    priors(folder, archive).run_due()
    assert search(folder).state == "DONE"
    assert fetched(archive) == [uid("old"), uid("older"), uid("older")]


def test_a_prior_that_never_comes_whole_is_given_up(folder: ReceivingFolder, archive: ScriptedArchive) -> None:
    take(folder)
    archive.listed, archive.fails = [candidate("old")], [False] * 10
    fetcher = priors(folder, archive)
    for _ in range(MAXIMUM_ATTEMPTS + 2):
        fetcher.run_due()
        folder.clock.now += timedelta(minutes=10)
    assert len(archive.orders) == MAXIMUM_ATTEMPTS
    assert (search(folder).state, search(folder).priors) == ("GIVEN_UP", {uid("old"): "IN_PART"})
