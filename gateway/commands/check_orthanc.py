"""What `overread check` asks an Orthanc: whether it answers, and whether its policies would lose edits or results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.commands.check_line import CheckResult, failed, good, note
from gateway.commands.output import ExitCode
from gateway.config import NodeConfig
from orthanc import OrthancClient, OrthancError, OrthancUnreachable, Policies

_TIMEOUT_S = 5.0


def check_orthanc(
    name: str, url: str, username: str, password_file: Path | None, node: NodeConfig
) -> Iterator[CheckResult]:
    """Ask an Orthanc for its policies, and say what they mean for edits and results."""
    password = password_file.read_text(encoding="utf-8").strip() if password_file else ""
    try:
        with OrthancClient(url, username=username, password=password, timeout_seconds=_TIMEOUT_S) as client:
            policies = client.policies()
    except OrthancUnreachable as error:
        yield failed(name, f"{url}: {error.detail}", ExitCode.PEER_UNREACHABLE)
        return
    except OrthancError as error:
        yield failed(name, f"{url} answers: {error.detail}", ExitCode.PEER_UNREACHABLE)
        return
    yield good(name, f"{url}: Orthanc {policies.version}, AE title {policies.ae_title}")
    yield from policy_lines(name, policies, our_title=node.ae_title)


def policy_lines(name: str, policies: Policies, *, our_title: str) -> Iterator[CheckResult]:
    """Say what the policies of an Orthanc mean; nothing where they lose nothing.

    Parameters
    ----------
    name : str
        Of the line.
    policies : Policies
        As read.
    our_title : str
        AE title of this gateway.
    """
    if policies.is_read_only:
        yield failed(name, "ReadOnly is true: it takes neither results nor edits", ExitCode.PEER_UNREACHABLE)
    if policies.accepts_unknown_classes is False:
        yield note(
            name,
            "UnknownSopClassAccepted is false: it refuses label map segmentations by C-STORE, so an edit that a "
            "workstation sends there is lost; set it to true",
        )
    if not policies.overwrites:
        said = "is false" if policies.overwrites is False else f"cannot be read in version {policies.version}; if false"
        yield note(
            name,
            f"OverwriteInstances {said}: an edit saved under the UID of the object it was made from is answered with "
            "success and dropped there. Viewers that save new objects (OHIF, Slicer) lose nothing",
        )
    if policies.ingest_transcoding:
        yield note(
            name, f"IngestTranscoding is {policies.ingest_transcoding}: what it gives back is not what it was sent"
        )
    if policies.recycles:
        yield note(
            name, "MaximumStorageMode is Recycle: when full it deletes its oldest studies, with results and edits"
        )
    if policies.known_titles is not None and our_title not in policies.known_titles:
        yield note(name, f"'{our_title}' is not among its DicomModalities: it cannot send here by DICOM")
