"""The outbox: in order, again after a failure, never lost, delivered only when proven."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.config import Destination
from gateway.domain.delivery import LONGEST_PAUSE_S
from gateway.domain.errors import IllegalTransition, NotFound, PeerRejected, PeerUnreachable
from gateway.services.courier import Carried
from gateway.services.deliver import BATCH, Deliverer
from gateway.store.tables import AuditEvent
from tests.support.outbox import FakeCourier, Outbox

AWAY = PeerUnreachable("nobody answers")


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "data")


def _deliverer(outbox: Outbox, courier: FakeCourier, **settings: object) -> Deliverer:
    given = {"name": "PACS", "kind": "dicom", "host": "h", "ae_title": "PACS", "retry_seconds": 5.0, **settings}
    destination = Destination.model_validate(given)
    return Deliverer(outbox.database, outbox.blobs, [destination], {"PACS": courier}, outbox.clock)


def _pass(outbox: Outbox, seconds: float) -> None:
    outbox.clock.now += timedelta(seconds=seconds)


def test_due_outputs_are_sent_in_one_go_in_order_and_are_delivered(outbox: Outbox) -> None:
    names = [outbox.add(number) for number in (3, 1, 2)]
    courier = FakeCourier()
    assert _deliverer(outbox, courier).run_due("PACS") == 3
    assert courier.calls == [("carry+read_back", names)]
    assert outbox.states() == ["DELIVERED"] * 3
    assert outbox.actions() == [("DELIVERED", "listed")] * 3
    assert all(row.delivered_at is not None for row in outbox.deliveries())


def test_nothing_due_calls_nobody(outbox: Outbox) -> None:
    courier = FakeCourier()
    deliverer = _deliverer(outbox, courier)
    assert deliverer.run_due("PACS") == 0
    assert deliverer.next_due("PACS") is None
    outbox.add(1)
    assert deliverer.next_due("PACS") is not None
    deliverer.run_due("PACS")
    assert deliverer.run_due("PACS") == 0
    assert len(courier.calls) == 1


def test_other_destinations_are_left_alone(outbox: Outbox) -> None:
    outbox.add(1, destination="ELSEWHERE")
    courier = FakeCourier()
    assert _deliverer(outbox, courier).run_due("PACS") == 0
    assert outbox.states() == ["PENDING"]
    with pytest.raises(NotFound):
        _deliverer(outbox, courier).run_due("ELSEWHERE")


def test_a_destination_that_cannot_be_asked_has_it_when_it_accepted_it(outbox: Outbox) -> None:
    outbox.add(1)
    _deliverer(outbox, FakeCourier([Carried.ACCEPTED]), read_back=False).run_due("PACS")
    assert outbox.states() == ["DELIVERED"]
    assert outbox.actions() == [("DELIVERED", "accepted")]


def test_an_output_that_was_accepted_and_lost_is_looked_up_once_and_sent_again(outbox: Outbox) -> None:
    name = outbox.add(1)
    courier = FakeCourier([Carried.MISSING, Carried.MISSING, Carried.CONFIRMED])
    deliverer = _deliverer(outbox, courier)
    states = []
    for _ in range(3):
        deliverer.run_due("PACS")
        states += outbox.states()
        _pass(outbox, 100)
    assert states == ["SENT", "PENDING", "DELIVERED"]
    assert courier.calls == [("carry+read_back", [name]), ("look_up", [name]), ("carry+read_back", [name])]


def test_an_archive_that_lists_it_late_is_not_sent_it_twice(outbox: Outbox) -> None:
    outbox.add(1)
    courier = FakeCourier([Carried.MISSING, Carried.CONFIRMED])
    deliverer = _deliverer(outbox, courier)
    deliverer.run_due("PACS")
    _pass(outbox, 100)
    deliverer.run_due("PACS")
    assert outbox.states() == ["DELIVERED"]
    assert [call for call, _ in courier.calls] == ["carry+read_back", "look_up"]


@pytest.mark.parametrize("error", [AWAY, PeerRejected("it does not know our AE title")])
def test_an_outage_of_days_costs_no_attempt_and_kills_nothing(outbox: Outbox, error: Exception) -> None:
    outbox.add(1)
    courier = FakeCourier([error] * 40 + [Carried.CONFIRMED])  # type: ignore[arg-type]
    deliverer = _deliverer(outbox, courier, maximum_attempts=3)
    for _ in range(40):
        assert deliverer.run_due("PACS") == 0
        _pass(outbox, LONGEST_PAUSE_S + 1)
    assert outbox.deliveries()[0].attempts == 0
    assert outbox.deliveries()[0].last_failure == error.detail  # type: ignore[attr-defined]
    assert deliverer.run_due("PACS") == 1
    assert outbox.states() == ["DELIVERED"]


def test_the_pause_doubles_up_to_ten_minutes_and_starts_anew_after_an_answer(outbox: Outbox) -> None:
    outbox.add(1)
    courier = FakeCourier([AWAY] * 10 + [Carried.REFUSED])
    deliverer = _deliverer(outbox, courier)
    pauses = []
    for _ in range(11):
        before = outbox.clock.now
        deliverer.run_due("PACS")
        due = deliverer.next_due("PACS")
        assert due is not None
        pauses.append(round((due - before).total_seconds() / 5) * 5)
        _pass(outbox, 700)
    assert pauses[:10] == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert pauses[10] == 5


def test_before_its_pause_is_over_nothing_is_tried(outbox: Outbox) -> None:
    outbox.add(1)
    courier = FakeCourier([AWAY])
    deliverer = _deliverer(outbox, courier)
    for _ in range(3):
        deliverer.run_due("PACS")
    assert len(courier.calls) == 1


def test_an_object_that_is_refused_is_given_up_after_its_attempts_and_others_go_on(outbox: Outbox) -> None:
    outbox.add(1)
    outbox.add(2)
    courier = FakeCourier([[Carried.REFUSED, Carried.CONFIRMED], Carried.REFUSED])
    deliverer = _deliverer(outbox, courier, maximum_attempts=3)
    for _ in range(5):
        deliverer.run_due("PACS")
        _pass(outbox, 700)
    assert outbox.states() == ["DEAD", "DELIVERED"]
    assert outbox.deliveries()[0].last_failure == "said so"
    assert [action for action, _ in outbox.actions()] == ["DELIVERED", "DELIVERY_DEAD"]
    assert len(courier.calls) == 3


def test_a_dead_delivery_is_taken_up_again_by_a_person(outbox: Outbox) -> None:
    outbox.add(1)
    courier = FakeCourier([Carried.REFUSED, Carried.CONFIRMED])
    deliverer = _deliverer(outbox, courier, maximum_attempts=1)
    deliverer.run_due("PACS")
    assert outbox.states() == ["DEAD"]
    delivery = outbox.deliveries()[0].id
    assert delivery is not None
    deliverer.retry(delivery, actor="ann")
    _pass(outbox, 1)
    deliverer.run_due("PACS")
    assert outbox.states() == ["DELIVERED"]
    assert [(row.action, row.actor) for row in outbox.rows(AuditEvent)][1] == ("DELIVERY_RETRIED", "ann")
    with pytest.raises(IllegalTransition):
        deliverer.retry(delivery, actor="ann")
    with pytest.raises(NotFound):
        deliverer.retry(999, actor="ann")


def test_what_was_not_reached_before_the_connection_broke_goes_first_next_time(outbox: Outbox) -> None:
    names = [outbox.add(number) for number in range(3)]
    courier = FakeCourier([[Carried.CONFIRMED, Carried.UNSENT, Carried.UNSENT], Carried.CONFIRMED])
    deliverer = _deliverer(outbox, courier)
    deliverer.run_due("PACS")
    assert outbox.states() == ["DELIVERED", "PENDING", "PENDING"]
    outbox.add(3)
    deliverer.run_due("PACS")
    assert len(courier.calls) == 1, "a later result of the case must not overtake"
    outbox.add(1, case="C2")
    deliverer.run_due("PACS")
    assert len(courier.calls) == 2, "another case may go on"
    _pass(outbox, 60)
    deliverer.run_due("PACS")
    assert courier.calls[-1][1][:2] == names[1:]
    assert set(outbox.states()) == {"DELIVERED"}


def test_a_crash_between_sending_and_noting_it_sends_the_same_object_again(outbox: Outbox) -> None:
    name = outbox.add(1)
    courier = FakeCourier()
    crashing = _deliverer(outbox, courier)
    crashing._note_receipts = lambda *_args: 1 / 0  # type: ignore[method-assign, assignment]
    with pytest.raises(ZeroDivisionError):
        crashing.run_due("PACS")
    assert _deliverer(outbox, courier).run_due("PACS") == 1
    assert courier.calls == [("carry+read_back", [name])] * 2
    assert outbox.states() == ["DELIVERED"]


def test_a_long_queue_is_sent_in_batches(outbox: Outbox) -> None:
    for number in range(BATCH + 5):
        outbox.add(number)
    courier = FakeCourier()
    deliverer = _deliverer(outbox, courier)
    assert [deliverer.run_due("PACS") for _ in range(3)] == [BATCH, 5, 0]


def test_an_output_whose_file_is_lost_does_not_stop_the_others(outbox: Outbox) -> None:
    lost, there = outbox.add(1), outbox.add(2)
    outbox.parcel(lost).path.unlink()
    courier = FakeCourier()
    deliverer = _deliverer(outbox, courier, maximum_attempts=1)
    deliverer.run_due("PACS")
    assert courier.calls == [("carry+read_back", [there])]
    assert outbox.states() == ["DEAD", "DELIVERED"]
    assert "backup" in outbox.deliveries()[0].last_failure
