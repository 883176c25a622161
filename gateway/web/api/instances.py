"""The upload door: DICOM files, or zip archives of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from gateway.web.access import Identity
from gateway.web.intake import Upload, spooled, take_in
from gateway.web.problems import BadRequest, UnsupportedMedia
from gateway.web.request import Provided, Sender
from gateway.web.services import Services

router = APIRouter(prefix="/api/v1", tags=["instances"])

_RAW = ("application/dicom", "application/zip", "application/x-zip-compressed", "application/octet-stream", "")
_MAXIMUM_FILES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadAnswer:
    """What became of an upload: counts, and each file in the order it came."""

    new: int
    duplicate: int
    conflict: int
    refused: int
    files: tuple[Upload, ...]


@router.post(
    "/instances",
    operation_id="upload_instances",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/dicom": {"schema": {"type": "string", "format": "binary"}},
                "application/zip": {"schema": {"type": "string", "format": "binary"}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    }
                },
            },
        }
    },
)
async def upload_instances(services: Provided, caller: Sender, request: Request) -> UploadAnswer:
    """Take in DICOM files, or zips of them; each is durable when this answers, or refused with its reason."""
    return await receive_upload(services, caller, request)


async def receive_upload(services: Services, caller: Identity, request: Request) -> UploadAnswer:
    """Receive every file of a request.

    Raises
    ------
    BadRequest, UnsupportedMedia
        If the request holds no file.
    StorageFull, StorageUnavailable
        If nothing more can be kept.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=_MAXIMUM_FILES) as form:
            sent = [value.file for _, value in form.multi_items() if isinstance(value, UploadFile)]
            if not sent:
                raise BadRequest("the form holds no file")
            results = await run_in_threadpool(take_in, services, iter(sent), door="upload", sender=caller.name)
    elif kind in _RAW:
        async with spooled(services, request.stream()) as path:
            results = await run_in_threadpool(take_in, services, _opened(path), door="upload", sender=caller.name)
    else:
        raise UnsupportedMedia("send application/dicom, application/zip or multipart/form-data")
    return _answer(results)


def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        yield file


def _answer(results: tuple[Upload, ...]) -> UploadAnswer:
    outcomes = [result.outcome for result in results]
    return UploadAnswer(
        new=outcomes.count("NEW"),
        duplicate=outcomes.count("DUPLICATE"),
        conflict=outcomes.count("CONFLICT"),
        refused=outcomes.count("REFUSED"),
        files=results,
    )
