"""The command set of a DIMSE message, encoded and decoded: always implicit VR little endian, group 0000.

References
----------
PS3.7 sections 6.3 and 9.3, Annex E.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, error
from typing import Final

C_STORE_RQ: Final = 0x0001
C_STORE_RSP: Final = 0x8001
C_FIND_RQ: Final = 0x0020
C_FIND_RSP: Final = 0x8020
C_GET_RQ: Final = 0x0010
C_GET_RSP: Final = 0x8010
C_MOVE_RQ: Final = 0x0021
C_MOVE_RSP: Final = 0x8021
C_CANCEL_RQ: Final = 0x0FFF
C_ECHO_RQ: Final = 0x0030
C_ECHO_RSP: Final = 0x8030
N_EVENT_REPORT_RQ: Final = 0x0100
N_EVENT_REPORT_RSP: Final = 0x8100
N_ACTION_RQ: Final = 0x0130
N_ACTION_RSP: Final = 0x8130

_HEADER: Final = Struct("<HHI")
_US: Final = Struct("<HHIH")
_NO_DATASET: Final = 0x0101
_WITH_DATASET: Final = 0x0001

_SOP_CLASS, _FIELD, _MESSAGE_ID, _RESPONDED_TO, _PRIORITY = 0x0002, 0x0100, 0x0110, 0x0120, 0x0700
_DATASET_TYPE, _STATUS, _SOP_INSTANCE = 0x0800, 0x0900, 0x1000
_REQUESTED_CLASS, _REQUESTED_INSTANCE, _EVENT_TYPE, _ACTION_TYPE = 0x0003, 0x1001, 0x1002, 0x1008
_MOVE_DESTINATION, _COMPLETED, _FAILED, _WARNED = 0x0600, 0x1021, 0x1022, 0x1023
_WITH_PRIORITY: Final = (C_STORE_RQ, C_FIND_RQ, C_GET_RQ, C_MOVE_RQ)


class MalformedCommand(Exception):
    """Bytes that are no command set; the message never quotes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a command set says.

    Parameters
    ----------
    field : int
        Command Field (0000,0100).
    message_id : int
        Message ID of a request, or the one a response answers.
    sop_class, sop_instance : str
        Affected SOP Class and Instance UID, or the requested ones of N-ACTION; empty when absent.
    status : int
        Of a response.
    has_dataset : bool
        Whether a data set follows.
    event_type, action_type : int
        Of N-EVENT-REPORT and N-ACTION; 0 when absent.
    move_destination : str
        Of a C-MOVE request we make; not read from others'.
    completed, failed, warned : int
        Sub-operations so far, of a response to C-GET or C-MOVE; 0 when absent.
    """

    field: int
    message_id: int
    sop_class: str = ""
    sop_instance: str = ""
    status: int = 0
    has_dataset: bool = False
    event_type: int = 0
    action_type: int = 0
    move_destination: str = ""
    completed: int = 0
    failed: int = 0
    warned: int = 0

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return self.field & 0x8000 != 0

    def encode(self) -> bytes:
        """Encode with group length, elements in order of their tags."""
        sop_class, sop_instance = (_SOP_CLASS, _SOP_INSTANCE)
        if self.field == N_ACTION_RQ:
            sop_class, sop_instance = (_REQUESTED_CLASS, _REQUESTED_INSTANCE)
        elements = [_uid(sop_class, self.sop_class) if self.sop_class else b"", _short(_FIELD, self.field)]
        names_another = self.is_response or self.field == C_CANCEL_RQ
        elements.append(_short(_RESPONDED_TO if names_another else _MESSAGE_ID, self.message_id))
        if self.move_destination:
            elements.append(_title(_MOVE_DESTINATION, self.move_destination))
        if self.field in _WITH_PRIORITY:
            elements.append(_short(_PRIORITY, 0))
        elements.append(_short(_DATASET_TYPE, _WITH_DATASET if self.has_dataset else _NO_DATASET))
        if self.is_response:
            elements.append(_short(_STATUS, self.status))
        if self.sop_instance:
            elements.append(_uid(sop_instance, self.sop_instance))
        if self.event_type:
            elements.append(_short(_EVENT_TYPE, self.event_type))
        if self.action_type:
            elements.append(_short(_ACTION_TYPE, self.action_type))
        body = b"".join(elements)
        return _HEADER.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body


def decode(content: bytes | memoryview) -> Command:
    """Decode a command set.

    Raises
    ------
    MalformedCommand
        If lengths do not fit, or field or message id are missing.
    """
    values: dict[int, bytes] = {}
    position, end = 0, len(content)
    while position < end:
        try:
            group, element, length = _HEADER.unpack_from(content, position)
        except error:
            raise MalformedCommand("an element is cut") from None
        position += 8
        if group != 0 or position + length > end:
            raise MalformedCommand("an element is of another group or longer than the command")
        values[element] = bytes(content[position : position + length])
        position += length
    field = _number(values.get(_FIELD))
    message_id = _number(values.get(_RESPONDED_TO if field is not None and field & 0x8000 else _MESSAGE_ID))
    if field is None or message_id is None:
        raise MalformedCommand("Command Field or Message ID is missing")
    return Command(
        field=field,
        message_id=message_id,
        sop_class=_text(values.get(_SOP_CLASS) or values.get(_REQUESTED_CLASS, b"")),
        sop_instance=_text(values.get(_SOP_INSTANCE) or values.get(_REQUESTED_INSTANCE, b"")),
        status=_number(values.get(_STATUS)) or 0,
        has_dataset=_number(values.get(_DATASET_TYPE)) != _NO_DATASET,
        event_type=_number(values.get(_EVENT_TYPE)) or 0,
        action_type=_number(values.get(_ACTION_TYPE)) or 0,
        completed=_number(values.get(_COMPLETED)) or 0,
        failed=_number(values.get(_FAILED)) or 0,
        warned=_number(values.get(_WARNED)) or 0,
    )


def _short(element: int, value: int) -> bytes:
    return _US.pack(0, element, 2, value)


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    value += b"\x00" * (len(value) % 2)
    return _HEADER.pack(0, element, len(value)) + value


def _title(element: int, ae_title: str) -> bytes:
    value = ae_title.encode("ascii", "replace")
    value += b" " * (len(value) % 2)
    return _HEADER.pack(0, element, len(value)) + value


def _number(value: bytes | None) -> int | None:
    return int.from_bytes(value, "little") if value is not None and len(value) == 2 else None


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").rstrip("\x00 ")
