"""pynetdicom as the caller of a node, without two races of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu import A_ASSOCIATE_RJ

from gateway.dimse.reactor_checkpoint import guard_conversations


def call(ae: AE, port: int, *, evt_handlers: Sequence[EventHandlerType] = (), **arguments: Any) -> Association:
    """Ask a node on this machine for an association, with its outcome as the node gave it.

    pynetdicom takes a rejection that comes at once for a connection that failed, and an answer may be taken by the
    wrong one of its threads.
    """
    rejections: list[object] = []

    def note(event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            rejections.append(event.pdu)

    handlers = [*evt_handlers, (evt.EVT_PDU_RECV, note)]
    association = ae.associate("127.0.0.1", port, ae_title="OVERREAD", evt_handlers=handlers, **arguments)
    association.is_rejected = bool(rejections)
    guard_conversations(association)
    return association
