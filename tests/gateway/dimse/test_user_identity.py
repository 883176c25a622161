"""User names and passcodes: asked of callers, given to destinations, never shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from gateway.config import Config
from gateway.dimse.archive import archive_of
from gateway.dimse.pdu import HEADER, AssociateRequest, ProposedContext, encode_associate_rq, parse_associate_rq
from gateway.dimse.remotes import remote_node
from gateway.dimse.scu import echo
from gateway.dimse.user_identity import UserIdentity, named_user, parse_user_identity
from gateway.domain.errors import PeerRejected
from tests.support.dcmtk_peer import run_scu
from tests.support.instances import make_instance
from tests.support.receiving import ReceivingFolder
from tests.support.requestor import call

STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
VERIFICATION = "1.2.840.10008.1.1"
_TEXT = st.text(st.characters(max_codepoint=0x24F), max_size=20)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    secret = tmp_path / "passcode"
    secret.write_text("geheim\n")
    peers = [
        {"ae_title": "NAMED", "username": "mra"},
        {"ae_title": "SECRET", "username": "Zoë", "password_file": secret},
        {"ae_title": "LOST", "username": "x", "password_file": tmp_path / "nowhere"},
        {"ae_title": "FREE"},
    ]
    folder = ReceivingFolder(tmp_path / "data")
    folder.upload(make_instance(1))
    archive = archive_of(Config(), folder.database, folder.blobs, folder.clock)
    with folder.node(archive=archive, peers=peers) as (_, port):
        yield port


def _identity(username: str, passcode: str = "", *, kind: int = 2, response: bool = False) -> UserIdentityNegotiation:
    identity = UserIdentityNegotiation()
    identity.user_identity_type = kind
    identity.positive_response_requested = response
    identity.primary_field = username.encode()
    identity.secondary_field = passcode.encode()
    return identity


@pytest.mark.parametrize(
    ("calling", "identity", "words"),
    [
        ("NAMED", None, "it gave no user name"),
        ("NAMED", _identity("other", kind=1), "is not that of node.peers"),
        ("NAMED", _identity("mra", kind=1), ""),
        ("NAMED", _identity("mra", "whatever"), ""),
        ("NAMED", _identity("mra", kind=3), "user name and passcode only"),
        ("SECRET", _identity("Zoë", "geheim"), ""),
        ("SECRET", _identity("Zoë", "wrong"), "is not that of node.peers"),
        ("SECRET", _identity("Zoë", kind=1), "is not that of node.peers"),
        ("LOST", _identity("x", "y"), "password file of peer 'LOST' cannot be read"),
        ("FREE", _identity("anybody", "anything"), ""),
    ],
)
@pytest.mark.parametrize("sop_class", [VERIFICATION, STUDY_FIND], ids=["fast lane", "services lane"])
def test_a_caller_gives_the_name_and_passcode_that_are_asked_of_it(
    port: int, calling: str, identity: UserIdentityNegotiation | None, words: str, sop_class: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    ae = AE(calling)
    ae.add_requested_context(sop_class)
    extended = [identity] if identity else []
    association = call(ae, port, ext_neg=extended)
    if words:
        assert association.is_rejected
        # The refusal is sent before it is logged.
        until = time.monotonic() + 10
        while not any(words in record.getMessage() for record in caplog.records):
            assert time.monotonic() < until, "nothing was said"
            time.sleep(0.02)
        said = [record.getMessage() for record in caplog.records]
        assert any(words in text and f"'{calling}'" in text for text in said)
        assert not any("geheim" in text or "wrong" in text for text in said)
    else:
        assert association.is_established
        association.release()


@pytest.mark.peer
def test_dcmtk_that_wants_its_user_confirmed_gets_that(port: int, tmp_path: Path) -> None:
    file = tmp_path / "1.dcm"
    file.write_bytes(make_instance(2))
    user = ["-usr", "Zoë", "-pwd", "geheim", "-rsp", "-aet", "SECRET", "-aec", "OVERREAD"]
    sent = run_scu("storescu", *user, "127.0.0.1", port, file)
    assert sent.returncode == 0, sent.stderr


def test_a_caller_of_queries_that_wants_its_user_confirmed_gets_that(port: int) -> None:
    ae = AE("SECRET")
    ae.add_requested_context(STUDY_FIND)
    identity = _identity("Zoë", "geheim", response=True)
    association = call(ae, port, ext_neg=[identity])
    assert association.is_established
    response = association.acceptor.user_identity
    association.release()
    assert response is not None


def test_we_give_a_destination_the_name_it_was_configured_with(port: int, tmp_path: Path) -> None:
    secret = tmp_path / "ours"
    for passcode, is_right in (("geheim", True), ("falsch", False)):
        secret.write_text(passcode)
        destination = {
            "name": "D", "kind": "dicom", "ae_title": "OVERREAD", "host": "127.0.0.1", "port": port,
            "username": "Zoë", "password_file": secret,
        }  # fmt: skip
        config = Config.model_validate({"node": {"ae_title": "SECRET"}, "destinations": [destination]})
        remote = remote_node(config.node, config.destinations[0])
        assert passcode not in repr(remote)
        if is_right:
            echo(remote)
        else:
            with pytest.raises(PeerRejected, match="wrong user name or passcode"):
                echo(remote)


@given(username=_TEXT, passcode=_TEXT, wants=st.booleans())
@settings(deadline=None, max_examples=25)
def test_what_is_encoded_is_read_back(username: str, passcode: str, wants: bool) -> None:
    user = named_user(username, passcode)
    contexts = [ProposedContext(context_id=1, abstract_syntax=VERIFICATION, transfer_syntaxes=("1.2.840.10008.1.2",))]
    encoded = encode_associate_rq(
        called_aet="A", calling_aet="B", contexts=contexts, implementation=("1.2.3", "X"), user=user
    )
    read = parse_associate_rq(encoded[HEADER.size :])
    assert isinstance(read, AssociateRequest)
    assert read.user == user
    assert user.is_that_of(username, passcode)
    asking = UserIdentity(kind=2, wants_response=wants, username=user.username, passcode=user.passcode)
    assert parse_user_identity(asking.encode()) == asking


@given(value=st.binary(max_size=30))
@settings(deadline=None, max_examples=50)
def test_bytes_that_do_not_fit_are_no_identity_and_no_error(value: bytes) -> None:
    found = parse_user_identity(value)
    assert found is None or found.encode() == value or value[1] not in (0, 1)
