"""The Orthanc client against a real Orthanc, and against addresses where none is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import orthanc
from orthanc import NEW_INSTANCE, OrthancClient, OrthancError, OrthancNotFound, OrthancRejected, OrthancUnreachable
from tests.support.instances import MR, make_instance, uid
from tests.support.orthanc_peer import OrthancPeer, running_orthanc
from tests.support.ports import free_port


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancPeer]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def client(peer: OrthancPeer) -> Iterator[OrthancClient]:
    with OrthancClient(peer.url) as opened:
        yield opened


@pytest.mark.peer
def test_an_instance_goes_in_is_found_and_comes_out_unchanged(client: OrthancClient) -> None:
    content = make_instance(1, pixels=b"abc")
    first, again = client.upload(content), client.upload(content)
    assert (first.was_there, again.was_there) == (False, True)
    assert client.find_instance(uid("study", "series", 1)) == first.resource_id == again.resource_id
    assert client.sop_class_of(first.resource_id) == MR
    assert client.instance_file(first.resource_id) == content


@pytest.mark.peer
def test_new_instances_are_in_the_change_feed_in_order(client: OrthancClient) -> None:
    before = client.last_change().last
    stored = [client.upload(make_instance(n, series="feed")).resource_id for n in range(3)]
    page = client.changes(before, 100)
    assert [change.resource_id for change in page.changes if change.kind == NEW_INSTANCE] == stored
    assert page.is_end
    assert page.last == page.changes[-1].sequence == client.last_change().last
    short = client.changes(before, 1)
    assert (len(short.changes), short.is_end) == (1, False)


@pytest.mark.peer
def test_what_is_not_there_is_not_found(client: OrthancClient) -> None:
    assert client.find_instance("1.2.3.4") is None
    with pytest.raises(OrthancNotFound):
        client.instance_file("no-such-resource")


@pytest.mark.peer
def test_a_file_that_is_no_dicom_is_rejected(client: OrthancClient) -> None:
    with pytest.raises(OrthancRejected):
        client.upload(b"hello")


@pytest.mark.peer
def test_policies_are_read_as_far_as_the_version_tells(client: OrthancClient) -> None:
    policies = client.policies()
    assert policies.ae_title == client.system()["DicomAet"] == "ORTHANC"
    assert policies.accepts_unknown_classes is True
    assert policies.known_titles is not None
    assert policies.version == client.system()["Version"]
    if "OverwriteInstances" not in client.system():
        assert (policies.overwrites, policies.recycles, policies.is_read_only) == (None, None, None)


@pytest.mark.peer
def test_a_wrong_password_is_rejected_and_not_quoted(tmp_path: Path) -> None:
    users = {"reader": "right"}
    with running_orthanc(tmp_path, users=users) as peer:
        with OrthancClient(peer.url, username="reader", password="right") as client:
            assert client.system()["DicomAet"] == "ORTHANC"
        with (
            OrthancClient(peer.url, username="reader", password="wrong") as client,
            pytest.raises(OrthancRejected) as caught,
        ):
            client.system()
    assert "wrong" not in caught.value.detail


def test_nobody_at_the_address_is_unreachable() -> None:
    with OrthancClient(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(OrthancUnreachable) as caught:
        client.system()
    assert caught.value.retryable


@pytest.mark.parametrize("error", [OrthancNotFound, OrthancRejected, OrthancUnreachable])
def test_every_error_is_an_orthanc_error_with_a_code(error: type[OrthancError]) -> None:
    assert issubclass(error, OrthancError)
    assert error.code.startswith("ORTHANC_")
    assert error("why").detail == "why"


def test_the_package_exports_few_names_and_all_are_there() -> None:
    assert len(set(orthanc.__all__)) == len(orthanc.__all__) <= 12
    assert all(hasattr(orthanc, name) for name in orthanc.__all__)
