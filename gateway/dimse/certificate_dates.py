"""Until when a certificate is valid: read off the file itself, since the standard library decodes only those of peers.

References
----------
RFC 5280 section 4.1; X.690 (DER).
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.domain.errors import ConfigurationError

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


def valid_until(file: Path) -> datetime:
    """Return when the first certificate of a PEM file expires, with zone.

    Raises
    ------
    ConfigurationError
        ``TLS_FILES`` if there is none that can be read.
    """
    try:
        text = file.read_text(encoding="ascii", errors="replace")
        start = text.index(_BEGIN)
        der = ssl.PEM_cert_to_DER_cert(text[start : text.index(_END, start) + len(_END)])
        return _not_after(der)
    except (OSError, ValueError, IndexError):
        raise ConfigurationError("there is no certificate in this file that can be read", code="TLS_FILES") from None


def _not_after(der: bytes) -> datetime:
    """Walk Certificate, TBSCertificate, Validity to its second time."""
    _, start, _ = _element(der, 0)
    _, position, _ = _element(der, start)
    kind, _, end = _element(der, position)
    if kind == _VERSION:
        position = end
    for _ in range(3):
        # Serial number, signature algorithm, issuer.
        _, _, position = _element(der, position)
    kind, position, _ = _element(der, position)
    if kind != _SEQUENCE:
        raise ValueError("no validity")
    _, _, position = _element(der, position)
    kind, start, end = _element(der, position)
    layout = "%y%m%d%H%M%SZ" if kind == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(der[start:end].decode("ascii"), layout).replace(tzinfo=UTC)


def _element(der: bytes, position: int) -> tuple[int, int, int]:
    """Return tag, start and end of the content of the element at a position."""
    tag, length, start = der[position], der[position + 1], position + 2
    if length & 0x80:
        octets = length & 0x7F
        length = int.from_bytes(der[start : start + octets], "big")
        start += octets
    if start + length > len(der):
        raise ValueError("an element is cut")
    return tag, start, start + length
