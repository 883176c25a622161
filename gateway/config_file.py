"""Reads the configuration file into the one frozen tree, or says everything that is wrong with it at once.

Each fault is one line ``file:line: key: message (did you mean ...)``. Environment variables ``OVERREAD_SECTION__KEY``
lie over the file; a relative path starts at the folder of the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from gateway.config import Config
from gateway.config_environment import overlay
from gateway.config_keys import did_you_mean, known_keys
from gateway.config_paths import absolute
from gateway.config_pipelines import DEFAULT_PIPELINES, expand
from gateway.config_rules import broken_rules
from gateway.config_yaml import Document, Fault, KeyPath, parse_document, read_document
from gateway.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def load(path: Path, *, environment: Mapping[str, str] | None = None) -> Config:
    """Read, complete and check a configuration file.

    Parameters
    ----------
    path : Path
        The YAML file.
    environment : mapping of str to str, optional
        Environment variables; the process's own when None.

    Returns
    -------
    Config
        Pipelines named or started from are written out, relative paths are made absolute.

    Raises
    ------
    ConfigurationError
        If anything is wrong; `detail` holds one line per fault, in the order of the file.
    """
    document = read_document(path)
    folder = path.absolute().parent
    document = Document(value=absolute(document.value, folder), places=document.places)
    return _complete(document, folder, os.environ if environment is None else environment)


def default_config(*, environment: Mapping[str, str] | None = None) -> Config:
    """Return the configuration without a file: every default and the shipped pipelines, on loopback."""
    names = "".join(f"\n- {name}" for name in DEFAULT_PIPELINES)
    document = parse_document(f"pipelines:{names}", name="default configuration")
    return _complete(document, Path.cwd(), os.environ if environment is None else environment)


def _complete(document: Document, folder: Path, environment: Mapping[str, str]) -> Config:
    if document.value is None:
        document = Document(value={}, places=document.places)
    if not isinstance(document.value, dict):
        raise ConfigurationError(f"{document.place(())}: the file must hold keys such as 'node:' and 'pipelines:'")
    document, unusable = overlay(document, environment)
    document, unexpanded = expand(document, folder)
    faults = [*unusable, *unexpanded]
    try:
        config = Config.model_validate(document.value)
    except ValidationError as error:
        faults += [fault for fault in _shape_faults(error, document) if not _is_below(fault, unexpanded)]
        raise ConfigurationError("\n".join(_sentences(faults, document))) from None
    faults += broken_rules(config)
    if faults:
        raise ConfigurationError("\n".join(_sentences(faults, document)))
    return config


def _is_below(fault: Fault, parents: Sequence[Fault]) -> bool:
    return any(fault.path[: len(parent.path)] == parent.path for parent in parents)


def _sentences(faults: Sequence[Fault], document: Document) -> Iterator[str]:
    placed = [(fault.place or document.place(fault.path), fault) for fault in faults]
    placed.sort(key=lambda pair: (pair[0].file, pair[0].line))
    sentences = [
        f"{place}: {_key(fault.path)}: {fault.message}" if fault.path else f"{place}: {fault.message}"
        for place, fault in placed
    ]
    yield from dict.fromkeys(sentences)


def _key(path: KeyPath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _shape_faults(error: ValidationError, document: Document) -> Iterator[Fault]:
    for found in error.errors(include_url=False):
        path = tuple(found["loc"])
        # pydantic adds the tried type of a union to the path; what is written down is the key. A missing key is not
        # written down, but belongs to the path.
        if found["type"] == "missing":
            yield Fault(path=(*document.written(path[:-1]), path[-1]), message="is required")
        elif document.written(path) != path:
            yield Fault(path=document.written(path), message="must be text, a number, or true or false")
        else:
            yield Fault(path=path, message=_message(found, path))


#: By pydantic's error type; `{...}` names a value of its context. Values given are quoted only where they are choices.
_MESSAGES = {
    "string_type": "must be text: put it in quotes",
    "string_too_short": "must not be empty",
    "string_too_long": "is longer than {max_length} characters",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list, in brackets or with a dash before each item",
    "dict_type": "must hold keys",
    "model_type": "must hold keys",
    "path_type": "must be a path",
    "too_long": "takes {max_length} items, not {actual_length}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "holds characters that are not allowed here (plain ASCII, no backslash)",
}


def _message(found: ErrorDetails, path: KeyPath) -> str:
    kind, context, last = found["type"], found.get("ctx", {}), path[-1] if path else ""
    if kind == "extra_forbidden":
        return f"unknown key '{last}'{did_you_mean(str(last), known_keys(path[:-1]))}"
    if kind in ("enum", "literal_error"):
        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        given = str(found["input"])[:40]
        return f"'{given}' is none of {', '.join(choices)}{_nearest(given, choices)}"
    template = _MESSAGES.get(kind)
    if template is None:
        return found["msg"][:1].lower() + found["msg"][1:]
    return template.format(**context)


def _nearest(given: str, choices: Sequence[str]) -> str:
    suggestion = did_you_mean(given, choices)
    return suggestion if suggestion.startswith(" (did") else ""
