"""A finding's value and interval on a scale with the zones of its criterion, in the units of an SVG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gateway.services.case_record import FindingView

#: Width of the scale, SVG units.
WIDTH = 220.0
_MARGIN = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A stretch of the scale: ``accept``, ``review``, ``reject`` or ``abstain``."""

    kind: str
    left: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A threshold on the scale with its number."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What to draw; positions in SVG units from the left. `text` says the same in words."""

    zones: tuple[Zone, ...]
    ticks: tuple[Tick, ...]
    value: float
    low: float | None
    high: float | None
    text: str


def bar_of(finding: FindingView) -> Bar | None:
    """Return the bar of a finding; None when it has no value or no criterion with a bound."""
    bounds = _bounds(finding.criterion)
    if finding.value is None or not bounds:
        return None
    shown = [finding.value, *(v for v in (finding.low, finding.high) if v is not None), *bounds.values()]
    first, last = _domain(shown, finding)
    scale = WIDTH / (last - first)

    def place(value: float) -> float:
        return round(min(max((value - first) * scale, 0.0), WIDTH), 2)

    return Bar(
        zones=_zones(bounds, first, last, place),
        ticks=tuple(Tick(at=place(value), text=f"{value:g}") for value in sorted(set(bounds.values()))),
        value=place(finding.value),
        low=None if finding.low is None else place(finding.low),
        high=None if finding.high is None else place(finding.high),
        text=_words(bounds),
    )


def _bounds(criterion: dict[str, Any]) -> dict[str, float]:
    names = ("reject_below", "review_below", "review_above", "reject_above", "abstain_below", "abstain_above")
    return {name: float(criterion[name]) for name in names if isinstance(criterion.get(name), int | float)}


def _domain(shown: list[float], finding: FindingView) -> tuple[float, float]:
    low, high = min(shown), max(shown)
    if finding.unit == "1" and low >= 0 and high <= 1:
        return 0.0, 1.0
    pad = (high - low or abs(high) or 1.0) * _MARGIN
    # A volume or a count has no room below zero.
    return (max(0.0, low - pad) if low >= 0 else low - pad), high + pad


def _zones(bounds: dict[str, float], first: float, last: float, place: Callable[[float], float]) -> tuple[Zone, ...]:
    cuts = sorted({first, last, *(v for v in bounds.values() if first < v < last)})
    zones = []
    for left, right in pairwise(cuts):
        start = place(left)
        zones.append(Zone(kind=_kind((left + right) / 2, bounds), left=start, width=round(place(right) - start, 2)))
    return tuple(zones)


def _kind(value: float, bounds: dict[str, float]) -> str:
    for kind in ("reject", "abstain", "review"):
        if value < bounds.get(f"{kind}_below", float("-inf")) or value > bounds.get(f"{kind}_above", float("inf")):
            return kind
    return "accept"


def _words(bounds: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in bounds.items())
