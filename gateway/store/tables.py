"""The tables. The database is the truth; queues, caches and pictures can be rebuilt from it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, Index, Integer, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from gateway.domain.case import CaseState
from gateway.domain.instance import InstanceKind
from gateway.domain.qc_status import QcStatus
from gateway.domain.stage_run import StageRunState


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, always with zone UTC in Python; SQLite keeps it without."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Store as UTC without zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give the zone back."""
        return None if value is None else value.replace(tzinfo=UTC)


def _time(*, index: bool = False, nullable: bool = False) -> Any:
    return Field(sa_column=Column(UtcDateTime, index=index, nullable=nullable))


def _wide() -> Any:
    """Return a whole number that may exceed 31 bits; SQLite has but one kind."""
    return Field(default=0, sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), nullable=False))


def _json() -> Any:
    return Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


def _json_list() -> Any:
    return Field(default_factory=list, sa_column=Column(JSON, nullable=False))


class Study(SQLModel, table=True):
    """A study as received; patient attributes are for pages and queries only, never for logs."""

    study_instance_uid: str = Field(primary_key=True, max_length=64)
    patient_id: str = Field(default="", index=True)
    patient_name: str = Field(default="", index=True)
    patient_birth_date: str = ""
    patient_sex: str = ""
    study_date: str = Field(default="", index=True)
    study_time: str = ""
    study_id: str = ""
    study_description: str = ""
    accession_number: str = Field(default="", index=True)
    referring_physician_name: str = ""
    first_received_at: datetime = _time()
    last_received_at: datetime = _time(index=True)
    #: Raised by every new image instance; beyond `closed_revision` there is something to assemble.
    revision: int = 0
    closed_revision: int = 0
    calling_aet: str = ""
    called_aet: str = ""
    peer_address: str = ""
    #: When the last association that brought something of it ended.
    association_ended_at: datetime | None = _time(nullable=True)


class Series(SQLModel, table=True):
    """A series as received."""

    series_instance_uid: str = Field(primary_key=True, max_length=64)
    study_instance_uid: str = Field(foreign_key="study.study_instance_uid", index=True, max_length=64)
    modality: str = ""
    series_number: str = ""
    series_description: str = ""
    body_part_examined: str = ""
    frame_of_reference_uid: str = ""


class Instance(SQLModel, table=True):
    """A SOP Instance kept: the current version of its UID. Other bytes under the same UID become a hold."""

    __table_args__ = (Index("ix_instance_kind_handled", "kind", "handled"),)

    sop_instance_uid: str = Field(primary_key=True, max_length=64)
    series_instance_uid: str = Field(foreign_key="series.series_instance_uid", index=True, max_length=64)
    study_instance_uid: str = Field(index=True, max_length=64)
    sop_class_uid: str = Field(max_length=64)
    transfer_syntax_uid: str = Field(max_length=64)
    sha256: str = Field(index=True, max_length=64)
    size: int = _wide()
    kind: InstanceKind
    instance_number: str = ""
    rows: int = 0
    columns: int = 0
    number_of_frames: int = 1
    #: Digest of pixels and geometry, filled when a case is assembled; empty before.
    content_digest: str = ""
    received_at: datetime = _time()
    #: How it came: ``dicom``, ``stow``, ``upload``, ``orthanc``; and from whom (AE title or user).
    door: str = ""
    sender: str = ""
    #: Edited SEGs only: whether matching has dealt with it.
    handled: bool = False
    #: Edits by upload name their case; a person's release of a hold names case and stage.
    case_hint: str = ""
    stage_hint: str = ""


class Case(SQLModel, table=True):
    """One study under one pipeline: exactly one row, whatever arrives late."""

    __tablename__ = "study_case"
    # The worklist shows the newest change first under any one filter: each filter has its index in that order.
    __table_args__ = (
        UniqueConstraint("study_instance_uid", "pipeline"),
        Index("ix_case_changed", "changed_at", "id"),
        Index("ix_case_state_changed", "state", "changed_at", "id"),
        Index("ix_case_qc_status_changed", "qc_status", "changed_at", "id"),
        Index("ix_case_verdict_changed", "verdict", "changed_at", "id"),
        Index("ix_case_assignee_changed", "qc_assignee", "changed_at", "id"),
        Index("ix_case_pipeline_changed", "pipeline", "changed_at", "id"),
        Index("ix_case_site_changed", "site", "changed_at", "id"),
        # Counted for every scrape of the metrics.
        Index("ix_case_pipeline_verdict", "pipeline", "verdict"),
    )

    id: str = Field(primary_key=True, max_length=17)
    study_instance_uid: str = Field(foreign_key="study.study_instance_uid", index=True, max_length=64)
    pipeline: str
    pipeline_version: str = ""
    pipeline_digest: str = ""
    series_instance_uid: str = ""
    state: CaseState
    state_reason: str = ""
    generation: int = 1
    iteration: int = 0
    verdict: str = ""
    qc_status: QcStatus = QcStatus.NOT_REVIEWED
    qc_assignee: str = ""
    qc_comment: str = ""
    priority: int = 2
    site: str = ""
    sender: str = ""
    opened_at: datetime = _time(index=True)
    changed_at: datetime = _time()


