"""What `overread check` asks of others: destinations, callers, followed Orthancs, and who called this gateway."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from gateway.commands.check_line import CheckResult, failed, good, note
from gateway.commands.check_orthanc import check_orthanc
from gateway.commands.output import ExitCode
from gateway.config import Config, Destination, NodeConfig, Peer
from gateway.domain.errors import GatewayError
from gateway.domain.pipeline import ASKED_FOR_KINDS, OutputKind

_PROBE_TIMEOUT_S = 5
_LISTED_CALLERS = 30
_SEG, _LABEL_MAP_SEG = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
#: SOP class of each kind of output, but of SEG, whose form the destination chooses.
_CLASSES = {
    OutputKind.IMAGE_QC_SR: "1.2.840.10008.5.1.4.1.1.88.34",
    OutputKind.SEG_QC_SR: "1.2.840.10008.5.1.4.1.1.88.34",
    OutputKind.SUMMARY_SC: "1.2.840.10008.5.1.4.1.1.7",
    OutputKind.SUMMARY_PDF: "1.2.840.10008.5.1.4.1.1.104.1",
    OutputKind.KOS: "1.2.840.10008.5.1.4.1.1.88.59",
    OutputKind.PROBABILITY_SEG: _SEG,
    OutputKind.PSEUDO_TRUTH_SEG: _SEG,
}
_WORDS = {
    _SEG: "Segmentation",
    _LABEL_MAP_SEG: "Label Map Segmentation",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.104.1": "Encapsulated PDF",
    "1.2.840.10008.5.1.4.1.1.88.59": "Key Object Selection",
}


def check_peers(config: Config, data: Path | None) -> Iterator[CheckResult]:
    """Call everybody that the configuration names, and say who called this gateway."""
    for destination in config.destinations:
        yield from _destination(config, destination)
    for peer in config.node.peers:
        yield from _caller(config.node, peer)
    for followed in config.follow:
        yield from check_orthanc(
            f"follow {followed.name}", followed.url, followed.username, followed.password_file, config.node
        )
    if data is not None:
        yield from _seen(config, data)


def _seen(config: Config, data: Path) -> Iterator[CheckResult]:
    """Say who called, what was agreed on, and why somebody was refused, as the running gateway noted it."""
    from gateway.services.open_database import has_database, open_database
    from gateway.services.peer_log import saved_contacts

    if not has_database(config, data):
        return
    database = open_database(config, data)
    try:
        contacts = saved_contacts(database)
    except GatewayError as error:
        yield failed("callers", error.detail)
        return
    finally:
        database.close()
    for contact in contacts[:_LISTED_CALLERS]:
        classes = len({sop_class for sop_class, _ in contact.accepted})
        seen = f"last seen {contact.last_seen:%Y-%m-%d %H:%M} UTC, {classes} SOP classes accepted then"
        line = f"{contact.ae_title or 'unknown'}@{contact.address}: {seen}"
        is_last_word = contact.refused_at is not None and contact.refused_at >= contact.last_seen
        if contact.refusal:
            line += f"; refused {contact.refused_at:%Y-%m-%d %H:%M}: {contact.refusal}"
        yield (note if is_last_word else good)("caller", line)


def _destination(config: Config, destination: Destination) -> Iterator[CheckResult]:
    name = f"destination {destination.name}"
    if destination.kind == "dicom":
        reached = _echo(name, destination, config.node)
        yield reached
        if reached.code is ExitCode.DONE:
            yield from _takes(name, config, destination)
    elif destination.kind == "orthanc":
        yield from check_orthanc(name, destination.url, destination.username, destination.password_file, config.node)
    else:
        yield _http_peer(name, f"{destination.url.rstrip('/')}/studies?limit=1", _login(destination))


def _caller(node: NodeConfig, peer: Peer) -> Iterator[CheckResult]:
    """Call a peer where we need it to answer; one that only calls us need not listen."""
    name = f"peer {peer.ae_title}"
    if peer.expected_count == "qido":
        yield _http_peer(name, f"{peer.dicomweb_url.rstrip('/')}/studies?limit=1", None)
    elif peer.expected_count == "find":
        yield _echo(name, peer, node)
    elif peer.host:
        reached = _echo(name, peer, node)
        yield reached if reached.code is ExitCode.DONE else note(name, f"{reached.detail} (it may call all the same)")


def _echo(name: str, called: Peer | Destination, node: NodeConfig) -> CheckResult:
    """Test TCP and C-ECHO apart: they fail for different reasons, and different people mend them."""
    from gateway.dimse.remotes import remote_node
    from gateway.dimse.scu import echo

    where = f"{called.ae_title}@{called.host}:{called.port}"
    try:
        socket.create_connection((called.host, called.port), timeout=_PROBE_TIMEOUT_S).close()
    except OSError as error:
        cause = error.strerror or str(error)
        return failed(name, f"{where}: no TCP connection: {cause}", ExitCode.PEER_UNREACHABLE)
    try:
        echo(remote_node(node, called))
    except GatewayError as error:
        return failed(name, f"{where}: TCP connects, C-ECHO does not: {error.detail}", ExitCode.PEER_UNREACHABLE)
    return good(name, f"{where}: TCP and C-ECHO")


def _takes(name: str, config: Config, destination: Destination) -> Iterator[CheckResult]:
    """Propose to a destination what would be sent to it, and say what it refuses."""
    from gateway.dimse.contexts import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STUDY_ROOT_FIND
    from gateway.dimse.remotes import remote_node
    from gateway.dimse.scu import RequestedAssociation

    wanted = _classes_for(config, destination)
    if not wanted:
        yield note(name, "no pipeline sends anything to it")
        return
    uncompressed = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    try:
        proposals = [(uid, uncompressed) for uid in (*wanted, STUDY_ROOT_FIND)]
        with RequestedAssociation(remote_node(config.node, destination), proposals) as association:
            refused = [uid for uid in wanted if not association.accepted(uid)]
            can_list = bool(association.accepted(STUDY_ROOT_FIND))
    except GatewayError as error:
        yield failed(name, f"it refuses what would be sent: {error.detail}", ExitCode.PEER_UNREACHABLE)
        return
    accepted = [_WORDS[uid] for uid in wanted if uid not in refused]
    if accepted:
        yield good(name, f"takes {', '.join(accepted)}")
    if refused:
        yield failed(name, f"refuses {', '.join(_WORDS[uid] for uid in refused)}: {_way_out(refused)}")
    if destination.read_back and not destination.commitment and not can_list:
        yield note(name, "offers no C-FIND: what it accepts counts as delivered (read_back cannot prove more)")


def _classes_for(config: Config, destination: Destination) -> tuple[str, ...]:
    kinds = {
        kind
        for pipeline in config.pipelines
        if destination.name in pipeline.destinations
        for kind in pipeline.outputs
        if (kind in destination.outputs if destination.outputs else kind not in ASKED_FOR_KINDS)
    }
    seg = _LABEL_MAP_SEG if destination.seg == "LABELMAP" else _SEG
    return tuple(dict.fromkeys(seg if kind is OutputKind.SEG else _CLASSES[kind] for kind in sorted(kinds)))


def _way_out(refused: list[str]) -> str:
    if refused == [_LABEL_MAP_SEG]:
        return "its deliveries would be given up; set 'seg: BINARY' for it, or let it accept the class"
    return "their deliveries would be given up; let it accept the class, or name what it takes in 'outputs'"


def _http_peer(name: str, url: str, login: tuple[str, str] | None) -> CheckResult:
    import requests

    try:
        response = requests.get(url, auth=login, timeout=_PROBE_TIMEOUT_S, headers={"Accept": "application/json"})
    except requests.RequestException as error:
        return failed(name, f"{url}: {type(error).__name__}", ExitCode.PEER_UNREACHABLE)
    if not response.ok:
        return failed(name, f"{url} answers {response.status_code}", ExitCode.PEER_UNREACHABLE)
    return good(name, f"{url} answers")


def _login(destination: Destination) -> tuple[str, str] | None:
    if not destination.username:
        return None
    file = destination.password_file
    return destination.username, file.read_text(encoding="utf-8").strip() if file else ""
