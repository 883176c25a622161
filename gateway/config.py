"""The configuration: one frozen tree, passed from `app.build`; nothing reads it at import.

Faults are reported as ``file:line: key: message``; unknown keys are refused. Secrets stand in files or the environment.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dicom_sr.codes import Code
from dicom_sr.segment_codes import ANATOMICAL_STRUCTURE
from dicom_sr.segmentation import Segment
from dicom_sr.verdict import Criterion
from gateway.domain.pipeline import (
    ChangeScope,
    EditDoor,
    MatchRule,
    OutputKind,
    Pipeline,
    RerunPolicy,
    Stage,
    StageKind,
)
from gateway.domain.qc_status import QcStatus


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]*$")]
Port = Annotated[int, Field(ge=0, le=65535)]


class ExpectedCount(StrEnum):
    """How the number of instances of a study is asked for at its sender."""

    NONE = "none"
    FIND = "find"
    QIDO = "qido"


class TlsConfig(_Section):
    """DICOM over TLS 1.2 and 1.3 (BCP 195): on with a certificate; files are read again when they change."""

    certificate_file: Path | None = None
    """Our certificate, with those between it and its root, PEM. Callers use TLS with it; as callers we show it."""
    key_file: Path | None = None
    """Our private key, PEM, without a passphrase."""
    ca_file: Path | None = None
    """Root certificates, PEM: those of callers, and of the nodes we call where these name none of their own."""
    require_client_certificate: bool = True
    """Take only callers that show a certificate which descends from ca_file."""
    port: Port | None = None
    """A port of its own for TLS, such as 2762; node.port then stays plain. null: node.port takes TLS."""
    also_plain: bool = False
    """Without a port of its own: go on to take DICOM without TLS on node.port, too."""


class Peer(_Section):
    """A DICOM node that may call us."""

    ae_title: AeTitle
    """Its AE title."""
    host: str = ""
    """Its address: checked when given, and needed to ask it for an expected count, and to fetch from it."""
    port: Port = 104
    """Its DICOM port, where we call it."""
    dicomweb_url: str = ""
    """Its DICOMweb base URL, for ``expected_count: qido``."""
    expected_count: ExpectedCount = ExpectedCount.NONE
    """Ask the sender how many instances a study has before closing it."""
    site: str = ""
    """Site name: results and fair scheduling are grouped by it."""
    priority: Literal["stat", "urgent", "routine", "batch"] = "routine"
    """Priority of the cases it sends."""
    may_call: tuple[AeTitle, ...] = ()
    """AE titles of ours that it may call; empty for any."""
    maximum_associations: int | None = Field(default=None, ge=1)
    """Associations of it at the same time; null for no bound of its own."""
    username: str = ""
    """User name it must give when it calls (User Identity Negotiation); empty: none is asked for."""
    password_file: Path | None = None
    """File that holds the passcode to that name."""
    expected_series: tuple[str, ...] = ()
    """Regular expressions: a study it sends is complete when each is found in the description of a series."""
    tls: bool = False
    """It speaks TLS: its calls without are refused, and we call it by TLS."""
    ca_file: Path | None = None
    """Root certificates, PEM, of its certificate; empty: node.tls.ca_file."""
    check_host: bool = True
    """When we call it by TLS, its certificate must name the host we called."""


class PriorsConfig(_Section):
    """Earlier studies of the patient of a new study, fetched from an archive by themselves; off without a peer."""

    peer: AeTitle | None = None
    """AE title of the archive: one of node.peers, with a host."""
    issuer: str = Field(default="", max_length=64)
    """Issuer of Patient ID (0010,0021) where an image or the archive names none; unknown on either side: no fetch."""
    modalities: tuple[str, ...] = ()
    """A prior has a series of one of these; empty for any."""
    within_days: int = Field(default=1825, ge=1)
    """How much older than the new study a prior may be."""
    maximum_studies: int = Field(default=2, ge=1, le=20)
    """Most priors of a new study; the newest are taken."""
    called_aet: AeTitle | None = None
    """AE title of ours that priors are received under, for pipelines that match on it; null: node.ae_title."""
    seconds: float = Field(default=600.0, ge=1.0, le=7200.0)
    """The fetch of one study is cancelled after this."""


class NodeConfig(_Section):
    """The DICOM node."""

    ae_title: AeTitle = "OVERREAD"
    """AE title that callers must use."""
    more_ae_titles: tuple[AeTitle, ...] = ()
    """Further called AE titles, for pipelines that match on them."""
    priorities: dict[AeTitle, Literal["stat", "urgent", "routine", "batch"]] = Field(default_factory=dict)
    """Priority by called AE title, before that of the peer, such as ``{OVERREAD_STAT: stat}``."""
    tls: TlsConfig = TlsConfig()
    """DICOM over TLS."""
    port: Port = 11112
    """DICOM port; 0 takes a free one."""
    bind: str = "127.0.0.1"
    """Address to listen on, for DICOM and HTTP."""
    peers: tuple[Peer, ...] = ()
    """Known callers. With any listed, unknown callers are refused; with none, everybody may call."""
    priors: PriorsConfig = PriorsConfig()
    """Earlier studies of the patient of a new study."""
    maximum_associations: int = Field(default=50, ge=1)
    """Associations at the same time."""
    maximum_object_mb: int = Field(default=2048, ge=1)
    """Largest instance accepted, MB."""
    quiet_seconds: float = Field(default=10.0, ge=0.1)
    """A study is closed after this many seconds without a new instance, when its associations have ended."""
    quiet_seconds_without_evidence: float = Field(default=60.0, ge=0.1)
    """The same when an association that brought it is still open, or something that was announced has not come."""
    quiet_seconds_in_progress: float = Field(default=1800.0, ge=0.1)
    """The same while a modality has begun a procedure step (MPPS) and not ended it."""
    minimum_free_mb: int = Field(default=500, ge=0)
    """Below this much free disk space new instances are refused with 0xA700 until there is room again."""


class User(_Section):
    """A person or service that may use HTTP."""

    name: str
    """Name in the audit trail."""
    role: Literal["reader", "reviewer", "admin"] = "reviewer"
    """What the user may do."""
    token_file: Path
    """File that holds the bearer token (also the password of the sign-in page)."""


class WebConfig(_Section):
    """The HTTP server."""

    port: Port = 8080
    """HTTP port; 0 takes a free one."""
    users: tuple[User, ...] = ()
    """With no user the server binds to loopback only and acts as user ``local``."""
    viewer_url: str = ""
    """Link to a viewer, with ``{study_instance_uid}``."""


class RetentionRule(_Section):
    """What is taken off the disk when it has grown old. The database keeps its record of what was there.

    Nothing goes of a study that has a case that is not final, a held object, or a delivery that has not arrived.
    """

    remove: Literal["received", "results"]
    """``received``: images and whatever else came in. ``results``: objects made here that every destination has."""
    after_days: float = Field(ge=0)
    """Days since anything of the study changed or came in."""
    studies: Literal["final", "untaken"] = "final"
    """``final``: studies of which every case is final. ``untaken``: studies of which no pipeline took any series."""
    qc_status: tuple[QcStatus, ...] = ()
    """Only when each case of the study has one of these decisions; empty for any."""
    proof: Literal["accepted", "listed", "committed"] = "listed"
    """How sure a destination must be to have a result: it accepted it, it listed it when asked (or better), or it has
    committed itself to keep it."""


class DataConfig(_Section):
    """Where everything is kept."""

    folder: Path | None = None
    """Data folder; ``--data`` overrides it."""
    receive_journal_mb: int = Field(default=512, ge=0, le=65536)
    """Disk space of the receive journal, with which an image is safe after one sync instead of three; 0: without."""
    retention: tuple[RetentionRule, ...] = ()
    """What is taken off the disk, and when; empty: nothing ever. ``overread check --store`` shows what would go."""


class DatabaseConfig(_Section):
    """The database."""

    url: str = ""
    """Empty: SQLite in the data folder. ``postgresql+psycopg://USER@HOST/DATABASE``: on a server, for one gateway."""
    password_file: Path | None = None
    """File that holds the database password."""


