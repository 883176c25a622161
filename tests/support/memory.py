"""A folder in memory: for tests that are not about durability, which syncing a disk would take most of."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Make a folder in memory where there is one, elsewhere in the folder for temporary files."""
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None, prefix="overread-") as name:
        yield Path(name)
