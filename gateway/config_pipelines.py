"""Pipelines as the configuration may name them: a shipped name, a file, in full, or a start (`use`) with changes."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from gateway.config_keys import did_you_mean
from gateway.config_paths import absolute
from gateway.config_yaml import Document, Fault, KeyPath, Place, YamlValue, parse_document, read_document
from gateway.domain.errors import ConfigurationError

#: The pipelines of a gateway that nobody configured; the others have verdicts that are not calibrated, for those who
#: ask for them.
DEFAULT_PIPELINES = ("hippocampus-mr",)
#: The key of a pipeline entry that names what to start from.
USE = "use"


def shipped_pipelines() -> tuple[str, ...]:
    """Return the names of the pipelines that come with the product, sorted."""
    folder = resources.files("gateway").joinpath("pipelines")
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def read_shipped(name: str) -> Document:
    """Return a shipped pipeline's document.

    Raises
    ------
    ConfigurationError
        If no pipeline of this name is shipped.
    """
    if name not in shipped_pipelines():
        raise ConfigurationError(f"no pipeline '{name}' is shipped{did_you_mean(name, shipped_pipelines())}")
    text = resources.files("gateway").joinpath("pipelines", f"{name}.yaml").read_text(encoding="utf-8")
    return parse_document(text, name=f"{name}.yaml (shipped)")


def expand(document: Document, folder: Path) -> tuple[Document, tuple[Fault, ...]]:
    """Put the meant pipeline in the place of every name, file and `use` in the list `pipelines`.

    Parameters
    ----------
    document : Document
        The configuration as read.
    folder : Path
        Folder of the configuration file: relative paths start there.

    Returns
    -------
    tuple of Document, tuple of Fault
        The expanded configuration, and what is wrong with entries that could not be expanded.
    """
    listed = document.value.get("pipelines") if isinstance(document.value, dict) else None
    if not isinstance(document.value, dict) or not isinstance(listed, list):
        return document, ()
    entries = list(listed)
    places = dict(document.places)
    faults: list[Fault] = []
    for index, entry in enumerate(entries):
        here: KeyPath = ("pipelines", index)
        own = {path[2:]: place for path, place in document.places.items() if path[:2] == here}
        try:
            entries[index], found = _expand_entry(entry, own, folder)
        except ConfigurationError as error:
            faults.append(Fault(path=here, message=error.detail))
            continue
        places = {path: place for path, place in places.items() if path[:2] != here}
        places.update({(*here, *path): place for path, place in found.items()})
    return Document(value={**document.value, "pipelines": entries}, places=places), tuple(faults)


def _expand_entry(entry: YamlValue, own: dict[KeyPath, Place], folder: Path) -> tuple[YamlValue, dict[KeyPath, Place]]:
    """Return one pipeline in full; places are relative to it, `own` being those of the entry as written."""
    if isinstance(entry, str):
        base = _read_base(entry, folder)
        return base.value, base.places
    if not isinstance(entry, dict) or USE not in entry:
        return entry, own
    start = entry[USE]
    if not isinstance(start, str):
        raise ConfigurationError("'use' takes the name of a shipped pipeline or a file")
    base = _read_base(start, folder)
    changes = {key: value for key, value in entry.items() if key != USE}
    places = {**base.places, **{path: place for path, place in own.items() if path[:1] != (USE,)}}
    return _merged(base.value, changes), places


def _read_base(name: str, folder: Path) -> Document:
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = folder / name
        document = read_document(path, name=name)
        return Document(value=absolute(document.value, path.parent), places=document.places)
    return read_shipped(name)


def _merged(base: YamlValue, change: YamlValue) -> YamlValue:
    """Lay `change` over `base`: mappings key by key, anything else as a whole."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    merged = dict(base)
    for key, value in change.items():
        merged[key] = _merged(base[key], value) if key in base else value
    return merged
