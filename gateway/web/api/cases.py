"""Cases: worklist, one case in full, a person's decision, edits, the results bundle."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from gateway.domain.errors import UnacceptableInstance
from gateway.domain.instance import RT_STRUCTURE_SET_STORAGE, SEGMENTATION_CLASSES
from gateway.domain.qc_status import QcStatus
from gateway.services import bundle, case_record, worklist
from gateway.services.arrival import Received
from gateway.services.case_record import CaseRecord
from gateway.services.edit_object import is_label_map
from gateway.services.edit_outcome import EditOutcome, EditResult, edit_outcome
from gateway.services.record_transfer import Transfer
from gateway.services.worklist import CasePage, Counts
from gateway.web.access import Identity
from gateway.web.case_query import CaseQuery
from gateway.web.intake import peek, spooled
from gateway.web.problems import BadRequest, UnsupportedMedia
from gateway.web.request import Decider, Operator, Provided, Sender, Taker, Viewer
from gateway.web.services import Services

router = APIRouter(prefix="/api/v1/cases", tags=["cases"])

#: How often the outcome of an uploaded edit is looked for, seconds.
_LOOK_S = 0.1
_CHUNK = 1 << 18
#: Media types of one file as it is; what it holds is told by its content.
_RAW = (
    *("application/dicom", "application/octet-stream", ""),
    *("application/x-nifti", "application/nifti", "application/gzip", "application/x-gzip"),
)


class Decision(BaseModel):
    """A person's decision."""

    model_config = ConfigDict(extra="forbid")

    qc_status: QcStatus
    comment: str = Field(default="", max_length=10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditAnswer:
    """What became of an uploaded edit, as far as it is known; `received` is NEW, DUPLICATE or CONFLICT."""

    received: str
    sop_instance_uid: str
    case_id: str
    outcome: EditOutcome
    stage: str
    iteration: int | None
    hold_id: int | None
    reasons: tuple[worklist.Explained, ...]


@router.get("", operation_id="list_cases")
def list_cases(services: Provided, _: Viewer, query: Annotated[CaseQuery, Query()]) -> CasePage:
    """Return the worklist, newest change first; pass `next_cursor` back as `cursor` for the next page."""
    return worklist.list_cases(services.database, query.to_filter(), limit=query.limit, cursor=query.cursor)


@router.get("/counts", operation_id="count_cases")
def count_cases(services: Provided, _: Viewer) -> Counts:
    """Count cases by state, open holds and dead deliveries."""
    return worklist.counts(services.database)


@router.get("/{case_id}", operation_id="get_case")
def get_case(services: Provided, _: Viewer, case_id: str) -> CaseRecord:
    """Return one case in full."""
    return case_record.case_record(services.database, case_id)


@router.post("/{case_id}/qc", operation_id="decide_case")
def decide_case(services: Provided, caller: Decider, case_id: str, decision: Decision) -> CaseRecord:
    """Record a person's decision; 409 when it is not legal now, and then nothing is changed."""
    services.decide(
        case_id=case_id,
        decision=decision.qc_status,
        comment=decision.comment,
        actor=caller.name,
        at=services.clock(),
    )
    return case_record.case_record(services.database, case_id)


@router.post("/{case_id}/retry", operation_id="retry_case")
def retry_case(services: Provided, caller: Operator, case_id: str) -> CaseRecord:
    """Run the stuck stages of a held case again."""
    services.retry_case(case_id=case_id, actor=caller.name, at=services.clock())
    return case_record.case_record(services.database, case_id)


@router.post(
    "/{case_id}/edits",
    operation_id="upload_edit",
    responses={202: {"description": "Kept; held for a person, or its outcome is not known yet."}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/dicom": {"schema": {"type": "string", "format": "binary"}},
                "application/x-nifti": {"schema": {"type": "string", "format": "binary"}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"file": {"type": "string", "format": "binary"}, "stage": {"type": "string"}},
                    }
                },
            },
        }
    },
)
async def upload_edit(
    *,
    services: Provided,
    caller: Sender,
    case_id: str,
    request: Request,
    response: Response,
    stage: Annotated[str, Query(max_length=200)] = "",
) -> EditAnswer:
    """Take an edit of this case: a SEG, or with its `stage` named a NIfTI label map or contours (RT Structure Set).

    Answers when it was accepted, held or ignored, or after a bounded wait. What the file is, is told by its content.
    """
    answer = await receive_edit(services, caller, case_id, request, stage=stage)
    if answer.outcome in (EditOutcome.HELD, EditOutcome.PENDING):
        response.status_code = 202
    return answer