class Iteration(SQLModel, table=True):
    """One pass of a case through its pipeline: number 0 is automatic, each accepted edit adds one."""

    __table_args__ = (UniqueConstraint("case_id", "generation", "number"),)

    id: int | None = Field(default=None, primary_key=True)
    case_id: str = Field(foreign_key="study_case.id", index=True)
    generation: int
    number: int
    #: ``AUTOMATIC``, ``EDIT`` or ``LATE_INSTANCES``.
    cause: str
    opened_at: datetime = _time()
    finished_at: datetime | None = _time(nullable=True)
    series_instance_uid: str = ""
    #: Canonical digest of the image, and SOP Instance UIDs of its instances with their blobs.
    image_digest: str = ""
    inputs: list[dict[str, str]] = _json_list()
    #: Evidence that closed the study: list of sentences.
    evidence: list[str] = _json_list()
    #: Verdict as JSON: outcome, reasons[].
    verdict: dict[str, Any] = _json()
    qc_status: QcStatus = QcStatus.NOT_REVIEWED
    qc_comment: str = ""
    qc_by: str = ""
    qc_at: datetime | None = _time(nullable=True)
    superseded: bool = False


class StageRun(SQLModel, table=True):
    """One stage in one iteration of one case."""

    __table_args__ = (
        UniqueConstraint("case_id", "generation", "iteration", "stage"),
        Index("ix_stagerun_key_state", "key", "state"),
        Index("ix_stagerun_state", "state"),
    )

    id: int | None = Field(default=None, primary_key=True)
    case_id: str = Field(foreign_key="study_case.id", index=True)
    generation: int
    iteration: int
    stage: str
    state: StageRunState
    key: str = ""
    attempt: int = 0
    crashes: int = 0
    #: The stage run whose artifacts stand in for this one's (REUSED).
    reused_from: int | None = None
    started_at: datetime | None = _time(nullable=True)
    finished_at: datetime | None = _time(nullable=True)
    seconds: float = 0.0
    model_seconds: float = 0.0
    #: Model that ran: name, version, digest.
    model: dict[str, str] = _json()
    failure_code: str = ""
    failure_detail: str = ""


class Artifact(SQLModel, table=True):
    """One output of a stage run; the blob is content-addressed, `digest` is canonical (no UIDs, no times)."""

    __table_args__ = (UniqueConstraint("stage_run_id", "role"),)

    id: int | None = Field(default=None, primary_key=True)
    stage_run_id: int = Field(foreign_key="stagerun.id", index=True)
    #: ``segmentation``, ``findings``, ``pseudo_ground_truth``, ``worst_slices``.
    role: str
    sha256: str = Field(max_length=64)
    digest: str = Field(max_length=64)


class FindingRow(SQLModel, table=True):
    """A finding of a stage run with what its criterion said."""

    __tablename__ = "finding"

    id: int | None = Field(default=None, primary_key=True)
    case_id: str = Field(foreign_key="study_case.id", index=True)
    generation: int
    iteration: int
    stage: str
    code: str
    segment: str = ""
    value: float | None = None
    unit: str = "1"
    low: float | None = None
    high: float | None = None
    outcome: str = ""
    detail: str = ""
    #: The bounds of the criterion as JSON, empty when informative only.
    criterion: dict[str, Any] = _json()


class Output(SQLModel, table=True):
    """A DICOM object made for a case; deterministic UIDs make a resend harmless."""

    __table_args__ = (Index("ix_output_case", "case_id", "generation", "iteration"),)

    sop_instance_uid: str = Field(primary_key=True, max_length=64)
    case_id: str = Field(foreign_key="study_case.id")
    generation: int
    iteration: int
    #: `domain.pipeline.OutputKind`.
    kind: str
    stage: str
    sop_class_uid: str
    series_instance_uid: str = Field(index=True)
    study_instance_uid: str = Field(index=True)
    transfer_syntax_uid: str = ""
    sha256: str = Field(max_length=64)
    size: int = _wide()
    #: Canonical digest of the segmentation it carries (SEG only), to know an unchanged output again.
    content_digest: str = ""
    made_at: datetime = _time()
    superseded: bool = False


