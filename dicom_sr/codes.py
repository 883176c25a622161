"""Every coded concept in one table: standard codes where they exist, one declared private scheme where not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (PS3.3 section 8.8).

    Parameters
    ----------
    value, scheme, meaning : str
        Code Value, Coding Scheme Designator, Code Meaning.
    """

    value: str
    scheme: str
    meaning: str
