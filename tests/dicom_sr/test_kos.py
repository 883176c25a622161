"""Key object selections: title, modifier, references and context are what archives and validators expect."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_sr import codes
from dicom_sr.codes import Code
from dicom_sr.errors import InvalidObject
from dicom_sr.kos import (
    KeyObject,
    KeyObjectSelection,
    KeyObjectTitle,
    key_object_selection,
    rejection_reason,
    whole_series,
)
from dicom_sr.qc_report import Signature
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from dicom_sr.uids import derive_uid
from dicom_sr.verdict import Outcome, Reason, Verdict
from tests.support import sr_tools
from tests.support.qc_example import CREATED, EQUIPMENT, TRIAL, make_source, write_source

MOTION = Code("111210", "DCM", "Motion blur")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceSeries:
    return make_source(tmp_path_factory.mktemp("source"), **TRIAL)


def _selection(source: SourceSeries, **changes: object) -> KeyObjectSelection:
    selection = KeyObjectSelection(
        sop_instance_uid=derive_uid("test-kos"),
        series_instance_uid=derive_uid("test-kos-series"),
        series_number=901,
        instance_number=1,
        series_description="Rejected for quality",
        created_at=CREATED,
        title=KeyObjectTitle.REJECTED_FOR_QUALITY,
        reason=MOTION,
        description="Bewegung, nicht auswertbar: Müller",
        selected=whole_series(source),
    )
    return replace(selection, **changes)  # type: ignore[arg-type]


SIGNATURE = Signature(name="Müller^Ada", role=codes.ROLE_RESULTS_QC, at=CREATED, organization="Core lab")
RESULTS = tuple(
    KeyObject(
        series_instance_uid=derive_uid("series", sop_class),
        sop_class_uid=str(sop_class),
        sop_instance_uid=derive_uid("result", sop_class),
    )
    for sop_class in (
        SegmentationStorage, SecondaryCaptureImageStorage, Comprehensive3DSRStorage, EncapsulatedPDFStorage
    )
)  # fmt: skip


SELECTIONS: dict[str, dict[str, object]] = {
    "rejected": {},
    "quality issue": {"title": KeyObjectTitle.QUALITY_ISSUE, "description": ""},
    "best in set": {"title": KeyObjectTitle.BEST_IN_SET, "reason": codes.BEST_OF_SERIES},
    "of interest": {"title": KeyObjectTitle.OF_INTEREST, "reason": None},
    "results rejected by a person": {
        "selected": RESULTS,
        "reason": codes.QUALITY_REASONS[codes.QualityReason.PROCESSING],
        "signature": SIGNATURE,
    },
}


def _save(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("name", list(SELECTIONS))
def test_dciodvfy_finds_no_error(name: str, source: SourceSeries, tmp_path: Path) -> None:
    ds = key_object_selection(_selection(source, **SELECTIONS[name]), source, EQUIPMENT)
    assert sr_tools.dciodvfy_errors(_save(ds, tmp_path / "ko.dcm")) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SELECTIONS))
def test_pixelmed_finds_no_error(name: str, source: SourceSeries, tmp_path: Path) -> None:
    ds = key_object_selection(_selection(source, **SELECTIONS[name]), source, EQUIPMENT)
    assert sr_tools.pixelmed_errors(_save(ds, tmp_path / "ko.dcm")) == []


def test_dcentvfy_is_silent_about_patient_study_and_trial(tmp_path: Path) -> None:
    files = write_source(tmp_path / "source", **TRIAL)
    source = read_series(files)
    ko = _save(key_object_selection(_selection(source), source, EQUIPMENT), tmp_path / "ko.dcm")
    assert sr_tools.dcentvfy_complaints([*files, ko]) == []


def test_title_modifier_and_references_are_there_and_images_have_no_name(source: SourceSeries) -> None:
    ds = key_object_selection(_selection(source), source, EQUIPMENT)
    assert ds.Modality == "KO"
    assert ds.ConceptNameCodeSequence[0].CodeValue == "113001"
    modifier = ds.ContentSequence[0]
    assert modifier.ConceptNameCodeSequence[0].CodeValue == "113011"
    assert modifier.ConceptCodeSequence[0].CodeValue == "111210"
    images = [item for item in ds.ContentSequence if item.ValueType == "IMAGE"]
    assert {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in images} == source.sop_instance_uids
    assert not any("ConceptNameCodeSequence" in item for item in images)


def test_documents_are_composites_and_pictures_are_images(source: SourceSeries) -> None:
    ds = key_object_selection(_selection(source, selected=RESULTS), source, EQUIPMENT)
    kinds = [item.ValueType for item in ds.ContentSequence if "ReferencedSOPSequence" in item]
    assert kinds == ["IMAGE", "IMAGE", "COMPOSITE", "COMPOSITE"]


def test_the_person_who_decided_is_an_observer_before_the_device(source: SourceSeries) -> None:
    ds = key_object_selection(_selection(source, signature=SIGNATURE), source, EQUIPMENT)
    types = [
        item.ConceptCodeSequence[0].CodeMeaning
        for item in ds.ContentSequence
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == "121005"
    ]
    assert types == ["Person", "Device"]


def test_issuer_trial_and_study_description_are_carried(source: SourceSeries) -> None:
    ds = key_object_selection(_selection(source), source, EQUIPMENT)
    assert ds.IssuerOfPatientID == "Hospital"
    assert ds.StudyDescription == "Brain MR"
    assert ds.ClinicalTrialSubjectID == "SUBJ-0042"


def test_highdicom_resolves_every_reference(source: SourceSeries) -> None:
    buffer = io.BytesIO()
    key_object_selection(_selection(source), source, EQUIPMENT).save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    read = hd.ko.KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(buffer))
    for uid in source.sop_instance_uids:
        study, series, _ = read.resolve_reference(uid)
        assert (str(study), str(series)) == (source.study_instance_uid, source.series_instance_uid)


@pytest.mark.parametrize(
    ("finding_code", "value"),
    [("MOTION", "111210"), ("FIELD_OF_VIEW", "111209"), ("EFC", "111215"), ("NO_VOLUME", "111213"), ("NEW", "111220")],
)
def test_reason_of_a_rejection_is_the_code_of_cid_7011_of_the_worst_reason(finding_code: str, value: str) -> None:
    reasons = tuple(
        Reason(stage="image_qc", code=code, segment="", outcome=Outcome.REJECT, text="")
        for code in (finding_code, "SNR")
    )
    assert rejection_reason(Verdict(outcome=Outcome.REJECT, reasons=reasons, assessed=())).value == value


def test_a_rejection_by_a_person_without_a_machine_reason_has_the_reason_other() -> None:
    assert rejection_reason(Verdict(outcome=Outcome.ACCEPT, reasons=(), assessed=())).value == "111220"


@pytest.mark.parametrize(
    "changes",
    [
        {"selected": ()},
        {"reason": None},
        {"title": KeyObjectTitle.BEST_IN_SET, "reason": None},
        {"title": KeyObjectTitle.OF_INTEREST},
    ],
)
def test_an_incomplete_selection_is_refused(changes: dict[str, object], source: SourceSeries) -> None:
    with pytest.raises(InvalidObject):
        key_object_selection(_selection(source, **changes), source, EQUIPMENT)
