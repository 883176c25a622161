"""A small MR source series and quality control reports about it, made by code, for tests of the report writers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, SegmentationStorage

from dicom_sr import codes
from dicom_sr.equipment import Equipment
from dicom_sr.qc_report import (
    EditSummary,
    ModelRef,
    PipelineRef,
    PriorDocument,
    QcReport,
    SegmentReport,
    Signature,
)
from dicom_sr.segment_codes import HIPPOCAMPUS
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from dicom_sr.uids import derive_uid
from dicom_sr.verdict import Criterion, Finding, Outcome, decide

EQUIPMENT = Equipment(
    manufacturer="Overread",
    model_name="Overread gateway",
    serial_number="test-0001",
    software_versions=("overread 0.1.0", "hippocampus 1.0"),
    device_uid=derive_uid("test-device"),
)
CREATED = datetime(2026, 3, 4, 5, 6, 7, 250000, tzinfo=UTC)
SEG_UID = derive_uid("test-seg")

TRIAL = {
    "ClinicalTrialSponsorName": "Sponsor",
    "ClinicalTrialProtocolID": "P-17",
    "ClinicalTrialProtocolName": "Protocol seventeen",
    "ClinicalTrialSiteID": "S-3",
    "ClinicalTrialSiteName": "Site three",
    "ClinicalTrialSubjectID": "SUBJ-0042",
    "ClinicalTrialTimePointID": "BASELINE",
    "ClinicalTrialCoordinatingCenterName": "Centre",
    "ClinicalTrialSeriesID": "SER-9",
}


def write_source(folder: Path, *, slices: int = 6, **attributes: object) -> list[Path]:
    """Write one axial MR series; `attributes` are set on, or with None taken from, every instance."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(7)
    paths = []
    for z in range(slices):
        ds = _instance(z, noise.integers(0, 900, (16, 20), dtype=np.uint16))
        for keyword, value in attributes.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        paths.append(folder / f"{z:04d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def make_source(folder: Path, *, slices: int = 6, **attributes: object) -> SourceSeries:
    """Write one axial MR series and read it as a `SourceSeries`."""
    return read_series(write_source(folder, slices=slices, **attributes))


def _instance(z: int, pixels: np.ndarray) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derive_uid("test-source", z)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID, ds.IssuerOfPatientID = "Doe^Jane", "0007", "Hospital"
    ds.PatientBirthDate, ds.PatientSex = "19600102", "F"
    ds.StudyInstanceUID, ds.StudyID = derive_uid("test-study"), "S1"
    ds.StudyDate, ds.StudyTime, ds.StudyDescription = "20260303", "101112", "Brain MR"
    ds.AccessionNumber, ds.ReferringPhysicianName = "A1", "Who^Doctor"
    ds.SeriesInstanceUID, ds.SeriesNumber = derive_uid("test-series"), 4
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = derive_uid("test-frame"), ""
    ds.Modality, ds.Manufacturer, ds.Laterality = "MR", "Scanner maker", ""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "GR", "SP", ""
    ds.MRAcquisitionType, ds.EchoTime, ds.RepetitionTime, ds.EchoTrainLength = "3D", 3.0, 9.0, 1
    ds.SliceThickness, ds.InstanceNumber = 1.5, z + 1
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [-10, -8, 1.5 * z]
    ds.PixelSpacing = [1.0, 1.0]
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PatientPosition, ds.AcquisitionNumber = "HFS", 1
    ds.PixelData = pixels.tobytes()
    return ds


def segment(label: str, number: int) -> SegmentReport:
    """Return one segment of the example SEG."""
    return SegmentReport(
        label=label,
        segment_number=number,
        tracking_id=f"{label} of case",
        tracking_uid=derive_uid("test-tracking", label),
        seg_sop_class_uid=SegmentationStorage,
        seg_sop_instance_uid=SEG_UID,
        seg_series_instance_uid=derive_uid("test-seg-series"),
        property_type=HIPPOCAMPUS,
    )


FINDINGS = (
    Finding(stage="segmentation_qc", code="OUT_OF_DISTRIBUTION", value=1.25),
    Finding(stage="segmentation_qc", code="SOMETHING_NEW", value=0.5, detail="a rule the table does not know"),
    Finding(
        stage="segmentation_qc", code="PREDICTED_DICE", value=0.71, low=0.62, high=0.79, segment="Hippocampus anterior",
        detail="90 % interval from 35 calibration patients",
    ),
    Finding(stage="segmentation_qc", code="PREDICTED_HD95", value=3.4, unit="mm", segment="Hippocampus anterior"),
    Finding(stage="measure", code="VOLUME", value=1.503, unit="ml", segment="Hippocampus anterior"),
    Finding(
        stage="segmentation_qc", code="PREDICTED_DICE", value=0.9, low=0.85, high=0.94, segment="Hippocampus posterior"
    ),
    Finding(stage="measure", code="VOLUME", value=None, unit="ml", segment="Hippocampus posterior", detail="no voxel"),
)  # fmt: skip
CRITERIA = (
    Criterion(code="PREDICTED_DICE", reject_below=0.5, review_below=0.7, required=True, source="calibration 1"),
    Criterion(code="OUT_OF_DISTRIBUTION", abstain_above=3.0, source="fingerprint"),
    Criterion(code="PREDICTED_HD95", segment="Hippocampus anterior", review_above=5.0),
)

IMAGE_FINDINGS = (
    Finding(stage="image_qc", code="MISSING_SLICES", value=1.0, detail="a gap of one slice after slice 12"),
    Finding(stage="image_qc", code="EFC", value=0.61),
    Finding(stage="image_qc", code="SNR", value=8.25),
    Finding(stage="image_qc", code="FWHM", value=None, unit="mm", detail="needs background air"),
)
IMAGE_CRITERIA = (
    Criterion(code="MISSING_SLICES", reject_above=0.0, source="a volume must be whole"),
    Criterion(code="EFC", review_above=0.7),
)


def segmentation_report(**changes: object) -> QcReport:
    """Return a report about two segments that uses every kind of finding."""
    report = QcReport(
        sop_instance_uid=derive_uid("test-sr"),
        series_instance_uid=derive_uid("test-sr-series"),
        series_number=900,
        instance_number=1,
        series_description="QC REVIEW it0 | hippocampus-mr 1.0",
        created_at=CREATED,
        case_id="case-0001",
        pipeline=PipelineRef(name="hippocampus-mr", version="1.0"),
        generation=1,
        iteration=0,
        stage_keys={"hippocampus": "a" * 64, "segmentation_qc": "b" * 64},
        models=(
            ModelRef(name="hippocampus", version="1.0", digest="c" * 64),
            ModelRef(name="hippocampus-qc", version="1.0", digest="d" * 64),
        ),
        verdict=decide(FINDINGS, CRITERIA),
        criteria_version="2026-03",
        segments=(segment("Hippocampus anterior", 1), segment("Hippocampus posterior", 2)),
        completion_evidence=("quiet for 60 s", "196 of 196 instances by C-FIND"),
        qc_status="NOT_REVIEWED",
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def image_report(**changes: object) -> QcReport:
    """Return a report about the images, REJECT."""
    return segmentation_report(
        **{
            "sop_instance_uid": derive_uid("test-image-sr"),
            "series_instance_uid": derive_uid("test-image-sr-series"),
            "series_description": "Image QC REJECT it0",
            "segments": (),
            "verdict": decide(IMAGE_FINDINGS, IMAGE_CRITERIA),
            "qc_status": None,
            **changes,
        }
    )


def signed_report(**changes: object) -> QcReport:
    """Return a report that a person verified after an edit."""
    return segmentation_report(
        **{
            "sop_instance_uid": derive_uid("test-sr", 2),
            "iteration": 1,
            "qc_status": "PASS_WITH_EDITS",
            "comment": "Kopf zu klein → Müller, 山田\nzweite Zeile",
            "signature": Signature(name="Müller^Ada", role=codes.ROLE_RESULTS_QC, at=CREATED, organization="Radiology"),
            "edit": EditSummary(
                stage="hippocampus", sender="OHIF", voxels_changed=1198, sop_instance_uid=derive_uid("test-edit")
            ),
            "predecessor": PriorDocument(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
                sop_instance_uid=derive_uid("test-sr"),
                series_instance_uid=derive_uid("test-sr-series"),
                study_instance_uid=derive_uid("test-study"),
            ),
            **changes,
        }
    )


assert decide(FINDINGS, CRITERIA).outcome is Outcome.REVIEW
assert decide(IMAGE_FINDINGS, IMAGE_CRITERIA).outcome is Outcome.REJECT
