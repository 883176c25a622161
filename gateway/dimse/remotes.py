"""From the configuration to the nodes we call: address, TLS, and who we say we are."""

from __future__ import annotations

from gateway.config import Destination, NodeConfig, Peer
from gateway.dimse.scu import RemoteNode
from gateway.dimse.tls import client_tls
from gateway.dimse.user_identity import UserIdentity, named_user
from gateway.domain.errors import ConfigurationError
from gateway.services.password_file import read_password


def remote_node(node: NodeConfig, called: Peer | Destination, *, answer_seconds: float = 120.0) -> RemoteNode:
    """Return a peer or a destination of kind ``dicom`` as a node to call.

    Parameters
    ----------
    node : NodeConfig
        Our title and certificate.
    called : Peer or Destination
        Whom.
    answer_seconds : float
        How long to wait for a response.

    Raises
    ------
    ConfigurationError
        If AE title or host are missing, or a TLS or password file cannot be used.
    """
    if called.ae_title is None or not called.host:
        raise ConfigurationError("a DICOM node that is to be called needs ae_title and host")
    return RemoteNode(
        ae_title=called.ae_title,
        host=called.host,
        port=called.port,
        calling_aet=node.ae_title,
        answer_seconds=answer_seconds,
        tls=client_tls(node, called),
        user=_user(called),
    )


def _user(called: Peer | Destination) -> UserIdentity | None:
    """Return who we are to a destination; what a peer calls itself is for its own calls."""
    if not isinstance(called, Destination) or not called.username:
        return None
    return named_user(called.username, read_password(called.password_file, f"destination '{called.name}'"))
