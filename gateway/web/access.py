"""Who calls, and what they may do: users by token file, a signed cookie for pages, else user ``local``."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from gateway.config import Config, User
from gateway.domain.errors import ConfigurationError
from gateway.web.problems import NotAllowed, NotSignedIn

#: Name of the sign-in cookie.
COOKIE = "overread_session"
#: How long a sign-in lasts.
SESSION_LENGTH = timedelta(hours=12)
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Permission(StrEnum):
    """What a caller may do."""

    READ = "READ"
    TAKE = "TAKE"
    SEND = "SEND"
    DECIDE = "DECIDE"
    RESOLVE = "RESOLVE"
    OPERATE = "OPERATE"


P = Permission
_READER = frozenset({P.READ, P.TAKE, P.SEND})
_REVIEWER = _READER | {P.DECIDE, P.RESOLVE}

#: What each role may do.
ROLES: Mapping[str, frozenset[Permission]] = {
    "reader": _READER,
    "reviewer": _REVIEWER,
    "admin": _REVIEWER | {P.OPERATE},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A caller: name as the audit trail has it, and role."""

    name: str
    role: str

    def may(self, permission: Permission) -> bool:
        """Whether the role has this permission."""
        return permission in ROLES[self.role]

    def require(self, permission: Permission) -> None:
        """Refuse what the role does not have.

        Raises
        ------
        NotAllowed
            If it has not.
        """
        if not self.may(permission):
            raise NotAllowed(f"a {self.role} may not do this: the permission {permission} is needed")


#: Who acts when no users are configured; only loopback is served then.
LOCAL = Identity(name="local", role="admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a request says about its caller: the headers Authorization, Cookie's session and the client's address."""

    authorization: str
    session: str
    client_host: str


class Gatekeeper:
    """Decide who a caller is.

    Parameters
    ----------
    users : mapping of str to (Identity, str)
        Identity and token by name; empty when none are configured.
    """

    def __init__(self, users: Mapping[str, tuple[Identity, str]]) -> None:
        self._users = users

    @classmethod
    def of(cls, config: Config) -> Gatekeeper:
        """Read the token files.

        Raises
        ------
        ConfigurationError
            If one cannot be read or is empty.
        """
        return cls({user.name: (Identity(name=user.name, role=user.role), _token(user)) for user in config.web.users})

    @property
    def is_local(self) -> bool:
        """Whether no users are configured."""
        return not self._users

    def identify(self, credentials: Credentials, now: datetime) -> Identity:
        """Return the caller.

        Raises
        ------
        NotSignedIn
            If a token or session is missing or wrong.
        NotAllowed
            If no users are configured and the caller is not on this machine.
        """
        if self.is_local:
            if not is_loopback(credentials.client_host):
                raise NotAllowed("no users are configured (web.users), so only this machine is served")
            return LOCAL
        kind, _, token = credentials.authorization.partition(" ")
        if kind.lower() == "bearer":
            return self._by_token(token.strip())
        if kind.lower() == "basic":
            return self._by_basic(token.strip())
        if credentials.session:
            return self._by_session(credentials.session, now)
        raise NotSignedIn("a bearer token or a sign-in is needed")

    def sign_in(self, name: str, token: str, now: datetime) -> str:
        """Return the value of a session cookie.

        Raises
        ------
        NotSignedIn
            If name and token do not fit.
        """
        known = self._users.get(name)
        if not _equal(token, known[1] if known else "") or known is None:
            raise NotSignedIn("name and token do not fit")
        expires = int((now + SESSION_LENGTH).timestamp())
        who = base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")
        return f"{who}.{expires}.{_signature(known[1], name, expires)}"

    def _by_token(self, token: str) -> Identity:
        found = [identity for identity, known in self._users.values() if _equal(token, known)]
        if not found:
            raise NotSignedIn("the token is not known")
        return found[0]

    def _by_basic(self, encoded: str) -> Identity:
        # DICOMweb clients and PACS speak Basic rather than Bearer.
        try:
            name, _, token = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise NotSignedIn("the Authorization header cannot be read") from None
        known = self._users.get(name)
        if not _equal(token, known[1] if known else "") or known is None:
            raise NotSignedIn("name and token do not fit")
        return known[0]

    def _by_session(self, value: str, now: datetime) -> Identity:
        try:
            who, expires, signature = value.split(".")
            name = base64.urlsafe_b64decode(who + "=" * (-len(who) % 4)).decode()
            until = int(expires)
        except (ValueError, binascii.Error):
            raise NotSignedIn("sign in again") from None
        known = self._users.get(name)
        if known is None or not hmac.compare_digest(signature, _signature(known[1], name, until)):
            raise NotSignedIn("sign in again")
        if now.timestamp() > until:
            raise NotSignedIn("the sign-in has expired: sign in again")
        return known[0]


def http_bind(config: Config) -> str:
    """Return the address the HTTP server listens on: loopback only while no users are configured."""
    return config.node.bind if config.web.users else "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Whether an address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOOPBACK_NAMES


def require_local_host(host_header: str) -> None:
    """Refuse a Host header that is not this machine: a foreign name that resolves to loopback is DNS rebinding.

    Raises
    ------
    NotAllowed
        If it is not.
    """
    name = urlsplit(f"//{host_header}").hostname or ""
    if name not in _LOOPBACK_NAMES:
        raise NotAllowed("the Host header is not this machine's loopback name; configure web.users to serve others")


def require_same_origin(method: str, *, origin: str, host_header: str, has_cookie: bool) -> None:
    """Refuse a change that another site's page asks for.

    Browsers send Origin with every request that may change something; programs send none and no cookie either.

    Raises
    ------
    NotAllowed
        If the request comes from another origin.
    """
    if method in SAFE_METHODS:
        return
    if not origin:
        if has_cookie:
            raise NotAllowed("a signed-in browser must send the Origin header")
        return
    if urlsplit(origin).netloc.lower() != host_header.lower():
        raise NotAllowed("the request comes from a page of another site")


def _token(user: User) -> str:
    try:
        token = user.token_file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"web.users: the token file of user '{user.name}' cannot be read") from None
    if not token:
        raise ConfigurationError(f"web.users: the token file of user '{user.name}' is empty")
    return token


def _equal(given: str, known: str) -> bool:
    return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(known.encode()).digest())


def _signature(token: str, name: str, expires: int) -> str:
    key = hashlib.sha256(b"overread-session\0" + token.encode()).digest()
    return hmac.new(key, f"{name}\0{expires}".encode(), hashlib.sha256).hexdigest()
