"""How many fetches run at once, and what a fetch leaves in the audit trail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import NodeConfig, Peer
from gateway.domain.errors import IllegalTransition
from gateway.services.fetch import MAXIMUM_FETCHES, Fetched, Fetcher, FetchOrder, FoundStudy, StudyQuery
from gateway.store.tables import AuditEvent
from tests.support.receiving import ReceivingFolder


class SlowArchive:
    """Sends a study when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)

    def find(self, peer: Peer, query: StudyQuery) -> tuple[FoundStudy, ...]:
        return ()

    def fetch(self, peer: Peer, order: FetchOrder) -> Fetched:
        self.begun.release()
        assert self.go.wait(10)
        return Fetched(
            peer=peer.ae_title,
            study_instance_uid=order.study_instance_uid,
            called_aet=order.called_aet,
            service="C-GET",
            status=0,
            completed=2,
            failed=0,
            warnings=0,
            is_complete=True,
            sentence="2 instances were sent",
        )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ReceivingFolder]:
    folder = ReceivingFolder(tmp_path / "data")
    yield folder
    folder.close()


def test_a_bounded_number_of_studies_is_fetched_at_once_and_each_is_on_record(folder: ReceivingFolder) -> None:
    archive = SlowArchive()
    config = NodeConfig(peers=(Peer(ae_title="PACS", host="127.0.0.1"),))
    fetcher = Fetcher(config, archive, folder.database, folder.clock)

    def fetch(number: int) -> Fetched:
        order = FetchOrder(study_instance_uid=f"1.2.{number}", called_aet="OVERREAD")
        return fetcher.fetch("PACS", order, actor="admin")

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(MAXIMUM_FETCHES)]
    for thread in threads:
        thread.start()
        assert archive.begun.acquire(timeout=10)
    with pytest.raises(IllegalTransition) as refused:
        fetch(MAXIMUM_FETCHES)
    assert refused.value.code == "TOO_MANY_FETCHES"
    archive.go.set()
    for thread in threads:
        thread.join(10)
    assert fetch(MAXIMUM_FETCHES).is_complete
    rows = folder.rows(AuditEvent)
    assert [row.action for row in rows] == ["STUDY_FETCHED"] * (MAXIMUM_FETCHES + 1)
    assert {row.subject for row in rows} == {f"1.2.{number}" for number in range(MAXIMUM_FETCHES + 1)}
