"""Spoiled conversations by the thousand; `make bench ARGS=faults` runs 200,000."""

from __future__ import annotations

import pytest

from tests.support.fuzz_wire import fuzz


@pytest.mark.slow
def test_two_thousand_spoiled_conversations_neither_end_nor_hang_nor_swell_the_node() -> None:
    outcome = fuzz(2000, seed=10_000)
    assert (outcome.cases, outcome.hangs, outcome.dead_threads) == (2000, (), 0)
    assert outcome.growth_mb < 50


@pytest.mark.slow
def test_spoiled_queries_commitments_and_procedure_steps_do_no_more() -> None:
    outcome = fuzz(300, seed=20_000, services=True)
    assert (outcome.cases, outcome.hangs, outcome.dead_threads) == (300, (), 0)
    assert outcome.growth_mb < 50
