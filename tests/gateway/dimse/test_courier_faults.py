"""Archives that vanish, answer rubbish, lose what they took or take very long: nothing is lost or called done."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from gateway.config import Destination, NodeConfig
from gateway.dimse.contexts import STUDY_ROOT_FIND
from gateway.dimse.courier import DimseCourier, dimse_courier
from gateway.dimse.scu import RemoteNode
from gateway.services.courier import Carried
from gateway.services.deliver import Deliverer
from tests.support.instances import EXPLICIT, MR
from tests.support.outbox import Outbox

Store = Callable[[evt.Event], int]


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "data")


class ScriptedArchive:
    """Acknowledges what it is sent and lists what it has.

    Parameters
    ----------
    store : callable, optional
        Answers C-STORE instead, and keeps nothing.
    find : callable, optional
        Answers C-FIND instead.
    """

    def __init__(self, store: Store | None = None, find: Callable[[evt.Event], object] | None = None) -> None:
        self.kept: list[str] = []
        self.times_sent = 0
        self._store_instead, self._find_instead = store, find

    def store(self, event: evt.Event) -> int:
        self.times_sent += 1
        if self._store_instead is not None:
            return self._store_instead(event)
        self.kept.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        if self._find_instead is not None:
            self._find_instead(event)
        asked = str(event.identifier.SOPInstanceUID)
        if asked in self.kept:
            match = Dataset()
            match.SOPInstanceUID = asked
            yield 0xFF00, match

    @contextmanager
    def listening(self) -> Iterator[int]:
        ae = AE("PACS")
        ae.add_supported_context(MR, EXPLICIT)
        ae.add_supported_context(STUDY_ROOT_FIND, EXPLICIT)
        handlers = [
            (evt.EVT_C_STORE, self.store),
            (evt.EVT_C_FIND, self.find),
            (evt.EVT_CONN_OPEN, lambda event: connections.append(event.assoc.dul.socket.socket)),
        ]
        connections: list[socket.socket] = []
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
        assert server is not None
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            # pynetdicom leaves those open whose peer went first.
            for connection in connections:
                connection.close()


def _rubbish(event: evt.Event) -> int:
    """Say something that is no PDU, where the response should be."""
    event.assoc.dul.socket.socket.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(64))
    return 0


def _vanish(event: evt.Event) -> int:
    event.assoc.abort()
    return 0


def _vanish_on_query(event: evt.Event) -> None:
    event.assoc.abort()


def _deliverer(outbox: Outbox, port: int) -> Deliverer:
    destination = Destination(
        name="PACS", kind="dicom", ae_title="PACS", host="127.0.0.1", port=port, maximum_attempts=5, retry_seconds=5
    )
    return Deliverer(
        outbox.database, outbox.blobs, [destination], {"PACS": dimse_courier(destination, NodeConfig())}, outbox.clock
    )


def _courier(port: int, answer_seconds: float) -> DimseCourier:
    return DimseCourier(
        RemoteNode(
            ae_title="PACS", host="127.0.0.1", port=port, calling_aet="US", connect_seconds=0.3,
            answer_seconds=answer_seconds,
        )
    )  # fmt: skip


def test_what_was_acknowledged_and_lost_is_found_out_by_reading_back_and_sent_again(outbox: Outbox) -> None:
    lost, kept = outbox.add(1, sop_class=MR), outbox.add(2, sop_class=MR)
    archive = ScriptedArchive(store=lambda _event: 0)
    with archive.listening() as port:
        deliverer = _deliverer(outbox, port)
        deliverer.run_due("PACS")
        assert outbox.states() == ["SENT", "SENT"]
        archive.kept.append(kept)
        outbox.clock.now += timedelta(seconds=60)
        deliverer.run_due("PACS")
        assert outbox.states() == ["PENDING", "DELIVERED"]
        assert "does not list it" in outbox.deliveries()[0].last_failure
    fresh = ScriptedArchive()
    with fresh.listening() as port:
        outbox.clock.now += timedelta(seconds=60)
        _deliverer(outbox, port).run_due("PACS")
    assert (fresh.kept, outbox.states()) == ([lost], ["DELIVERED", "DELIVERED"])


@pytest.mark.parametrize(
    ("trouble", "state"),
    [
        pytest.param({"store": _rubbish}, "PENDING", id="rubbish for an answer"),
        pytest.param({"store": _vanish}, "PENDING", id="gone while storing"),
        pytest.param({"find": _vanish_on_query}, "SENT", id="gone while asked what it has"),
    ],
)
def test_an_archive_in_trouble_costs_no_attempt_and_gets_everything_when_it_is_well(
    outbox: Outbox, trouble: dict[str, object], state: str
) -> None:
    names = [outbox.add(number, sop_class=MR) for number in (1, 2)]
    with ScriptedArchive(**trouble).listening() as port:  # type: ignore[arg-type]
        _deliverer(outbox, port).run_due("PACS")
    assert [(row.state, row.attempts) for row in outbox.deliveries()] == [(state, 0)] * 2
    archive = ScriptedArchive()
    # One that was gone while it was asked has it all the same.
    archive.kept += names if state == "SENT" else []
    with archive.listening() as port:
        outbox.clock.now += timedelta(seconds=60)
        _deliverer(outbox, port).run_due("PACS")
    assert set(outbox.states()) == {"DELIVERED"}
    assert archive.times_sent == (0 if state == "SENT" else 2)


def test_an_archive_that_takes_long_for_each_object_is_waited_for(outbox: Outbox) -> None:
    """Longer than for a connection or an association; the two minutes for an answer stand here as five seconds."""
    parcels = [outbox.parcel(outbox.add(number, sop_class=MR)) for number in range(3)]

    def slow(_event: evt.Event) -> int:
        time.sleep(0.6)
        return 0

    with ScriptedArchive(store=slow).listening() as port:
        receipts = _courier(port, 5.0).carry(parcels, read_back=False)
    assert [receipt.carried for receipt in receipts] == [Carried.ACCEPTED] * 3


def test_an_archive_that_takes_longer_than_it_is_given_is_left_and_the_rest_stays_unsent(outbox: Outbox) -> None:
    parcels = [outbox.parcel(outbox.add(number, sop_class=MR)) for number in range(3)]
    hanging, archive = threading.Event(), ScriptedArchive()

    def first_then_hang(_event: evt.Event) -> int:
        if archive.times_sent > 1:
            hanging.wait(10)
        return 0

    archive._store_instead = first_then_hang
    with archive.listening() as port:
        started = time.monotonic()
        receipts = _courier(port, 0.7).carry(parcels, read_back=False)
        assert time.monotonic() - started < 8
        hanging.set()
    assert [receipt.carried for receipt in receipts] == [Carried.ACCEPTED, Carried.UNSENT, Carried.UNSENT]
    assert "had to answer" in receipts[1].detail


def test_results_for_a_quick_archive_do_not_wait_for_a_slow_one(outbox: Outbox) -> None:
    outbox.add(1, sop_class=MR, destination="SLOW")
    outbox.add(1, sop_class=MR, destination="QUICK")
    go = threading.Event()

    def stuck(_event: evt.Event) -> int:
        go.wait(20)
        return 0

    quick = ScriptedArchive()
    with ScriptedArchive(store=stuck).listening() as slow_port, quick.listening() as quick_port:
        destinations = [
            Destination(name=name, kind="dicom", ae_title="PACS", host="127.0.0.1", port=port, read_back=False)
            for name, port in (("SLOW", slow_port), ("QUICK", quick_port))
        ]
        couriers = {one.name: dimse_courier(one, NodeConfig()) for one in destinations}
        deliverer = Deliverer(outbox.database, outbox.blobs, destinations, couriers, outbox.clock)
        slow = threading.Thread(target=deliverer.run_due, args=("SLOW",))
        slow.start()
        deliverer.run_due("QUICK")
        assert outbox.states() == ["PENDING", "DELIVERED"]
        go.set()
        slow.join(10)
    assert outbox.states() == ["DELIVERED", "DELIVERED"]
