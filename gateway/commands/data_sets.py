"""The data sets that training and measuring read, below one folder, and what to say when some are not there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gateway.commands.output import ExitCode, end

_HIPPOCAMPUS: Final = "hippocampus_msd"


def hippocampus_folder(data: Path) -> Path:
    """Return the folder of the hippocampus data set: below a folder of all data sets, or `data` itself."""
    return data / _HIPPOCAMPUS if (data / _HIPPOCAMPUS).is_dir() else data


def need(data: Path, names: Iterable[str], *, why: str) -> None:
    """End the verb if data sets are not there.

    Parameters
    ----------
    data : Path
        Folder that holds all data sets.
    names : iterable of str
        Folders below it.
    why : str
        What they are needed for.
    """
    missing = [name for name in names if not (data / name).is_dir()]
    if missing:
        end(ExitCode.FAILED, f"{why} needs data sets that are not in {data}: {', '.join(missing)}")