class IterationOutput(SQLModel, table=True):
    """Which outputs are current in which iteration: an unchanged SEG is carried over, not made again."""

    case_id: str = Field(primary_key=True, foreign_key="study_case.id")
    generation: int = Field(primary_key=True)
    iteration: int = Field(primary_key=True)
    sop_instance_uid: str = Field(primary_key=True, foreign_key="output.sop_instance_uid")


class Delivery(SQLModel, table=True):
    """Outbox: one output to one destination, written in the transaction that makes the output."""

    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "destination"),
        Index("ix_delivery_due", "destination", "state", "due_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    sop_instance_uid: str = Field(foreign_key="output.sop_instance_uid", index=True)
    case_id: str = Field(foreign_key="study_case.id", index=True)
    destination: str
    #: ``PENDING``, ``SENT`` (accepted, not yet proven), ``DELIVERED``, ``DEAD``.
    state: str = "PENDING"
    attempts: int = 0
    due_at: datetime = _time()
    delivered_at: datetime | None = _time(nullable=True)
    last_failure: str = ""
    #: Transaction UID of the storage commitment that was asked for last; empty when it has not been asked.
    transaction_uid: str = Field(default="", index=True)


class CommitmentRequest(SQLModel, table=True):
    """A storage commitment asked of a destination; a report that comes late is still known by its transaction."""

    __tablename__ = "commitment_request"

    transaction_uid: str = Field(primary_key=True, max_length=64)
    destination: str
    asked_at: datetime = _time()
    answered_at: datetime | None = _time(nullable=True)
    committed: int = 0
    failed: int = 0


class OwedReport(SQLModel, table=True):
    """A storage commitment that was asked of us and has not been reported; gone when it has."""

    __tablename__ = "owed_report"

    transaction_uid: str = Field(primary_key=True, max_length=64)
    #: Calling AE title, and the one of ours that it called.
    requestor: str = Field(primary_key=True)
    called_aet: str
    asked_at: datetime = _time()
    due_at: datetime = _time(index=True)
    attempts: int = 0
    #: [SOP Class UID, SOP Instance UID] of each instance.
    instances: list[list[str]] = _json_list()


class Announcement(SQLModel, table=True):
    """What somebody announced of a study, as evidence of its completeness: UIDs, no attribute of a person."""

    __table_args__ = (UniqueConstraint("source_uid", "study_instance_uid"),)

    id: int | None = Field(default=None, primary_key=True)
    #: `domain.evidence.AnnouncementKind`.
    kind: str
    #: SOP Instance UID of the procedure step or notification, or Transaction UID of the commitment request.
    source_uid: str = Field(index=True, max_length=64)
    study_instance_uid: str = Field(index=True, max_length=64)
    #: ``IN PROGRESS``, ``COMPLETED``, ``DISCONTINUED``.
    state: str
    sender: str = ""
    announced_at: datetime = _time()
    changed_at: datetime = _time()
    #: SOP Instance UIDs that it lists.
    instances: list[str] = _json_list()


class ProcedureStep(SQLModel, table=True):
    """A performed procedure step as its modality told it: a DICOM object, patient attributes included."""

    __tablename__ = "procedure_step"

    source_uid: str = Field(primary_key=True, max_length=64)
    sender: str = ""
    begun_at: datetime = _time()
    changed_at: datetime = _time()
    #: Explicit VR Little Endian, UTF-8.
    attributes: bytes


class PriorSearch(SQLModel, table=True):
    """What became of the search for earlier studies of the patient of a new study; also marks what it brought."""

    __tablename__ = "prior_search"
    __table_args__ = (Index("ix_prior_search_due", "state", "due_at"),)

    study_instance_uid: str = Field(primary_key=True, max_length=64)
    #: `domain.priors.SearchState`.
    state: str
    #: Why nothing was, or could not be, fetched, free of patient data; of a prior the study it was fetched for.
    reason: str = ""
    attempts: int = 0
    begun_at: datetime = _time()
    due_at: datetime = _time()
    changed_at: datetime = _time()
    #: What became of each prior that was chosen, by Study Instance UID: ``FETCHED``, ``IN_PART``, the code of an error.
    priors: dict[str, str] = _json()


class Edit(SQLModel, table=True):
    """An accepted edit: which received object replaced which stage's output."""

    id: int | None = Field(default=None, primary_key=True)
    case_id: str = Field(foreign_key="study_case.id", index=True)
    generation: int
    #: Iteration the edit started.
    iteration: int
    stage: str
    #: The received object; of a file without a UID, one made of its content.
    sop_instance_uid: str = Field(index=True, max_length=64)
    #: `services.edit_object.EditFormat`, and the blob of what was received, byte for byte.
    format: str = "SEG"
    received_sha256: str = ""
    #: SOP Instance UIDs of the other objects of a set that came in parts.
    parts: list[str] = _json_list()
    prior_sop_instance_uid: str = Field(default="", index=True)
    sender: str = ""
    door: str = ""
    evidence: str = ""
    accepted_at: datetime = _time()
    #: Blob and canonical digest of the accepted segmentation.
    sha256: str = ""
    digest: str = ""
    changed_voxels: int = 0
    #: Per segment: label, voxels_added, voxels_removed, ml_added, ml_removed, dice, hd95, slices.
    changes: list[dict[str, Any]] = _json_list()
    #: Manufacturer, model and software of the editor as received.
    editor: dict[str, Any] = _json()


class Hold(SQLModel, table=True):
    """A received object that waits for a person: kept, with reasons, never dropped."""

    id: int | None = Field(default=None, primary_key=True)
    sop_instance_uid: str = Field(index=True)
    sha256: str = Field(max_length=64)
    study_instance_uid: str = Field(default="", index=True)
    case_id: str = Field(default="", index=True)
    stage: str = ""
    #: `services.edit_object.EditFormat`; empty for an instance whose class says it.
    format: str = ""
    #: Same for the objects of one writer that together may be one edit; empty for an object that stands alone.
    set_key: str = Field(default="", index=True, max_length=64)
    #: The edit that a part of a set was accepted in.
    edit_id: int | None = None
    #: List of {code, detail}.
    reasons: list[dict[str, str]] = _json_list()
    #: ``OPEN``, ``ACCEPTED``, ``DISCARDED``.
    state: str = Field(default="OPEN", index=True)
    sender: str = ""
    door: str = ""
    held_at: datetime = _time()
    resolved_at: datetime | None = _time(nullable=True)
    resolved_by: str = ""
    resolution_reason: str = ""


class DestinationPause(SQLModel, table=True):
    """A destination to which nothing is sent for now, because a person said so; gone when it is resumed."""

    __tablename__ = "destination_pause"

    destination: str = Field(primary_key=True)
    reason: str = ""
    paused_by: str
    paused_at: datetime = _time()


class PeerContact(SQLModel, table=True):
    """A caller of the DICOM node as last seen at an address; for pages and `overread check`, written now and then."""

    __tablename__ = "peer_contact"

    ae_title: str = Field(primary_key=True, max_length=16)
    address: str = Field(primary_key=True, max_length=64)
    last_seen: datetime = _time(index=True)
    #: Associations that were accepted, and instances that the last of them brought.
    associations: int = 0
    last_instances: int = 0
    #: [SOP Class UID, Transfer Syntax UID] of each presentation context accepted in the last association.
    accepted: list[list[str]] = _json_list()
    #: The sentence that explains the last refusal, of an association or of a presentation context.
    refusal: str = ""
    refused_at: datetime | None = _time(nullable=True)


class PurgedBlob(SQLModel, table=True):
    """A blob that retention took off the disk. The rows that name it stay; it is offered again when it comes again."""

    __tablename__ = "purged_blob"

    sha256: str = Field(primary_key=True, max_length=64)
    study_instance_uid: str = Field(index=True, max_length=64)
    size: int = _wide()
    #: Which rule of the configuration, as it reads.
    rule: str
    purged_at: datetime = _time()


class NoMatchRow(SQLModel, table=True):
    """Why a series of a closed study is not taken by a pipeline."""

    __tablename__ = "no_match"
    __table_args__ = (UniqueConstraint("series_instance_uid", "pipeline"),)

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(index=True)
    series_instance_uid: str
    pipeline: str
    reason: str
    at: datetime = _time()


class AuditEvent(SQLModel, table=True):
    """One link of the audit chain; append-only, each row hashes the one before. Free of patient data."""

    __tablename__ = "audit_event"

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = _time(index=True)
    actor: str
    action: str = Field(index=True)
    case_id: str = Field(default="", index=True)
    subject: str = Field(default="", index=True)
    detail: dict[str, Any] = _json()
    previous: str = Field(max_length=64)
    hash: str = Field(max_length=64)


class Cursor(SQLModel, table=True):
    """Where we stand in somebody's change feed, by name."""

    name: str = Field(primary_key=True)
    position: int = _wide()
    changed_at: datetime = _time()
