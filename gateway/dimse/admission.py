"""Who may associate: the policy of the node, with a sentence for the administrator whenever somebody may not."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from gateway.config import NodeConfig, Peer
from gateway.dimse.contexts import STORAGE_CLASSES, TRANSFER_SYNTAXES, choose_transfer_syntax
from gateway.dimse.pdu import AssociateRequest, associate_rj


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


def refusal(
    node: NodeConfig, request: AssociateRequest, address: str, *, active: int, is_secured: bool = False
) -> Refusal | None:
    """Return why a request is refused, None when it is welcome.

    Parameters
    ----------
    node : NodeConfig
        The node's configuration.
    request : AssociateRequest
        What was asked for.
    address : str
        The caller's IP address.
    active : int
        Associations that are open now.
    is_secured : bool
        Whether it came by TLS.
    """
    who = f"'{request.calling_aet}' at {address}"
    titles = (node.ae_title, *node.more_ae_titles)
    if request.called_aet not in titles:
        answers = ", ".join(titles)
        return Refusal(
            result=1,
            source=1,
            reason=7,
            sentence=f"{who} was refused: it called '{request.called_aet}', and this node answers to {answers}. "
            "Correct the called AE title there, or add it to node.more_ae_titles",
        )
    if node.tls.certificate_file is not None and not node.tls.also_plain and not is_secured:
        return _refused_for_good(
            f"{who} was refused: it called without TLS. Let it use TLS, or set node.tls.also_plain: true"
        )
    if node.peers:
        named = [peer for peer in node.peers if peer.ae_title == request.calling_aet]
        if not named:
            return Refusal(
                result=1,
                source=1,
                reason=3,
                sentence=f"{who} was refused: its AE title is not among node.peers. "
                f"Add '- ae_title: {request.calling_aet}' there to let it in",
            )
        if not any(_may_come_from(peer, address) for peer in named):
            return Refusal(
                result=1,
                source=1,
                reason=3,
                sentence=f"{who} was refused: node.peers expects {request.calling_aet} at {named[0].host}. "
                "Correct 'host' of this peer, or leave it empty to accept any address",
            )
        if not is_secured and all(peer.tls for peer in named):
            return _refused_for_good(
                f"{who} was refused: it called without TLS, and node.peers has 'tls: true' for {request.calling_aet}"
            )
    if active >= node.maximum_associations:
        return Refusal(
            result=2,
            source=3,
            reason=2,
            sentence=f"{who} was refused for now: {active} associations are open, and node.maximum_associations "
            f"is {node.maximum_associations}",
        )
    return None


def _refused_for_good(sentence: str) -> Refusal:
    """Return a permanent refusal by the service user that gives no reason on the wire."""
    return Refusal(result=1, source=1, reason=1, sentence=sentence)


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
