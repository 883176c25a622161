"""Which values of a configuration are paths; a relative one starts at the folder of the file it is written in."""

from __future__ import annotations

from pathlib import Path

from gateway.config_yaml import YamlValue

#: Keys whose mapping is opaque to the configuration.
_OPAQUE = frozenset({"parameters"})


def absolute(value: YamlValue, folder: Path) -> YamlValue:
    """Return `value` with every relative path in it made absolute from `folder`.

    Paths are ``folder``, ``*_file``, and a ``model`` that holds a slash; without one it names shipped weights.
    """
    if isinstance(value, list):
        return [absolute(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: item if key in _OPAQUE else _entry(key, item, folder) for key, item in value.items()}


def _entry(key: str, item: YamlValue, folder: Path) -> YamlValue:
    if isinstance(item, str) and item and (_is_path_key(key) or (key == "model" and "/" in item)):
        return str(folder / Path(item).expanduser())
    return absolute(item, folder)


def _is_path_key(key: str) -> bool:
    return key == "folder" or key.endswith("_file")
