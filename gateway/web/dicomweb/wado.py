"""WADO-RS (PS3.18 section 10.4): studies, series, instances, their metadata, frames, pictures and bulk data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from gateway.domain.errors import NotFound
from gateway.services import assign
from gateway.services.holdings import HeldInstance, instances_of
from gateway.web.access import Identity
from gateway.web.dicomweb import dicom_json
from gateway.web.dicomweb.frames import parse_frame_list, read_frames
from gateway.web.dicomweb.media import EXPLICIT_LITTLE, MediaRange, accepted, require_json
from gateway.web.dicomweb.multipart import multipart_response
from gateway.web.dicomweb.rendered import Rendering, parse_viewport, parse_window, render
from gateway.web.dicomweb.transcode import explicit_little
from gateway.web.problems import BadRequest, NotAcceptable
from gateway.web.request import Provided, Taker, Viewer, base_url_of
from gateway.web.services import Services

router = APIRouter(prefix="/dicom-web", tags=["dicomweb"])

_CHUNK = 1 << 18
_STUDY = "/studies/{study_uid}"
_SERIES = _STUDY + "/series/{series_uid}"
_INSTANCE = _SERIES + "/instances/{instance_uid}"
_MULTIPART: dict[int | str, dict[str, Any]] = {200: {"content": {'multipart/related; type="application/dicom"': {}}}}


def _stored(services: Provided, study_uid: str, series_uid: str, instance_uid: str) -> Path:
    """Return the file of the instance a path names."""
    return services.blobs.path(_found(services, study_uid, series_uid, instance_uid)[0].sha256)


def _how(window: str = "", viewport: str = "", quality: Annotated[int, Query(ge=1, le=100)] = 90) -> Rendering:
    """Return how a picture is asked for."""
    return Rendering(window=parse_window(window), viewport=parse_viewport(viewport), quality=quality)


Stored = Annotated[Path, Depends(_stored)]
How = Annotated[Rendering, Depends(_how)]


@router.get(_STUDY, operation_id="retrieve_study", response_class=StreamingResponse, responses=_MULTIPART)
def retrieve_study(services: Provided, caller: Taker, request: Request, study_uid: str) -> Response:
    """Retrieve every instance of a study."""
    return _retrieve(services, caller, request, _found(services, study_uid))


@router.get(_SERIES, operation_id="retrieve_series", response_class=StreamingResponse, responses=_MULTIPART)
def retrieve_series(services: Provided, caller: Taker, request: Request, study_uid: str, series_uid: str) -> Response:
    """Retrieve every instance of a series."""
    return _retrieve(services, caller, request, _found(services, study_uid, series_uid))


@router.get(_INSTANCE, operation_id="retrieve_instance", response_class=StreamingResponse, responses=_MULTIPART)
def retrieve_instance(
    services: Provided, caller: Taker, request: Request, study_uid: str, series_uid: str, instance_uid: str
) -> Response:
    """Retrieve one instance."""
    return _retrieve(services, caller, request, _found(services, study_uid, series_uid, instance_uid))


@router.get(_STUDY + "/metadata", operation_id="retrieve_study_metadata")
def retrieve_study_metadata(services: Provided, _: Viewer, request: Request, study_uid: str) -> Response:
    """Retrieve the metadata of a study."""
    return _metadata(services, request, _found(services, study_uid))


@router.get(_SERIES + "/metadata", operation_id="retrieve_series_metadata")
def retrieve_series_metadata(
    services: Provided, _: Viewer, request: Request, study_uid: str, series_uid: str
) -> Response:
    """Retrieve the metadata of a series."""
    return _metadata(services, request, _found(services, study_uid, series_uid))


@router.get(_INSTANCE + "/metadata", operation_id="retrieve_instance_metadata")
def retrieve_instance_metadata(
    services: Provided, _: Viewer, request: Request, study_uid: str, series_uid: str, instance_uid: str
) -> Response:
    """Retrieve the metadata of one instance."""
    return _metadata(services, request, _found(services, study_uid, series_uid, instance_uid))


@router.get(_INSTANCE + "/frames/{frames}", operation_id="retrieve_frames", response_class=StreamingResponse)
def retrieve_frames(_: Viewer, request: Request, stored: Stored, frames: str) -> Response:
    """Retrieve frames by number from 1, as stored or native."""
    found = read_frames(stored, parse_frame_list(frames), accepted(request))
    return multipart_response(([body] for body in found.bodies), part_type=found.content_type)


@router.get(_INSTANCE + "/bulkdata/{tag}", operation_id="retrieve_bulk_data", response_class=StreamingResponse)
def retrieve_bulk_data(_: Viewer, request: Request, stored: Stored, tag: str) -> Response:
    """Retrieve the value of one attribute that the metadata names by URL."""
    if not (len(tag) == 8 and all(character in "0123456789abcdefABCDEF" for character in tag)):
        raise BadRequest("bulk data is named by an eight-digit tag")
    if tag.upper() == "7FE00010":
        found = read_frames(stored, dicom_json.frame_numbers(stored), accepted(request))
        is_native = found.content_type.endswith(EXPLICIT_LITTLE)
        parts = [found.bodies] if is_native else [[body] for body in found.bodies]
        return multipart_response(parts, part_type=found.content_type)
    value = dicom_json.bulk_value(stored, int(tag, 16))
    return multipart_response([[value]], part_type="application/octet-stream")


@router.get(_SERIES + "/rendered", operation_id="retrieve_rendered_series", response_class=Response)
def retrieve_rendered_series(
    services: Provided, _: Viewer, request: Request, how: How, study_uid: str, series_uid: str
) -> Response:
    """Retrieve a picture of the middle instance of a series."""
    found = _found(services, study_uid, series_uid)
    return _picture(services.blobs.path(found[len(found) // 2].sha256), how, accepted(request))


@router.get(_INSTANCE + "/rendered", operation_id="retrieve_rendered_instance", response_class=Response)
def retrieve_rendered_instance(_: Viewer, request: Request, stored: Stored, how: How) -> Response:
    """Retrieve a picture of an instance, or the PDF in it."""
    return _picture(stored, how, accepted(request))


@router.get(_INSTANCE + "/frames/{frames}/rendered", operation_id="retrieve_rendered_frame", response_class=Response)
def retrieve_rendered_frame(_: Viewer, request: Request, stored: Stored, how: How, frames: str) -> Response:
    """Retrieve a picture of one frame."""
    numbers = parse_frame_list(frames)
    if len(numbers) != 1:
        raise BadRequest("one frame at a time can be rendered")
    return _picture(stored, replace(how, frame=numbers[0] - 1), accepted(request))


def _picture(path: Path, how: Rendering, ranges: Sequence[MediaRange]) -> Response:
    picture = render(path, how, ranges)
    return Response(picture.content, media_type=picture.media_type)


def _found(services: Services, study: str, series: str = "", instance: str = "") -> tuple[HeldInstance, ...]:
    found = instances_of(services.database, study, series, instance)
    if not found:
        raise NotFound("this study, series or instance is not held here")
    return found


def _metadata(services: Services, request: Request, found: Sequence[HeldInstance]) -> Response:
    require_json(request)
    base = f"{base_url_of(request)}/dicom-web"

    def encoded(one: HeldInstance) -> dicom_json.JsonDataset:
        url = (
            f"{base}/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
            f"/instances/{one.sop_instance_uid}/bulkdata/"
        )
        return dicom_json.metadata(services.blobs.path(one.sha256), lambda tag: url + tag)

    return JSONResponse([encoded(one) for one in found], media_type="application/dicom+json")


def _retrieve(services: Services, caller: Identity, request: Request, found: Sequence[HeldInstance]) -> Response:
    ranges = accepted(request)
    parts = [_part(services, one, ranges) for one in found]
    _assign(services, caller, found)
    syntaxes = {syntax for syntax, _ in parts}
    part_type = "application/dicom" + (f"; transfer-syntax={next(iter(syntaxes))}" if len(syntaxes) == 1 else "")
    if len(parts) == 1 and ranges[0].kind == "application/dicom":
        return StreamingResponse(parts[0][1], media_type=part_type)
    return multipart_response((body for _, body in parts), part_type=part_type)


def _part(services: Services, one: HeldInstance, ranges: Sequence[MediaRange]) -> tuple[str, Iterator[bytes]]:
    """Return an instance's transfer syntax and bytes: as stored if asked for, else Explicit VR Little Endian."""
    path = services.blobs.path(one.sha256)
    for wanted in ranges:
        if wanted.part not in ("application/dicom", "*/*", "*", "application/*"):
            continue
        if wanted.transfer_syntax in ("*", one.transfer_syntax_uid) or one.transfer_syntax_uid == EXPLICIT_LITTLE:
            return one.transfer_syntax_uid, _chunks(path)
        if wanted.transfer_syntax in ("", EXPLICIT_LITTLE):
            return EXPLICIT_LITTLE, iter([explicit_little(path)])
    raise NotAcceptable("instances are given as application/dicom, as stored or in Explicit VR Little Endian")


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _assign(services: Services, caller: Identity, found: Sequence[HeldInstance]) -> None:
    """Make a reader who takes results their QC assignee; people who only look, and programs, have other roles."""
    if caller.role != "reader":
        return
    for case_id in sorted({one.case_id for one in found if one.case_id}):
        assign.take(services.database, case_id=case_id, taker=caller.name, act="WADO", at=services.clock())
