"""The DICOM file around a data set: split a file that came in, and write the one form in which we keep instances.

Every instance is kept with file meta information of our own making, a pure function of class, UID and transfer
syntax. So the same data set gives the same blob whoever sends it and by whichever door, and equal blobs mean equal
bytes. For that reason nothing in it may change between versions of the gateway.

References
----------
PS3.10 section 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from gateway.domain.errors import UnacceptableInstance

#: Implementation Class UID of our files and associations, PS3.7 D.3.3.2.
IMPLEMENTATION_CLASS_UID = "2.25.156830421763498126041713386530285196371"
#: Implementation Version Name: without a version, see above.
IMPLEMENTATION_VERSION_NAME = "OVERREAD"

_PREAMBLE = bytes(128) + b"DICM"
_HEADER = Struct("<HH2sH")
_VERSION = Struct("<HH2sHI2s").pack(2, 1, b"OB", 0, 2, b"\x00\x01")
_LONG_VRS = frozenset((b"OB", b"OW", b"UN", b"SQ", b"UT", b"UC", b"UR", b"OD", b"OF", b"OL", b"OV", b"SV", b"UV"))
_TRANSFER_SYNTAX_UID = 0x0010


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayout:
    """Where the data set of a DICOM file starts and how it is encoded.

    Parameters
    ----------
    transfer_syntax_uid : str
        Transfer Syntax UID (0002,0010).
    dataset_offset : int
        Bytes before the data set.
    """

    transfer_syntax_uid: str
    dataset_offset: int


def file_meta(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble, prefix and file meta information for a data set, always the same for the same arguments."""
    elements = b"".join(
        (
            _VERSION,
            _uid(0x0002, sop_class_uid),
            _uid(0x0003, sop_instance_uid),
            _uid(_TRANSFER_SYNTAX_UID, transfer_syntax_uid),
            _uid(0x0012, IMPLEMENTATION_CLASS_UID),
            _HEADER.pack(2, 0x0013, b"SH", len(IMPLEMENTATION_VERSION_NAME)) + IMPLEMENTATION_VERSION_NAME.encode(),
        )
    )
    return _PREAMBLE + _HEADER.pack(2, 0, b"UL", 4) + len(elements).to_bytes(4, "little") + elements


def file_layout(content: bytes | memoryview) -> FileLayout:
    """Read the file meta information of a DICOM file.

    Its group length is not trusted: some writers get it wrong.

    Raises
    ------
    UnacceptableInstance
        ``UNREADABLE`` if this is not a DICOM file or does not name its transfer syntax.
    """
    if bytes(content[128:132]) != b"DICM":
        raise UnacceptableInstance("this is not a DICOM file: it has no DICM prefix at byte 128", code="UNREADABLE")
    position, syntax = 132, ""
    while position + 8 <= len(content):
        group, element, vr, length = _HEADER.unpack_from(content, position)
        if group != 2:
            break
        position += 8
        if vr in _LONG_VRS:
            length = int.from_bytes(content[position : position + 4], "little")
            position += 4
        if element == _TRANSFER_SYNTAX_UID:
            syntax = bytes(content[position : position + min(length, 66)]).decode("ascii", "replace").rstrip("\x00 ")
        position += length
    if not syntax or position > len(content):
        raise UnacceptableInstance(
            "the file meta information is cut or does not name a transfer syntax", code="UNREADABLE"
        )
    return FileLayout(transfer_syntax_uid=syntax, dataset_offset=position)


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += b"\x00" * (len(value) % 2)
    return _HEADER.pack(2, element, b"UI", len(value)) + value
