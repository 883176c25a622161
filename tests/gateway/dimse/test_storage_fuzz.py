"""Spoiled conversations by the thousand; `make bench ARGS=faults` runs 200,000."""

from __future__ import annotations

import pytest

from tests.support.fuzz_wire import fuzz


@pytest.mark.slow
def test_two_thousand_spoiled_conversations_neither_end_nor_hang_nor_swell_the_node() -> None:
    outcome = fuzz(2000, seed=10_000)
    assert (outcome.cases, outcome.hangs) == (2000, ())
    assert outcome.growth_mb < 50
