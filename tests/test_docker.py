"""The composition's configuration, exercised without Docker: our loader, a real Orthanc with the routing script."""

from __future__ import annotations

import json
import os
import re
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import SegmentationStorage
from ruamel.yaml import YAML
from sqlalchemy import make_url
from sqlmodel import SQLModel

from gateway.client.sending import find_parcels, is_accepted, send_parcels
from gateway.config import NodeConfig
from gateway.config_file import load
from gateway.dimse.node import DicomNode
from gateway.dimse.scu import RemoteNode
from gateway.services.receive import Received, Receiver
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from tests.support.lab import toy_pipeline
from tests.support.make_series import make_mr_series
from tests.support.orthanc_peer import OrthancPeer, dicomweb_plugins, running_orthanc
from tests.support.postgres_peer import PASSWORD, running_postgres
from tests.support.running_gateway import running_gateway

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"
ORTHANC = json.loads((DOCKER / "orthanc" / "orthanc.json").read_text(encoding="utf-8"))
LONGEST_WAIT_S = 40.0
#: Where Debian's orthanc-python puts the plugin, and a place of one's own.
PYTHON_PLUGINS = tuple(
    Path(name)
    for name in (os.environ.get("ORTHANC_PYTHON_PLUGIN", ""), "/usr/share/orthanc/plugins/libOrthancPython.so")
    if name
)


@dataclass
class Archive:
    """Orthanc with the composition's settings and script, and what the gateway's node got from it."""

    orthanc: OrthancPeer
    received: list[Received]

    def wait_for(self, count: int) -> list[str]:
        until = time.monotonic() + LONGEST_WAIT_S
        while time.monotonic() < until and len(self.received) < count:
            time.sleep(0.1)
        return sorted(one.sop_instance_uid for one in self.received)

    def send(self, files: list[Path], *, calling: str) -> None:
        remote = RemoteNode(ae_title="ORTHANC", host="127.0.0.1", port=self.orthanc.dicom_port, calling_aet=calling)
        assert all(is_accepted(receipt) for receipt in send_parcels(find_parcels(files), remote))


def _routed_by(language: str) -> dict[str, object]:
    """Return the settings that load the routing script in one of its two languages."""
    if language == "lua":
        return {"LuaScripts": [str(DOCKER / "orthanc" / "routing.lua")]}
    plugin = next((path for path in PYTHON_PLUGINS if path.is_file()), None)
    if plugin is None:
        pytest.skip("Orthanc's Python plugin is not installed (apt install orthanc-python)")
    script = DOCKER / "orthanc" / "routing.py"
    return {"Plugins": [*dicomweb_plugins(), str(plugin)], "PythonScript": str(script), "LuaScripts": []}


@contextmanager
def _archive(folder: Path, language: str) -> Iterator[Archive]:
    database = Database.in_folder(folder)
    SQLModel.metadata.create_all(database.engine)
    received: list[Received] = []
    receiver = Receiver(database, BlobStore(folder / "blobs"), lambda: datetime.now(UTC), 0, received.append)
    node = DicomNode(NodeConfig(port=0, peers=_configuration(folder).node.peers), receiver, lambda _transfer: None)
    _, port = node.start()
    settings = {
        key: ORTHANC[key]
        for key in ORTHANC
        if key not in ("StorageDirectory", "IndexDirectory", "Plugins", "HttpPort", "DicomPort", "RemoteAccessAllowed")
    }
    settings |= _routed_by(language)
    settings["StableAge"] = 1
    settings["DicomModalities"] = {
        name: {**peer, "Host": "127.0.0.1", "Port": port} for name, peer in ORTHANC["DicomModalities"].items()
    }
    try:
        with running_orthanc(folder / "orthanc", settings=settings) as orthanc:
            yield Archive(orthanc, received)
    finally:
        node.stop(10)
        database.close()


def _configuration(folder: Path):
    """Load the composition's gateway configuration with a secret that is there."""
    (folder / "token").write_text("secret", encoding="utf-8")
    return load(
        DOCKER / "gateway" / "overread.yaml", environment={"OVERREAD_WEB__USERS__ADMIN__TOKEN_FILE": f"{folder}/token"}
    )


@pytest.fixture(scope="module", params=["lua", "python"])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with _archive(tmp_path_factory.mktemp("archive"), request.param) as running:
        yield running


