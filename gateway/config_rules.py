"""Rules between keys of the configuration that the shape of the tree cannot express."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gateway.config import Config, Destination, ExpectedCount, Peer, PipelineConfig, StageConfig
from gateway.config_keys import did_you_mean
from gateway.config_yaml import Fault, KeyPath
from gateway.domain.pipeline import PROBABILITIES, OutputKind, StageKind
from gateway.domain.plan import faults as graph_faults


def broken_rules(config: Config) -> tuple[Fault, ...]:
    """Return every broken rule, in the order of the tree."""
    return (
        *_ports(config),
        *_tls(config),
        *_peers(config),
        *_names(config),
        *_destinations(config),
        *_retention(config),
        *_services(config),
        *_pipelines(config),
        *_secret_files(config),
    )


def _ports(config: Config) -> Iterator[Fault]:
    if config.node.port == config.web.port != 0:
        yield Fault(path=("web", "port"), message=f"port {config.web.port} is taken by node.port")


def _peers(config: Config) -> Iterator[Fault]:
    titles = (config.node.ae_title, *config.node.more_ae_titles)
    yield from _unknown(("node", "priorities"), "AE title of this node", config.node.priorities, titles)
    for index, peer in enumerate(config.node.peers):
        path: KeyPath = ("node", "peers", index)
        if peer.expected_count is ExpectedCount.FIND and not peer.host:
            yield Fault(path=(*path, "expected_count"), message="'find' needs host and port of the peer")
        if peer.expected_count is ExpectedCount.QIDO and not peer.dicomweb_url:
            yield Fault(path=(*path, "expected_count"), message="'qido' needs dicomweb_url of the peer")
        yield from _url((*path, "dicomweb_url"), peer.dicomweb_url)
        yield from _unknown((*path, "may_call"), "AE title of this node", peer.may_call, titles)
        if peer.password_file is not None and not peer.username:
            yield Fault(path=(*path, "username"), message="password_file is the passcode to a name: give it too")
        for place, expression in enumerate(peer.expected_series):
            yield from _expression((*path, "expected_series", place), expression)
    yield from _priors(config, titles)


def _priors(config: Config, titles: tuple[str, ...]) -> Iterator[Fault]:
    priors, path = config.node.priors, ("node", "priors")
    if priors.called_aet is not None:
        yield from _unknown((*path, "called_aet"), "AE title of this node", [priors.called_aet], titles)
    if priors.peer is None:
        return
    known = tuple(peer.ae_title for peer in config.node.peers)
    yield from _unknown((*path, "peer"), "peer", [priors.peer], known)
    if any(peer.ae_title == priors.peer and not peer.host for peer in config.node.peers):
        yield Fault(path=(*path, "peer"), message=f"'{priors.peer}' needs host and port in node.peers")


def _tls(config: Config) -> Iterator[Fault]:
    tls, path = config.node.tls, ("node", "tls")
    if (tls.certificate_file is None) != (tls.key_file is None):
        missing = "key_file" if tls.key_file is None else "certificate_file"
        yield Fault(path=(*path, missing), message="certificate_file and key_file go together")
    if tls.certificate_file is not None and tls.require_client_certificate and tls.ca_file is None:
        yield Fault(
            path=(*path, "ca_file"),
            message="is needed to check callers (or set require_client_certificate: false)",
        )
    if tls.port is not None and tls.port in (config.node.port, config.web.port) and tls.port != 0:
        yield Fault(path=(*path, "port"), message=f"port {tls.port} is taken by node.port or web.port")
    called: list[tuple[KeyPath, Peer | Destination]] = [
        (("node", "peers", i), peer) for i, peer in enumerate(config.node.peers) if peer.host
    ]
    called += [(("destinations", i), destination) for i, destination in enumerate(config.destinations)]
    for where, remote in called:
        if remote.tls and remote.ca_file is None and tls.ca_file is None:
            yield Fault(path=(*where, "ca_file"), message="tls needs root certificates, here or in node.tls.ca_file")
    for index, peer in enumerate(config.node.peers):
        if peer.tls and tls.certificate_file is None:
            message = "it cannot call by TLS before node.tls.certificate_file is given"
            yield Fault(path=("node", "peers", index, "tls"), message=message)


def _names(config: Config) -> Iterator[Fault]:
    yield from _doubled(("node", "peers"), "ae_title", [peer.ae_title for peer in config.node.peers])
    yield from _doubled(("web", "users"), "name", [user.name for user in config.web.users])
    yield from _doubled(("destinations",), "name", [destination.name for destination in config.destinations])
    yield from _doubled(("readers",), "ae_title", [reader.ae_title for reader in config.readers])
    yield from _doubled(("follow",), "name", [followed.name for followed in config.follow])
    yield from _doubled(("pipelines",), "name", [pipeline.name for pipeline in config.pipelines])


def _doubled(path: KeyPath, key: str, values: Sequence[str]) -> Iterator[Fault]:
    for index, value in enumerate(values):
        if value in values[:index]:
            yield Fault(path=(*path, index, key), message=f"'{value}' is given twice")


def _destinations(config: Config) -> Iterator[Fault]:
    for index, destination in enumerate(config.destinations):
        path: KeyPath = ("destinations", index)
        for key in _needed(destination):
            yield Fault(path=(*path, key), message=f"a destination of kind '{destination.kind}' needs '{key}'")
        yield from _url((*path, "url"), destination.url)
        if destination.commitment:
            yield from _commitment((*path, "commitment"), config, destination)


def _commitment(path: KeyPath, config: Config, destination: Destination) -> Iterator[Fault]:
    if destination.kind != "dicom":
        yield Fault(path=path, message="Storage Commitment is a DICOM service: it needs kind 'dicom'")
    callers = [peer.ae_title for peer in config.node.peers]
    if callers and destination.ae_title not in callers:
        message = f"add '{destination.ae_title}' to node.peers: its report comes as a call"
        yield Fault(path=path, message=message)


def _retention(config: Config) -> Iterator[Fault]:
    """Say where a rule would never remove a result, since no destination gives the proof it asks for."""
    given = {
        d.name: 2 if d.commitment else 1 if d.read_back else 0 for d in config.destinations
    }  # fmt: skip
    for index, rule in enumerate(config.data.retention):
        asked = {"accepted": 0, "listed": 1, "committed": 2}[rule.proof]
        weaker = sorted(name for name, proof in given.items() if proof < asked)
        if weaker:
            needed = "commitment" if rule.proof == "committed" else "read_back or commitment"
            message = f"'{rule.proof}' needs {needed} at destination {', '.join(weaker)}"
            yield Fault(path=("data", "retention", index, "proof"), message=message)


def _needed(destination: Destination) -> tuple[str, ...]:
    if destination.kind == "dicom":
        given = {"ae_title": destination.ae_title, "host": destination.host, "port": destination.port}
    else:
        given = {"url": destination.url}
    return tuple(key for key, value in given.items() if not value)


def _services(config: Config) -> Iterator[Fault]:
    for index, followed in enumerate(config.follow):
        yield from _url(("follow", index, "url"), followed.url)
    yield from _url(("web", "viewer_url"), config.web.viewer_url)
    if config.web.viewer_url and "{study_instance_uid}" not in config.web.viewer_url:
        yield Fault(path=("web", "viewer_url"), message="the link must hold {study_instance_uid}")
    if config.dispatch.engine == "celery":
        if not config.dispatch.broker_url:
            yield Fault(path=("dispatch", "engine"), message="'celery' needs dispatch.broker_url")
        if not config.database.url.startswith("postgresql"):
            yield Fault(path=("dispatch", "engine"), message="'celery' needs a PostgreSQL database.url")


def _url(path: KeyPath, url: str) -> Iterator[Fault]:
    if url and not re.match(r"https?://[^/\s]", url):
        yield Fault(path=path, message="must be a URL that starts with http:// or https://")


def _pipelines(config: Config) -> Iterator[Fault]:
    titles = (config.node.ae_title, *config.node.more_ae_titles)
    known = tuple(destination.name for destination in config.destinations)
    for index, pipeline in enumerate(config.pipelines):
        path: KeyPath = ("pipelines", index)
        yield from _graph(path, pipeline)
        yield from _match(path, pipeline, titles)
        yield from _unknown((*path, "destinations"), "destination", pipeline.destinations, known)
        for name, stage in pipeline.stages.items():
            yield from _stage((*path, "stages", name), stage, pipeline)
        yield from _maps(path, pipeline)


def _maps(path: KeyPath, pipeline: PipelineConfig) -> Iterator[Fault]:
    """Probability maps are kept by a stage and sent by the pipeline: either without the other does nothing."""
    keeping = [name for name, stage in pipeline.stages.items() if stage.parameters.get(PROBABILITIES)]
    for name in keeping:
        here: KeyPath = (*path, "stages", name, "parameters", PROBABILITIES)
        if pipeline.stages[name].kind is not StageKind.SEGMENTATION or pipeline.stages[name].command:
            yield Fault(path=here, message="only a segmentation stage with a model has probability maps to keep")
        elif OutputKind.PROBABILITY_SEG not in pipeline.outputs:
            yield Fault(path=here, message="nothing sends the maps: name PROBABILITY_SEG in the pipeline's outputs")
    if OutputKind.PROBABILITY_SEG in pipeline.outputs and not keeping:
        message = f"no stage keeps maps: set 'parameters: {{{PROBABILITIES}: true}}' of a segmentation stage"
        yield Fault(path=(*path, "outputs"), message=message)


def _graph(path: KeyPath, pipeline: PipelineConfig) -> Iterator[Fault]:
    for message in graph_faults(pipeline.to_domain()):
        named = re.match(r"stage '([^']+)'", message)
        missing = re.search(r"needs '([^']+)', which", message)
        where: KeyPath = (*path, "stages", named[1]) if named else (*path, "stages")
        suggestion = did_you_mean(missing[1], tuple(pipeline.stages)) if missing else ""
        yield Fault(path=(*where, "needs") if missing else where, message=message + suggestion)


def _match(path: KeyPath, pipeline: PipelineConfig, titles: tuple[str, ...]) -> Iterator[Fault]:
    rule = pipeline.match
    for key in ("description", "exclude_description"):
        yield from _expression((*path, "match", key), getattr(rule, key))
    yield from _unknown((*path, "match", "called_aet"), "AE title of this node", rule.called_aet, titles)
    if rule.extent_mm is not None and rule.extent_mm[0] > rule.extent_mm[1]:
        yield Fault(path=(*path, "match", "extent_mm"), message="the smaller bound comes first")


def _expression(path: KeyPath, expression: str) -> Iterator[Fault]:
    try:
        re.compile(expression)
    except re.error as error:
        yield Fault(path=path, message=f"is no regular expression: {error.msg}")


def _stage(path: KeyPath, stage: StageConfig, pipeline: PipelineConfig) -> Iterator[Fault]:
    numbers = [str(segment.number) for segment in stage.segments]
    yield from _doubled((*path, "segments"), "number", numbers)
    for index, segment in enumerate(stage.segments):
        if any(not 0 <= part <= 255 for part in segment.color):
            yield Fault(path=(*path, "segments", index, "color"), message="takes three numbers from 0 to 255")
    labels = tuple(segment.label for other in pipeline.stages.values() for segment in other.segments)
    for index, criterion in enumerate(stage.criteria):
        if criterion.segment:
            yield from _unknown((*path, "criteria", index, "segment"), "segment", (criterion.segment,), labels)


def _unknown(path: KeyPath, what: str, given: Iterable[str], known: tuple[str, ...]) -> Iterator[Fault]:
    for name in given:
        if name not in known:
            yield Fault(path=path, message=f"there is no {what} '{name}'{did_you_mean(name, known)}")


def _secret_files(config: Config) -> Iterator[Fault]:
    named: list[tuple[KeyPath, Path | None]] = [(("database", "password_file"), config.database.password_file)]
    named += [(("web", "users", i, "token_file"), user.token_file) for i, user in enumerate(config.web.users)]
    named += [(("destinations", i, "password_file"), d.password_file) for i, d in enumerate(config.destinations)]
    named += [(("follow", i, "password_file"), f.password_file) for i, f in enumerate(config.follow)]
    named += [(("node", "peers", i, "password_file"), peer.password_file) for i, peer in enumerate(config.node.peers)]
    tls = config.node.tls
    named += [(("node", "tls", key), getattr(tls, key)) for key in ("certificate_file", "key_file", "ca_file")]
    named += [(("node", "peers", i, "ca_file"), peer.ca_file) for i, peer in enumerate(config.node.peers)]
    named += [(("destinations", i, "ca_file"), d.ca_file) for i, d in enumerate(config.destinations)]
    for path, file in named:
        if file is not None and not file.is_file():
            yield Fault(path=path, message="there is no such file")
        elif file is not None and not os.access(file, os.R_OK):
            yield Fault(path=path, message="the file cannot be read by this user")