class DispatchConfig(_Section):
    """Who runs stages."""

    engine: Literal["inline", "celery"] = "inline"
    """``inline`` runs them in one child process."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of the stage host; 0 for all cores."""
    broker_url: str = ""
    """Message broker of the ``celery`` engine."""


class Destination(_Section):
    """Where results go."""

    name: str
    """Name used by pipelines."""
    kind: Literal["dicom", "stow", "orthanc"]
    """C-STORE, STOW-RS, or Orthanc's REST API."""
    ae_title: AeTitle | None = None
    """Called AE title (dicom)."""
    host: str = ""
    """Address (dicom)."""
    port: Port = 104
    """Port (dicom)."""
    tls: bool = False
    """Speak TLS with it (dicom), with the certificate of node.tls where there is one."""
    ca_file: Path | None = None
    """Root certificates, PEM, of its certificate (dicom); empty: node.tls.ca_file."""
    check_host: bool = True
    """Its certificate must name the host we called (dicom)."""
    url: str = ""
    """Base URL (stow: DICOMweb root; orthanc: REST root)."""
    username: str = ""
    """HTTP user; towards a DICOM node the user identity of our associations."""
    password_file: Path | None = None
    """File that holds the password or passcode."""
    seg: Literal["BINARY", "LABELMAP"] = "BINARY"
    """SEG kind its viewers read best."""
    read_back: bool = True
    """Ask the peer for the object after sending, and call it delivered only when it is there."""
    commitment: bool = False
    """Call it delivered only when it has committed itself to keep it, by Storage Commitment (dicom)."""
    commitment_seconds: float = Field(default=600.0, gt=0)
    """How long to wait for its report before it is asked anew."""
    outputs: tuple[OutputKind, ...] = ()
    """Kinds it takes; empty for all but KOS, PROBABILITY_SEG and PSEUDO_TRUTH_SEG, which go only where named."""
    withdraw: bool = False
    """Also send a key object selection that rejects (IHE IOCM) earlier results once newer ones replace them."""
    retry_seconds: float = Field(default=5.0, gt=0)
    """First pause after a failure; doubles up to ten minutes."""
    maximum_attempts: int = Field(default=50, ge=1)
    """After this many failures a delivery is dead until a person retries it."""