async def receive_edit(
    services: Services, caller: Identity, case_id: str, request: Request, *, stage: str = ""
) -> EditAnswer:
    """Receive the one file of a request as an edit of a case and wait, within bounds, for its outcome.

    Raises
    ------
    NotFound
        If there is no such case, or no such stage in it.
    UnacceptableInstance
        If the file is none of what people edit, or does not say its stage and the request neither.
    DicomObjectError
        If a label map cannot be taken.
    """
    await run_in_threadpool(case_record.require_case, services.database, case_id)
    async with _body(request) as sent, spooled(services, sent.chunks) as path:
        target = _Target(case_id=case_id, stage=stage or sent.stage)
        if await run_in_threadpool(is_label_map, path):
            uid = await run_in_threadpool(
                services.edits.take_label_map, path, case_id=case_id, stage=target.stage, sender=caller.name
            )
            kept, is_conflict = "NEW", False
        else:
            received = await run_in_threadpool(_receive, services, caller, path, target)
            uid, kept, is_conflict = received.sop_instance_uid, received.outcome, received.outcome == "CONFLICT"
    result = await _outcome(services, uid, is_conflict=is_conflict)
    return EditAnswer(
        received=kept,
        sop_instance_uid=uid,
        case_id=result.case_id or case_id,
        outcome=result.outcome,
        stage=result.stage,
        iteration=result.iteration,
        hold_id=result.hold_id,
        reasons=result.reasons,
    )


@router.get(
    "/{case_id}/bundle",
    operation_id="take_bundle",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}}},
)
def take_bundle(services: Provided, caller: Taker, case_id: str) -> StreamingResponse:
    """Return every output in one zip with manifest and hashes; the caller becomes the QC assignee."""
    target = tempfile.TemporaryFile(dir=services.scratch)  # noqa: SIM115 - closed when it was sent
    try:
        bundle.write_bundle(
            services.database, services.blobs, target, case_id=case_id, taker=caller.name, at=services.clock()
        )
    except BaseException:
        target.close()
        raise
    length = target.tell()
    target.seek(0)
    return StreamingResponse(
        _chunks(target),
        media_type="application/zip",
        headers={
            "Content-Length": str(length),
            "Content-Disposition": f'attachment; filename="overread-{case_id}.zip"',
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """The case and stage an upload is for; the stage may be empty."""

    case_id: str
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """The one file of a request, and the stage that its form names."""

    chunks: AsyncIterator[bytes]
    stage: str = ""


def _receive(services: Services, caller: Identity, path: Path, target: _Target) -> Received:
    """Hand a DICOM object to the receiver, for its case and stage."""
    sop_class = peek(path).sop_class_uid
    if sop_class not in SEGMENTATION_CLASSES and sop_class != RT_STRUCTURE_SET_STORAGE:
        raise UnacceptableInstance(
            "this is neither a DICOM segmentation object, nor an RT structure set, nor a NIfTI label map",
            code="NOT_A_SEGMENTATION",
        )
    contours = "an RT structure set" if sop_class == RT_STRUCTURE_SET_STORAGE else ""
    services.edits.require_stage(target.case_id, target.stage, what=contours)
    transfer = Transfer(sender=caller.name, door="upload")
    received = services.receiver.receive(
        path, door="upload", sender=caller.name, case_hint=target.case_id, stage_hint=target.stage
    )
    transfer.add(received)
    services.receiver.transfer_ended(transfer, ended="released")
    return received


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


@asynccontextmanager
async def _body(request: Request) -> AsyncIterator[_Sent]:
    """Yield the one file of a request, raw or as a form's file."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _RAW:
        yield _Sent(chunks=request.stream())
        return
    if kind != "multipart/form-data":
        raise UnsupportedMedia("send application/dicom, application/x-nifti, or multipart/form-data with one file")
    async with request.form(max_files=1) as form:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if not files:
            raise BadRequest("the form holds no file")
        stage = form.get("stage")
        yield _Sent(chunks=_read(files[0]), stage=stage.strip() if isinstance(stage, str) else "")


async def _read(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(1 << 20):
        yield chunk


async def _outcome(services: Services, sop_instance_uid: str, *, is_conflict: bool) -> EditResult:
    waited = 0.0
    while True:
        result = await run_in_threadpool(edit_outcome, services.database, sop_instance_uid, is_conflict=is_conflict)
        if result.outcome is not EditOutcome.PENDING or waited >= services.edit_wait_s:
            return result
        await asyncio.sleep(_LOOK_S)
        waited += _LOOK_S
