"""What the node remembers of its callers: agreed contexts, refusals in sentences, over a restart, bounded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.commands.check_line import Outcome
from gateway.commands.check_peers import check_peers
from gateway.config import Config, NodeConfig
from gateway.dimse.node import DicomNode
from gateway.services import peer_log
from gateway.services.peer_log import PeerLog, saved_contacts
from gateway.store.tables import PeerContact
from tests.support.memory import memory_folder
from tests.support.raw_association import RawAssociation
from tests.support.receiving import ReceivingFolder

MR, EXPLICIT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"


@pytest.fixture
def store() -> Iterator[ReceivingFolder]:
    with memory_folder() as folder:
        store = ReceivingFolder(folder)
        yield store
        store.database.close()


def _log(store: ReceivingFolder) -> PeerLog:
    return PeerLog(store.database, store.clock)


def test_a_caller_is_remembered_with_what_was_agreed_on_and_brought(store: ReceivingFolder) -> None:
    log = _log(store)
    log.associated("MR1", "10.0.0.1", [(MR, EXPLICIT), (MR, EXPLICIT)])
    log.brought("MR1", "10.0.0.1", 7)
    (one,) = log.contacts()
    assert (one.associations, one.last_instances, one.accepted) == (1, 7, ((MR, EXPLICIT),))
    assert (one.refusal, one.refused_at) == ("", None)
    log.associated("MR1", "10.0.0.1", [])
    (one,) = log.contacts()
    assert (one.associations, one.last_instances, one.accepted) == (2, 0, ())


def test_refusals_keep_their_sentence_and_time_while_the_caller_goes_on(store: ReceivingFolder) -> None:
    log = _log(store)
    log.refused("CT9", "10.0.0.9", "it called somebody else")
    refused_at = log.contacts()[0].refused_at
    assert refused_at is not None
    log.associated("CT9", "10.0.0.9", [(MR, EXPLICIT)])
    (one,) = log.contacts()
    assert (one.refusal, one.refused_at, one.associations) == ("it called somebody else", refused_at, 1)
    log.associated("CT9", "10.0.0.9", [], ["class 1 is not offered", "class 2 is not offered"])
    assert log.contacts()[0].refusal == "class 1 is not offered (and 1 more)"


def test_it_survives_a_restart_and_writes_only_what_changed(store: ReceivingFolder) -> None:
    log = _log(store)
    log.associated("MR1", "10.0.0.1", [(MR, EXPLICIT)])
    log.refused("CT9", "10.0.0.9", "no")
    assert (log.save(), log.save()) == (2, 0)
    log.brought("MR1", "10.0.0.1", 3)
    assert log.save() == 1
    again = _log(store)
    assert again.contacts() == log.contacts() == saved_contacts(store.database)
    assert [one.ae_title for one in again.contacts()] == ["MR1", "CT9"]


def test_a_scan_of_the_network_fills_neither_memory_nor_table(
    store: ReceivingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_log, "MOST_PEERS", 5)
    log = _log(store)
    for number in range(9):
        log.refused(f"X{number}", "10.0.0.1", "no")
    log.save()
    for number in range(9, 12):
        log.refused(f"X{number}", "10.0.0.1", "no")
    log.save()
    assert [one.ae_title for one in log.contacts()] == [f"X{n}" for n in (11, 10, 9, 8, 7)]
    assert len(store.rows(PeerContact)) == 5


def test_the_node_notes_what_it_agreed_on_and_why_it_refused_and_check_says_so(store: ReceivingFolder) -> None:
    log = _log(store)
    config = NodeConfig.model_validate({"port": 0, "peers": [{"ae_title": "CT1"}]})
    node = DicomNode(config, store.receiver, store.transfers.append, peers=log)
    _, port = node.start()
    try:
        with RawAssociation(port, calling_aet="CT1", proposals=((MR, (EXPLICIT,)), ("1.2.3.4", (EXPLICIT,)))):
            pass
        with RawAssociation(port, calling_aet="STRANGER"):
            pass
    finally:
        node.stop(2.0)
    stranger, ct1 = log.contacts()
    assert (ct1.ae_title, ct1.accepted) == ("CT1", ((MR, EXPLICIT),))
    assert ct1.refusal == "SOP class 1.2.3.4 is not offered by this node"
    assert "Add '- ae_title: STRANGER' there to let it in" in stranger.refusal
    log.save()
    lines = list(check_peers(Config(), store.folder))
    assert [(line.name, line.outcome) for line in lines] == [("caller", Outcome.NOTE), ("caller", Outcome.NOTE)]
    assert "Add '- ae_title: STRANGER'" in lines[0].detail
    assert "1 SOP classes accepted then; refused" in lines[1].detail
