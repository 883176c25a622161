"""Who may call, and the sentence an administrator reads when somebody may not."""

from __future__ import annotations

import pytest

from gateway.config import NodeConfig, Peer
from gateway.dimse.admission import Caller, refusal, refused_contexts
from gateway.dimse.pdu import AssociateRequest, ProposedContext

CT = "1.2.840.10008.5.1.4.1.1.2"


def _request(called: str = "OVERREAD", calling: str = "CT1", *contexts: tuple[str, str]) -> AssociateRequest:
    proposed = tuple(
        ProposedContext(context_id=2 * i + 1, abstract_syntax=abstract, transfer_syntaxes=(transfer,))
        for i, (abstract, transfer) in enumerate(contexts or ((CT, "1.2.840.10008.1.2.1"),))
    )
    return AssociateRequest(called_aet=called, calling_aet=calling, contexts=proposed)


def test_with_no_peers_listed_everybody_may_call() -> None:
    assert refusal(NodeConfig(), Caller(request=_request(calling="ANYBODY"), address="10.0.0.9")) is None


@pytest.mark.parametrize(
    ("settings", "request_", "address", "active", "code", "words"),
    [
        ({}, _request("OVEREAD"), "10.0.0.1", 0, (1, 1, 7), ["'CT1' at 10.0.0.1", "'OVEREAD'", "node.more_ae_titles"]),
        ({"peers": [{"ae_title": "MR1"}]}, _request(), "10.0.0.1", 0, (1, 1, 3), ["node.peers", "- ae_title: CT1"]),
        (
            {"peers": [{"ae_title": "CT1", "host": "10.0.0.2"}]},
            _request(),
            "10.0.0.1",
            0,
            (1, 1, 3),
            ["expects CT1 at 10.0.0.2", "'host'"],
        ),
        ({"maximum_associations": 3}, _request(), "10.0.0.1", 3, (2, 3, 2), ["node.maximum_associations is 3"]),
    ],
    ids=["called title", "unknown caller", "wrong address", "too many"],
)  # fmt: skip
def test_a_refusal_says_who_and_which_line_would_allow_it(
    settings: dict[str, object],
    request_: AssociateRequest,
    address: str,
    active: int,
    code: tuple[int, int, int],
    words: list[str],
) -> None:
    refused = refusal(NodeConfig.model_validate(settings), Caller(request=request_, address=address, active=active))
    assert refused is not None
    assert (refused.result, refused.source, refused.reason) == code
    assert refused.encode()[-3:] == bytes(code)
    for word in words:
        assert word in refused.sentence


def test_further_called_titles_are_answered_to() -> None:
    assert refusal(NodeConfig(more_ae_titles=("BRAIN",)), Caller(request=_request("BRAIN"), address="10.0.0.1")) is None


def test_a_listed_peer_may_call_from_its_address_given_by_name_or_number() -> None:
    for host in ("", "127.0.0.1", "localhost"):
        node = NodeConfig(peers=(Peer(ae_title="CT1", host=host),))
        assert refusal(node, Caller(request=_request(), address="127.0.0.1")) is None


def test_a_peer_whose_name_cannot_be_resolved_is_not_let_in() -> None:
    node = NodeConfig(peers=(Peer(ae_title="CT1", host="no.such.host.invalid"),))
    assert refusal(node, Caller(request=_request(), address="127.0.0.1")) is not None


def test_each_refused_context_is_explained() -> None:
    request = _request(
        "OVERREAD", "CT1", ("1.2.3", "1.2.840.10008.1.2"), (CT, "1.2.840.10008.1.2.4.100"), (CT, "1.2.840.10008.1.2")
    )
    not_offered, no_syntax = refused_contexts(request)
    assert "1.2.3 is not offered" in not_offered
    assert "1.2.840.10008.1.2.4.100" in no_syntax


@pytest.mark.parametrize(
    ("settings", "caller", "code", "words"),
    [
        ({"may_call": ["OVERREAD"]}, {"request": _request("STAT")}, (1, 1, 7), "'may_call'"),
        ({"may_call": ["STAT"]}, {"request": _request("STAT")}, None, ""),
        ({"maximum_associations": 2}, {"active": 9, "active_of_it": 2}, (2, 3, 2), "'maximum_associations: 2' for CT1"),
        ({"maximum_associations": 2}, {"active": 9, "active_of_it": 1}, None, ""),
        ({"tls": True}, {}, (1, 1, 1), "'tls: true' for CT1"),
        ({"tls": True}, {"is_secured": True}, None, ""),
    ],
)
def test_a_peer_has_titles_limits_and_tls_of_its_own(
    settings: dict[str, object], caller: dict[str, object], code: tuple[int, int, int] | None, words: str
) -> None:
    node = NodeConfig.model_validate({"more_ae_titles": ["STAT"], "peers": [{"ae_title": "CT1", **settings}]})
    refused = refusal(node, Caller(**{"request": _request(), "address": "10.0.0.1", **caller}))  # type: ignore[arg-type]
    assert (refused and (refused.result, refused.source, refused.reason)) == code
    assert refused is None or words in refused.sentence
