"""QIDO-RS (PS3.18 section 10.6): search for studies, series and instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydicom.datadict import dictionary_has_tag, keyword_for_tag, tag_for_keyword

from gateway.services import holdings
from gateway.services.holdings import HeldInstance, HeldSeries, HeldStudy, HoldingQuery
from gateway.web.dicomweb.dicom_json import JsonDataset, attribute, picked
from gateway.web.dicomweb.media import require_json
from gateway.web.problems import BadRequest
from gateway.web.request import Provided, Viewer, base_url_of
from gateway.web.services import Services

router = APIRouter(prefix="/dicom-web", tags=["dicomweb"])

#: Matches returned when a caller names no limit, and at most.
_DEFAULT_LIMIT, _MAXIMUM_LIMIT = 1000, 10_000
_NOT_KEYS = frozenset({"limit", "offset", "includefield", "fuzzymatching", "accept", "emptyvaluematching"})
_STUDY_KEYS = frozenset({*holdings.STUDY_KEYS, holdings.MODALITIES_IN_STUDY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A parsed search.

    `fields` are further attributes asked for by keyword, None for all; `warnings` go into Warning headers.
    """

    query: HoldingQuery
    fields: frozenset[str] | None
    warnings: tuple[str, ...]


@router.get("/studies", operation_id="search_studies")
def search_studies(services: Provided, _: Viewer, request: Request) -> JSONResponse:
    """Search for studies."""
    search = _parse(request, level="study")
    found = holdings.find_studies(services.database, search.query)
    return _answer(search, [_study(study, request) for study in found])


@router.get("/series", operation_id="search_all_series")
def search_all_series(services: Provided, _: Viewer, request: Request) -> JSONResponse:
    """Search for series of any study."""
    return _search_series(services, request, "")


@router.get("/studies/{study_uid}/series", operation_id="search_series")
def search_series(services: Provided, _: Viewer, request: Request, study_uid: str) -> JSONResponse:
    """Search for series of one study."""
    return _search_series(services, request, study_uid)


@router.get("/instances", operation_id="search_all_instances")
def search_all_instances(services: Provided, _: Viewer, request: Request) -> JSONResponse:
    """Search for instances of any study."""
    return _search_instances(services, request, "", "")


@router.get("/studies/{study_uid}/instances", operation_id="search_study_instances")
def search_study_instances(services: Provided, _: Viewer, request: Request, study_uid: str) -> JSONResponse:
    """Search for instances of one study."""
    return _search_instances(services, request, study_uid, "")


@router.get("/studies/{study_uid}/series/{series_uid}/instances", operation_id="search_instances")
def search_instances(services: Provided, _: Viewer, request: Request, study_uid: str, series_uid: str) -> JSONResponse:
    """Search for instances of one series."""
    return _search_instances(services, request, study_uid, series_uid)


def _search_series(services: Services, request: Request, study_uid: str) -> JSONResponse:
    search = _parse(request, level="series", study_uid=study_uid)
    found = holdings.find_series(services.database, search.query)
    return _answer(search, [_series(services, series, search, request) for series in found])


def _search_instances(services: Services, request: Request, study_uid: str, series_uid: str) -> JSONResponse:
    search = _parse(request, level="instance", study_uid=study_uid, series_uid=series_uid)
    found = holdings.find_instances(services.database, search.query)
    return _answer(search, [_instance(services, series, one, search, request) for series, one in found])


def _parse(request: Request, *, level: str, study_uid: str = "", series_uid: str = "") -> Search:
    require_json(request)
    keys: dict[str, dict[str, str]] = {"study": {}, "series": {}, "instance": {}}
    fields: set[str] = set()
    takes_all, warnings = False, []
    for name, value in request.query_params.multi_items():
        if name == "includefield":
            takes_all = takes_all or value == "all"
            fields.update(_keyword(part) for part in value.split(",") if part and part != "all")
        elif name == "fuzzymatching" and value.lower() == "true":
            warnings.append("fuzzy matching is not supported; only literal matching was done")
        elif name not in _NOT_KEYS:
            keyword = _keyword(name)
            keys[_level_of(keyword, level)][keyword] = value
    if study_uid:
        keys["study"]["StudyInstanceUID"] = study_uid
    if series_uid:
        keys["series"]["SeriesInstanceUID"] = series_uid
    limit = min(_whole(request, "limit", _DEFAULT_LIMIT), _MAXIMUM_LIMIT)
    return Search(
        query=HoldingQuery(**keys, limit=limit, offset=_whole(request, "offset", 0)),
        fields=None if takes_all else frozenset(fields),
        warnings=tuple(warnings),
    )


