"""The real OHIF viewer as `docker/ohif` sets it up, in front of an archive of our own, and a browser that uses it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.ports import free_port

_ROOT = Path(__file__).resolve().parents[2]
_SHIPPED = _ROOT / "docker" / "ohif"
_DRIVE = _ROOT / "tests" / "e2e" / "ohif" / "drive.mjs"
#: The version that `docker/ohif/Dockerfile` installs.
OHIF_VERSION = "3.13.2"
PLAYWRIGHT_VERSION = "1.65.1"
LONGEST_VISIT_S = 240
LONGEST_FETCH_S = 120


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What a reader does in one visit to the viewer.

    Parameters
    ----------
    study, segmentation : str
        Study Instance UID to open, Series Instance UID of the SEG to load.
    image : str
        SOP Instance UID of the slice to look at; empty leaves the slice that the viewer chooses.
    montage : str
        Series Instance UID of a picture to open at the end, or empty.
    stroke : mapping or None
        A brush stroke: `segment` (label), `image` (SOP Instance UID), `points` (LPS, mm), `radius` (of the brush).
    save : bool
        Store the segmentation by the viewer's own command.
    """

    study: str
    segmentation: str
    image: str = ""
    montage: str = ""
    stroke: Mapping[str, Any] | None = None
    save: bool = False


@dataclass(frozen=True, kw_only=True)
class OhifSite:
    """A running OHIF site.

    Parameters
    ----------
    folder : pathlib.Path
        Its configuration, logs and the browser's profile; each visit's pictures lie in a folder named after it.
    url : str
        Where the viewer is, on the same origin as the archive's DICOMweb.
    driver : pathlib.Path
        The package playwright-core.
    """

    folder: Path
    url: str
    driver: Path

    def visit(self, name: str, visit: Visit) -> dict[str, Any]:
        """Do one visit in a browser of its own.

        Returns
        -------
        dict
            `rows` and `drawn` (label and sRGB colour of each segment, in the panel and in the viewport), `saved` (HTTP
            status, SOP Class and Instance UID, or None), `faults` (script errors of the page), `milliseconds`.
        """
        pictures = self.folder / name
        pictures.mkdir()
        request = {
            "driver": str(self.driver),
            "chromium": shutil.which("chromium"),
            "site": self.url,
            "pictures": str(pictures),
            "study": visit.study,
            "segSeries": visit.segmentation,
            "montageSeries": visit.montage,
            "image": visit.image,
            "stroke": visit.stroke,
            "save": visit.save,
        }
        (pictures / "request.json").write_text(json.dumps(request))
        answer = json.loads(_node(pictures / "request.json", home=self.folder))
        assert isinstance(answer, dict)
        return answer


@contextmanager
def running_ohif(folder: Path, archive_port: int) -> Iterator[OhifSite]:
    """Serve the viewer and the archive on one origin, or skip the calling test with the reason.

    Parameters
    ----------
    folder : pathlib.Path
        Made if absent; nginx runs in it.
    archive_port : int
        HTTP port of the archive on this machine: Orthanc's, or the gateway's.
    """
    nginx = require_ohif_programs()
    site, driver = _npm_package("@ohif/app", OHIF_VERSION), _npm_package("playwright-core", PLAYWRIGHT_VERSION)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (folder / "nginx.conf").write_text(_nginx_configuration(folder, site / "dist", port, archive_port))
    command = [nginx, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        running = OhifSite(folder=folder, url=f"http://127.0.0.1:{port}", driver=driver)
        _wait_until_served(running, process)
        yield running
    finally:
        process.terminate()
        process.wait(20)


def require_ohif_programs() -> str:
    """Return nginx, or skip the calling test if a program that the viewer needs is not installed."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed (apt install nginx-light): the OHIF site cannot be served")
    for program, package in (("chromium", "chromium"), ("node", "nodejs"), ("npm", "npm")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt install {package}): OHIF cannot be opened")
    return nginx


def _npm_package(name: str, version: str) -> Path:
    """Fetch a published package, which holds all it needs, into the cache outside the repository; once."""
    cache = Path(os.environ.get("OVERREAD_CACHE", Path.home() / ".cache" / "overread"))
    kept = cache / name / version
    if kept.is_dir():
        return kept
    package = f"{name}@{version}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        command = ["npm", "pack", "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=2000", package]
        try:
            fetched = subprocess.run(
                command, cwd=scratch, capture_output=True, text=True, timeout=LONGEST_FETCH_S, check=False
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm cannot fetch {package}: no answer from the registry in {LONGEST_FETCH_S} s")
        if fetched.returncode:
            pytest.skip(f"npm cannot fetch {package}: {fetched.stderr.strip().partition(chr(10))[0]}")
        with tarfile.open(Path(scratch) / fetched.stdout.split()[-1]) as archive:
            archive.extractall(scratch, filter="data")
        # At once, so that a fetch that was cut off leaves nothing that looks whole.
        (Path(scratch) / "package").rename(kept)
    return kept


def _nginx_configuration(folder: Path, site: Path, port: int, archive_port: int) -> str:
    """Return the shipped configuration with this machine's places, ports and user."""
    text = (_SHIPPED / "nginx.conf").read_text(encoding="utf-8")
    places = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    for shipped, here in (
        ("pid /run/nginx.pid;", f"pid {folder}/nginx.pid;"),
        ("error_log /dev/stderr warn;", f"error_log {folder}/error.log warn;"),
        ("http {\n", f"http {{\n  client_body_temp_path {folder}/body; {places}\n"),
        ("listen 8081;", f"listen 127.0.0.1:{port};"),
        ("root /srv/ohif;", f"root {site};\n    location = /app-config.js {{ alias {_SHIPPED}/app-config.js; }}"),
        ("http://orthanc:8042/", f"http://127.0.0.1:{archive_port}/"),
    ):
        assert text.count(shipped) == 1, f"docker/ohif/nginx.conf no longer says '{shipped}' once"
        text = text.replace(shipped, here)
    # A master that root started would drop to "nobody", who may read neither the cache nor the test's folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    return f"daemon off;\n{user}{text}"


def _wait_until_served(site: OhifSite, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            if all(
                requests.get(f"{site.url}/{path}", timeout=10).ok for path in ("app-config.js", "dicom-web/studies")
            ):
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    logs = [site.folder / "nginx.log", site.folder / "error.log"]
    raise RuntimeError("nginx does not serve: " + "".join(log.read_text()[-1000:] for log in logs if log.exists()))


def _node(request: Path, *, home: Path) -> str:
    """Run the browser script; whatever happens, no browser stays behind."""
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home)}
    process = subprocess.Popen(
        ["node", str(_DRIVE), str(request)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=LONGEST_VISIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        raise AssertionError(f"no answer from the browser in {LONGEST_VISIT_S} s: {errors[-1000:]}") from None
    assert process.returncode == 0, errors[-2000:]
    return output
