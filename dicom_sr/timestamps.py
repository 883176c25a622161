"""Dates and times as DICOM writes them, in the one time zone an object can have (PS3.3 C.12.1.1.8).

Timezone Offset From UTC governs every date and time of an object, also those carried over from the source. So a source
that states its zone decides; without one, the zone of the time given to the writer does.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from pydicom.dataset import Dataset

from dicom_sr.errors import UnreadableObject

_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")


def in_zone_of(source: Dataset, moment: datetime) -> datetime:
    """Return `moment` in the zone that `source` states, or unchanged where it states none."""
    zone = _zone(str(source.get("TimezoneOffsetFromUTC", "") or ""))
    return moment if zone is None else moment.astimezone(zone)


def date_text(moment: datetime) -> str:
    """Return a DA value."""
    return moment.strftime("%Y%m%d")


def time_text(moment: datetime) -> str:
    """Return a TM value, with microseconds where there are any."""
    return moment.strftime("%H%M%S") + (f".{moment.microsecond:06d}" if moment.microsecond else "")


def offset_text(moment: datetime) -> str:
    """Return the offset from UTC as Timezone Offset From UTC (0008,0201) writes it."""
    return moment.strftime("%z")[:5]


def datetime_text(moment: datetime) -> str:
    """Return a DT value with its offset."""
    return date_text(moment) + time_text(moment) + offset_text(moment)


def read_datetime(text: str) -> datetime:
    """Read a DT value with offset; UTC is assumed where it has none.

    Raises
    ------
    UnreadableObject
        If `text` is not a full date and time.
    """
    match = re.fullmatch(r"(\d{14})(?:\.(\d{1,6}))?([+-]\d{4})?", text.strip())
    if match is None:
        raise UnreadableObject("a date-time attribute does not hold a full date and time")
    digits, fraction, offset = match.groups()
    zone = _zone(offset or "") or UTC
    try:
        moment = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=zone)
    except ValueError:
        raise UnreadableObject("a date-time attribute does not hold a possible date and time") from None
    return moment + timedelta(microseconds=int((fraction or "0").ljust(6, "0")))


def _zone(offset: str) -> tzinfo | None:
    match = _OFFSET.fullmatch(offset)
    if match is None:
        return None
    sign = -1 if match[1] == "-" else 1
    delta = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(sign * delta) if delta <= timedelta(hours=14) else None
