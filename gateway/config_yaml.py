"""YAML as plain values that remember their file and line, so that a fault can name where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from gateway.domain.errors import ConfigurationError

#: What YAML can hold here: text, numbers, booleans, nothing, lists, and mappings with text keys.
YamlValue = None | bool | int | float | str | list["YamlValue"] | dict[str, "YamlValue"]
#: Where a value stands in a document: keys and list positions from the root.
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, or the name of an environment variable with line 0."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        """``file:line``, or the bare name where there is no line."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with a configuration.

    Parameters
    ----------
    path : KeyPath
        The key it is about.
    message : str
        What is wrong and the way out; never quotes a value that may be a secret.
    place : Place or None
        Where it stands when not where the key does.
    """

    path: KeyPath
    message: str
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed YAML document.

    Parameters
    ----------
    value : YamlValue
        Plain values; mappings are new dictionaries that the caller may change.
    places : mapping of KeyPath to Place
        Where each key or list item stands; the root is the empty path.
    """

    value: YamlValue
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def written(self, path: KeyPath) -> KeyPath:
        """Return `path`, cut to the part that is written down; the root always is."""
        while path and path not in self.places:
            path = path[:-1]
        return path

    def place(self, path: KeyPath) -> Place:
        """Return where `path` stands, or the nearest of its parents that is written down."""
        return self.places[self.written(path)]


def read_document(path: Path, *, name: str = "") -> Document:
    """Read a YAML file.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        How messages call it; the path as given when empty.

    Raises
    ------
    ConfigurationError
        If it cannot be read or is no YAML; the detail starts with file and line.
    """
    name = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise ConfigurationError(f"{name}: is a folder, not a file") from None
    except FileNotFoundError:
        raise ConfigurationError(f"{name}: there is no such file; 'overread init' writes one") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: is not UTF-8 text") from None
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot be read: {error.strerror}") from None
    return parse_document(text, name=name)


def parse_document(text: str, *, name: str) -> Document:
    """Parse YAML text; see `read_document`."""
    reader = YAML(typ="rt", pure=True)
    try:
        root = reader.load(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        # A doubled key is reported with both values, which may be secrets: the key is enough.
        problem = _first_line(error.problem or error.context).partition(" with value")[0]
        raise ConfigurationError(f"{name}{line}: {problem}") from None
    except YAMLError as error:
        raise ConfigurationError(f"{name}: {_first_line(str(error))}") from None
    places: dict[KeyPath, Place] = {(): Place(name, 1)}
    return Document(value=_plain(root, (), name, places), places=places)


def _first_line(text: str | None) -> str:
    return (text or "is no YAML").strip().splitlines()[0]


def _plain(node: object, path: KeyPath, name: str, places: dict[KeyPath, Place]) -> YamlValue:
    if isinstance(node, CommentedMap):
        mapping: dict[str, YamlValue] = {}
        for key, value in node.items():
            child = (*path, str(key))
            # A key that came by a YAML merge (<<) has no line of its own; its parent's stands for it.
            if key in (node.lc.data or {}):
                places[child] = Place(name, node.lc.key(key)[0] + 1)
            mapping[str(key)] = _plain(value, child, name, places)
        return mapping
    if isinstance(node, CommentedSeq):
        sequence: list[YamlValue] = []
        for index, value in enumerate(node):
            child = (*path, index)
            places[child] = Place(name, node.lc.item(index)[0] + 1)
            sequence.append(_plain(value, child, name, places))
        return sequence
    if node is None or isinstance(node, bool):
        return node
    # ruamel wraps numbers and text to remember how they were written; the plain types are enough here.
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)
