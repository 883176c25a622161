"""N-CREATE, N-SET and N-GET as pynetdicom hands them over, to the service that their SOP class names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, cast

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_CREATE, N_GET, N_SET

from gateway.dimse.archive import Archive
from gateway.dimse.contexts import AVAILABILITY_NOTIFICATION, PERFORMED_PROCEDURE_STEP, RETRIEVE_PROCEDURE_STEP
from gateway.dimse.ian_scp import create_notification
from gateway.dimse.mpps_scp import create_step, get_step, set_step
from gateway.dimse.status import (
    NO_SUCH_CLASS,
    OPTIONAL_ATTRIBUTES_MISSING,
    STEP_MAY_NOT_BE_CHANGED,
    SUCCESS,
    normalized_status,
)
from gateway.domain.errors import GatewayError
from gateway.services.received_header import require_uid

logger = logging.getLogger(__name__)

Answer = tuple[Dataset, Dataset | None]
_CREATE: Final = {PERFORMED_PROCEDURE_STEP: create_step, AVAILABILITY_NOTIFICATION: create_notification}
_SET: Final = {PERFORMED_PROCEDURE_STEP: set_step}
#: A step is one instance whichever of the classes of its service names it.
_GET: Final = frozenset((PERFORMED_PROCEDURE_STEP, RETRIEVE_PROCEDURE_STEP))


def on_create(event: evt.Event, archive: Archive) -> Answer:
    """Answer N-CREATE."""
    request = cast(N_CREATE, event.request)
    uid = str(request.AffectedSOPInstanceUID or "")
    return _answer(event, archive, _CREATE.get(str(request.AffectedSOPClassUID)), uid, event.attribute_list)


def on_set(event: evt.Event, archive: Archive) -> Answer:
    """Answer N-SET."""
    request = cast(N_SET, event.request)
    uid = str(request.RequestedSOPInstanceUID or "")
    return _answer(event, archive, _SET.get(str(request.RequestedSOPClassUID)), uid, event.modification_list)


def on_get(event: evt.Event, archive: Archive) -> Answer:
    """Answer N-GET."""
    request = cast(N_GET, event.request)
    if str(request.RequestedSOPClassUID) not in _GET:
        return _status(NO_SUCH_CLASS), None
    try:
        uid = str(request.RequestedSOPInstanceUID or "")
        require_uid(uid, "the SOP Instance UID of a procedure step")
        attributes, is_whole = get_step(archive, uid, event.attribute_identifiers)
    except GatewayError as error:
        return _status(normalized_status(error)), None
    return _status(SUCCESS if is_whole else OPTIONAL_ATTRIBUTES_MISSING), attributes


def _answer(
    event: evt.Event, archive: Archive, serve: Callable[..., None] | None, uid: str, attributes: Dataset
) -> Answer:
    sender = str(event.assoc.requestor.ae_title).strip()
    if serve is None:
        return _status(NO_SUCH_CLASS), None
    try:
        require_uid(uid, "the SOP Instance UID of an announcement")
        serve(archive, uid, attributes, sender=sender)
    except GatewayError as error:
        logger.warning("an announcement of '%s' was refused: %s", sender, error.detail)
        answer = _status(normalized_status(error))
        if error.code == "STEP_IS_FINAL":
            answer.ErrorID = STEP_MAY_NOT_BE_CHANGED
        return answer, None
    return _status(SUCCESS), None


def _status(status: int) -> Dataset:
    answer = Dataset()
    answer.Status = status
    return answer


#: Handlers by event, for the lane that serves them.
HANDLERS: Final[tuple[tuple[evt.InterventionEvent, Callable[..., Answer]], ...]] = (
    (evt.EVT_N_CREATE, on_create),
    (evt.EVT_N_SET, on_set),
    (evt.EVT_N_GET, on_get),
)
