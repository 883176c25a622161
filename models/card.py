"""The card of a weights folder: what the model is, what it was trained on, and the SHA-256 of the files it needs.

A weights folder holds ``card.json``, ``model.safetensors`` and more; every file except the card itself and what
evaluation writes (``metrics.json``, ``*.csv``, ``*.png``) is named with its SHA-256 in the card.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from models.errors import InvalidModel

CARD_FILE = "card.json"
WEIGHTS_FILE = "model.safetensors"
FINGERPRINT_FILE = "fingerprint.json"
METRICS_FILE = "metrics.json"
_REPORTS = (".csv", ".png", ".md")


def write_card(folder: Path, content: dict[str, Any]) -> None:
    """Write ``card.json`` last: `content` plus the SHA-256 of every file the model needs.

    Parameters
    ----------
    folder : Path
        Weights folder, its other files already written.
    content : dict
        At least ``name``, ``version``, ``kind``, ``labels``, ``needs_region``.
    """
    sealed = {**content, "sha256": {path.name: file_digest(path) for path in functional_files(folder)}}
    (folder / CARD_FILE).write_text(json.dumps(sealed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_card(folder: Path) -> dict[str, Any]:
    """Read ``card.json``.

    Raises
    ------
    InvalidModel
        If it is missing or is not a JSON object.
    """
    try:
        content = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidModel(f"the weights folder has no readable {CARD_FILE}") from error
    if not isinstance(content, dict):
        raise InvalidModel(f"{CARD_FILE} is not a JSON object")
    return content


def functional_files(folder: Path) -> list[Path]:
    """Files that what the model answers depends on, by name; the card and the reports of evaluation do not count."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name not in (CARD_FILE, METRICS_FILE) and path.suffix not in _REPORTS
    )


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
