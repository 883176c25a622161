"""C-FIND, C-MOVE and C-GET identifiers: from their attributes to a query of the holdings, and back to matches.

References
----------
PS3.4 sections C.2.2.2, C.4.1.1.3, C.6.1, C.6.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from gateway.domain.errors import UnacceptableInstance
from gateway.services.holdings import (
    INSTANCE_KEYS,
    MODALITIES_IN_STUDY,
    SERIES_KEYS,
    STUDY_KEYS,
    HeldInstance,
    HeldSeries,
    HeldStudy,
    HoldingQuery,
    find_instances,
    find_series,
    find_studies,
)
from gateway.store.database import Database

#: Most matches of one query.
MAXIMUM_MATCHES: Final = 50_000
#: Studies asked for at once.
_PAGE: Final = 500


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


_UNIQUE_KEY: Final = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}


def level_of(identifier: Dataset) -> Level:
    """Return the level asked for.

    Raises
    ------
    UnacceptableInstance
        ``BAD_IDENTIFIER`` if there is none.
    """
    try:
        return Level(str(identifier.get("QueryRetrieveLevel", "")))
    except ValueError:
        raise UnacceptableInstance("the identifier names no Query/Retrieve Level", code="BAD_IDENTIFIER") from None


def query_of(identifier: Dataset) -> HoldingQuery:
    """Return the query an identifier stands for; keys that are not indexed match everything."""
    keys: dict[str, str] = {}
    for element in identifier:
        if element.VR != "SQ" and element.value not in (None, ""):
            values = element.value if isinstance(element.value, (list, MultiValue)) else [element.value]
            keys[element.keyword] = "\\".join(str(value) for value in values)
    return HoldingQuery(
        study={key: text for key, text in keys.items() if key in STUDY_KEYS or key == MODALITIES_IN_STUDY},
        series={key: text for key, text in keys.items() if key in SERIES_KEYS},
        instance={key: text for key, text in keys.items() if key in INSTANCE_KEYS},
        limit=MAXIMUM_MATCHES,
    )


def matches(database: Database, identifier: Dataset) -> Iterator[Dataset]:
    """Yield a response identifier for each match, with exactly the attributes that were asked for.

    Raises
    ------
    UnacceptableInstance
        ``BAD_IDENTIFIER``.
    """
    level, query = level_of(identifier), query_of(identifier)
    if level is Level.SERIES:
        for series in find_series(database, query):
            yield _response(identifier, level, _series_values(series))
    elif level is Level.IMAGE:
        for series, instance in find_instances(database, query):
            yield _response(identifier, level, _series_values(series) | _instance_values(instance))
    else:
        seen: set[str] = set()
        for study in _studies(database, query):
            patient = study.attributes["PatientID"]
            if level is Level.STUDY or patient not in seen:
                seen.add(patient)
                yield _response(identifier, level, _study_values(study))


def instances_to_send(database: Database, identifier: Dataset) -> list[HeldInstance]:
    """Return what a retrieval asks for.

    Raises
    ------
    UnacceptableInstance
        ``BAD_IDENTIFIER`` if the unique key of its level is missing: a retrieval names what it wants.
    """
    key = _UNIQUE_KEY[level_of(identifier)]
    value = identifier.get(key)
    if value in (None, "") or "*" in str(value) or "?" in str(value):
        raise UnacceptableInstance(f"the identifier of a retrieval must name {key}", code="BAD_IDENTIFIER")
    return [instance for _, instance in find_instances(database, query_of(identifier))]


def _studies(database: Database, query: HoldingQuery) -> Iterator[HeldStudy]:
    offset = 0
    while True:
        page = find_studies(database, HoldingQuery(study=query.study, limit=_PAGE, offset=offset))
        yield from page
        offset += len(page)
        if len(page) < _PAGE:
            return


def _study_values(study: HeldStudy) -> dict[str, str]:
    return {
        **study.attributes,
        MODALITIES_IN_STUDY: "\\".join(study.modalities),
        "NumberOfStudyRelatedSeries": str(study.series_count),
        "NumberOfStudyRelatedInstances": str(study.instance_count),
    }


def _series_values(series: HeldSeries) -> dict[str, str]:
    count = {"NumberOfSeriesRelatedInstances": str(len(series.instances))}
    return _study_values(series.study) | dict(series.attributes) | count


def _instance_values(instance: HeldInstance) -> dict[str, str]:
    return {
        "SOPInstanceUID": instance.sop_instance_uid,
        "SOPClassUID": instance.sop_class_uid,
        "InstanceNumber": instance.instance_number,
        "Rows": str(instance.rows or ""),
        "Columns": str(instance.columns or ""),
        "NumberOfFrames": str(instance.number_of_frames),
    }


def _response(identifier: Dataset, level: Level, values: dict[str, str]) -> Dataset:
    response = Dataset()
    response.SpecificCharacterSet = "ISO_IR 192"
    response.QueryRetrieveLevel = str(level)
    for element in identifier:
        keyword = keyword_for_tag(element.tag)
        if keyword in ("", "QueryRetrieveLevel", "SpecificCharacterSet", "TimezoneOffsetFromUTC"):
            continue
        text = values.get(keyword, "")
        if element.VR == "SQ":
            setattr(response, keyword, [])
        elif element.VR == "US":
            setattr(response, keyword, int(text) if text else None)
        else:
            setattr(response, keyword, text)
    return response
