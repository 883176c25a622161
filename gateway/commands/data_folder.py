"""What a verb must know of a data folder before it opens anything there: opening would create what is missing."""

from __future__ import annotations

from pathlib import Path

_DATABASE = "overread.sqlite"


def has_database(folder: Path) -> bool:
    """Whether a gateway has worked in this folder."""
    return (folder / _DATABASE).is_file()
