"""Where the real test data lies; it stays outside the repository and a test without it says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]


def shared_folder() -> Path:
    """Return the folder with the real data: $OVERREAD_SHARED, or `shared` beside the checkout."""
    return Path(os.environ.get("OVERREAD_SHARED", _REPOSITORY.parent / "shared"))


def shared_data(name: str) -> Path:
    """Return one data set's folder, or skip the calling test with the reason."""
    folder = shared_folder() / "data" / name
    if not folder.is_dir():
        pytest.skip(f"real data set '{name}' is not here (set OVERREAD_SHARED to the folder that holds data/)")
    return folder
