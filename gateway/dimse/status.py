"""The one table from our errors to DIMSE status codes.

References
----------
PS3.4 Table B.2-1 (C-STORE), PS3.7 Annex C (general).
"""

from __future__ import annotations

from typing import Final

from gateway.domain.errors import GatewayError

SUCCESS: Final = 0x0000
#: A warning of N-GET, PS3.4 F.8.2.1.4.
OPTIONAL_ATTRIBUTES_MISSING: Final = 0x0001
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
INVALID_ARGUMENT: Final = 0x0115
CLASS_INSTANCE_CONFLICT: Final = 0x0119
NO_SUCH_ACTION: Final = 0x0123
NO_SUCH_CLASS: Final = 0x0118
RESOURCE_LIMITATION: Final = 0x0213
#: Error ID that goes with a processing failure, PS3.4 Table F.7.2-2.
STEP_MAY_NOT_BE_CHANGED: Final = 0xA710
INVALID_OBJECT_INSTANCE: Final = 0x0117
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
OUT_OF_RESOURCES: Final = 0xA700
DATA_SET_DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000

#: Status of C-STORE by error code; any other error is a processing failure.
STORE_STATUS: Final = {
    "STORAGE_FULL": OUT_OF_RESOURCES,
    "TOO_LARGE": OUT_OF_RESOURCES,
    "STORAGE_UNAVAILABLE": PROCESSING_FAILURE,
    "INVALID_UID": INVALID_OBJECT_INSTANCE,
    "MISSING_UID": DATA_SET_DOES_NOT_MATCH,
    "CLASS_NOT_AS_ANNOUNCED": DATA_SET_DOES_NOT_MATCH,
    "UID_NOT_AS_ANNOUNCED": DATA_SET_DOES_NOT_MATCH,
    "TRUNCATED_DATASET": CANNOT_UNDERSTAND,
    "UNREADABLE": CANNOT_UNDERSTAND,
}

#: Status of C-FIND, C-MOVE and C-GET by error code; any other error is "unable to process".
QUERY_STATUS: Final = {"BAD_IDENTIFIER": DATA_SET_DOES_NOT_MATCH}

#: Status of N-CREATE, N-SET and N-GET by error code; any other error is a processing failure.
NORMALIZED_STATUS: Final = {
    "DUPLICATE": 0x0111,
    "NOT_FOUND": NO_SUCH_INSTANCE,
    "STEP_IS_FINAL": PROCESSING_FAILURE,
    "MISSING_ATTRIBUTE": 0x0120,
    "INVALID_VALUE": 0x0106,
    "TOO_LARGE": RESOURCE_LIMITATION,
    "MISSING_UID": INVALID_OBJECT_INSTANCE,
    "INVALID_UID": INVALID_OBJECT_INSTANCE,
}

#: What status codes mean to a person, for peers' answers to us.
_MEANINGS: Final = (
    (0x0000, 0x0000, "success"),
    (0x0001, 0x0001, "requested optional attributes are not supported"),
    (0x0110, 0x0110, "processing failure"),
    (0x0111, 0x0111, "duplicate SOP instance"),
    (0x0106, 0x0106, "invalid attribute value"),
    (0x0120, 0x0120, "missing attribute"),
    (0x0112, 0x0112, "no such SOP instance"),
    (0x0115, 0x0115, "invalid argument"),
    (0x0119, 0x0119, "SOP class and instance do not fit"),
    (0x0131, 0x0131, "transaction UID already used"),
    (0x0213, 0x0213, "resource limitation"),
    (0x0117, 0x0117, "invalid SOP instance"),
    (0x0122, 0x0122, "SOP class not supported"),
    (0x0124, 0x0124, "not authorised"),
    (0xA700, 0xA7FF, "out of resources"),
    (0xA801, 0xA801, "move destination unknown"),
    (0xA900, 0xA9FF, "data set does not match SOP class"),
    (0xB000, 0xBFFF, "stored with a warning"),
    (0xC000, 0xCFFF, "cannot understand"),
    (0xFE00, 0xFE00, "cancelled"),
)


def store_status(error: GatewayError) -> int:
    """Return the C-STORE status that answers an error."""
    return STORE_STATUS.get(error.code, PROCESSING_FAILURE)


def query_status(error: GatewayError) -> int:
    """Return the C-FIND, C-MOVE or C-GET status that answers an error, PS3.4 Tables C.4-1 to C.4-3."""
    return QUERY_STATUS.get(error.code, CANNOT_UNDERSTAND)


def normalized_status(error: GatewayError) -> int:
    """Return the N-CREATE, N-SET or N-GET status that answers an error, PS3.7 Annex C."""
    return NORMALIZED_STATUS.get(error.code, PROCESSING_FAILURE)


def meaning(status: int) -> str:
    """Return a status code with its meaning, for a person."""
    words = next((text for low, high, text in _MEANINGS if low <= status <= high), "unknown status")
    return f"0x{status:04X} {words}"


def is_success(status: int) -> bool:
    """Whether an object was stored: success, or a warning such as coercion."""
    return status == SUCCESS or 0xB000 <= status <= 0xBFFF
