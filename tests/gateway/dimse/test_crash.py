"""kill -9 while receiving: whatever was acknowledged is there with equal bytes, and a resend completes the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.kill_node import check_store, kill_many, node_process, send
from tests.support.node_process import DIRECTLY, POINTS, SETTLING
from tests.support.ports import free_port


@pytest.mark.parametrize("point", sorted(POINTS | DIRECTLY))
def test_a_kill_at_a_named_point_loses_nothing_acknowledged(tmp_path: Path, point: str) -> None:
    port, acknowledged = free_port(), set[int]()
    journal = "0" if point in DIRECTLY else "8"
    with node_process(tmp_path, port, "--die-at", point, "--after", "3", "--journal-mb", journal) as process:
        send(port, range(10), acknowledged)
        assert process.wait(20) == -9
    assert len(acknowledged) in (3, 4)
    is_in_the_journal = point in POINTS and point != "before the journal has it"
    assert check_store(tmp_path, acknowledged) == set(range(4 if is_in_the_journal else 3))
    with node_process(tmp_path, port, "--journal-mb", "8") as process:
        send(port, range(10), acknowledged)
        process.terminate()
        assert process.wait(20) == 0
    assert check_store(tmp_path, acknowledged) == acknowledged == set(range(10))


@pytest.mark.parametrize("point", sorted(SETTLING))
def test_a_kill_while_files_are_written_from_the_journal_loses_nothing(tmp_path: Path, point: str) -> None:
    port, acknowledged = free_port(), set[int]()
    after = "0" if "sync" in point or "emptied" in point else "3"
    with node_process(tmp_path, port, "--die-at", point, "--after", after, "--journal-mb", "8") as process:
        send(port, range(10), acknowledged)
        assert process.wait(30) == -9
    assert check_store(tmp_path, acknowledged) == acknowledged == set(range(10))


@pytest.mark.slow
def test_random_kills_under_load_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """`make bench ARGS=faults` has 200."""
    outcome = kill_many(tmp_path, kills=12)
    assert 0 < outcome.acknowledged <= outcome.recorded
