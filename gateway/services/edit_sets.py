"""Objects that together are one edit: MITK stores each group of segments as an object of its own.

Each part is held (PARTIAL_SET) until all are here. What belongs together is on record with the holds, so neither the
order of arrival nor a restart matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from dicom_sr.candidate import Candidate
from gateway.domain.keys import digest_of
from gateway.services.edit_object import EditObject, object_of_hold
from gateway.store.tables import Hold, Instance

#: Parts in different series belong together when they arrive within this time of each other.
PART_WINDOW = timedelta(hours=1)


def set_key(edit: EditObject, candidate: Candidate, writer: tuple[str, ...]) -> str:
    """Return what the parts of one edit have in common: the output they edit, the sender and the writing software."""
    return digest_of({"line": [*candidate.line], "rank": [*candidate.rank], "sender": edit.sender, "writer": [*writer]})


def waiting_parts(session: Session, edit: EditObject, key: str, *, at: datetime) -> tuple[tuple[Hold, EditObject], ...]:
    """Return the other held parts of an edit, oldest first.

    Parameters
    ----------
    session : Session
        Any.
    edit : EditObject
        One part.
    key : str
        Its `set_key`.
    at : datetime
        When it came. Parts belong together while each came within `PART_WINDOW` of another, or in the same series.
    """
    held = session.exec(select(Hold).where(Hold.set_key == key, Hold.state == "OPEN").order_by(col(Hold.id)))
    others = [
        (hold, object_of_hold(hold, session.get(Instance, hold.sop_instance_uid)))
        for hold in held
        if (hold.sop_instance_uid, hold.sha256) != (edit.sop_instance_uid, edit.sha256)
    ]
    times = [at, *(hold.held_at for hold, _ in others)]
    near = _connected(times, at)
    return tuple(
        (hold, part)
        for hold, part in others
        if hold.held_at in near or part.series_instance_uid == edit.series_instance_uid
    )


def _connected(times: Sequence[datetime], at: datetime) -> frozenset[datetime]:
    """Return the times that are reached from `at` in steps of at most `PART_WINDOW`."""
    ordered = sorted(set(times))
    groups: list[list[datetime]] = []
    for time in ordered:
        if groups and time - groups[-1][-1] <= PART_WINDOW:
            groups[-1].append(time)
        else:
            groups.append([time])
    return frozenset(next(group for group in groups if at in group))