def _level_of(keyword: str, level: str) -> str:
    if keyword in _STUDY_KEYS:
        return "study"
    if keyword in holdings.SERIES_KEYS and level != "study":
        return "series"
    if keyword in holdings.INSTANCE_KEYS and level == "instance":
        return "instance"
    # An ignored key would answer with more than was asked for.
    raise BadRequest(f"{keyword} is no matching key of a search for {level} level")


def _keyword(name: str) -> str:
    """Return the keyword of an attribute given by keyword or eight-digit tag."""
    text = name.strip()
    if tag_for_keyword(text) is not None:
        return text
    is_tag = len(text) == 8 and all(character in "0123456789abcdefABCDEF" for character in text)
    if is_tag and dictionary_has_tag(int(text, 16)):
        return keyword_for_tag(int(text, 16))
    raise BadRequest("a query parameter names no attribute of the data dictionary")


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit():
        raise BadRequest(f"{name} is a whole number from 0")
    return min(int(text), 1 << 31)


def _answer(search: Search, found: Sequence[JsonDataset]) -> JSONResponse:
    headers = {}
    if search.warnings:
        headers["Warning"] = ", ".join(f'299 overread "{text}"' for text in search.warnings)
    return JSONResponse(list(found), headers=headers, media_type="application/dicom+json")


def _study(study: HeldStudy, request: Request) -> JsonDataset:
    found: JsonDataset = {}
    for keyword, value in study.attributes.items():
        found |= attribute(keyword, value)
    found |= attribute("ModalitiesInStudy", *study.modalities)
    found |= attribute("NumberOfStudyRelatedSeries", study.series_count)
    found |= attribute("NumberOfStudyRelatedInstances", study.instance_count)
    # PS3.3 C.4.23.1.1: what retention took off the disk is known, and not there any more.
    found |= attribute("InstanceAvailability", "ONLINE" if study.instance_count else "UNAVAILABLE")
    found |= attribute("RetrieveURL", _url(request, study.study_instance_uid))
    return dict(sorted(found.items()))


def _series(services: Services, series: HeldSeries, search: Search, request: Request) -> JsonDataset:
    found = _further(services, series.instances[0], search, _OF_OUTPUT_SERIES)
    for keyword, value in series.attributes.items():
        if value or keyword not in _OF_OUTPUT_SERIES:
            found |= attribute(keyword, value)
    found |= attribute("StudyInstanceUID", series.study.study_instance_uid)
    found |= attribute("NumberOfSeriesRelatedInstances", len(series.instances))
    found |= attribute("RetrieveURL", _url(request, series.study.study_instance_uid, series.series_instance_uid))
    return dict(sorted(found.items()))


#: Series attributes that only an output's file knows.
_OF_OUTPUT_SERIES = frozenset({"SeriesDescription", "SeriesNumber"})


def _instance(
    services: Services, series: HeldSeries, one: HeldInstance, search: Search, request: Request
) -> JsonDataset:
    found = _further(services, one, search, frozenset({"InstanceNumber", "Rows", "Columns", "NumberOfFrames"}))
    for keyword, value in (
        ("SOPClassUID", one.sop_class_uid),
        ("SOPInstanceUID", one.sop_instance_uid),
        ("StudyInstanceUID", one.study_instance_uid),
        ("SeriesInstanceUID", one.series_instance_uid),
        ("Modality", series.attributes["Modality"]),
        ("InstanceAvailability", "ONLINE"),
    ):
        found |= attribute(keyword, value)
    if not one.case_id:
        found |= attribute("InstanceNumber", one.instance_number)
        if one.rows:
            found |= attribute("Rows", one.rows) | attribute("Columns", one.columns)
            found |= attribute("NumberOfFrames", one.number_of_frames)
    url = _url(request, one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid)
    return dict(sorted((found | attribute("RetrieveURL", url)).items()))


def _further(services: Services, one: HeldInstance, search: Search, of_output: frozenset[str]) -> JsonDataset:
    """Read what the index does not hold from the file, only when it is asked for or the object is our own."""
    if search.fields is None:
        return picked(services.blobs.path(one.sha256), None)
    wanted = search.fields | of_output if one.case_id else search.fields
    return picked(services.blobs.path(one.sha256), wanted) if wanted else {}


def _url(request: Request, study: str, series: str = "", instance: str = "") -> str:
    url = f"{base_url_of(request)}/dicom-web/studies/{study}"
    if series:
        url += f"/series/{series}"
    return url + (f"/instances/{instance}" if instance else "")
