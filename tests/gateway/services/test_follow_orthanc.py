"""Following a real Orthanc: everything new comes in once, across restarts of either side and a new database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.domain.errors import PeerUnreachable, StorageFull
from gateway.domain.evidence import Announced
from gateway.services.completeness import known_facts
from gateway.services.follow_orthanc import OrthancFollower
from gateway.store.tables import Announcement, AuditEvent, Cursor, Instance, Study
from orthanc import OrthancClient
from tests.support.instances import SEG, make_instance, uid
from tests.support.orthanc_peer import OrthancPeer, running_orthanc
from tests.support.ports import free_port
from tests.support.receiving import ReceivingFolder

pytestmark = pytest.mark.peer


@pytest.fixture
def folder(tmp_path: Path) -> ReceivingFolder:
    return ReceivingFolder(tmp_path / "data")


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[OrthancPeer]:
    with running_orthanc(tmp_path / "orthanc") as peer:
        yield peer


@pytest.fixture
def stable_orthanc(tmp_path: Path) -> Iterator[OrthancPeer]:
    with running_orthanc(tmp_path / "orthanc", settings={"StableAge": 1}) as peer:
        yield peer


def _follower(folder: ReceivingFolder, url: str, take: str = "edits") -> OrthancFollower:
    return OrthancFollower(
        name="PACS",
        client=OrthancClient(url),
        receiver=folder.receiver,
        database=folder.database,
        clock=folder.clock,
        take=take,  # type: ignore[arg-type]
    )


def _read_all(follower: OrthancFollower) -> int:
    total = 0
    while new := follower.step():
        total += new
    return total


def test_edits_come_in_once_and_images_only_when_asked_for(folder: ReceivingFolder, orthanc: OrthancPeer) -> None:
    for number in range(3):
        orthanc.upload(make_instance(number))
    edit = make_instance(9, sop_class=SEG)
    orthanc.upload(edit)
    follower = _follower(folder, orthanc.url)
    assert follower.step() == 1
    assert [(row.door, row.sender, row.sop_instance_uid) for row in folder.rows(Instance)] == [
        ("orthanc", "PACS", uid("study", "series", 9))
    ]
    assert follower.step() == 0
    everything = _follower(ReceivingFolder(folder.folder / "all"), orthanc.url, "all")
    assert everything.step() == 4


def test_a_stable_study_is_evidence_of_what_it_holds_until_more_of_it_comes(
    folder: ReceivingFolder, stable_orthanc: OrthancPeer
) -> None:
    follower = _follower(folder, stable_orthanc.url, "all")
    for number in range(3):
        stable_orthanc.upload(make_instance(number))
    _wait_for_announcement(folder, follower, 3)
    [facts] = _announced(folder)
    assert (facts.kind, facts.state, facts.listed, facts.held) == ("STABLE_STUDY", "COMPLETED", 3, 3)
    stable_orthanc.upload(make_instance(3))
    _read_all(follower)
    assert _announced(folder) == (), "its list is out of date"
    _wait_for_announcement(folder, follower, 4)
    [facts] = _announced(folder)
    assert (facts.listed, facts.held) == (4, 4)
    edits_only = ReceivingFolder(folder.folder / "edits")
    assert _read_all(_follower(edits_only, stable_orthanc.url)) == 0
    assert edits_only.rows(Announcement) == []


def _wait_for_announcement(folder: ReceivingFolder, follower: OrthancFollower, instances: int) -> None:
    until = time.monotonic() + 20
    while [len(row.instances) for row in folder.rows(Announcement)] != [instances]:
        assert time.monotonic() < until, "the study did not become stable"
        _read_all(follower)
        time.sleep(0.1)


def _announced(folder: ReceivingFolder) -> tuple[Announced, ...]:
    with folder.database.read() as session:
        study = session.get_one(Study, uid("study"))
        return known_facts(session, study, None, now=folder.clock(), is_arriving=False).announced


def test_nothing_is_lost_or_taken_twice_when_either_side_restarts(
    folder: ReceivingFolder, orthanc: OrthancPeer
) -> None:
    orthanc.upload(make_instance(1, sop_class=SEG))
    assert _follower(folder, orthanc.url).step() == 1
    orthanc.stop()
    with pytest.raises(PeerUnreachable):
        _follower(folder, orthanc.url).step()
    orthanc.start()
    orthanc.upload(make_instance(2, sop_class=SEG))
    assert _follower(folder, orthanc.url).step() == 1
    assert _follower(folder, orthanc.url).step() == 0
    assert len(folder.rows(Instance)) == 2


def test_an_orthanc_set_up_anew_is_read_from_its_start(folder: ReceivingFolder, orthanc: OrthancPeer) -> None:
    for number in range(4):
        orthanc.upload(make_instance(number, sop_class=SEG))
    follower = _follower(folder, orthanc.url)
    assert _read_all(follower) == 4
    position = folder.rows(Cursor)[0].position
    orthanc.stop()
    orthanc.forget_everything()
    orthanc.start()
    # It grows past where we stood before we look again, so its last number alone would not tell.
    for number in range(20, 28):
        orthanc.upload(make_instance(number, sop_class=SEG, study="later"))
    assert _read_all(follower) == 8
    assert folder.rows(Cursor)[0].position > position
    assert len(folder.rows(Instance)) == 12


def test_a_deleted_instance_is_passed_over_and_the_feed_goes_on(folder: ReceivingFolder, orthanc: OrthancPeer) -> None:
    follower = _follower(folder, orthanc.url)
    orthanc.upload(make_instance(1, sop_class=SEG, study="a"))
    assert _read_all(follower) == 1
    gone = orthanc.upload(make_instance(2, sop_class=SEG, study="b"))
    client = OrthancClient(orthanc.url)
    client._call("DELETE", f"/instances/{gone}")
    orthanc.upload(make_instance(3, sop_class=SEG, study="c"))
    assert _read_all(follower) == 1
    # Now the very change we stand at disappears.
    last = client.find_instance(uid("c", "series", 3))
    client._call("DELETE", f"/instances/{last}")
    orthanc.upload(make_instance(4, sop_class=SEG, study="d"))
    assert _read_all(follower) == 1
    assert len(folder.rows(Instance)) == 3


def test_an_instance_that_cannot_be_taken_is_audited_and_passed_over(
    folder: ReceivingFolder, orthanc: OrthancPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc.upload(make_instance(1, sop_class=SEG))
    orthanc.upload(make_instance(2, sop_class=SEG))
    real = OrthancClient.instance_file
    calls = iter([b"rubbish"])
    monkeypatch.setattr(OrthancClient, "instance_file", lambda self, name: next(calls, None) or real(self, name))
    follower = _follower(folder, orthanc.url)
    assert _read_all(follower) == 1
    assert [row.detail["code"] for row in folder.rows(AuditEvent) if row.action == "INSTANCE_REFUSED"] == ["UNREADABLE"]


def test_the_cursor_stays_until_everything_before_it_is_durable(
    folder: ReceivingFolder, orthanc: OrthancPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        orthanc.upload(make_instance(number, sop_class=SEG))
    follower = _follower(folder, orthanc.url)
    real = folder.receiver.require_room
    calls = iter([None, None, StorageFull("full")])

    def room() -> None:
        error = next(calls, None)
        if error is not None:
            raise error
        real()

    monkeypatch.setattr(folder.receiver, "require_room", room)
    with pytest.raises(StorageFull):
        follower.step()
    assert len(folder.rows(Instance)) == 2
    assert not folder.rows(Cursor)
    assert follower.step() == 1
    assert len(folder.rows(Instance)) == 3


def test_an_orthanc_that_is_away_is_unreachable(folder: ReceivingFolder) -> None:
    with pytest.raises(PeerUnreachable, match="PACS"):
        _follower(folder, f"http://127.0.0.1:{free_port()}").step()
