"""Fill a database as a busy gateway would: studies, cases, iterations, findings, outputs, deliveries, holds, audit."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from sqlmodel import Session, SQLModel

from dicom_sr.codes import Code
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.uids import derive_uid
from dicom_sr.volume import Grid, Volume
from gateway.domain.case import CaseState, case_id
from gateway.domain.instance import LABEL_MAP_SEGMENTATION_STORAGE, SEGMENTATION_STORAGE, InstanceKind
from gateway.domain.keys import digest_of
from gateway.domain.qc_status import QcStatus
from gateway.domain.stage_run import StageRunState
from gateway.store import audit
from gateway.store.artifacts import encode_segmentation
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import (
    Artifact,
    Case,
    Delivery,
    Edit,
    FindingRow,
    Hold,
    Instance,
    Iteration,
    IterationOutput,
    NoMatchRow,
    Output,
    Series,
    StageRun,
    Study,
)

NOW = datetime(2026, 11, 22, 14, 30, tzinfo=UTC)
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
STAGES = ("image_qc", "hippocampus", "subfields", "measure", "segmentation_qc", "report")
_BRAIN = Code("12738006", "SCT", "Brain structure")
_ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
_SEGMENTS = {
    "hippocampus": (("Hippocampus", (230, 159, 0)),),
    "subfields": (("Hippocampus anterior", (86, 180, 233)), ("Hippocampus posterior", (204, 121, 167))),
}
SHAPE = (36, 48, 34)


@dataclass(kw_only=True)
class Seed:
    """Writes rows; every value follows from the arguments."""

    database: Database
    blobs: BlobStore
    now: datetime = NOW
    _known_series: set[str] = field(default_factory=set)

    @classmethod
    def on(cls, database: Database, blobs: BlobStore, now: datetime = NOW) -> Seed:
        """Create the tables and return a seed."""
        SQLModel.metadata.create_all(database.engine)
        return cls(database=database, blobs=blobs, now=now)

    def study(
        self,
        number: int,
        *,
        patient_name: str = "",
        patient_id: str = "",
        instances: int = 2,
        minutes_ago: float = 60,
        description: str = "MRI brain hippocampus",
    ) -> Study:
        """A received study with one MR series of real, tiny instances."""
        received = self.now - timedelta(minutes=minutes_ago)
        study = Study(
            study_instance_uid=derive_uid("study", number),
            patient_id=patient_id or f"PID{number:05d}",
            patient_name=patient_name or f"PATIENT^NUMBER{number}",
            patient_birth_date="19600203",
            patient_sex="F" if number % 2 else "M",
            study_date="20261122",
            study_time="101500",
            study_id=str(number),
            study_description=description,
            accession_number=f"ACC{number:06d}",
            referring_physician_name="REFERRER^R",
            first_received_at=received,
            last_received_at=received,
            revision=1,
            closed_revision=1,
            calling_aet="MRSCAN1",
            called_aet="OVERREAD",
        )
        series = Series(
            series_instance_uid=derive_uid("series", str(number)),
            study_instance_uid=study.study_instance_uid,
            modality="MR",
            series_number="3",
            series_description="T1 3D SAG",
            body_part_examined="BRAIN",
            frame_of_reference_uid=derive_uid("frame", number),
        )
        with self.database.write() as session:
            session.add(study)
            session.flush()
            session.add(series)
            session.flush()
            for index in range(instances):
                content = image_file(study, series, index)
                session.add(
                    Instance(
                        sop_instance_uid=derive_uid("image", number, index),
                        series_instance_uid=series.series_instance_uid,
                        study_instance_uid=study.study_instance_uid,
                        sop_class_uid=MRImageStorage,
                        transfer_syntax_uid=ExplicitVRLittleEndian,
                        sha256=self.blobs.put(content),
                        size=len(content),
                        kind=InstanceKind.IMAGE,
                        instance_number=str(index + 1),
                        rows=8,
                        columns=6,
                        received_at=received,
                        door="dicom",
                        sender="MRSCAN1",
                    )
                )
        return study

    def case(
        self,
        study: Study,
        *,
        state: CaseState = CaseState.IN_REVIEW,
        pipeline: str = "hippocampus-mr",
        minutes_ago: float = 30,
        **more: object,
    ) -> Case:
        """A case without iterations."""
        at = self.now - timedelta(minutes=minutes_ago)
        case = Case(
            id=case_id(study.study_instance_uid, pipeline),
            study_instance_uid=study.study_instance_uid,
            pipeline=pipeline,
            pipeline_version="1",
            series_instance_uid=study.study_instance_uid.replace("2.25.", "2.25.1", 1)[:64],
            state=state,
            sender=study.calling_aet,
            opened_at=at - timedelta(minutes=2),
            changed_at=at,
            **more,
        )
        with self.database.write() as session:
            session.add(case)
            audit.append(
                session,
                at=case.opened_at,
                actor="overread",
                action="CASE_OPENED",
                case_id=case.id,
                detail={"series": 1},
            )
        return case

    def iteration(
        self,
        case: Case,
        *,
        number: int = 0,
        generation: int = 1,
        cause: str = "AUTOMATIC",
        verdict: str = "ACCEPT",
        reasons: tuple[dict[str, str], ...] = (),
        states: dict[str, StageRunState] | None = None,
        dice: float = 0.91,
        delivered: str = "DELIVERED",
        segmentations: dict[str, Segmentation] | None = None,
        changed: tuple[str, ...] = STAGES,
        qc_status: QcStatus = QcStatus.NOT_REVIEWED,
    ) -> Iteration:
        """One iteration with stage runs, findings, outputs and deliveries; outputs of `changed` stages are new."""
        opened = case.changed_at - timedelta(seconds=90)
        reached = {stage: (states or {}).get(stage, StageRunState.DONE) for stage in STAGES}
        finished = all(
            s not in (StageRunState.WAITING, StageRunState.READY, StageRunState.RUNNING) for s in reached.values()
        )
        iteration = Iteration(
            case_id=case.id,
            generation=generation,
            number=number,
            cause=cause,
            opened_at=opened,
            finished_at=case.changed_at if finished else None,
            image_digest=digest_of({"image": case.study_instance_uid}),
            inputs=[{"sop_instance_uid": derive_uid("x", n), "sha256": "0" * 64} for n in range(36)],
            evidence=["no new instance for 10 s", "every association that brought it has ended"],
            verdict={"outcome": verdict, "reasons": list(reasons)} if verdict else {},
            qc_status=qc_status,
        )
        with self.database.write() as session:
            session.add(iteration)
            for place, (stage, state) in enumerate(reached.items()):
                self._stage_run(session, iteration, stage, state, place, segmentations or {})
            if verdict:
                self._findings(session, iteration, dice)
                self._outputs(session, case, iteration, changed, delivered)
                case.verdict = verdict
            case.iteration, case.generation = number, generation
            session.merge(case)
            audit.append(
                session,
                at=opened,
                actor="overread",
                action="CASE_REPORTED" if verdict else "STAGE_DONE",
                case_id=case.id,
                detail={"iteration": number, "generation": generation, "verdict": verdict},
            )
        return iteration

    def _stage_run(
        self,
        session: Session,
        iteration: Iteration,
        stage: str,
        state: StageRunState,
        place: int,
        segmentations: dict[str, Segmentation],
    ) -> None:
        did_run = state in (StageRunState.DONE, StageRunState.FAILED, StageRunState.RUNNING)
        seconds = (0.42, 6.31, 4.87, 0.18, 9.05, 1.24)[place]
        run = StageRun(
            case_id=iteration.case_id,
            generation=iteration.generation,
            iteration=iteration.number,
            stage=stage,
            state=state,
            key=digest_of({"stage": stage, "iteration": iteration.number, "case": iteration.case_id}),
            attempt=1 if did_run else 0,
            started_at=iteration.opened_at + timedelta(seconds=place * 10) if did_run else None,
            finished_at=iteration.opened_at + timedelta(seconds=place * 10 + seconds) if did_run else None,
            seconds=seconds if did_run else 0.0,
            model_seconds=seconds * 0.8 if did_run else 0.0,
            model={"name": f"{stage}-net", "version": "1", "digest": digest_of(stage)} if place in (1, 2, 4) else {},
            failure_code="OUT_OF_MEMORY" if state is StageRunState.FAILED else "",
            failure_detail="the host ran out of memory" if state is StageRunState.FAILED else "",
        )
        session.add(run)
        session.flush()
        if stage in segmentations and state in (StageRunState.DONE, StageRunState.REUSED, StageRunState.REPLACED):
            content = encode_segmentation(segmentations[stage])
            assert run.id is not None
            session.add(
                Artifact(
                    stage_run_id=run.id,
                    role="segmentation",
                    sha256=self.blobs.put(content),
                    digest=segmentations[stage].digest(),
                )
            )
        if stage == "segmentation_qc" and segmentations and state in (StageRunState.DONE, StageRunState.REUSED):
            assert run.id is not None
            kept = {
                "pseudo_ground_truth": encode_segmentation(make_second_opinion()),
                "worst_slices": json.dumps({"Hippocampus": [20, 11]}).encode(),
            }
            for role, content in kept.items():
                session.add(
                    Artifact(stage_run_id=run.id, role=role, sha256=self.blobs.put(content), digest=digest_of(role))
                )

    def _findings(self, session: Session, iteration: Iteration, dice: float) -> None:
        rows: tuple[tuple[str, str, str, float | None, str, float | None, float | None, dict[str, object]], ...] = (
            ("image_qc", "SIGNAL_TO_NOISE", "", 21.4, "1", None, None, {"review_below": 12.0, "reject_below": 6.0}),
            ("image_qc", "MOTION_SCORE", "", 0.08, "1", None, None, {"review_above": 0.3, "reject_above": 0.6}),
            ("image_qc", "SLICE_GAPS", "", 0.0, "1", None, None, {"reject_above": 0.0}),
            ("measure", "VOLUME", "Hippocampus", 3.214, "ml", None, None, {"review_below": 1.8, "review_above": 5.5}),
            ("measure", "VOLUME", "Hippocampus anterior", 1.702, "ml", None, None, {}),
            ("measure", "VOLUME", "Hippocampus posterior", 1.512, "ml", None, None, {}),
            ("segmentation_qc", "PREDICTED_DICE", "Hippocampus", dice, "1", dice - 0.05, min(1.0, dice + 0.04),
             {"review_below": 0.8, "reject_below": 0.6, "source": "calibration of hippocampus-qc 1"}),
            ("segmentation_qc", "PREDICTED_DICE", "Hippocampus anterior", dice - 0.02, "1", dice - 0.08, dice + 0.03,
             {"review_below": 0.75, "reject_below": 0.55}),
            ("segmentation_qc", "PREDICTED_HD95", "Hippocampus", 1.6, "mm", 0.9, 2.8, {"review_above": 4.0}),
            ("segmentation_qc", "ENSEMBLE_AGREEMENT", "Hippocampus", None, "1", None, None, {"review_below": 0.8}),
        )  # fmt: skip
        for stage, code, segment, value, unit, low, high, criterion in rows:
            session.add(
                FindingRow(
                    case_id=iteration.case_id,
                    generation=iteration.generation,
                    iteration=iteration.number,
                    stage=stage,
                    code=code,
                    segment=segment,
                    value=value,
                    unit=unit,
                    low=low,
                    high=high,
                    outcome=_judged(value, low, criterion),
                    detail=_said(code, segment, value),
                    criterion=criterion,
                )
            )

    def _outputs(
        self, session: Session, case: Case, iteration: Iteration, changed: tuple[str, ...], delivered: str
    ) -> None:
        wanted = (
            ("SEG", "hippocampus", SEGMENTATION_STORAGE),
            ("SEG", "subfields", SEGMENTATION_STORAGE),
            ("IMAGE_QC_SR", "", COMPREHENSIVE_3D_SR),
            ("SEG_QC_SR", "", COMPREHENSIVE_3D_SR),
            ("SUMMARY_SC", "", SECONDARY_CAPTURE),
        )
        for kind, stage, sop_class in wanted:
            is_new = iteration.number == 0 or (stage in changed if stage else kind != "IMAGE_QC_SR")
            made_in = iteration.number if is_new else 0
            uid = derive_uid("output", case.id, iteration.generation, made_in, kind, stage)
            if is_new:
                content = output_file(case, uid, kind, stage, sop_class, made_in)
                session.add(
                    Output(
                        sop_instance_uid=uid,
                        case_id=case.id,
                        generation=iteration.generation,
                        iteration=made_in,
                        kind=kind,
                        stage=stage,
                        sop_class_uid=sop_class,
                        series_instance_uid=derive_uid("series", case.id, kind, stage),
                        study_instance_uid=case.study_instance_uid,
                        transfer_syntax_uid=ExplicitVRLittleEndian,
                        sha256=self.blobs.put(content),
                        size=len(content),
                        made_at=case.changed_at,
                    )
                )
                session.flush()
                session.add(
                    Delivery(
                        sop_instance_uid=uid,
                        case_id=case.id,
                        destination="pacs",
                        state=delivered,
                        attempts=1 if delivered == "DELIVERED" else 50 if delivered == "DEAD" else 2,
                        due_at=case.changed_at,
                        delivered_at=case.changed_at if delivered == "DELIVERED" else None,
                        last_failure=""
                        if delivered in ("DELIVERED", "SENT")
                        else "PACS1 at 10.0.4.7:104 does not answer",
                    )
                )
            session.add(
                IterationOutput(
                    case_id=case.id, generation=iteration.generation, iteration=iteration.number, sop_instance_uid=uid
                )
            )

    def edit(self, case: Case, *, iteration: int, stage: str = "hippocampus", changed_voxels: int = 137) -> Edit:
        """An accepted edit that started `iteration`, as OHIF writes it."""
        uid = derive_uid("edit", case.id, iteration)
        content = output_file(case, uid, "SEG", stage, LABEL_MAP_SEGMENTATION_STORAGE, iteration)
        series = Series(
            series_instance_uid=derive_uid("edit series", case.id, iteration),
            study_instance_uid=case.study_instance_uid,
            modality="SEG",
            series_description="Research Derived series",
        )
        sha256 = self.blobs.put(content)
        edit = Edit(
            case_id=case.id,
            generation=1,
            iteration=iteration,
            stage=stage,
            sop_instance_uid=uid,
            prior_sop_instance_uid=derive_uid("output", case.id, 1, 0, "SEG", stage),
            sender="DR_HOLM",
            door="stow",
            evidence="references the prior SEG's series, unique label",
            accepted_at=case.changed_at - timedelta(seconds=95),
            sha256=sha256,
            digest="e" * 64,
            changed_voxels=changed_voxels,
            changes=[
                {"label": "Hippocampus", "voxels_added": 121, "voxels_removed": 16, "ml_added": 0.121,
                 "ml_removed": 0.016, "dice": 0.9786, "hd95": 1.41, "slices": [12, 13, 14, 15, 16]},
            ],
            editor={"manufacturer": "Unspecified", "model": "OHIF Viewer", "software": "3.13.2"},
        )  # fmt: skip
        with self.database.write() as session:
            session.add(series)
            session.flush()
            session.add(
                Instance(
                    sop_instance_uid=uid,
                    series_instance_uid=series.series_instance_uid,
                    study_instance_uid=case.study_instance_uid,
                    sop_class_uid=LABEL_MAP_SEGMENTATION_STORAGE,
                    transfer_syntax_uid=ExplicitVRLittleEndian,
                    sha256=sha256,
                    size=len(content),
                    kind=InstanceKind.EDITED_SEG,
                    received_at=edit.accepted_at,
                    door="stow",
                    sender="DR_HOLM",
                    handled=True,
                )
            )
            session.flush()
            session.add(edit)
            audit.append(
                session,
                at=edit.accepted_at,
                actor="DR_HOLM",
                action="EDIT_ACCEPTED",
                case_id=case.id,
                subject=uid,
                detail={"stage": stage, "iteration": iteration, "changed_voxels": changed_voxels},
            )
        return edit

    def hold(self, *, study_uid: str = "", case: str = "", codes: tuple[tuple[str, str], ...] = ()) -> Hold:
        """A held SEG."""
        uid = derive_uid("held", study_uid, case, str(codes))
        reasons = codes or (("GRID_MISMATCH", "its voxel grid is not the one of any output of this study"),)
        hold = Hold(
            sop_instance_uid=uid,
            sha256="a" * 64,
            study_instance_uid=study_uid,
            case_id=case,
            reasons=[{"code": code, "detail": detail} for code, detail in reasons],
            sender="DR_HOLM",
            door="stow",
            held_at=self.now - timedelta(minutes=7),
        )
        with self.database.write() as session:
            session.add(hold)
            session.flush()
            audit.append(
                session, at=hold.held_at, actor="DR_HOLM", action="EDIT_HELD", case_id=case, subject=uid,
                detail={"reasons": [code for code, _ in reasons]},
            )  # fmt: skip
        return hold

    def untaken(self, study: Study, *, pipeline: str, reason: str) -> None:
        """A series that a pipeline did not take."""
        row = NoMatchRow(
            study_instance_uid=study.study_instance_uid,
            series_instance_uid=derive_uid("series", study.study_id),
            pipeline=pipeline,
            reason=reason,
            at=study.last_received_at,
        )
        with self.database.write() as session:
            session.add(row)

    def audit(self, action: str, *, actor: str = "overread", case: str = "", **detail: str | int | bool) -> None:
        """One audit event, now."""
        with self.database.write() as session:
            audit.append(session, at=self.now, actor=actor, action=action, case_id=case, detail=detail)


def _said(code: str, segment: str, value: float | None) -> str:
    if value is None:
        return "the ensemble has one member only"
    if code.startswith("PREDICTED_"):
        return f"predicted {code} of {segment} is {value}; 90% interval from 37 calibration patients (54 images)"
    return ""


def _judged(value: float | None, low: float | None, criterion: dict[str, object]) -> str:
    if not criterion:
        return ""
    if value is None:
        return "REVIEW"
    bound = criterion.get("review_below")
    worst = value if low is None else low
    return "REVIEW" if isinstance(bound, float) and worst < bound else "ACCEPT"


def image_file(study: Study, series: Series, index: int) -> bytes:
    """One small MR instance as a DICOM file."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = derive_uid("image", study.study_id, index)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study.study_instance_uid, series.series_instance_uid
    ds.PatientName, ds.PatientID = study.patient_name, study.patient_id
    ds.PatientBirthDate, ds.PatientSex = study.patient_birth_date, study.patient_sex
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = study.study_date, study.study_time, study.accession_number
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "MR", 3, index + 1
    ds.FrameOfReferenceUID = series.frame_of_reference_uid
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, float(index)], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 8, 6, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = 500, 1000
    pixels = (np.arange(48, dtype="<u2").reshape(8, 6) * 20 + index).astype("<u2")
    ds.PixelData = pixels.tobytes()
    return as_file(ds)


