"""Failure Reason (0008,1197) by error code: the one table for STOW-RS (PS3.18 I.2.2, PS3.4 Annex C)."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.domain.errors import GatewayError

PROCESSING_FAILURE = 0x0110
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
#: "Data set does not match SOP class" and its neighbours for what contradicts the request around it.
MISMATCH = 0xA900
OTHER_STUDY = 0xA901
INVALID_INSTANCE_UID = 0x0117

FAILURE_REASONS: Mapping[str, int] = {
    "STORAGE_FULL": OUT_OF_RESOURCES,
    "STORAGE_UNAVAILABLE": PROCESSING_FAILURE,
    "TOO_LARGE": OUT_OF_RESOURCES,
    "UNREADABLE": CANNOT_UNDERSTAND,
    "TRUNCATED_DATASET": CANNOT_UNDERSTAND,
    "MISSING_UID": MISMATCH,
    "INVALID_UID": INVALID_INSTANCE_UID,
    "CLASS_NOT_AS_ANNOUNCED": MISMATCH,
    "UID_NOT_AS_ANNOUNCED": MISMATCH,
    "NOT_THIS_STUDY": OTHER_STUDY,
    "NOT_DICOM_PART": CANNOT_UNDERSTAND,
}


def failure_reason(error: GatewayError) -> int:
    """Return the Failure Reason of an error."""
    return FAILURE_REASONS.get(error.code, PROCESSING_FAILURE)
