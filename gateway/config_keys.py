"""The keys of the configuration, read off the pydantic tree: for suggestions, the template and the operators' table."""

from __future__ import annotations

import types
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config import Config
from gateway.config_yaml import KeyPath

#: Keys that the loader understands beside those of the tree, by the path of their mapping.
_EXTRA: dict[str, tuple[str, ...]] = {"pipelines[]": ("use",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDoc:
    """What a person needs to know about one key.

    Parameters
    ----------
    path : str
        For instance ``node.peers[].ae_title``; ``<name>`` stands for a key that people choose.
    kind : str
        What it takes: ``text``, ``whole number``, ``list of text``, ``one of a, b``, ``section``.
    default : str
        As YAML; ``required`` when there is none.
    text : str
        The attribute's docstring.
    section : bool
        Whether it holds further keys.
    """

    path: str
    kind: str
    default: str
    text: str
    section: bool


def all_keys() -> tuple[KeyDoc, ...]:
    """Return every key of the configuration, in the order of the tree."""
    return tuple(_walk(Config, ""))


def known_keys(path: KeyPath) -> tuple[str, ...]:
    """Return the keys allowed in the mapping at `path`, empty where people choose them."""
    annotation: Any = Config
    for _ in path:
        annotation = _inside(annotation, _)
        if annotation is None:
            return ()
    model = _model_of(annotation)
    if model is None or get_origin(_bare(annotation)) is dict:
        return ()
    generic = "".join("[]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    return (*model.model_fields, *_EXTRA.get(generic, ()))


def top_level_values() -> tuple[str, ...]:
    """Return the top-level keys that hold a plain value or a list, not a section."""
    return tuple(name for name, field in Config.model_fields.items() if not isinstance(field.annotation, type(Config)))


def did_you_mean(given: str, known: Collection[str]) -> str:
    """Return `` (did you mean '...'?)`` for the nearest of `known`, all of them when they are few, or nothing."""
    by_case = {name.lower(): name for name in known}
    close = get_close_matches(given.lower(), list(by_case), n=1, cutoff=0.6)
    if close:
        return f" (did you mean '{by_case[close[0]]}'?)"
    return f" (known: {', '.join(known)})" if 0 < len(known) <= 8 else ""


def _walk(model: type[BaseModel], prefix: str) -> Iterator[KeyDoc]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        inner = _model_of(field.annotation)
        default = "required" if field.is_required() else yaml_text(field.get_default(call_default_factory=True))
        section = inner is not None
        yield KeyDoc(path=path, kind=_kind(field), default=default, text=field.description or "", section=section)
        if inner is not None:
            origin = get_origin(_bare(field.annotation))
            yield from _walk(inner, f"{path}{'[]' if origin is tuple else '.<name>' if origin is dict else ''}.")


def yaml_text(value: object) -> str:
    """Write a default as one line of YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, BaseModel):
        return "{" + ", ".join(f"{key}: {yaml_text(item)}" for key, item in value if item is not None) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(yaml_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {yaml_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        return value if value and value.replace(".", "").replace("_", "").isalpha() else f'"{value}"'
    return str(value)


def _bare(annotation: Any) -> Any:
    """Strip `Annotated` and an optional None."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _item(annotation: Any) -> Any:
    """Return what a list or mapping holds, or the annotation itself."""
    bare = _bare(annotation)
    if get_origin(bare) is tuple:
        return get_args(bare)[0]
    return get_args(bare)[1] if get_origin(bare) is dict else bare


def _model_of(annotation: Any) -> type[BaseModel] | None:
    inner = _bare(_item(annotation))
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def _inside(annotation: Any, part: str | int) -> Any:
    bare = _bare(annotation)
    if get_origin(bare) in (tuple, dict):
        return _item(bare)
    if isinstance(bare, type) and issubclass(bare, BaseModel) and part in bare.model_fields:
        return bare.model_fields[str(part)].annotation
    return None


_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


def _kind(field: FieldInfo) -> str:
    bare = _bare(field.annotation)
    origin = get_origin(bare)
    if origin is tuple:
        arguments = get_args(bare)
        fixed = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"list of {fixed}{_kind_of(arguments[0])}"
    if origin is dict:
        return f"mapping of name to {_kind_of(get_args(bare)[1])}"
    return _kind_of(bare)


def _kind_of(annotation: Any) -> str:
    bare = _bare(annotation)
    if bare in _PLAIN:
        return _PLAIN[bare]
    if get_origin(bare) is Literal:
        return "one of " + ", ".join(str(value) for value in get_args(bare))
    if isinstance(bare, type) and issubclass(bare, Enum):
        return "one of " + ", ".join(str(member.value) for member in bare)
    return "section" if _model_of(bare) else "value"
