"""The protocol data units that open, refuse and break an association, encoded and parsed.

References
----------
PS3.8 section 9.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final

from gateway.dimse.user_identity import (
    EMPTY_RESPONSE,
    REQUEST_ITEM,
    RESPONSE_ITEM,
    UserIdentity,
    parse_user_identity,
)

ASSOCIATE_RQ: Final = 0x01
ASSOCIATE_AC: Final = 0x02
ASSOCIATE_RJ: Final = 0x03
DATA_TF: Final = 0x04
RELEASE_RQ: Final = 0x05
RELEASE_RP: Final = 0x06
ABORT: Final = 0x07

#: PDU type, reserved, length.
HEADER: Final = Struct(">BxI")
#: Largest A-ASSOCIATE-RQ read; 128 contexts with 40 transfer syntaxes each take a fifth of it.
MAXIMUM_ASSOCIATE_LENGTH: Final = 1_000_000
#: Largest P-DATA-TF we ask for.
MAXIMUM_PDU_LENGTH: Final = 131_072
#: Senders that count the header of the PDU, or of its items, into the length are forgiven.
PDU_LENGTH_TOLERANCE: Final = 1024

#: A-ABORT source "service provider" with its reasons, PS3.8 9.3.8.
ABORT_UNRECOGNIZED: Final = HEADER.pack(ABORT, 4) + b"\x00\x00\x02\x01"
ABORT_UNEXPECTED: Final = HEADER.pack(ABORT, 4) + b"\x00\x00\x02\x02"
ABORT_INVALID: Final = HEADER.pack(ABORT, 4) + b"\x00\x00\x02\x06"
RELEASE_REQUEST: Final = HEADER.pack(RELEASE_RQ, 4) + bytes(4)
RELEASE_RESPONSE: Final = HEADER.pack(RELEASE_RP, 4) + bytes(4)
ABORT_BY_USER: Final = HEADER.pack(ABORT, 4) + bytes(4)
ABORT_NO_REASON: Final = HEADER.pack(ABORT, 4) + b"\x00\x00\x02\x00"

_ITEM: Final = Struct(">BxH")
#: Role selection, of an SOP class.
_ROLE: Final = 0x54
_FIXED_LENGTH: Final = 68
#: Longest presentation context that is remembered with its reading, bytes.
_REMEMBERED_LENGTH: Final = 512
_APPLICATION_CONTEXT: Final = b"1.2.840.10008.3.1.1.1"


class MalformedPdu(Exception):
    """Bytes that are no PDU of the expected kind; the message never quotes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedContext:
    """A presentation context as proposed.

    Parameters
    ----------
    context_id : int
        Odd, 1 to 255.
    abstract_syntax : str
        SOP Class UID.
    transfer_syntaxes : tuple of str
        In the requestor's order.
    """

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ.

    Parameters
    ----------
    called_aet, calling_aet : str
        Without padding; characters that cannot be printed are replaced.
    contexts : tuple of ProposedContext
        What is proposed.
    maximum_length : int
        Longest PDU the requestor takes, 0 for any.
    implementation_class_uid, implementation_version_name : str
        The requestor's software; empty when not told.
    user : UserIdentity or None
        Who it says it is; None when it does not say.
    is_confirmed : bool
        Whether we have checked that, and answer so where that is asked for.
    """

    called_aet: str
    calling_aet: str
    contexts: tuple[ProposedContext, ...]
    maximum_length: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    user: UserIdentity | None = None
    is_confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredContext:
    """A presentation context as the acceptor answered it.

    Parameters
    ----------
    context_id : int
        As proposed.
    result : int
        0 acceptance, 1 user rejection, 2 no reason, 3 abstract syntax, 4 transfer syntaxes not supported.
    transfer_syntax : str
        The accepted one.
    """

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateAccept:
    """An A-ASSOCIATE-AC.

    Parameters
    ----------
    contexts : tuple of AnsweredContext
        One answer for each proposal.
    maximum_length : int
        Longest PDU the acceptor takes, 0 for any.
    """

    contexts: tuple[AnsweredContext, ...]
    maximum_length: int = 0


def encode_associate_rq(
    *,
    called_aet: str,
    calling_aet: str,
    contexts: Sequence[ProposedContext],
    implementation: tuple[str, str],
    user: UserIdentity | None = None,
    scp_roles: Sequence[str] = (),
) -> bytes:
    """Encode an A-ASSOCIATE-RQ with its header, PS3.8 9.3.2.

    Parameters
    ----------
    called_aet, calling_aet : str
        At most 16 characters.
    contexts : sequence of ProposedContext
        At most 128.
    implementation : (str, str)
        Our implementation class UID and version name.
    user : UserIdentity, optional
        Who we say we are.
    scp_roles : sequence of str
        SOP classes of which we, who ask, are the SCP (PS3.7 D.3.3.4).
    """
    items = [_item(0x10, _APPLICATION_CONTEXT)]
    for context in contexts:
        syntaxes = b"".join(_item(0x40, uid.encode()) for uid in context.transfer_syntaxes)
        value = bytes((context.context_id, 0, 0, 0)) + _item(0x30, context.abstract_syntax.encode()) + syntaxes
        items.append(_item(0x20, value))
    identity = _item(REQUEST_ITEM, user.encode()) if user is not None else b""
    roles = b"".join(_item(_ROLE, len(uid).to_bytes(2, "big") + uid.encode() + b"\x00\x01") for uid in scp_roles)
    items.append(_user_information(implementation, roles + identity))
    return _associate(ASSOCIATE_RQ, called_aet, calling_aet, items)


def encode_associate_ac(
    request: AssociateRequest, answers: Sequence[AnsweredContext], *, implementation: tuple[str, str]
) -> bytes:
    """Encode the A-ASSOCIATE-AC that answers a request, PS3.8 9.3.3."""
    items = [_item(0x10, _APPLICATION_CONTEXT)]
    for answer in answers:
        syntax = _item(0x40, answer.transfer_syntax.encode())
        items.append(_item(0x21, bytes((answer.context_id, 0, answer.result, 0)) + syntax))
    is_asked = request.is_confirmed and request.user is not None and request.user.wants_response
    items.append(_user_information(implementation, _item(RESPONSE_ITEM, EMPTY_RESPONSE) if is_asked else b""))
    return _associate(ASSOCIATE_AC, request.called_aet, request.calling_aet, items)


def parse_associate_ac(body: bytes) -> AssociateAccept:
    """Parse the bytes after the PDU header.

    Raises
    ------
    MalformedPdu
        If lengths do not fit.
    """
    contexts, length = [], b""
    for kind, value in _items(body[_FIXED_LENGTH:]):
        if kind == 0x21 and len(value) >= 4:
            syntax = next((_printable(uid) for item, uid in _items(value[4:]) if item == 0x40), "")
            contexts.append(AnsweredContext(context_id=value[0], result=value[2], transfer_syntax=syntax))
        elif kind == 0x50:
            length = dict(_items(value)).get(0x51, b"")
    return AssociateAccept(contexts=tuple(contexts), maximum_length=int.from_bytes(length, "big"))


def parse_associate_rq(body: bytes) -> AssociateRequest:
    """Parse the bytes after the PDU header.

    Raises
    ------
    MalformedPdu
        If lengths do not fit or there is no presentation context.
    """
    if len(body) < _FIXED_LENGTH:
        raise MalformedPdu("too short")
    contexts: list[ProposedContext] = []
    user: dict[int, bytes] = {}
    for kind, value in _items(body[_FIXED_LENGTH:]):
        if kind == 0x20:
            contexts.append(_context(value))
        elif kind == 0x50:
            user = dict(_items(value))
    if not contexts:
        raise MalformedPdu("no presentation context")
    length = user.get(0x51, b"")
    return AssociateRequest(
        called_aet=_printable(body[4:20]),
        calling_aet=_printable(body[20:36]),
        contexts=tuple(contexts),
        maximum_length=int.from_bytes(length, "big") if len(length) == 4 else 0,
        implementation_class_uid=_printable(user.get(0x52, b"")),
        implementation_version_name=_printable(user.get(0x55, b"")),
        user=parse_user_identity(user[REQUEST_ITEM]) if REQUEST_ITEM in user else None,
    )


def associate_rj(*, result: int, source: int, reason: int) -> bytes:
    """Encode an A-ASSOCIATE-RJ, PS3.8 9.3.4."""
    return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def _context(value: bytes) -> ProposedContext:
    # A modality proposes the same contexts in every association of its life.
    return _remembered_context(value) if len(value) <= _REMEMBERED_LENGTH else _read_context(value)


@lru_cache(maxsize=1024)
def _remembered_context(value: bytes) -> ProposedContext:
    return _read_context(value)


def _read_context(value: bytes) -> ProposedContext:
    if len(value) < 4 or value[0] % 2 == 0:
        raise MalformedPdu("a presentation context without an odd id")
    abstract, transfers = "", []
    for kind, uid in _items(value[4:]):
        if kind == 0x30:
            abstract = _printable(uid)
        elif kind == 0x40:
            transfers.append(_printable(uid))
    if not abstract or not transfers:
        raise MalformedPdu("a presentation context without syntaxes")
    return ProposedContext(context_id=value[0], abstract_syntax=abstract, transfer_syntaxes=tuple(transfers))


def _associate(kind: int, called_aet: str, calling_aet: str, items: Sequence[bytes]) -> bytes:
    titles = called_aet.encode("ascii", "replace").ljust(16) + calling_aet.encode("ascii", "replace").ljust(16)
    body = b"\x00\x01\x00\x00" + titles + bytes(32) + b"".join(items)
    return HEADER.pack(kind, len(body)) + body


def _user_information(implementation: tuple[str, str], identity: bytes) -> bytes:
    class_uid, version_name = implementation
    length = _item(0x51, MAXIMUM_PDU_LENGTH.to_bytes(4, "big"))
    return _item(0x50, length + _item(0x52, class_uid.encode()) + _item(0x55, version_name.encode()) + identity)


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(content):
        if position + 4 > len(content):
            raise MalformedPdu("an item is cut")
        kind, length = _ITEM.unpack_from(content, position)
        position += 4
        if position + length > len(content):
            raise MalformedPdu("an item is longer than what holds it")
        yield kind, content[position : position + length]
        position += length


def _printable(raw: bytes) -> str:
    text = raw.decode("ascii", "replace").strip(" \x00")
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in text)