def _uids(files: list[Path]) -> list[str]:
    return sorted(str(dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files)


def test_the_gateway_configuration_loads_and_its_names_are_those_of_the_composition(tmp_path: Path) -> None:
    config = _configuration(tmp_path)
    (destination,) = config.destinations
    assert (destination.ae_title, destination.port) == (ORTHANC["DicomAet"], ORTHANC["DicomPort"])
    assert [peer.ae_title for peer in config.node.peers] == [ORTHANC["DicomAet"]]
    (modality,) = ORTHANC["DicomModalities"].values()
    assert (modality["AET"], modality["Port"]) == (config.node.ae_title, config.node.port)
    services = set(
        re.findall(
            r"^  (\w+):$", (DOCKER / "compose.yaml").read_text(encoding="utf-8").partition("volumes:\n")[0], re.M
        )
    )
    assert {destination.host, modality["Host"]} <= services | {"gateway", "orthanc", "ohif"}


def test_every_file_that_an_image_copies_is_there() -> None:
    contexts = {"gateway": ROOT, "orthanc": DOCKER / "orthanc", "ohif": DOCKER / "ohif"}
    for name, context in contexts.items():
        lines = (DOCKER / name / "Dockerfile").read_text(encoding="utf-8").splitlines()
        copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
        for source in (part for parts in copied for part in parts):
            assert (context / source).exists(), (name, source)


@pytest.mark.peer
@pytest.mark.slow
def test_a_stable_image_series_is_forwarded_whole(archive: Archive, tmp_path: Path) -> None:
    archive.received.clear()
    files = make_mr_series(tmp_path, shape=(5, 16, 16), seed="scanner", study="scanner")
    archive.send(files, calling="SCANNER1")
    assert archive.wait_for(5) == _uids(files)


@pytest.mark.peer
@pytest.mark.slow
def test_a_segmentation_that_a_reader_saves_is_forwarded_and_one_that_the_gateway_delivers_is_not(
    archive: Archive, tmp_path: Path
) -> None:
    archive.received.clear()
    (delivered,) = make_mr_series(
        tmp_path / "delivered", shape=(1, 8, 8), seed="delivered", study="s", attributes=_as_segmentation("1")
    )
    (saved,) = make_mr_series(
        tmp_path / "saved", shape=(1, 8, 8), seed="saved", study="s", attributes=_as_segmentation("2")
    )
    archive.send([delivered], calling="OVERREAD")
    archive.orthanc.upload(saved.read_bytes())
    assert archive.wait_for(1) == _uids([saved])
    time.sleep(2)
    assert archive.wait_for(1) == _uids([saved])
    assert set(_uids([delivered, saved])) <= set(archive.orthanc.instances())


def _as_segmentation(number: str) -> dict[str, str]:
    """Make the header of a one-slice series say it is a SEG: the script looks at class and sender alone."""
    return {"SOPClassUID": SegmentationStorage, "Modality": "SEG", "SeriesNumber": number}


def test_both_routing_scripts_have_the_same_rules() -> None:
    lua = (DOCKER / "orthanc" / "routing.lua").read_text(encoding="utf-8")
    python = (DOCKER / "orthanc" / "routing.py").read_text(encoding="utf-8")
    for name in ("GATEWAY", "GATEWAY_AET"):
        (of_lua,), (of_python,) = (re.findall(rf"{name} = ['\"](\w+)['\"]", text) for text in (lua, python))
        assert of_lua == of_python
    assert re.findall(r"1\.2\.840[\d.]+", lua) == re.findall(r"1\.2\.840[\d.]+", python)
    modalities = re.findall(r"(\w+) = true", re.findall(r"IMAGE_MODALITIES = \{(.*)\}", lua)[0])
    assert modalities == re.findall(r"\"(\w+)\"", re.findall(r"IMAGE_MODALITIES = .*", python)[0])


def _composition(name: str) -> dict[str, Any]:
    composition: dict[str, Any] = YAML(typ="safe").load((DOCKER / name).read_text(encoding="utf-8"))
    return composition


def test_the_composition_with_postgresql_lays_only_the_database_over_the_other(tmp_path: Path) -> None:
    plain, laid = _composition("compose.yaml"), _composition("compose.postgres.yaml")
    gateway, database = laid["services"].pop("gateway"), laid["services"].pop("database")
    assert not laid["services"]
    assert "gateway" in plain["services"]
    assert "database" not in plain["services"]
    assert set(gateway["depends_on"]) == {"database"}
    assert set(gateway["secrets"]) == set(database["secrets"]) == laid["secrets"].keys()
    assert not laid["secrets"].keys() & plain["secrets"].keys()
    assert {volume.partition(":")[0] for volume in database["volumes"]} == laid["volumes"].keys()
    assert "ports" not in database, "only this network reaches it"
    (argument,) = gateway["build"]["args"]
    dockerfile = (DOCKER / "gateway" / "Dockerfile").read_text(encoding="utf-8")
    assert f"ARG {argument}=" in dockerfile
    assert f'".${{{argument}}}"' in dockerfile
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert gateway["build"]["args"][argument].strip("[]") in extras
    secret = tmp_path / "database_password"
    secret.write_text("secret", encoding="utf-8")
    environment = {**gateway["environment"], "OVERREAD_WEB__USERS__ADMIN__TOKEN_FILE": str(secret)}
    assert environment["OVERREAD_DATABASE__PASSWORD_FILE"] == database["environment"]["POSTGRES_PASSWORD_FILE"]
    environment["OVERREAD_DATABASE__PASSWORD_FILE"] = str(secret)
    url = make_url(load(DOCKER / "gateway" / "overread.yaml", environment=environment).database.url)
    told = database["environment"]
    assert (url.host, url.username, url.database) == ("database", told["POSTGRES_USER"], told["POSTGRES_DB"])
    assert url.password is None


@pytest.mark.peer
@pytest.mark.slow
def test_a_gateway_on_postgresql_works_through_a_study_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    with running_postgres() as server:
        (tmp_path / "password").write_text(PASSWORD)
        database = {"url": server.url, "password_file": str(tmp_path / "password")}
        config = {
            "database": database, "node": {"quiet_seconds": 0.5}, "pipelines": [toy_pipeline(destinations=[])],
        }  # fmt: skip
        with running_gateway(tmp_path / "gateway", config) as gateway:
            files = make_mr_series(tmp_path / "images", shape=(4, 16, 16))
            remote = RemoteNode(ae_title="OVERREAD", host="127.0.0.1", port=gateway.dicom_port, calling_aet="SCANNER")
            assert all(is_accepted(receipt) for receipt in send_parcels(find_parcels(files), remote))
            gateway.kill()
            gateway.start()
            case = gateway.wait_for_case(delivered=False, seconds=120)
            assert {run["outcome"] for run in case["iterations"][0]["stage_runs"]} == {"EXECUTED"}
            assert gateway.get("/api/v1/audit/verify")["whole"]
            assert not list((tmp_path / "gateway" / "data").glob("*.sqlite*"))


def test_the_composition_names_only_what_there_is_and_opens_ports_on_loopback_only(tmp_path: Path) -> None:
    composition = _composition("compose.yaml")
    services, published = composition["services"], {}
    for name, service in services.items():
        build = service["build"] if isinstance(service["build"], dict) else {"context": service["build"]}
        dockerfile = (DOCKER / build["context"]).resolve() / build.get("dockerfile", "Dockerfile")
        assert dockerfile.is_file(), name
        assert set(service.get("depends_on", ())) <= services.keys()
        assert set(service.get("secrets", ())) <= composition["secrets"].keys()
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (DOCKER / source).exists() if source.startswith(".") else source in composition["volumes"]
        exposed = re.findall(r"^EXPOSE (.*)$", dockerfile.read_text(encoding="utf-8"), re.M)[-1].split()
        for port in service.get("ports", ()):
            address, outside, inside = port.split(":")
            assert (address, inside in exposed) == ("127.0.0.1", True)
            published[outside] = name
    upstream = re.findall(
        r"proxy_pass http://(\w+):(\d+)/", (DOCKER / "ohif" / "nginx.conf").read_text(encoding="utf-8")
    )
    assert upstream == [("orthanc", str(ORTHANC["HttpPort"]))]
    config = _configuration(tmp_path)
    assert published[str(config.web.port)] == published[str(config.node.port)] == "gateway"
    assert published[re.findall(r":(\d+)/", config.web.viewer_url)[0]] == "ohif"
    tokens = re.findall(r"/run/secrets/(\w+)", (DOCKER / "gateway" / "overread.yaml").read_text(encoding="utf-8"))
    assert tokens == services["gateway"]["secrets"]
