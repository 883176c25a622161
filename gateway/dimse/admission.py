"""Who may associate: the policy of the node, with a sentence for the administrator whenever somebody may not."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import Enum

from gateway.config import NodeConfig, Peer
from gateway.dimse.contexts import STORAGE_CLASSES, TRANSFER_SYNTAXES, choose_transfer_syntax
from gateway.dimse.pdu import AssociateRequest, associate_rj
from gateway.domain.errors import ConfigurationError
from gateway.services.password_file import read_password


class Rejection(Enum):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21), and when we answer so."""

    CALLED_TITLE = ((1, 1, 7), "the called AE title is none of ours, or none that this caller may call")
    CALLING_TITLE = ((1, 1, 3), "the calling AE title is not listed, or calls from another address than listed")
    NO_REASON = ((1, 1, 1), "it called without TLS, or without the user name and passcode that are asked of it")
    LOCAL_LIMIT = ((2, 3, 2), "as many associations as allowed, in all or of this caller, are open")

    @property
    def answer(self) -> tuple[int, int, int]:
        """Result, source and reason."""
        return self.value[0]

    @property
    def meaning(self) -> str:
        """When we answer so."""
        return self.value[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why an association is refused.

    Parameters
    ----------
    result, source, reason : int
        As A-ASSOCIATE-RJ carries them, PS3.8 Table 9-21.
    sentence : str
        Who was refused, why, and which line of the configuration would allow it.
    """

    result: int
    source: int
    reason: int
    sentence: str

    def encode(self) -> bytes:
        """Return the A-ASSOCIATE-RJ."""
        return associate_rj(result=self.result, source=self.source, reason=self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks for an association.

    Parameters
    ----------
    request : AssociateRequest
        What was asked for.
    address : str
        Its IP address.
    active : int
        Associations that are open now.
    active_of_it : int
        Those of this calling AE title.
    is_secured : bool
        Whether it came by TLS.
    """

    request: AssociateRequest
    address: str
    active: int = 0
    active_of_it: int = 0
    is_secured: bool = False

    @property
    def name(self) -> str:
        """For sentences."""
        return f"'{self.request.calling_aet}' at {self.address}"


def peer_of(node: NodeConfig, request: AssociateRequest) -> Peer | None:
    """Return the configured peer that a request names as its caller, None if there is none."""
    return next((peer for peer in node.peers if peer.ae_title == request.calling_aet), None)


def refusal(node: NodeConfig, caller: Caller) -> Refusal | None:
    """Return why a request is refused, None when it is welcome.

    Parameters
    ----------
    node : NodeConfig
        The node's configuration.
    caller : Caller
        Who asks, for what, and how.
    """
    titles = (node.ae_title, *node.more_ae_titles)
    called = caller.request.called_aet
    if called not in titles:
        return _refused(
            Rejection.CALLED_TITLE,
            f"{caller.name} was refused: it called '{called}', and this node answers to {', '.join(titles)}. "
            "Correct the called AE title there, or add it to node.more_ae_titles",
        )
    if _must_be_secured(node) and not caller.is_secured:
        return _refused(
            Rejection.NO_REASON,
            f"{caller.name} was refused: it called without TLS. Let it use TLS, or set node.tls.also_plain: true",
        )
    if node.peers:
        refused = _refusal_of_peer(peer_of(node, caller.request), caller)
        if refused is not None:
            return refused
    if caller.active >= node.maximum_associations:
        return _refused(
            Rejection.LOCAL_LIMIT,
            f"{caller.name} was refused for now: {caller.active} associations are open, and node.maximum_associations "
            f"is {node.maximum_associations}",
        )
    return None


def _must_be_secured(node: NodeConfig) -> bool:
    return node.tls.certificate_file is not None and node.tls.port is None and not node.tls.also_plain


def _refusal_of_peer(peer: Peer | None, caller: Caller) -> Refusal | None:
    title = caller.request.calling_aet
    if peer is None:
        return _refused(
            Rejection.CALLING_TITLE,
            f"{caller.name} was refused: its AE title is not among node.peers. "
            f"Add '- ae_title: {title}' there to let it in",
        )
    if not _may_come_from(peer, caller.address):
        return _refused(
            Rejection.CALLING_TITLE,
            f"{caller.name} was refused: node.peers expects {title} at {peer.host}. "
            "Correct 'host' of this peer, or leave it empty to accept any address",
        )
    if peer.tls and not caller.is_secured:
        return _refused(
            Rejection.NO_REASON,
            f"{caller.name} was refused: it called without TLS, and node.peers has 'tls: true' for {title}",
        )
    if peer.may_call and caller.request.called_aet not in peer.may_call:
        return _refused(
            Rejection.CALLED_TITLE,
            f"{caller.name} was refused: it called '{caller.request.called_aet}', and node.peers lets {title} call "
            f"{', '.join(peer.may_call)}. Add the title to 'may_call' of this peer",
        )
    if peer.maximum_associations is not None and caller.active_of_it >= peer.maximum_associations:
        return _refused(
            Rejection.LOCAL_LIMIT,
            f"{caller.name} was refused for now: {caller.active_of_it} associations of it are open, and node.peers has "
            f"'maximum_associations: {peer.maximum_associations}' for {title}",
        )
    return _refusal_of_user(peer, caller) if peer.username else None


def _refusal_of_user(peer: Peer, caller: Caller) -> Refusal | None:
    user, why = caller.request.user, ""
    try:
        passcode = read_password(peer.password_file, f"peer '{peer.ae_title}'")
    except ConfigurationError as error:
        return _refused(Rejection.NO_REASON, f"{caller.name} was refused: {error.detail}")
    if user is None:
        why = "it gave no user name, and node.peers has one for it. Let it negotiate user identity with that name"
    elif not user.is_name:
        why = "it gave a ticket or token as its user identity, and this node can check user name and passcode only"
    elif not user.is_that_of(peer.username, passcode):
        why = "the user name or passcode it gave is not that of node.peers (username, password_file)"
    return _refused(Rejection.NO_REASON, f"{caller.name} was refused: {why}") if why else None


def _refused(rejection: Rejection, sentence: str) -> Refusal:
    result, source, reason = rejection.answer
    return Refusal(result=result, source=source, reason=reason, sentence=sentence)


def accepted_contexts(request: AssociateRequest, offered: frozenset[str]) -> list[tuple[str, str]]:
    """Return SOP class and chosen transfer syntax of every presentation context that is accepted."""
    chosen = ((c.abstract_syntax, choose_transfer_syntax(c.transfer_syntaxes)) for c in request.contexts)
    return [(sop_class, syntax) for sop_class, syntax in chosen if sop_class in offered and syntax is not None]


def refused_contexts(request: AssociateRequest, offered: frozenset[str] = STORAGE_CLASSES) -> list[str]:
    """Return a sentence for every presentation context that cannot be accepted.

    Parameters
    ----------
    request : AssociateRequest
        What was asked for.
    offered : frozenset of str
        SOP classes the node offers.
    """
    sentences = []
    for context in request.contexts:
        if context.abstract_syntax not in offered:
            sentences.append(f"SOP class {context.abstract_syntax} is not offered by this node")
        elif choose_transfer_syntax(context.transfer_syntaxes) is None:
            proposed = ", ".join(context.transfer_syntaxes)
            sentences.append(
                f"SOP class {context.abstract_syntax} was proposed only with transfer syntaxes that cannot be decoded "
                f"here ({proposed}); let the sender propose one of {', '.join(TRANSFER_SYNTAXES)}"
            )
    return sentences


def _may_come_from(peer: Peer, address: str) -> bool:
    if not peer.host or peer.host == address:
        return True
    try:
        resolved = socket.getaddrinfo(peer.host, None)
    except OSError:
        return False
    return address in {str(entry[4][0]) for entry in resolved}
