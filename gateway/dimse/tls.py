"""DICOM over TLS, both ways: the profile, certificates that are read again when their files change, sentences.

The profile is that of PS3.15 B.12: TLS 1.2 or 1.3 as BCP 195 (RFC 8996, RFC 9325) has it, ciphers with forward secrecy
and authenticated encryption only, no renegotiation, no compression; nothing older is ever fallen back to.

References
----------
PS3.15 B.12; PS3.8 section 9.1.1; RFC 9325.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.config import Destination, NodeConfig, Peer, TlsConfig
from gateway.dimse.wire import ConnectionLost, Wire
from gateway.domain.errors import ConfigurationError, PeerRejected

logger = logging.getLogger(__name__)

#: Cipher suites of TLS 1.2 in OpenSSL's words; those of TLS 1.3 are all of this kind.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!PSK"
MINIMUM_VERSION: Final = ssl.TLSVersion.TLSv1_2
_HELLO: Final = b"\x16"
#: How long a peer may take to say goodbye, seconds.
_GOODBYE_SECONDS: Final = 0.2
#: What OpenSSL calls it, and what an administrator can do about it.
_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate, and node.tls.require_client_certificate is set",
    "NO_SHARED_CIPHER": "it offers no cipher with forward secrecy and authenticated encryption (BCP 195)",
    "UNSUPPORTED_PROTOCOL": "it offers no TLS version of today: let it use TLS 1.2 or 1.3",
    "VERSION_TOO_LOW": "it offers no TLS version of today: let it use TLS 1.2 or 1.3",
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port",
    "HTTP_REQUEST": "it speaks HTTP on the DICOM port",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not accept our certificate: give it the root certificate of ours",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept our certificate: give it the root certificate of ours",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our certificate: give it the root certificate of ours",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired: renew node.tls.certificate_file",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of ours: give node.tls.certificate_file and key_file",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no TLS version of today (1.2 or 1.3)",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it found no cipher in common, or wants a certificate of ours "
    "(node.tls.certificate_file)",
}


class TlsRefused(ConnectionLost):
    """A handshake failed; the message is a sentence for the administrator."""


class TlsWire(Wire):
    """PDUs on a socket with TLS, which knows neither receive flags nor timeouts of the kernel.

    Parameters
    ----------
    connection : ssl.SSLSocket
        After the handshake.
    idle_seconds : float
        How long to wait for the first byte of a PDU.
    pdu_seconds : float
        How long one PDU may take from its first byte to its last.
    """

    def __init__(self, connection: ssl.SSLSocket, *, idle_seconds: float, pdu_seconds: float = 60.0) -> None:
        super().__init__(connection, idle_seconds=idle_seconds, pdu_seconds=pdu_seconds)
        self._secured = connection

    def send(self, content: bytes) -> None:
        """Send bytes.

        Raises
        ------
        ConnectionLost
            If the peer is gone or too slow.
        """
        self._secured.settimeout(self._pdu_seconds)
        super().send(content)

    def _receive(self, target: memoryview, seconds: float, _flags: int = 0) -> int:
        self._secured.settimeout(max(0.001, seconds))
        try:
            received = self._secured.recv_into(target)
        except ssl.SSLError as error:
            # In TLS 1.3 a refusal of our certificate arrives only here.
            raise TlsRefused(sentence(error)) from None
        except OSError:
            raise ConnectionLost("the peer is gone or too slow") from None
        if received == 0:
            raise ConnectionLost("the peer closed the connection")
        return received


def wire_on(connection: socket.socket, *, idle_seconds: float, pdu_seconds: float = 60.0) -> Wire:
    """Return the wire that fits a connection, with TLS or without."""
    if isinstance(connection, ssl.SSLSocket):
        return TlsWire(connection, idle_seconds=idle_seconds, pdu_seconds=pdu_seconds)
    return Wire(connection, idle_seconds=idle_seconds, pdu_seconds=pdu_seconds)


class ServerTls:
    """Our side of TLS as the one who is called.

    Parameters
    ----------
    settings : TlsConfig
        With a certificate.

    Raises
    ------
    ConfigurationError
        If a file cannot be used.
    """

    def __init__(self, settings: TlsConfig) -> None:
        files = (settings.certificate_file, settings.key_file, settings.ca_file)
        self._context = _Followed(files, lambda: _server_context(settings))

    def secure(self, connection: socket.socket, seconds: float) -> ssl.SSLSocket:
        """Shake hands; the socket given is taken over.

        Raises
        ------
        TlsRefused
            If there is no common ground, or the caller's certificate does not do; the connection is closed.
        """
        connection.settimeout(seconds)
        context = self._context()
        secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return _shaken(secured)


class ClientTls:
    """Our side of TLS as the caller.

    Parameters
    ----------
    own : TlsConfig
        The certificate we show, where there is one.
    ca_file : Path
        Root certificates of those we call.
    check_host : bool
        Whether their certificate must name the host we called.

    Raises
    ------
    ConfigurationError
        If a file cannot be used.
    """

    def __init__(self, own: TlsConfig, ca_file: Path, *, check_host: bool) -> None:
        self._check_host = check_host
        files = (own.certificate_file, own.key_file, ca_file)
        self._context = _Followed(files, lambda: _client_context(own, ca_file, check_host=check_host))

    def secure(self, connection: socket.socket, host: str) -> ssl.SSLSocket:
        """Shake hands; the socket given is taken over.

        Raises
        ------
        TlsRefused
            If there is no common ground, or the certificate does not do; the connection is closed.
        """
        name = host if self._check_host else None
        return _shaken(self._context().wrap_socket(connection, server_hostname=name, do_handshake_on_connect=False))

    def for_pynetdicom(self, host: str) -> tuple[ssl.SSLContext, str | None]:
        """Return what pynetdicom takes as ``tls_args``."""
        return self._context(), host if self._check_host else None


def server_tls(node: NodeConfig) -> ServerTls | None:
    """Return the TLS of the node as configured, None without a certificate.

    Raises
    ------
    ConfigurationError
        If a file cannot be used.
    """
    return ServerTls(node.tls) if node.tls.certificate_file is not None else None


def client_tls(node: NodeConfig, called: Peer | Destination) -> ClientTls | None:
    """Return how to call a peer or destination by TLS, None if it is called without.

    Raises
    ------
    ConfigurationError
        If a file is missing or cannot be used.
    """
    if not called.tls:
        return None
    roots = called.ca_file or node.tls.ca_file
    if roots is None:
        raise ConfigurationError(f"'{called.ae_title}' is called by TLS and needs a ca_file")
    return ClientTls(node.tls, roots, check_host=called.check_host)


def speaks_tls(connection: socket.socket, seconds: float) -> bool:
    """Whether the first byte that comes opens a TLS handshake; nothing is taken from the connection.

    Raises
    ------
    OSError
        If nothing comes in time.
    """
    connection.settimeout(seconds)
    return connection.recv(1, socket.MSG_PEEK) == _HELLO


def part(connection: ssl.SSLSocket) -> None:
    """Close with a goodbye, so that the peer knows that nothing was cut off."""
    with suppress(OSError, ValueError):
        connection.settimeout(_GOODBYE_SECONDS)
        connection.unwrap()
    with suppress(OSError):
        connection.close()


def sentence(error: OSError) -> str:
    """Return what a failed handshake means, for an administrator; free of what the certificate says."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not do: {error.verify_message or 'it cannot be checked'}"
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return "it broke off the TLS handshake, as a program does that accepts no certificate or version of ours"
    if isinstance(error, TimeoutError):
        return "it did not finish the TLS handshake in time"
    reason = getattr(error, "reason", "") or ""
    return _REASONS.get(reason, f"the TLS handshake failed ({reason or type(error).__name__})")


