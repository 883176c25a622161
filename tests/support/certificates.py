"""Certificates for tests, made by openssl: a root, what it signs, and the ways they can be wrong."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.dcmtk_peer import require_program

_EXTENSIONS = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate and its key, PEM.

    Parameters
    ----------
    certificate, key : Path
        Files.
    """

    certificate: Path
    key: Path


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A root that signs.

    Parameters
    ----------
    folder : Path
        Where its files are.
    name : str
        Its common name, and the start of file names.
    """

    folder: Path
    name: str

    @property
    def root(self) -> Path:
        """Its own certificate."""
        return self.folder / f"{self.name}.pem"

    def issue(self, name: str, *, days: int = 30) -> Certificate:
        """Sign a certificate for loopback; a negative number of days makes one that has expired."""
        made = Certificate(certificate=self.folder / f"{name}.pem", key=self.folder / f"{name}.key")
        request = self.folder / f"{name}.csr"
        _openssl("req", "-new", *_KEY, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}")
        extensions = self.folder / "extensions.cnf"
        extensions.write_text(_EXTENSIONS)
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.root, "-CAkey", self.folder / f"{self.name}.key"),
            *("-CAcreateserial", "-days", days, "-extfile", extensions, "-out", made.certificate),
        )
        return made


def make_authority(folder: Path, name: str) -> Authority:
    """Make a root."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Authority(folder=folder, name=name)
    _openssl(
        "req", "-x509", *_KEY, "-days", 30, "-keyout", folder / f"{name}.key", "-out", made.root, "-subj", f"/CN={name}"
    )
    return made


_KEY = ("-newkey", "rsa:2048", "-nodes")


def _openssl(*arguments: object) -> None:
    command = [require_program("openssl"), *(str(argument) for argument in arguments)]
    subprocess.run(command, check=True, capture_output=True)
