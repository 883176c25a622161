"""C-FIND, C-MOVE and C-GET on what the node holds; taking results makes a registered reader the QC assignee."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import build_context, evt
from pynetdicom.presentation import PresentationContext

from gateway.dimse.archive import Archive
from gateway.dimse.identifier import instances_to_send, matches
from gateway.dimse.status import query_status
from gateway.domain.errors import GatewayError, NotFound
from gateway.services import assign
from gateway.services.holdings import HeldInstance

logger = logging.getLogger(__name__)

PENDING: Final = 0xFF00
CANCELLED: Final = 0xFE00
_NO_CONTEXTS: Final = 128

Found = tuple[int, Dataset | None]


def on_find(event: evt.Event, archive: Archive) -> Iterator[Found]:
    """Answer C-FIND: a pending response for each match."""
    try:
        for match in matches(archive.database, event.identifier):
            if event.is_cancelled:
                yield CANCELLED, None
                return
            yield PENDING, match
    except GatewayError as error:
        logger.warning("a query from '%s' was refused: %s", _calling(event), error.detail)
        yield query_status(error), None


def on_get(event: evt.Event, archive: Archive) -> Iterator[int | Found]:
    """Answer C-GET: the instances, over the association of the request."""
    try:
        wanted = instances_to_send(archive.database, event.identifier)
    except GatewayError as error:
        logger.warning("a C-GET from '%s' was refused: %s", _calling(event), error.detail)
        yield 1
        yield query_status(error), None
        return
    yield len(wanted)
    yield from _sent(archive, wanted, taker=archive.readers.get(_calling(event)), act="C_GET", is_cancelled=event)


def on_move(event: evt.Event, archive: Archive) -> Iterator[object]:
    """Answer C-MOVE: the instances, over an association with the destination."""
    target = str(event.move_destination or "").strip()
    address = archive.addresses.get(target)
    if address is None:
        logger.warning(
            "a C-MOVE from '%s' was refused: its destination '%s' has no address here. Add it to node.peers with host "
            "and port, or to destinations",
            _calling(event),
            target,
        )
        yield None, None
        return
    try:
        wanted = instances_to_send(archive.database, event.identifier)
    except GatewayError as error:
        logger.warning("a C-MOVE from '%s' was refused: %s", _calling(event), error.detail)
        wanted = []
    yield address.host, address.port, {"contexts": _contexts(wanted), **address.association_arguments}
    yield len(wanted)
    yield from _sent(archive, wanted, taker=archive.readers.get(target), act="C_MOVE", is_cancelled=event)


def _sent(
    archive: Archive, wanted: list[HeldInstance], *, taker: str | None, act: str, is_cancelled: evt.Event
) -> Iterator[Found]:
    """Yield the instances one after the other, read from the disk when their turn comes."""
    for instance in wanted:
        if is_cancelled.is_cancelled:
            yield CANCELLED, None
            return
        try:
            yield PENDING, pydicom.dcmread(archive.blobs.path(instance.sha256))
        except NotFound as error:
            logger.error("an instance that was asked for has lost its file: %s", error.detail)
            yield PENDING, _placeholder(instance)
    if taker is not None:
        for case_id in sorted({instance.case_id for instance in wanted if instance.case_id}):
            assign.take(archive.database, case_id=case_id, taker=taker, act=act, at=archive.clock())


def _placeholder(instance: HeldInstance) -> Dataset:
    """Return what pynetdicom cannot send, so that it counts and names the instance as failed."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    return dataset


def _contexts(wanted: list[HeldInstance]) -> list[PresentationContext]:
    forms = {(instance.sop_class_uid, instance.transfer_syntax_uid) for instance in wanted}
    return [build_context(sop_class, syntax) for sop_class, syntax in sorted(forms)][:_NO_CONTEXTS]


def _calling(event: evt.Event) -> str:
    return str(event.assoc.requestor.ae_title).strip()


#: Handlers by event, for the lane that serves them.
HANDLERS: Final[tuple[tuple[evt.InterventionEvent, Callable[..., object]], ...]] = (
    (evt.EVT_C_FIND, on_find),
    (evt.EVT_C_GET, on_get),
    (evt.EVT_C_MOVE, on_move),
)
