"""STOW-RS (PS3.18 section 10.5): instances in, each durable or refused with its reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from gateway.domain.errors import GatewayError, StorageFull, StorageUnavailable, UnacceptableInstance
from gateway.services.received_header import ReceivedHeader
from gateway.services.record_transfer import Transfer
from gateway.web.access import Identity
from gateway.web.dicomweb.dicom_json import JsonDataset, attribute
from gateway.web.dicomweb.failure_reason import failure_reason
from gateway.web.dicomweb.multipart import PartBegins, PartEvent, PartReader, boundary_of
from gateway.web.intake import ScratchFile, peek, scratch_file
from gateway.web.problems import BadRequest, UnsupportedMedia
from gateway.web.request import Provided, Sender, base_url_of
from gateway.web.services import Services

router = APIRouter(prefix="/dicom-web", tags=["dicomweb"])


@dataclass(kw_only=True)
class _Store:
    """One store transaction: what was kept, what failed."""

    services: Services
    caller: Identity
    study_uid: str
    base_url: str
    transfer: Transfer
    kept: list[JsonDataset] = field(default_factory=list)
    failed: list[JsonDataset] = field(default_factory=list)
    other: list[JsonDataset] = field(default_factory=list)
    studies: set[str] = field(default_factory=set)
    is_full: bool = False

    def take(self, path: Path) -> None:
        """Receive one part; a store that cannot be used ends the transaction."""
        header: ReceivedHeader | None = None
        try:
            header = peek(path)
            if self.study_uid and header.study_instance_uid != self.study_uid:
                raise UnacceptableInstance("the instance is of another study than the URL", code="NOT_THIS_STUDY")
            received = self.services.receiver.receive(path, door="stow", sender=self.caller.name)
        except GatewayError as error:
            self.refuse(error, header)
            return
        self.transfer.add(received)
        self.studies.add(received.study_instance_uid)
        referenced = _reference(header)
        if received.outcome != "CONFLICT":
            # Under a conflict's UID the first version stays what is retrieved, so no URL is promised.
            referenced |= attribute("RetrieveURL", self._url(header))
        self.kept.append(referenced)

    def refuse(self, error: GatewayError, header: ReceivedHeader | None) -> None:
        """Record a failure."""
        self.transfer.add_refused()
        self.is_full = self.is_full or isinstance(error, StorageFull | StorageUnavailable)
        reason = attribute("FailureReason", failure_reason(error))
        if header is None:
            self.other.append(reason)
        else:
            self.failed.append(_reference(header) | reason)

    def response(self) -> JSONResponse:
        """Return the Store Instances Response Module (PS3.18 Annex I)."""
        body: JsonDataset = {}
        if len(self.studies) == 1:
            body |= attribute("RetrieveURL", f"{self.base_url}/studies/{next(iter(self.studies))}")
        for keyword, found in (
            ("FailedSOPSequence", self.failed),
            ("ReferencedSOPSequence", self.kept),
            ("OtherFailuresSequence", self.other),
        ):
            if found:
                body |= attribute(keyword, *found)
        return JSONResponse(body, self._status(), media_type="application/dicom+json")

    def _status(self) -> HTTPStatus:
        if not (self.failed or self.other):
            return HTTPStatus.OK
        if self.kept:
            return HTTPStatus.ACCEPTED
        return HTTPStatus.INSUFFICIENT_STORAGE if self.is_full else HTTPStatus.CONFLICT

    def _url(self, header: ReceivedHeader) -> str:
        return (
            f"{self.base_url}/studies/{header.study_instance_uid}/series/{header.series_instance_uid}"
            f"/instances/{header.sop_instance_uid}"
        )


_REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {'multipart/related; type="application/dicom"': {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/studies", operation_id="store_instances", openapi_extra=_REQUEST_BODY)
async def store_instances(services: Provided, caller: Sender, request: Request) -> JSONResponse:
    """Store instances of any studies."""
    return await _store(services, caller, request, "")


@router.post("/studies/{study_uid}", operation_id="store_study_instances", openapi_extra=_REQUEST_BODY)
async def store_study_instances(services: Provided, caller: Sender, request: Request, study_uid: str) -> JSONResponse:
    """Store instances of one study; those of another are refused."""
    return await _store(services, caller, request, study_uid)


async def _store(services: Services, caller: Identity, request: Request, study_uid: str) -> JSONResponse:
    content_type = request.headers.get("content-type", "")
    transfer = Transfer(sender=caller.name, door="stow")
    store = _Store(
        services=services,
        caller=caller,
        study_uid=study_uid,
        base_url=f"{base_url_of(request)}/dicom-web",
        transfer=transfer,
    )
    parts = _parts(content_type, request.stream())
    ended = "aborted"
    try:
        await _take_parts(store, parts)
        ended = "released"
    finally:
        await run_in_threadpool(services.receiver.transfer_ended, transfer, ended=ended)
    if not (store.kept or store.failed or store.other):
        raise BadRequest("the request holds no instance")
    return store.response()


def _parts(content_type: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[PartEvent]:
    if content_type.partition(";")[0].strip().lower() == "application/dicom":
        return _single(chunks)
    boundary, kind = boundary_of(content_type)
    if kind not in ("", "application/dicom"):
        raise UnsupportedMedia('only multipart/related; type="application/dicom" is taken')
    return PartReader(boundary).read(chunks)


async def _single(chunks: AsyncIterator[bytes]) -> AsyncIterator[PartEvent]:
    yield PartBegins(media_type="application/dicom")
    async for chunk in chunks:
        yield chunk


async def _take_parts(store: _Store, parts: AsyncIterator[PartEvent]) -> None:
    """Collect each part in a scratch file and hand it over when the next begins; one file is on the disk at a time."""
    part: ScratchFile | None = None
    try:
        async for event in parts:
            if isinstance(event, PartBegins):
                await _finish(store, part)
                part = None
                if store.is_full:
                    return
                if event.media_type in ("application/dicom", ""):
                    part = scratch_file(store.services)
                else:
                    store.refuse(UnacceptableInstance("a part is not application/dicom", code="NOT_DICOM_PART"), None)
            elif part is not None:
                await run_in_threadpool(part.write, event)
        await _finish(store, part)
        part = None
    except (StorageFull, StorageUnavailable) as error:
        store.refuse(error, None)
    finally:
        if part is not None:
            part.close()


async def _finish(store: _Store, part: ScratchFile | None) -> None:
    if part is None:
        return
    try:
        if part.is_too_large:
            store.refuse(UnacceptableInstance("larger than node.maximum_object_mb", code="TOO_LARGE"), None)
        else:
            await run_in_threadpool(lambda: store.take(part.finished()))
    finally:
        part.close()


def _reference(header: ReceivedHeader) -> JsonDataset:
    return attribute("ReferencedSOPClassUID", header.sop_class_uid) | attribute(
        "ReferencedSOPInstanceUID", header.sop_instance_uid
    )
