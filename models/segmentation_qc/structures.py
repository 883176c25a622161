"""Which segments a QC network knows, and how its classes make them up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import InvalidModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """One segment as the QC network sees it.

    Parameters
    ----------
    label : str
        Segment label, as the segmenters name it.
    classes : tuple of int
        Network classes whose union it is; 0 is background.
    """

    label: str
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StructurePlan:
    """The structures of one QC model and how they lie to each other.

    Parameters
    ----------
    structures : tuple of Structure
        Every segment that can be judged.
    whole : str
        Label of the structure that the parts make up; empty when there is none.
    front_to_back : tuple of str
        Labels of the parts in order from anterior to posterior.
    """

    structures: tuple[Structure, ...]
    whole: str = ""
    front_to_back: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of all structures, in order."""
        return tuple(s.label for s in self.structures)

    def as_card(self) -> dict[str, Any]:
        """Return the part of a card that `from_card` reads."""
        return {
            "structures": {s.label: list(s.classes) for s in self.structures},
            "whole": self.whole,
            "front_to_back": list(self.front_to_back),
        }

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> StructurePlan:
        """Read the plan from a card; raises `InvalidModel` when it holds none."""
        try:
            return cls(
                structures=tuple(
                    Structure(label=str(label), classes=tuple(int(c) for c in classes))
                    for label, classes in card["structures"].items()
                ),
                whole=str(card["whole"]),
                front_to_back=tuple(str(label) for label in card["front_to_back"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidModel("the card does not say which structures the QC network knows") from error


HIPPOCAMPUS_PLAN = StructurePlan(
    structures=(
        Structure(label="Hippocampus", classes=(1, 2)),
        Structure(label="Hippocampus anterior", classes=(1,)),
        Structure(label="Hippocampus posterior", classes=(2,)),
    ),
    whole="Hippocampus",
    front_to_back=("Hippocampus anterior", "Hippocampus posterior"),
)
