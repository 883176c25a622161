"""What a caller accepts: the Accept header or `accept` parameter as media ranges (PS3.18 section 8.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import Request

from gateway.web.problems import NotAcceptable

#: Transfer syntax that is meant when a caller names none.
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRange:
    """One acceptable media type; parameter names are in lower case, quotes removed."""

    kind: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    quality: float = 1.0

    def covers(self, kind: str) -> bool:
        """Whether a media type without parameters fits."""
        if self.kind in ("*/*", "*"):
            return True
        return self.kind == kind or (self.kind.endswith("/*") and kind.startswith(self.kind[:-1]))

    @property
    def part(self) -> str:
        """Media type of the parts of a multipart range, else the type itself; ``*/*`` when not named."""
        return self.parameters.get("type", "*/*") if self.kind == "multipart/related" else self.kind

    @property
    def transfer_syntax(self) -> str:
        """Transfer syntax asked for, ``*`` for any, empty when not named."""
        return self.parameters.get("transfer-syntax", "")


def accepted(request: Request) -> tuple[MediaRange, ...]:
    """Return what a request accepts, best first; anything when it does not say."""
    given = [*request.query_params.getlist("accept"), *request.headers.getlist("accept")]
    ranges = [parsed for text in given for part in split(text, ",") if (parsed := parse(part)) is not None]
    return tuple(sorted(ranges, key=lambda r: -r.quality)) or (MediaRange(kind="*/*"),)


def require_json(request: Request) -> None:
    """Refuse a caller who takes no DICOM JSON (PS3.18 section 8.7.3); the XML form is not given here.

    Raises
    ------
    NotAcceptable
        If nothing they accept covers it.
    """
    if not any(r.covers(kind) for r in accepted(request) for kind in ("application/dicom+json", "application/json")):
        raise NotAcceptable("search results and metadata are given as application/dicom+json")


def parse(text: str) -> MediaRange | None:
    """Parse one media range; None when it is none."""
    kind, *rest = split(text, ";") or [""]
    kind = kind.strip().strip('"').lower()
    if "/" not in kind and kind != "*":
        return None
    parameters = {}
    for item in rest:
        name, _, value = item.partition("=")
        parameters[name.strip().lower()] = value.strip().strip('"')
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 0.0
    if "type" in parameters:
        parameters["type"] = parameters["type"].lower()
    return MediaRange(kind=kind, parameters=parameters, quality=quality)


def split(text: str, separator: str) -> Sequence[str]:
    """Split at a separator that is not inside quotes; empty parts are dropped."""
    parts, quoted, current = [], False, ""
    for character in text:
        if character == '"':
            quoted = not quoted
        if character == separator and not quoted:
            parts.append(current)
            current = ""
        else:
            current += character
    return [part.strip() for part in (*parts, current) if part.strip()]
