from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.busy_gateway import CONFIG, FACTS, populate
from tests.support.memory import memory_folder as in_memory
from tests.support.web_gateway import Bench


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder for one test."""
    with in_memory() as folder:
        yield folder


@pytest.fixture
def bench(memory_folder: Path) -> Iterator[Bench]:
    """A gateway that holds nothing yet."""
    bench = Bench(folder=memory_folder)
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def busy() -> Iterator[Bench]:
    """A gateway in the middle of its day, shared: for tests that only look."""
    with in_memory() as folder:
        bench = Bench(folder=folder, config=CONFIG, facts=FACTS)
        bench.edited = populate(bench.seed).id
        yield bench
        bench.close()
