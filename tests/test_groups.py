"""Tests of one group run in one process: pytest-xdist drops the groups in silence when pytest moves its node ids."""

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="make test runs two processes")
@pytest.mark.xdist_group("together")
def test_the_scheduler_is_told_the_group(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@together")
