"""Environment variables that lie over the configuration file: ``OVERREAD_NODE__PORT=104``.

Two underscores separate keys; a list item is named by its position or by its `name`, as in
``OVERREAD_DESTINATIONS__PACS__HOST``. A value that starts with ``[`` or ``{`` is read as YAML.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import Config
from gateway.config_keys import did_you_mean, top_level_values
from gateway.config_pipelines import USE
from gateway.config_yaml import Document, Fault, KeyPath, Place, YamlValue, parse_document
from gateway.domain.errors import ConfigurationError

_PREFIX = "OVERREAD_"


def overlay(document: Document, environment: Mapping[str, str]) -> tuple[Document, tuple[Fault, ...]]:
    """Lay the variables of `environment` over `document`.

    Parameters
    ----------
    document : Document
        The configuration as read.
    environment : mapping of str to str
        All environment variables; those without our prefix and two underscores are not ours to judge.

    Returns
    -------
    tuple of Document, tuple of Fault
        The result, and a fault for each variable that names no place.
    """
    value = document.value
    places = dict(document.places)
    faults: list[Fault] = []
    for variable in sorted(environment):
        parts = _parts(variable)
        if not parts:
            continue
        place = Place(f"environment variable {variable}")
        try:
            given = _value(environment[variable], variable)
            value, path = _with(value, parts, given, ())
        except (_NoSuchPlace, ConfigurationError) as error:
            faults.append(Fault(path=(), message=str(error), place=place))
            continue
        places = {known: where for known, where in places.items() if known[: len(path)] != path}
        places[path] = place
    return Document(value=value, places=places), tuple(faults)


class _NoSuchPlace(Exception):
    """A variable names no place in the configuration."""


def _parts(variable: str) -> list[str]:
    if not variable.startswith(_PREFIX):
        return []
    rest = variable.removeprefix(_PREFIX)
    if "__" in rest:
        return rest.lower().split("__")
    return [rest.lower()] if rest.lower() in top_level_values() else []


def _value(text: str, variable: str) -> YamlValue:
    return parse_document(text, name=variable).value if text[:1] in ("[", "{") else text


def _with(value: YamlValue, parts: list[str], given: YamlValue, path: KeyPath) -> tuple[YamlValue, KeyPath]:
    """Return `value` with `given` laid in at `parts`, and the path it stands at."""
    if not parts:
        return given, path
    head, *rest = parts
    if isinstance(value, list):
        index = _position(value, head)
        items = [*value, *([None] if index == len(value) else [])]
        items[index], where = _with(items[index], rest, given, (*path, index))
        return items, where
    if path[:1] == ("pipelines",) and isinstance(value, str):
        value = {USE: value}
    mapping = dict(value) if isinstance(value, dict) else {}
    key = next((known for known in mapping if _same(known, head)), head)
    if not path and key not in Config.model_fields:
        raise _NoSuchPlace(f"names no section '{head}'{did_you_mean(head, tuple(Config.model_fields))}")
    mapping[key], where = _with(_child(mapping, key, path), rest, given, (*path, key))
    return mapping, where


def _child(mapping: dict[str, YamlValue], key: str, path: KeyPath) -> YamlValue:
    """Return what stands at `key`; a top-level list that the file leaves out starts empty."""
    if key in mapping:
        return mapping[key]
    is_list = not path and key in top_level_values()
    return [] if is_list else None


def _position(items: list[YamlValue], head: str) -> int:
    if head.isdigit() and int(head) <= len(items):
        return int(head)
    for index, item in enumerate(items):
        names = [item] if isinstance(item, str) else list(item.values()) if isinstance(item, dict) else []
        own = names if isinstance(item, str) else [item.get("name"), item.get(USE)] if isinstance(item, dict) else []
        if any(isinstance(name, str) and _same(name, head) for name in own):
            return index
    raise _NoSuchPlace(f"names no item '{head}': give its position, from 0, or its name")


def _same(known: str, head: str) -> bool:
    return known.lower().replace("-", "_") == head.replace("-", "_")
