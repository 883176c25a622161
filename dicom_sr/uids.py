"""Deterministic UIDs: the same result gets the same UID on every attempt, so a resend is harmless (ADR 0002)."""

from __future__ import annotations

import hashlib
import re
import uuid

from dicom_sr.errors import InvalidUid

#: UID of this software as the creator of instances (Instance Creator UID (0008,0014)).
INSTANCE_CREATOR_UID = "2.25.156830421763498126041713386530285196370"
_PATH_SAFE = re.compile(r"[0-9]+(\.[0-9]+)*")

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")


def derive_uid(*parts: str | int) -> str:
    """Derive a UID under 2.25 (PS3.5 B.2) from `parts`; equal parts give equal UIDs.

    Parameters
    ----------
    *parts : str or int
        What identifies the object, for instance case, stage, iteration and kind.

    Returns
    -------
    str
        At most 44 characters.
    """
    text = "\x1f".join(str(part) for part in parts)
    digest = bytearray(hashlib.sha256(text.encode()).digest()[:16])
    return f"2.25.{uuid.UUID(bytes=bytes(digest), version=5).int}"


def is_valid_uid(text: str) -> bool:
    """Whether `text` is a UID by PS3.5 section 9.1: digits and dots, no leading zeros, 64 characters at most."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def is_path_safe_uid(text: str) -> bool:
    """Whether `text` holds only digits and dots and fits 64 characters: tolerant of leading zeros, safe in a path."""
    return 0 < len(text) <= 64 and _PATH_SAFE.fullmatch(text) is not None


def require_uid(text: str, what: str) -> str:
    """Return `text`, or raise InvalidUid that names the attribute `what` but not the value."""
    if not is_path_safe_uid(text):
        raise InvalidUid(f"{what} is not a UID: 1 to 64 digits and dots are expected")
    return text