def output_file(case: Case, uid: str, kind: str, stage: str, sop_class: str, iteration: int) -> bytes:
    """A stand-in for one of our outputs: a header that queries can read."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid
    ds.StudyInstanceUID = case.study_instance_uid
    ds.SeriesInstanceUID = derive_uid("series", case.id, kind, stage)
    ds.Modality = {"SEG": "SEG", "SUMMARY_SC": "OT"}.get(kind, "SR")
    ds.SeriesDescription = f"QC {kind} it{iteration} {stage}".strip()
    ds.SeriesNumber, ds.InstanceNumber = 900, iteration + 1
    return as_file(ds)


def as_file(ds: Dataset) -> bytes:
    """Return a data set as a DICOM file, Explicit VR Little Endian."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def make_grid() -> Grid:
    """A 1 mm grid like a hippocampus crop, axial, head first."""
    affine = np.zeros((4, 4))
    affine[0, 2], affine[1, 1], affine[2, 0], affine[3, 3] = 1.0, 1.0, 1.0, 1.0
    return Grid(shape=SHAPE, affine=affine)


def make_volume() -> Volume:
    """A T1-like crop: soft texture, bright white matter, a grey curved body where the hippocampus is."""
    z, y, x = np.indices(SHAPE).astype(float)
    rng = np.random.default_rng(7)
    texture = rng.normal(size=SHAPE)
    for axis in range(3):
        texture = (np.roll(texture, 1, axis) + 2 * texture + np.roll(texture, -1, axis)) / 4
    values = 520 + 60 * np.sin(x / 6) * np.cos(y / 9) + 90 * (np.hypot(x - 17, z - 18) > 14) + 70 * texture
    values[body(shift=0.0)] -= 150
    values[np.hypot(x - 8, y - 12) < 4] = 160
    return Volume(grid=make_grid(), voxels=values.astype(np.float32), modality="MR")


