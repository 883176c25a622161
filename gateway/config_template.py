"""The commented configuration that ``overread init`` writes: every key with its meaning, at its default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from gateway.config_keys import KeyDoc, all_keys
from gateway.config_pipelines import DEFAULT_PIPELINES, shipped_pipelines

_WIDTH = 110

_HEAD = """\
# Configuration of one Overread gateway. What is not written here has the default shown; an unknown key is refused.
# A relative path starts at the folder of this file. Secrets stand in files of their own, or in the environment:
# OVERREAD_NODE__PORT=104 lies over node.port, OVERREAD_DESTINATIONS__PACS__HOST over the host of destination 'pacs'.
# To use an example list, take away the [] before it and the '# ' before its lines.
# 'overread check --config FILE' says what is wrong with it and tries every peer.
"""

_PIPELINES = """\
# Which pipelines this gateway runs. An entry is
#   - the name of a shipped pipeline ({shipped}),
#   - a YAML file that holds a pipeline (a path with a slash, or that ends in .yaml),
#   - a start with changes: {{use: hippocampus-mr, name: mine, destinations: [pacs], policy: {{edits: on_request}}}},
#   - or a pipeline in full, with the keys below.
pipelines:
{entries}
"""

#: Example values of keys that have no default, and of defaults that would not fit their example.
_EXAMPLES = {
    "node.peers[].ae_title": "SCANNER1",
    "web.users[].name": "alice",
    "web.users[].token_file": "secrets/alice.token",
    "data.retention[].remove": "received",
    "data.retention[].after_days": "90",
    "destinations[].name": "pacs",
    "destinations[].kind": "dicom",
    "destinations[].ae_title": "PACS",
    "destinations[].host": "pacs.example.org",
    "readers[].name": "Dr A. Reader",
    "readers[].ae_title": "WORKSTATION1",
    "follow[].name": "orthanc",
    "follow[].url": "http://127.0.0.1:8042",
    "pipelines[].name": "my-pipeline",
    "pipelines[].stages.<name>.segments[].number": "1",
    "pipelines[].stages.<name>.segments[].label": "Spleen",
    "pipelines[].stages.<name>.segments[].category": '{value: "91723000", scheme: SCT, meaning: Anatomical Structure}',
    "pipelines[].stages.<name>.segments[].type": '{value: "78961009", scheme: SCT, meaning: Spleen}',
    "pipelines[].stages.<name>.segments[].region": "null",
    "pipelines[].stages.<name>.criteria[].code": "VOLUME",
    "pipelines[].stages.<name>.criteria[].review_below": "50",
}
#: Stages of the example pipeline: one segmentation with every key, and a report.
_EXAMPLE_STAGE = "spleen"
_REPORT_STAGE = "report: {kind: report, needs: [spleen]}"


def template(*, live_examples: bool = False) -> str:
    """Return the commented configuration.

    Parameters
    ----------
    live_examples : bool
        Leave the examples of list items uncommented, so that a test can load every key there is.
    """
    blocks = [_HEAD]
    for key in all_keys():
        if "." in key.path:
            continue
        if key.path == "pipelines":
            blocks.append(_pipelines(live_examples))
        elif key.section and not key.kind.startswith("list"):
            blocks.append("\n".join([*_comment(key), f"{key.path}:", *_section(key.path, "  ", live_examples)]) + "\n")
        else:
            blocks.append("\n".join(_entry(key, "", live_examples)) + "\n")
    return "\n".join(blocks)


def _pipelines(live: bool) -> str:
    shipped = ", ".join(shipped_pipelines())
    entries = "\n".join(f"  - {name}" for name in DEFAULT_PIPELINES)
    return _PIPELINES.format(shipped=shipped, entries=entries) + "\n".join(_item("pipelines[]", "  ", live)) + "\n"


def _children(prefix: str) -> Iterator[KeyDoc]:
    start = f"{prefix}."
    for key in all_keys():
        if key.path.startswith(start) and "." not in key.path.removeprefix(start):
            yield key


def _section(prefix: str, indent: str, live: bool) -> Iterator[str]:
    for key in _children(prefix):
        yield from _entry(key, indent, live)


def _entry(key: KeyDoc, indent: str, live: bool) -> Iterator[str]:
    """Yield one key with its comment; a list of sections gets an example item."""
    name = key.path.rpartition(".")[2]
    yield from (indent + line for line in _comment(key))
    if key.path in _EXAMPLES:
        yield f"{indent}{name}: {_EXAMPLES[key.path]}"
    elif key.section and key.kind.startswith("list"):
        yield f"{indent}{name}:" if live else f"{indent}{name}: []"
        yield from _item(f"{key.path}[]", f"{indent}  ", live)
    elif key.section and key.kind.startswith("mapping"):
        yield f"{indent}{name}:"
        yield f"{indent}  {_EXAMPLE_STAGE}:"
        yield from _section(f"{key.path}.<name>", f"{indent}    ", live)
        yield f"{indent}  {_REPORT_STAGE}"
    elif key.section:
        yield f"{indent}{name}:"
        yield from _section(key.path, f"{indent}  ", live)
    else:
        yield f"{indent}{name}: {_value(key)}"


def _item(prefix: str, indent: str, live: bool) -> Iterator[str]:
    """Yield one example item of a list of sections, as a comment unless `live`."""
    lines = list(_section(prefix, "  ", live=True))
    first = next(index for index, line in enumerate(lines) if not line.strip().startswith("#"))
    lines[first] = f"- {lines[first].lstrip()}"
    for index in range(first):
        lines[index] = lines[index].lstrip()
    yield from (f"{indent}{line}" if live else f"{indent}# {line}" for line in lines)


def _value(key: KeyDoc) -> str:
    if key.path.endswith(".kind") and key.default == "required":
        return "segmentation"
    if key.path.endswith("<name>.model"):
        return "./bundles/spleen"
    return key.default


def _comment(key: KeyDoc) -> list[str]:
    kind = f" ({key.kind})" if key.kind.startswith("one of") else ""
    return [f"# {line}" for line in textwrap.wrap(key.text.replace("``", "") + kind, _WIDTH)]
