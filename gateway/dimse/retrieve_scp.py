"""C-FIND, C-MOVE and C-GET on what the node holds; taking results makes a registered reader the QC assignee."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_GET
from pynetdicom.presentation import PresentationContext

from dicom_sr.errors import UndecodablePixels
from gateway.dimse.archive import Archive
from gateway.dimse.contexts import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from gateway.dimse.identifier import instances_to_send, matches
from gateway.dimse.status import query_status
from gateway.domain.errors import GatewayError, NotFound
from gateway.services import assign
from gateway.services.decompress import decompress
from gateway.services.holdings import HeldInstance

logger = logging.getLogger(__name__)

PENDING: Final = 0xFF00
CANCELLED: Final = 0xFE00
_MOST_CONTEXTS: Final = 128
_PLAIN: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

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
    taken = _taken(event.assoc)
    yield from _sent(archive, wanted, taken, taker=archive.readers.get(_calling(event)), event=event)


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
    taken: set[tuple[str, str]] = set()
    accepted = evt.EVT_ACCEPTED, lambda opened: taken.update(_taken(opened.assoc))
    settings = {"contexts": _contexts(wanted), "evt_handlers": [accepted], **address.association_arguments}
    yield address.host, address.port, settings
    yield len(wanted)
    yield from _sent(archive, wanted, taken, taker=archive.readers.get(target), event=event)


def _sent(
    archive: Archive,
    wanted: list[HeldInstance],
    taken: Collection[tuple[str, str]],
    *,
    taker: str | None,
    event: evt.Event,
) -> Iterator[Found]:
    """Yield the instances one after the other, read from the disk when their turn comes.

    Parameters
    ----------
    archive : Archive
        Files, and where it is noted who took results.
    wanted : list of HeldInstance
        Which.
    taken : collection of (str, str)
        SOP classes with the transfer syntaxes in which whoever gets them takes them.
    taker : str or None
        The person who gets them, if known.
    event : Event
        The C-MOVE or C-GET; says whether the requestor wants no more.
    """
    act = "C_GET" if isinstance(event.request, C_GET) else "C_MOVE"
    for instance in wanted:
        if event.is_cancelled:
            yield CANCELLED, None
            return
        try:
            dataset: Dataset = pydicom.dcmread(archive.blobs.path(instance.sha256))
            if (instance.sop_class_uid, instance.transfer_syntax_uid) not in taken:
                # Between the plain forms pynetdicom converts.
                decompress(dataset)
        except (NotFound, UndecodablePixels) as error:
            logger.error("an instance that was asked for cannot be sent: %s", error)
            dataset = _placeholder(instance)
        yield PENDING, dataset
    if taker is not None:
        for case_id in sorted({instance.case_id for instance in wanted if instance.case_id}):
            assign.take(archive.database, case_id=case_id, taker=taker, act=act, at=archive.clock())


def _placeholder(instance: HeldInstance) -> Dataset:
    """Return what pynetdicom cannot send, so that it counts and names the instance as failed."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    return dataset


def _contexts(wanted: list[HeldInstance]) -> list[PresentationContext]:
    """Return a context for each form that is held, and for each class the plain forms that all nodes take."""
    held = sorted({(instance.sop_class_uid, instance.transfer_syntax_uid) for instance in wanted})
    plain = [(sop_class, syntax) for sop_class in sorted({one for one, _ in held}) for syntax in _PLAIN]
    forms = dict.fromkeys([*held, *plain])
    return [build_context(sop_class, syntax) for sop_class, syntax in forms][:_MOST_CONTEXTS]


def _taken(association: Association) -> set[tuple[str, str]]:
    return {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in association.accepted_contexts
    }


def _calling(event: evt.Event) -> str:
    return str(event.assoc.requestor.ae_title).strip()


#: Handlers by event, for the lane that serves them.
HANDLERS: Final[tuple[tuple[evt.InterventionEvent, Callable[..., object]], ...]] = (
    (evt.EVT_C_FIND, on_find),
    (evt.EVT_C_GET, on_get),
    (evt.EVT_C_MOVE, on_move),
)
