"""What the receive journal says about an instance beside its bytes, so that a start can receive it once more."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime

from gateway.domain.errors import UnacceptableInstance
from gateway.services.arrival import Arrival, Door, KeptBlob
from gateway.services.part10 import file_layout
from gateway.services.received_header import ReceivedHeader, read_header
from gateway.store.journal_segment import JournalRecord

_ARRIVAL = tuple(field.name for field in fields(Arrival))


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """A checked instance on its way into the store.

    Parameters
    ----------
    arrival : Arrival
        From whom.
    header : ReceivedHeader
        What it says about itself.
    blob : KeptBlob
        Its file.
    at : datetime
        When it came, with zone.
    """

    arrival: Arrival
    header: ReceivedHeader
    blob: KeptBlob
    at: datetime


def described(keeping: Keeping) -> bytes:
    """Return what a record needs beside the file: from whom it came and when. The rest is read from the file again."""
    arrival = keeping.arrival
    description = {"at": keeping.at.isoformat(), **{name: getattr(arrival, name) for name in _ARRIVAL}}
    return json.dumps(description).encode()


def replayed(record: JournalRecord) -> Keeping:
    """Read a record back.

    Raises
    ------
    UnacceptableInstance
        If it is none that we could have received.
    """
    try:
        description = json.loads(record.description)
        at = datetime.fromisoformat(description.pop("at"))
        arrival = Arrival(**{**description, "door": Door(description["door"])})
    except (ValueError, TypeError, KeyError):
        raise UnacceptableInstance("a record of the receive journal has no description", code="UNREADABLE") from None
    layout = file_layout(record.content)
    with memoryview(record.content) as file, file[layout.dataset_offset :] as dataset:
        header = read_header(dataset, layout.transfer_syntax_uid)
    blob = KeptBlob(sha256=record.sha256, size=len(record.content), transfer_syntax_uid=layout.transfer_syntax_uid)
    return Keeping(arrival=arrival, header=header, blob=blob, at=at)
