from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.busy_gateway import CONFIG, FACTS, populate
from tests.support.web_gateway import Bench


@contextmanager
def _memory_folder() -> Iterator[Path]:
    """A folder in memory where there is one: these tests are about HTTP, and syncing a disk would take most of them."""
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None, prefix="overread-") as name:
        yield Path(name)


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder for one test."""
    with _memory_folder() as folder:
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
    with _memory_folder() as folder:
        bench = Bench(folder=folder, config=CONFIG, facts=FACTS)
        bench.edited = populate(bench.seed).id
        yield bench
        bench.close()
