"""A real Orthanc of our own on free loopback ports: own configuration and storage, ended by its process id."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.ports import free_port

_PLUGIN = "libOrthancDicomWeb.so"
_PLUGIN_FOLDERS = (Path("/usr/share/orthanc/plugins"), Path("/usr/lib/orthanc/plugins"))


@dataclass
class OrthancPeer:
    """A running Orthanc.

    Parameters
    ----------
    folder : Path
        Its configuration and storage.
    http_port, dicom_port : int
        Loopback ports.
    """

    folder: Path
    http_port: int
    dicom_port: int
    ae_title: str = "ORTHANC"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """REST root."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb_url(self) -> str:
        """DICOMweb root."""
        return f"{self.url}/dicom-web"

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["Orthanc", str(self.folder / "orthanc.json")],
                env={**os.environ, "TCP_NODELAY": "1"},
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            try:
                # 401 is an answer too.
                requests.get(f"{self.url}/system", timeout=2)
            except requests.RequestException:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError("Orthanc did not start: " + (self.folder / "orthanc.log").read_text()[-2000:])

    def stop(self) -> None:
        """End it; its storage stays."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def forget_everything(self) -> None:
        """Throw the storage of a stopped Orthanc away."""
        shutil.rmtree(self.folder / "storage")

    def upload(self, content: bytes) -> str:
        """Store a DICOM file by REST; return Orthanc's identifier."""
        answer = requests.post(f"{self.url}/instances", data=content, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["ID"])

    def forget(self, sop_instance_uid: str) -> None:
        """Delete an instance, as an archive does that loses what it acknowledged."""
        found = requests.post(f"{self.url}/tools/lookup", data=sop_instance_uid, timeout=30).json()
        [known] = [one["ID"] for one in found if one["Type"] == "Instance"]
        requests.delete(f"{self.url}/instances/{known}", timeout=30).raise_for_status()

    def download(self, sop_instance_uid: str, folder: Path) -> Path:
        """Write an instance it holds to a folder; return the file."""
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}}
        found = requests.post(f"{self.url}/tools/find", json=query, timeout=30).json()
        assert len(found) == 1, f"Orthanc holds {len(found)} instances of this UID"
        file = folder / f"{sop_instance_uid}.dcm"
        file.write_bytes(requests.get(f"{self.url}/instances/{found[0]}/file", timeout=30).content)
        return file

    def instances(self) -> list[str]:
        """Return the SOP Instance UIDs it holds."""
        found = requests.post(
            f"{self.url}/tools/find", json={"Level": "Instance", "Query": {}, "Expand": True}, timeout=30
        ).json()
        return sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in found)


def dicomweb_plugins() -> list[str]:
    """Return where the DICOMweb plugin is; empty when it is not installed."""
    return [str(path / _PLUGIN) for path in _PLUGIN_FOLDERS if (path / _PLUGIN).exists()][:1]


@contextmanager
def running_orthanc(
    folder: Path,
    *,
    modalities: Mapping[str, list[Any]] | None = None,
    users: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[OrthancPeer]:
    """Start an Orthanc with the DICOMweb plugin, or skip the test with the reason.

    Parameters
    ----------
    folder : Path
        Made if absent.
    modalities : mapping
        Its ``DicomModalities``: alias to [AE title, host, port].
    users : mapping
        Passwords by user name; none lets everybody on this machine in.
    settings : mapping
        Further settings.
    """
    if shutil.which("Orthanc") is None:
        pytest.skip("Orthanc is not installed (apt install orthanc)")
    plugins = dicomweb_plugins()
    if not plugins:
        pytest.skip("Orthanc's DICOMweb plugin is not installed (apt install orthanc-dicomweb)")
    folder.mkdir(parents=True, exist_ok=True)
    peer = OrthancPeer(folder=folder, http_port=free_port(), dicom_port=free_port())
    configuration = {
        "Name": "test peer",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": plugins,
        "HttpPort": peer.http_port,
        "DicomPort": peer.dicom_port,
        "DicomAet": peer.ae_title,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": bool(users),
        "RegisteredUsers": dict(users or {}),
        "UnknownSopClassAccepted": True,
        "DicomAlwaysAllowFind": True,
        "ConcurrentJobs": 1,
        "DicomModalities": dict(modalities or {}),
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **(settings or {}),
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    try:
        peer.start()
        yield peer
    finally:
        peer.stop()
