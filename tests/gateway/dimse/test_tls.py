"""DICOM over TLS with dcmtk on the other side, both ways, and every way a certificate can be wrong."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom import AE

from gateway.commands.checks import run_checks
from gateway.config import Config, Destination, NodeConfig, TlsConfig
from gateway.dimse.archive import archive_of
from gateway.dimse.certificate_dates import valid_until
from gateway.dimse.remotes import remote_node
from gateway.dimse.scu import RemoteNode, RequestedAssociation, echo
from gateway.dimse.tls import ServerTls
from gateway.domain.errors import ConfigurationError, PeerRejected, PeerUnreachable
from gateway.services.part10 import file_layout
from gateway.store.tables import Instance
from tests.support.certificates import Authority, Certificate, make_authority
from tests.support.dcmtk_peer import run_scu, running_storescp
from tests.support.instances import EXPLICIT, MR, make_instance, uid
from tests.support.receiving import ReceivingFolder
from tests.support.requestor import call

STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"

pytestmark = pytest.mark.xdist_group("certificates")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"), "root")


@pytest.fixture(scope="module")
def ours(root: Authority) -> Certificate:
    return root.issue("ours")


@pytest.fixture(scope="module")
def theirs(root: Authority) -> Certificate:
    return root.issue("theirs")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_authority(tmp_path_factory.mktemp("other"), "elsewhere").issue("stranger")


def _tls(root: Authority, own: Certificate, **more: object) -> dict[str, object]:
    files = {"certificate_file": own.certificate, "key_file": own.key, "ca_file": root.root}
    return {**files, **more}


@pytest.fixture
def folder(tmp_path: Path) -> ReceivingFolder:
    return ReceivingFolder(tmp_path / "data")


@pytest.fixture
def port(folder: ReceivingFolder, root: Authority, ours: Certificate) -> Iterator[int]:
    config = Config()
    archive = archive_of(config, folder.database, folder.blobs, folder.clock)
    with folder.node(archive=archive, tls=_tls(root, ours)) as (_, port):
        yield port


def _wait_for(condition: Callable[[], object], seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def _as(root: Authority, shown: Certificate) -> list[object]:
    return ["+tls", shown.key, shown.certificate, "+cf", root.root]


# ------------------------------------------------------------------------------------------------ called
@pytest.mark.peer
@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"], ids=["non-downgrading", "BCP 195", "extended"])
def test_storescu_stores_by_tls_in_every_profile_of_bcp_195(
    folder: ReceivingFolder, port: int, root: Authority, theirs: Certificate, tmp_path: Path, profile: str
) -> None:
    file = tmp_path / "1.dcm"
    file.write_bytes(make_instance(1, side=300))
    sent = run_scu("storescu", *_as(root, theirs), profile, "-aec", "OVERREAD", "127.0.0.1", port, file)
    assert sent.returncode == 0, sent.stderr
    assert [row.sop_instance_uid for row in folder.rows(Instance)] == [uid("study", "series", 1)]


@pytest.mark.peer
def test_queries_and_echo_come_through_tls_too(
    folder: ReceivingFolder, port: int, root: Authority, theirs: Certificate
) -> None:
    folder.upload(make_instance(1))
    common = [*_as(root, theirs), "-aec", "OVERREAD"]
    assert run_scu("echoscu", *common, "127.0.0.1", port).returncode == 0
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"]
    found = run_scu("findscu", "-S", *common, *keys, "127.0.0.1", port)
    assert uid("study") in found.stdout + found.stderr


@pytest.mark.peer
def test_a_caller_without_a_certificate_of_ours_is_refused_in_a_sentence(
    port: int, root: Authority, strangers: Certificate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expired = root.issue("expired", days=-1)
    for shown, words in (
        (["+tla"], "showed no certificate"),
        (["+tls", strangers.key, strangers.certificate], "certificate does not do: unable to get local issuer"),
        (["+tls", expired.key, expired.certificate], "certificate does not do: certificate has expired"),
    ):
        refused = run_scu("echoscu", *shown, "-ic", "-aec", "OVERREAD", "127.0.0.1", port)
        assert refused.returncode != 0
        _wait_for(
            lambda words=words: any(words in r.getMessage() and "127.0.0.1" in r.getMessage() for r in caplog.records)
        )


def test_an_old_version_of_tls_is_not_fallen_back_to(port: int, caplog: pytest.LogCaptureFixture) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", port)) as connection:
        context.wrap_socket(connection).recv(1)
    _wait_for(lambda: any("TLS 1.2 or 1.3" in record.getMessage() for record in caplog.records))


def test_plain_dicom_is_refused_beside_tls_unless_it_is_allowed(
    folder: ReceivingFolder, port: int, root: Authority, ours: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    association = call(AE("PLAIN"), port, contexts=[_verification()])
    assert association.is_rejected
    _wait_for(
        lambda: any("'PLAIN'" in r.getMessage() and "node.tls.also_plain" in r.getMessage() for r in caplog.records)
    )
    peers = [{"ae_title": "SAFE", "tls": True}, {"ae_title": "PLAIN"}]
    with folder.node(tls=_tls(root, ours, also_plain=True), peers=peers) as (_, open_port):
        plain = call(AE("PLAIN"), open_port, contexts=[_verification()])
        assert plain.send_c_echo().Status == 0
        plain.release()
        assert call(AE("SAFE"), open_port, contexts=[_verification()]).is_rejected
    _wait_for(lambda: any("'tls: true' for SAFE" in record.getMessage() for record in caplog.records))


def test_tls_may_have_a_port_of_its_own_and_the_other_stays_plain(
    folder: ReceivingFolder, root: Authority, ours: Certificate, theirs: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    with folder.node(tls=_tls(root, ours, port=0)) as (node, port):
        assert node.tls_address is not None
        echo(_called(root, theirs, node.tls_address[1]))
        plain = call(AE("PLAIN"), port, contexts=[_verification()])
        assert plain.send_c_echo().Status == 0
        plain.release()
        with pytest.raises((PeerRejected, PeerUnreachable)):
            echo(_called(root, theirs, port))
        _wait_for(lambda: any("this port does not" in record.getMessage() for record in caplog.records))
        secured_only = call(AE("PLAIN"), node.tls_address[1], contexts=[_verification()])
        assert not secured_only.is_established
        _wait_for(lambda: any("does not speak TLS on this port" in record.getMessage() for record in caplog.records))


def _verification() -> object:
    from pynetdicom import build_context

    return build_context("1.2.840.10008.1.1")


def test_a_node_without_a_certificate_says_so_to_whom_speaks_tls(
    folder: ReceivingFolder, caplog: pytest.LogCaptureFixture
) -> None:
    with folder.node() as (_, port), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\x16\x03\x01\x00\xa5\x01")
        assert connection.recv(1) == b"\x07"
    _wait_for(lambda: any("see node.tls.certificate_file" in record.getMessage() for record in caplog.records))


def test_a_connection_that_stops_inside_the_handshake_is_let_go(
    port: int, root: Authority, theirs: Certificate
) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\x16\x03\x01\x00\xa5\x01\x00")
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        assert connection.recv(100) == b"" or connection.recv(100) == b""
    echo(_called(root, theirs, port))


def test_new_certificates_are_taken_without_a_restart_and_broken_ones_are_not(
    folder: ReceivingFolder, tmp_path: Path, root: Authority, ours: Certificate, theirs: Certificate,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    files = {"certificate_file": tmp_path / "c.pem", "key_file": tmp_path / "k.pem", "ca_file": root.root}
    expired = root.issue("expired2", days=-1)

    def lay(shown: Certificate) -> None:
        for source, target in ((shown.certificate, "c.pem"), (shown.key, "k.pem")):
            shutil.copy(source, tmp_path / f"new-{target}")
            (tmp_path / f"new-{target}").replace(tmp_path / target)

    lay(expired)
    with folder.node(tls=files) as (_, port):
        remote = _called(root, theirs, port)
        with pytest.raises(PeerRejected, match="certificate has expired") as refused:
            echo(remote)
        assert refused.value.code == "TLS_REFUSED"
        lay(ours)
        echo(remote)
        (tmp_path / "c.pem").write_text("no certificate")
        echo(remote)
    assert any("former ones stay" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key_file": "theirs"}, "is not the key of"),
        ({"certificate_file": "nowhere"}, "is missing"),
        ({"ca_file": "text"}, "no PEM file"),
    ],
)
def test_files_that_cannot_be_used_are_told_at_the_start(
    root: Authority, ours: Certificate, theirs: Certificate, tmp_path: Path, change: dict[str, str], words: str
) -> None:
    (tmp_path / "text").write_text("hello")
    files = {"theirs": theirs.key, "nowhere": tmp_path / "nowhere", "text": tmp_path / "text"}
    settings = _tls(root, ours, **{key: files[name] for key, name in change.items()})
    with pytest.raises(ConfigurationError, match=words) as refused:
        ServerTls(TlsConfig.model_validate(settings))
    assert refused.value.code == "TLS_FILES"


@pytest.mark.parametrize(
    ("days", "outcome", "words"),
    [(400, "ok", "is valid until"), (20, "note", "to renew it"), (-1, "FAIL", "expired")],
)
def test_check_says_until_when_our_certificate_is_valid(
    root: Authority, tmp_path: Path, days: int, outcome: str, words: str
) -> None:
    own = root.issue(f"valid{days}", days=days)
    text = f"node:\n  tls: {{certificate_file: {own.certificate}, key_file: {own.key}, ca_file: {root.root}}}\n"
    (tmp_path / "overread.yaml").write_text(text)
    [found] = [row for row in run_checks(tmp_path / "overread.yaml", None, peers=False) if row.name == "node.tls"]
    assert found.outcome == outcome
    assert words in found.detail
    expected = datetime.now(UTC) + timedelta(days=days)
    assert abs(valid_until(own.certificate) - expected) < timedelta(minutes=5)


@given(cut=st.integers(0, 900), changed=st.integers(0, 900), by=st.integers(1, 255))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_certificate_is_a_named_error_or_still_a_date(
    ours: Certificate, tmp_path: Path, cut: int, changed: int, by: int
) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert(ours.certificate.read_text()))
    der[changed % len(der)] ^= by
    damaged = tmp_path / "damaged.pem"
    damaged.write_text(ssl.DER_cert_to_PEM_cert(bytes(der[: len(der) - cut % 100])))
    with contextlib.suppress(ConfigurationError):
        assert valid_until(damaged).tzinfo is UTC


# ------------------------------------------------------------------------------------------------ calling
def _node(root: Authority, own: Certificate) -> NodeConfig:
    return NodeConfig.model_validate({"ae_title": "US", "tls": _tls(root, own)})


def _destination(port: int, *, ae_title: str = "OVERREAD", **settings: object) -> Destination:
    given = {"name": "D", "kind": "dicom", "ae_title": ae_title, "host": "127.0.0.1", "port": port, **settings}
    return Config.model_validate({"destinations": [given]}).destinations[0]


def _called(root: Authority, own: Certificate, port: int) -> RemoteNode:
    return remote_node(_node(root, own), _destination(port, tls=True))


@pytest.mark.peer
def test_storescp_gets_our_objects_by_tls_with_both_sides_proven(
    root: Authority, ours: Certificate, theirs: Certificate, tmp_path: Path
) -> None:
    content = make_instance(1, side=300)
    with (
        running_storescp(tmp_path / "got", [str(option) for option in _as(root, theirs)]) as scp,
        RequestedAssociation(_called(root, ours, scp.port), [(MR, (EXPLICIT,))]) as a,
    ):
        status = a.store(
            a.accepted(MR)[EXPLICIT],
            sop_class=MR,
            sop_instance=uid("study", "series", 1),
            dataset=content[file_layout(content).dataset_offset :],
        )
        assert status == 0
    [written] = (tmp_path / "got").iterdir()
    assert written.stat().st_size > 300 * 300 * 2


@pytest.mark.peer
def test_a_move_goes_to_its_destination_by_tls(
    folder: ReceivingFolder, root: Authority, ours: Certificate, theirs: Certificate, tmp_path: Path
) -> None:
    folder.upload(make_instance(1))
    with running_storescp(tmp_path / "moved", [str(option) for option in _as(root, theirs)]) as scp:
        peers = [{"ae_title": "SCP", "host": "127.0.0.1", "port": scp.port, "tls": True}, {"ae_title": "ME"}]
        config = Config.model_validate({"node": {"tls": _tls(root, ours, also_plain=True), "peers": peers}})
        archive = archive_of(config, folder.database, folder.blobs, folder.clock)
        with folder.node(archive=archive, tls=config.node.tls, peers=peers) as (_, port):
            keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid('study')}"]
            moved = run_scu("movescu", "-S", "-aet", "ME", "-aec", "OVERREAD", "-aem", "SCP", *keys, "127.0.0.1", port)
            assert moved.returncode == 0, moved.stderr
    assert len(list((tmp_path / "moved").iterdir())) == 1


@pytest.mark.peer
def test_a_node_we_call_that_cannot_be_trusted_is_refused_in_a_sentence(
    root: Authority, ours: Certificate, strangers: Certificate, tmp_path: Path
) -> None:
    with running_storescp(tmp_path / "a", ["+tls", str(strangers.key), str(strangers.certificate), "-ic"]) as scp:
        with pytest.raises(PeerRejected, match="its certificate does not do"):
            echo(_called(root, ours, scp.port))
        with pytest.raises((PeerRejected, PeerUnreachable)):
            echo(remote_node(_node(root, ours), _destination(scp.port)))


def test_a_node_that_does_not_take_our_certificate_is_explained(
    port: int, root: Authority, strangers: Certificate
) -> None:
    with pytest.raises(PeerRejected, match="does not accept our certificate"):
        echo(_called(root, strangers, port))
    without = NodeConfig.model_validate({"tls": {"ca_file": root.root}})
    with pytest.raises(PeerRejected, match="it wants a certificate of ours"):
        echo(remote_node(without, _destination(port, tls=True)))


def test_our_expected_count_is_asked_by_tls(
    folder: ReceivingFolder, port: int, root: Authority, theirs: Certificate
) -> None:
    folder.upload(make_instance(1))
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", uid("study")
    remote = _called(root, theirs, port)
    with RequestedAssociation(remote, [(STUDY_FIND, (EXPLICIT,))]) as association:
        assert [match.StudyInstanceUID for match in association.find(query)] == [uid("study")]
