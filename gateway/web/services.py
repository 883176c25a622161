"""What the web layer is given by `gateway.app`: the doors to the services, and facts about the running node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from gateway.config import Config
from gateway.domain.qc_status import QcStatus
from gateway.services.arrival import Door, Received
from gateway.services.fetch import Fetcher
from gateway.services.peer_log import Contact
from gateway.services.pictures import Pictures
from gateway.services.record_transfer import Transfer
from gateway.store.blobs import BlobStore
from gateway.store.database import Database


class Receiving(Protocol):
    """The one way in for instances; `gateway.services.receive.Receiver` is it."""

    def receive(
        self, content: bytes | Path, *, door: Door | str, sender: str, case_hint: str = "", stage_hint: str = ""
    ) -> Received:
        """Receive one DICOM file; returns when it is durable.

        Raises
        ------
        UnacceptableInstance
            If the bytes cannot be kept as an instance.
        StorageFull, StorageUnavailable
            If there is no room, or no store.
        """

    def transfer_ended(self, transfer: Transfer, *, ended: str) -> None:
        """Record that a request that brought instances is over."""


class Editing(Protocol):
    """Uploaded edits beyond what the receiver does; `gateway.services.edit_upload.EditUploads` is it."""

    def require_stage(self, case_id: str, stage: str, *, what: str = "") -> None:
        """Check the stage that a request names; with `what`, the kind of object, it must name one.

        Raises
        ------
        NotFound
            If the case has no such editable stage.
        UnacceptableInstance
            ``STAGE_NOT_NAMED``.
        """

    def take_label_map(self, path: Path, *, case_id: str, stage: str, sender: str) -> str:
        """Take a NIfTI label map as an edit and return the UID under which it is on record.

        Raises
        ------
        NotFound, UnacceptableInstance, DicomObjectError
            If it cannot be taken; nothing was kept.
        StorageFull, StorageUnavailable
            If it cannot be kept now.
        """


class Decide(Protocol):
    """Record a person's decision on a case."""

    def __call__(self, *, case_id: str, decision: QcStatus, comment: str, actor: str, at: datetime) -> None:
        """Decide.

        Raises
        ------
        NotFound
            If there is no such case.
        IllegalTransition
            If the decision is not legal now; nothing is changed.
        """


class ResolveHold(Protocol):
    """Release or discard a held object."""

    def __call__(
        self,
        *,
        hold_id: int,
        action: str,
        case_id: str | None,
        stage: str | None,
        reason: str,
        actor: str,
        at: datetime,
    ) -> None:
        """Resolve: `action` is ``accept`` or ``discard``.

        Raises
        ------
        NotFound
            If there is no such held object.
        IllegalTransition
            If it was resolved before, or cannot be released to that case and stage.
        """


class RetryDelivery(Protocol):
    """Send again what is dead or waits for its next attempt."""

    def __call__(self, *, delivery_id: int, actor: str, at: datetime) -> None:
        """Retry.

        Raises
        ------
        NotFound
            If there is no such delivery.
        IllegalTransition
            If it was delivered.
        """


class RetryCase(Protocol):
    """Run the stuck stages of a held case again."""

    def __call__(self, *, case_id: str, actor: str, at: datetime) -> None:
        """Retry.

        Raises
        ------
        NotFound
            If there is no such case.
        IllegalTransition
            If nothing of it is stuck.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """The running node: where it listens, what it accepts, whom it saw.

    Parameters
    ----------
    ae_titles : tuple of str
        Called AE titles.
    dicom_address : str
        ``host:port``; empty when the DICOM node is not running.
    contexts, transfer_syntaxes : int
        How many presentation contexts and transfer syntaxes are accepted.
    open_associations : int
        Associations open now.
    started_at : datetime or None
        Since when.
    peers : tuple of Contact
        Newest first.
    """

    ae_titles: tuple[str, ...] = ()
    dicom_address: str = ""
    contexts: int = 0
    transfer_syntaxes: int = 0
    open_associations: int = 0
    started_at: datetime | None = None
    peers: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything the web layer may use, filled by `gateway.app.build`.

    Parameters
    ----------
    config, database, blobs, clock, version
        The running configuration, stores, clock and version.
    scratch : Path
        Folder for uploads in progress, on the file system of the data folder; emptied at start-up by its owner.
    pictures : Pictures
        Images and segmentations for pages.
    receiver, edits, decide, resolve_hold, retry_delivery, retry_case, fetcher
        What changes something.
    node : callable
        Facts about the running DICOM node.
    not_ready : callable
        Sentences that say why the gateway cannot do its work now; empty when it can.
    edit_wait_s : float
        How long an upload of an edit waits for its outcome, s.
    event_poll_s : float
        How often the event feed looks for news while somebody listens, s.
    """

    config: Config
    database: Database
    blobs: BlobStore
    clock: Callable[[], datetime]
    version: str
    scratch: Path
    pictures: Pictures
    receiver: Receiving
    edits: Editing
    decide: Decide
    resolve_hold: ResolveHold
    retry_delivery: RetryDelivery
    retry_case: RetryCase
    fetcher: Fetcher
    node: Callable[[], NodeFacts] = NodeFacts
    not_ready: Callable[[], tuple[str, ...]] = field(default=tuple)
    edit_wait_s: float = 10.0
    event_poll_s: float = 1.0
