"""The protocol data units that open, refuse and break an association, encoded and parsed.

References
----------
PS3.8 section 9.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

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
ABORT_NO_REASON: Final = HEADER.pack(ABORT, 4) + b"\x00\x00\x02\x00"

_ITEM: Final = Struct(">BxH")
_FIXED_LENGTH: Final = 68


class MalformedPdu(Exception):
    """Bytes that are no A-ASSOCIATE-RQ."""


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
    """

    called_aet: str
    calling_aet: str
    contexts: tuple[ProposedContext, ...]
    maximum_length: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""


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
    )


def associate_rj(*, result: int, source: int, reason: int) -> bytes:
    """Encode an A-ASSOCIATE-RJ, PS3.8 9.3.4."""
    return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def _context(value: bytes) -> ProposedContext:
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
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in text)
