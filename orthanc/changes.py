"""The change feed of an Orthanc: what happened there, in order, by growing sequence numbers."""

from __future__ import annotations

from dataclasses import dataclass

NEW_INSTANCE = "NewInstance"
#: Nothing new has come for a study for Orthanc's StableAge.
STABLE_STUDY = "StableStudy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One entry.

    Parameters
    ----------
    sequence : int
        Grows; never used again while the Orthanc keeps its database.
    kind : str
        For instance ``NewInstance``.
    resource_id : str
        Orthanc's identifier of what changed.
    date : str
        When, in Orthanc's own clock and format.
    """

    sequence: int
    kind: str
    resource_id: str
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesPage:
    """A stretch of the feed.

    Parameters
    ----------
    changes : tuple of Change
        In order.
    last : int
        Where the next page starts: pass it as ``since``.
    is_end : bool
        Whether nothing follows for now.
    """

    changes: tuple[Change, ...]
    last: int
    is_end: bool


def parse_page(answer: dict[str, object]) -> ChangesPage:
    """Read the answer of ``/changes``.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is not one.
    """
    entries = answer["Changes"]
    if not isinstance(entries, list):
        raise TypeError("Changes is not a list")
    changes = tuple(
        Change(
            sequence=int(entry["Seq"]),
            kind=str(entry["ChangeType"]),
            resource_id=str(entry["ID"]),
            date=str(entry["Date"]),
        )
        for entry in entries
    )
    return ChangesPage(changes=changes, last=int(str(answer["Last"])), is_end=bool(answer["Done"]))
