"""User identity as an association negotiates it: a user name, with or without a passcode.

References
----------
PS3.7 D.3.3.7, Tables D.3-14 and D.3-15.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

USERNAME: Final = 1
USERNAME_AND_PASSCODE: Final = 2
#: Item type of a request, and of the answer that an acceptor gives to one that asks for it.
REQUEST_ITEM: Final = 0x58
RESPONSE_ITEM: Final = 0x59
#: An answer to a user name holds nothing.
EMPTY_RESPONSE: Final = b"\x00\x00"

_HEAD: Final = Struct(">BBH")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserIdentity:
    """Who a requestor says it is.

    Parameters
    ----------
    kind : int
        1 user name, 2 with passcode, 3 Kerberos, 4 SAML, 5 JSON web token.
    wants_response : bool
        Whether it asks for an answer.
    username, passcode : bytes
        UTF-8; never shown.
    """

    kind: int
    wants_response: bool = False
    username: bytes = field(default=b"", repr=False)
    passcode: bytes = field(default=b"", repr=False)

    @property
    def is_name(self) -> bool:
        """Whether it is a user name, which is what this node can check."""
        return self.kind in (USERNAME, USERNAME_AND_PASSCODE)

    def encode(self) -> bytes:
        """Return the value of the request item."""
        head = _HEAD.pack(self.kind, int(self.wants_response), len(self.username))
        return head + self.username + len(self.passcode).to_bytes(2, "big") + self.passcode

    def is_that_of(self, username: str, passcode: str) -> bool:
        """Whether name and passcode are these; an empty passcode is not checked. Takes as long for a near miss."""
        is_user = hmac.compare_digest(self.username, username.encode())
        is_passcode = not passcode or hmac.compare_digest(self.passcode, passcode.encode())
        return self.is_name and is_user and is_passcode


def parse_user_identity(value: bytes) -> UserIdentity | None:
    """Parse the value of a request item; None if its lengths do not fit."""
    if len(value) < _HEAD.size + 2:
        return None
    kind, wants_response, length = _HEAD.unpack_from(value)
    username, rest = value[_HEAD.size : _HEAD.size + length], value[_HEAD.size + length :]
    if len(rest) < 2 or len(rest) - 2 != int.from_bytes(rest[:2], "big"):
        return None
    return UserIdentity(kind=kind, wants_response=bool(wants_response), username=username, passcode=rest[2:])


def named_user(username: str, passcode: str) -> UserIdentity:
    """Return the identity we give as a requestor."""
    kind = USERNAME_AND_PASSCODE if passcode else USERNAME
    return UserIdentity(kind=kind, username=username.encode(), passcode=passcode.encode())