class Reader(_Section):
    """A person whose retrieval of results makes them the QC assignee."""

    name: str
    """Name set as assignee."""
    ae_title: AeTitle
    """AE title of their workstation."""


class FollowedOrthanc(_Section):
    """An Orthanc whose change feed is followed for new images and edited SEGs."""

    name: str
    """Name in logs and of the stored cursor."""
    url: str
    """REST root."""
    username: str = ""
    """HTTP user."""
    password_file: Path | None = None
    """File that holds the HTTP password."""
    poll_seconds: float = Field(default=5.0, gt=0)
    """Pause between two looks at the feed."""
    take: Literal["edits", "all"] = "edits"
    """Take edited SEGs only, or images as well."""


class CodeConfig(_Section):
    """A coded concept."""

    value: str
    """Code Value."""
    scheme: str = "SCT"
    """Coding Scheme Designator."""
    meaning: str
    """Code Meaning."""

    def to_domain(self) -> Code:
        """Return the code."""
        return Code(self.value, self.scheme, self.meaning)


_ANATOMICAL_STRUCTURE = CodeConfig(value=ANATOMICAL_STRUCTURE.value, meaning=ANATOMICAL_STRUCTURE.meaning)


class SegmentConfig(_Section):
    """A segment of a stage."""

    number: int = Field(ge=1, le=65535)
    """Value in the model's label map."""
    label: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\x20-\x5b\x5d-\x7e]+$")]
    """ASCII, unique in the pipeline."""
    category: CodeConfig = _ANATOMICAL_STRUCTURE
    """Segmented Property Category."""
    type: CodeConfig
    """Segmented Property Type."""
    modifier: CodeConfig | None = None
    """Segmented Property Type Modifier: which part or side of the type it is, such as anterior or left."""
    region: CodeConfig | None = None
    """Anatomic Region."""
    color: tuple[int, int, int] = (230, 159, 0)
    """sRGB 0..255."""

    def to_domain(self) -> Segment:
        """Return the segment."""
        return Segment(
            number=self.number,
            label=self.label,
            category=self.category.to_domain(),
            property_type=self.type.to_domain(),
            anatomic_region=self.region.to_domain() if self.region else None,
            property_type_modifier=self.modifier.to_domain() if self.modifier else None,
            color=self.color,
        )


class CriterionConfig(_Section):
    """A threshold on a finding; see `dicom_sr.verdict.Criterion`."""

    code: str
    """Finding code."""
    segment: str = ""
    """Segment label; empty for every segment."""
    reject_below: float | None = None
    """Reject when the whole interval is below."""
    review_below: float | None = None
    """Review when any of the interval is below."""
    review_above: float | None = None
    """Review when any of the interval is above."""
    reject_above: float | None = None
    """Reject when the whole interval is above."""
    abstain_below: float | None = None
    """Abstain when the value is below."""
    abstain_above: float | None = None
    """Abstain when the value is above."""
    required: bool = False
    """Abstain when it was not measured."""
    source: str = "configuration"
    """Where the threshold comes from."""

    def to_domain(self) -> Criterion:
        """Return the criterion."""
        return Criterion(**self.model_dump())


class ScopeConfig(_Section):
    """How far an edit may go before a person must confirm it."""

    minimum_dice: float = Field(default=0.3, ge=0, le=1)
    """Least Dice of a segment with its prior."""
    maximum_volume_ratio: float = Field(default=3.0, ge=1)
    """Greatest ratio of volumes."""
    overlap: bool = False
    """Whether segments may overlap."""


