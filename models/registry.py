"""Find a model by name or folder, and know exactly which one it is; needs no torch.

A reference is the name of shipped weights (``hippocampus``) or a folder: one with a ``card.json``, or a MONAI bundle
(``configs/metadata.json`` with ``configs/inference.json`` or ``.yaml``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.card import CARD_FILE, file_digest, functional_files, read_card
from models.errors import InvalidModel, ModelNotFound, TamperedWeights

_SHIPPED = Path(__file__).resolve().parent / "weights"
_BUNDLE_CONFIGS = ("inference.json", "inference.yaml", "inference.yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Which model this is, and what a stage needs to know before it loads it.

    Parameters
    ----------
    name, version : str
        As the card says; free of blanks.
    kind : str
        ``segmentation``, ``brain``, ``segmentation_qc``, ``brain_qc``, ``image_qc``, ``bundle`` or ``command``.
    folder : Path
        Where its files are.
    digest : str
        SHA-256 (hex) over every file that the model's answer depends on.
    labels : tuple of str
        Segment labels; label value n is ``labels[n - 1]``.
    needs_region : bool
        Whether the mask of an upstream structure is part of the input.
    """

    name: str
    version: str
    kind: str
    folder: Path
    digest: str
    labels: tuple[str, ...]
    needs_region: bool


def find_model(ref: str, folders: Sequence[Path] = ()) -> ModelCard:
    """Find a model.

    Parameters
    ----------
    ref : str
        Name of shipped weights, name of a folder in one of `folders`, or the path of a folder.
    folders : sequence of Path
        Looked through before the shipped weights.

    Raises
    ------
    ModelNotFound
        If nothing goes by this reference.
    InvalidModel
        If the folder is there but incomplete.
    """
    for candidate in (*(folder / ref for folder in folders), Path(ref), _SHIPPED / ref):
        if (candidate / CARD_FILE).is_file():
            return _from_weights_folder(candidate)
        if is_bundle(candidate):
            return _from_bundle(candidate)
    if Path(ref).is_dir():
        raise InvalidModel(f"the folder is neither a weights folder ({CARD_FILE}) nor a MONAI bundle (configs/)")
    shipped = ", ".join(card.name for card in shipped_models())
    raise ModelNotFound(f"no model goes by '{ref}'; shipped: {shipped or 'none'}")


def shipped_models() -> tuple[ModelCard, ...]:
    """Return the card of every model that ships with the product, by name."""
    folders = sorted(path.parent for path in _SHIPPED.glob(f"*/{CARD_FILE}") if not path.parent.name.startswith("."))
    return tuple(_from_weights_folder(folder) for folder in folders)


def verify(card: ModelCard) -> None:
    """Check every file of a weights folder against the SHA-256 in its card, and the folder against `card`.

    Raises
    ------
    TamperedWeights
        If a file is missing, was added or has other bytes, or the folder is no longer the one `card` was made from.
    """
    if card.kind == "bundle":
        if bundle_digest(card.folder) != card.digest:
            raise TamperedWeights(f"the bundle '{card.name}' changed since it was found")
        return
    expected = read_card(card.folder).get("sha256")
    if not isinstance(expected, dict):
        raise InvalidModel(f"the card of '{card.name}' names no SHA-256")
    found = {path.name: file_digest(path) for path in functional_files(card.folder)}
    for name in sorted(set(expected) | set(found)):
        if expected.get(name) != found.get(name):
            raise TamperedWeights(f"file '{name}' of model '{card.name}' is not the one its card names")
    if _folder_digest(card.folder) != card.digest:
        raise TamperedWeights(f"the weights folder of '{card.name}' changed since it was found")


def is_bundle(folder: Path) -> bool:
    """Whether a folder looks like a MONAI bundle with an inference configuration."""
    return any((folder / "configs" / name).is_file() for name in _BUNDLE_CONFIGS)


def bundle_digest(folder: Path) -> str:
    """SHA-256 (hex) over the relative paths and bytes of a bundle's ``configs``, ``models`` and ``scripts``."""
    parts = [path for part in ("configs", "models", "scripts") for path in (folder / part).rglob("*")]
    files = sorted(path for path in parts if path.is_file() and "__pycache__" not in path.parts)
    return _digest_of({path.relative_to(folder).as_posix(): file_digest(path) for path in files})


def _from_weights_folder(folder: Path) -> ModelCard:
    content = read_card(folder)
    try:
        return ModelCard(
            name=str(content["name"]),
            version=str(content["version"]),
            kind=str(content["kind"]),
            folder=folder,
            digest=_folder_digest(folder),
            labels=tuple(str(label) for label in content["labels"]),
            needs_region=bool(content["needs_region"]),
        )
    except (KeyError, TypeError) as error:
        raise InvalidModel(f"{CARD_FILE} lacks name, version, kind, labels or needs_region") from error


def _from_bundle(folder: Path) -> ModelCard:
    try:
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
        outputs = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidModel("the bundle has no configs/metadata.json that says what its output channels are") from error
    return ModelCard(
        name=str(metadata.get("name") or folder.resolve().name).replace(" ", "-"),
        version=str(metadata.get("version", "0")),
        kind="bundle",
        folder=folder,
        digest=bundle_digest(folder),
        labels=_channel_labels(outputs),
        needs_region=False,
    )


def _channel_labels(channels: Any) -> tuple[str, ...]:
    """Labels of a bundle's output channels in order; a channel called background is label value 0."""
    if not isinstance(channels, dict) or not all(str(key).isdigit() for key in channels):
        raise InvalidModel("the bundle's channel_def is not a table of channel number to name")
    named = [str(channels[key]) for key in sorted(channels, key=int)]
    return tuple(name for name in named if name.lower() != "background")


def _folder_digest(folder: Path) -> str:
    files = [folder / CARD_FILE, *functional_files(folder)]
    return _digest_of({path.name: file_digest(path) for path in files})


def _digest_of(digests: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