def raise_refused(name: str, refused: TlsRefused) -> PeerRejected:
    """Return the error of a node that was called and with which TLS did not come about."""
    return PeerRejected(f"{name} was called by TLS: {refused}", code="TLS_REFUSED")


class _Followed:
    """An SSL context that is made anew when one of its files has changed; the old one stays if that fails."""

    def __init__(self, files: tuple[Path | None, ...], make: Callable[[], ssl.SSLContext]) -> None:
        self._files = tuple(file for file in files if file is not None)
        self._make = make
        self._lock = threading.Lock()
        self._stamps = self._look()
        try:
            self._context = make()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"TLS cannot be used: {_file_fault(error)}", code="TLS_FILES") from None

    def __call__(self) -> ssl.SSLContext:
        with self._lock:
            stamps = self._look()
            if stamps != self._stamps:
                self._stamps = stamps
                try:
                    self._context = self._make()
                    logger.info("the TLS files have changed and were read again")
                except (OSError, ValueError) as error:
                    logger.error(
                        "the TLS files have changed and cannot be used, so the former ones stay: %s", _file_fault(error)
                    )
            return self._context

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        found = []
        for file in self._files:
            try:
                seen = file.stat()
                found.append((seen.st_mtime_ns, seen.st_size, seen.st_ino))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)


def _server_context(settings: TlsConfig) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER, settings)
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED if settings.require_client_certificate else ssl.CERT_OPTIONAL
    return context


def _client_context(own: TlsConfig, ca_file: Path, *, check_host: bool) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_CLIENT, own)
    context.check_hostname = check_host
    context.load_verify_locations(ca_file)
    return context


def _context(protocol: int, own: TlsConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = MINIMUM_VERSION
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    if own.certificate_file is not None:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(own.certificate_file, own.key_file, password="")
    return context


def _shaken(secured: ssl.SSLSocket) -> ssl.SSLSocket:
    try:
        secured.do_handshake()
    except OSError as error:
        _close_unshaken(secured)
        raise TlsRefused(sentence(error)) from None
    return secured


def _close_unshaken(secured: ssl.SSLSocket) -> None:
    """Close so that the peer gets the alert: bytes unread at close would reset the connection over it."""
    with suppress(OSError):
        secured.settimeout(_GOODBYE_SECONDS)
        socket.socket.shutdown(secured, socket.SHUT_WR)
        for _ in range(16):
            if not socket.socket.recv(secured, 65536):
                break
    with suppress(OSError):
        secured.close()


def _file_fault(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | PermissionError):
        return "a file of node.tls, or a ca_file, is missing or cannot be read"
    reason = getattr(error, "reason", "") or ""
    if reason == "KEY_VALUES_MISMATCH":
        return "node.tls.key_file is not the key of node.tls.certificate_file"
    return "a file of node.tls, or a ca_file, is no PEM file, or the key needs a passphrase"
