"""What the query, retrieve and commitment services work on: holdings, blobs, and whom they may talk to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.config import Config, Destination, Peer
from gateway.dimse.tls import ClientTls, client_tls
from gateway.services.commitment import Commitments
from gateway.store.blobs import BlobStore
from gateway.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAddress:
    """Where a DICOM node listens.

    Parameters
    ----------
    ae_title, host : str
        AE title and address.
    port : int
        Its port.
    tls : ClientTls or None
        How to speak TLS with it, None for plain DICOM.
    """

    ae_title: str
    host: str
    port: int
    tls: ClientTls | None = None

    @property
    def association_arguments(self) -> dict[str, Any]:
        """What pynetdicom needs to know beyond address and title."""
        return {} if self.tls is None else {"tls_args": self.tls.for_pynetdicom(self.host)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What the node holds and knows.

    Parameters
    ----------
    database, blobs
        Holdings and files.
    addresses : mapping of str to NodeAddress
        Nodes that may be sent to, by AE title.
    readers : mapping of str to str
        Name of the person at a workstation, by AE title.
    clock : callable
        Gives the time, with zone.
    commitments : Commitments
        Takes the reports of destinations that were asked to commit themselves.
    """

    database: Database
    blobs: BlobStore
    addresses: Mapping[str, NodeAddress]
    readers: Mapping[str, str]
    clock: Callable[[], datetime]
    commitments: Commitments


def archive_of(config: Config, database: Database, blobs: BlobStore, clock: Callable[[], datetime]) -> Archive:
    """Return the archive as configured: peers with an address and DICOM destinations may be sent to.

    Raises
    ------
    ConfigurationError
        If a TLS file cannot be used.
    """
    known: list[Peer | Destination] = [peer for peer in config.node.peers if peer.host]
    known += [destination for destination in config.destinations if destination.kind == "dicom"]
    nodes = [
        NodeAddress(ae_title=one.ae_title, host=one.host, port=one.port, tls=client_tls(config.node, one))
        for one in known
        if one.ae_title
    ]
    return Archive(
        database=database,
        blobs=blobs,
        addresses={node.ae_title: node for node in nodes},
        readers={reader.ae_title: reader.name for reader in config.readers},
        clock=clock,
        commitments=Commitments(database, config.destinations, clock),
    )