class StageConfig(_Section):
    """One stage."""

    kind: StageKind
    """Kind of work."""
    model: str = ""
    """Shipped weights by name, or a folder with weights or a MONAI bundle."""
    command: tuple[str, ...] = ()
    """External program instead of a model: ``{image}``, ``{region}`` and ``{output}`` are NIfTI files."""
    needs: tuple[str, ...] = ()
    """Stages whose outputs it takes."""
    editable: bool = False
    """Whether its SEG goes out and may come back edited."""
    segments: tuple[SegmentConfig, ...] = ()
    """What it segments."""
    criteria: tuple[CriterionConfig, ...] = ()
    """Thresholds beside the model's own."""
    parameters: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further parameters of the kind."""
    scope: ScopeConfig = ScopeConfig()
    """Bounds of an edit."""

    def to_domain(self, name: str) -> Stage:
        """Return the stage."""
        return Stage(
            name=name,
            kind=self.kind,
            needs=self.needs,
            model=self.model,
            command=self.command,
            editable=self.editable,
            segments=tuple(segment.to_domain() for segment in self.segments),
            criteria=tuple(criterion.to_domain() for criterion in self.criteria),
            parameters=dict(self.parameters),
            scope=ChangeScope(**self.scope.model_dump()),
        )


class MatchConfig(_Section):
    """Which series a pipeline takes; see `domain.pipeline.MatchRule`."""

    called_aet: tuple[AeTitle, ...] = ()
    """Called AE titles."""
    modality: tuple[str, ...] = ()
    """Modalities."""
    body_part: tuple[str, ...] = ()
    """Body Part Examined; a series without it is not refused."""
    description: str = ""
    """Regular expression in the descriptions."""
    exclude_description: str = ""
    """Regular expression that must not be there."""
    extent_mm: tuple[float, float] | None = None
    """Bounds of the largest extent of the field of view."""
    minimum_slices: int = Field(default=1, ge=1)
    """Fewest slices."""


class PolicyConfig(_Section):
    """How edits are taken."""

    edits: EditDoor = EditDoor.OPEN
    """``open``: an edited SEG is itself the request. ``on_request``: only after FAIL_NEEDS_REPROCESSING."""
    rerun: RerunPolicy = RerunPolicy.AUTO
    """``auto``: an accepted edit restarts at once. ``ask``: a person confirms."""
    iteration_cap: int = Field(default=50, ge=1)
    """Most iterations of a case."""


class PipelineConfig(_Section):
    """A pipeline, declared in full or by naming a shipped one to start from."""

    name: str
    """Unique name."""
    version: str = "1"
    """Raised when its meaning changes."""
    title: str = ""
    """For people."""
    match: MatchConfig = MatchConfig()
    """Which series it takes."""
    stages: dict[str, StageConfig]
    """Stages by name."""
    outputs: tuple[OutputKind, ...] = (
        OutputKind.SEG,
        OutputKind.IMAGE_QC_SR,
        OutputKind.SEG_QC_SR,
        OutputKind.SUMMARY_SC,
    )
    """Objects sent out."""
    destinations: tuple[str, ...] = ()
    """Names of destinations."""
    policy: PolicyConfig = PolicyConfig()
    """How edits are taken."""

    def to_domain(self) -> Pipeline:
        """Return the pipeline."""
        return Pipeline(
            name=self.name,
            version=self.version,
            title=self.title,
            match=MatchRule(**self.match.model_dump()),
            stages=tuple(stage.to_domain(name) for name, stage in self.stages.items()),
            outputs=self.outputs,
            destinations=self.destinations,
            edits=self.policy.edits,
            rerun=self.policy.rerun,
            iteration_cap=self.policy.iteration_cap,
        )


class Config(_Section):
    """The whole configuration."""

    node: NodeConfig = NodeConfig()
    """The DICOM node."""
    web: WebConfig = WebConfig()
    """The HTTP server."""
    data: DataConfig = DataConfig()
    """Where everything is kept."""
    database: DatabaseConfig = DatabaseConfig()
    """The database."""
    dispatch: DispatchConfig = DispatchConfig()
    """Who runs stages."""
    destinations: tuple[Destination, ...] = ()
    """Where results go."""
    readers: tuple[Reader, ...] = ()
    """Persons whose retrieval makes them the assignee."""
    follow: tuple[FollowedOrthanc, ...] = ()
    """Orthancs whose change feed is followed."""
    content_qualification: Literal["PRODUCT", "RESEARCH"] = "RESEARCH"
    """Content Qualification (0018,9004) of results; RESEARCH also writes "not for diagnosis"."""
    pipelines: tuple[PipelineConfig, ...] = ()
    """Pipelines."""