def body(*, shift: float, grow: float = 0.0) -> np.ndarray:
    """A curved sausage along y, bool."""
    z, y, x = np.indices(SHAPE).astype(float)
    centre_x, centre_z = 17 + 5 * np.sin((y - 24) / 9) + shift, 18 + 3 * np.cos((y - 24) / 11)
    radius = np.clip(6.5 - np.abs(y - 24) / 5.5, 0, None) + grow
    return np.hypot(x - centre_x, z - centre_z) < radius * ((y > 4) & (y < 44))


def make_segmentations(*, shift: float = 0.0, grow: float = 0.0) -> dict[str, Segmentation]:
    """The segmentations of both stages; `shift` and `grow` move and swell the body, voxels."""
    grid, whole = make_grid(), body(shift=shift, grow=grow)
    y = np.indices(SHAPE)[1]
    halves = np.where(whole, np.where(y < 24, 1, 2), 0)
    return {
        "hippocampus": Segmentation.from_labelmap(grid, whole.astype(np.uint16), _segments("hippocampus")),
        "subfields": Segmentation.from_labelmap(grid, halves, _segments("subfields")),
    }


def make_second_opinion() -> Segmentation:
    """What segmentation QC segmented in the same image: the whole body, a little to the right."""
    return make_segmentations(shift=-1.0)["hippocampus"]


def _segments(stage: str) -> tuple[Segment, ...]:
    return tuple(
        Segment(number=n, label=label, category=_ANATOMY, property_type=_BRAIN, color=color)
        for n, (label, color) in enumerate(_SEGMENTS[stage], 1)
    )
