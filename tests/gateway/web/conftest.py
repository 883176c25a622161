from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.web_gateway import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(folder=tmp_path)
    yield bench
    bench.close()
