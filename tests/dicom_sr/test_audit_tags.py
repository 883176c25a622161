"""Audit attributes: who made an object, with what, when and from what, in every character set and time zone."""

from __future__ import annotations

import io
from datetime import timedelta, timezone
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_sr.audit_tags import (
    CoercionReason,
    Credit,
    CreditPurpose,
    apply_audit_tags,
    copy_patient_study_trial,
    record_original_attributes,
)
from dicom_sr.qc_report import ContentQualification
from dicom_sr.source import SourceSeries
from dicom_sr.sr import segmentation_qc_sr
from dicom_sr.uids import INSTANCE_CREATOR_UID
from dicom_sr.validate import check
from tests.support import sr_tools
from tests.support.qc_example import CREATED, EQUIPMENT, TRIAL, make_source, segmentation_report

STAGE = Credit(
    purpose=CreditPurpose.PROCESSING,
    manufacturer="Overread",
    model_name="hippocampus",
    software_versions=("1.0", "sha256:" + "c" * 64),
    at=CREATED,
    description="case-0001;hippocampus;0;run-1",
)
VIEWER = Credit(
    purpose=CreditPurpose.MODIFYING,
    manufacturer="",
    model_name="OHIF",
    software_versions=(),
    at=CREATED + timedelta(hours=1),
    description="case-0001;hippocampus;1;run-2",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceSeries:
    return make_source(tmp_path_factory.mktemp("source"), **TRIAL)


def _tagged(source: SourceSeries, **changes: object) -> Dataset:
    ds = segmentation_qc_sr(segmentation_report(), source, EQUIPMENT)
    arguments: dict[str, object] = {
        "equipment": EQUIPMENT,
        "created_at": CREATED,
        "source": source.headers[0],
        "credits": (STAGE, VIEWER),
        "operator_name": "Reader^One",
        "content_qualification": ContentQualification.RESEARCH,
        "audit_head": "d" * 64,
    }
    apply_audit_tags(ds, **{**arguments, **changes})  # type: ignore[arg-type]
    return ds


def _bytes(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_every_contribution_is_an_item_in_order_with_its_purpose(source: SourceSeries) -> None:
    stage, viewer, head = _tagged(source).ContributingEquipmentSequence
    assert stage.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert viewer.PurposeOfReferenceCodeSequence[0].CodeValue == "109103"
    assert stage.ContributionDescription == "case-0001;hippocampus;0;run-1"
    assert stage.ContributionDateTime == "20260304050607.250000+0000"
    assert stage.SoftwareVersions[0] == "1.0"
    assert viewer.Manufacturer == "Unspecified"
    assert "SoftwareVersions" not in viewer
    assert head.ContributionDescription == "audit-chain-head;" + "d" * 64


def test_creation_equipment_operator_and_qualification_are_written(source: SourceSeries) -> None:
    ds = _tagged(source)
    assert (ds.InstanceCreationDate, ds.InstanceCreationTime) == ("20260304", "050607.250000")
    assert ds.InstanceCreatorUID == INSTANCE_CREATOR_UID
    assert (ds.SeriesDate, ds.SeriesTime, ds.TimezoneOffsetFromUTC) == ("20260304", "050607.250000", "+0000")
    assert (ds.Manufacturer, ds.ManufacturerModelName, ds.DeviceSerialNumber) == (
        "Overread",
        "Overread gateway",
        "test-0001",
    )
    assert list(ds.SoftwareVersions) == ["overread 0.1.0", "hippocampus 1.0"]
    assert str(ds.OperatorsName) == "Reader^One"
    assert ds.ContentQualification == "RESEARCH"


def test_applying_twice_is_the_same_as_once(source: SourceSeries) -> None:
    once, twice = _tagged(source), _tagged(source)
    apply_audit_tags(
        twice,
        equipment=EQUIPMENT,
        created_at=CREATED,
        source=source.headers[0],
        credits=(STAGE, VIEWER),
        operator_name="Reader^One",
        content_qualification="RESEARCH",
        audit_head="d" * 64,
    )
    assert _bytes(once) == _bytes(twice)


def test_without_credits_there_is_no_contributing_equipment(source: SourceSeries) -> None:
    assert "ContributingEquipmentSequence" not in _tagged(source, credits=(), audit_head="")


def test_a_version_longer_than_its_value_representation_is_cut(source: SourceSeries) -> None:
    versions = _tagged(source).ContributingEquipmentSequence[0].SoftwareVersions
    assert max(len(version) for version in versions) == 64


def test_tagged_report_passes_our_own_check_and_dciodvfy(source: SourceSeries, tmp_path: Path) -> None:
    ds = _tagged(source)
    assert check(ds) == ()
    (tmp_path / "sr.dcm").write_bytes(_bytes(ds))
    assert sr_tools.dciodvfy_errors(tmp_path / "sr.dcm") == []


def test_an_operator_in_another_script_makes_the_object_utf_8(tmp_path: Path) -> None:
    latin = make_source(tmp_path, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    read = pydicom.dcmread(io.BytesIO(_bytes(_tagged(latin, operator_name="山田^太郎"))))
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert (str(read.PatientName), str(read.OperatorsName)) == ("Müller^Jörg", "山田^太郎")


def test_times_follow_the_zone_of_the_source(tmp_path: Path) -> None:
    kolkata = make_source(tmp_path, TimezoneOffsetFromUTC="+0530")
    ds = _tagged(kolkata)
    assert (ds.TimezoneOffsetFromUTC, ds.SeriesTime) == ("+0530", "103607.250000")
    assert ds.ContributingEquipmentSequence[0].ContributionDateTime == "20260304103607.250000+0530"


def test_a_credit_in_another_zone_keeps_its_instant(source: SourceSeries) -> None:
    local = STAGE.at.astimezone(timezone(timedelta(hours=-8)))
    credit = Credit(
        purpose=STAGE.purpose, manufacturer="m", model_name="", software_versions=(), at=local, description="d"
    )
    (item,) = _tagged(source, credits=(credit,), audit_head="").ContributingEquipmentSequence
    assert item.ContributionDateTime == "20260303210607.250000-0800"


def test_original_values_are_recorded_item_by_item() -> None:
    ds, first, second = Dataset(), Dataset(), Dataset()
    first.PatientID = "OLD"
    second.PatientName = "Wrong^Name"
    record_original_attributes(ds, first, CoercionReason.COERCE, "Overread", CREATED)
    record_original_attributes(ds, second, CoercionReason.CORRECT, "Overread", CREATED)
    one, two = ds.OriginalAttributesSequence
    assert one.ModifiedAttributesSequence[0].PatientID == "OLD"
    assert (one.ReasonForTheAttributeModification, two.ReasonForTheAttributeModification) == ("COERCE", "CORRECT")
    assert one.AttributeModificationDateTime == "20260304050607.250000+0000"
    assert "SourceOfPreviousValues" in one


def test_type_2_attributes_are_there_even_if_the_source_is_silent() -> None:
    ds = Dataset()
    copy_patient_study_trial(Dataset(), ds)
    assert ds.PatientName is None or str(ds.PatientName) == ""
    for keyword in (
        "PatientID",
        "PatientBirthDate",
        "StudyDate",
        "StudyID",
        "AccessionNumber",
        "ReferringPhysicianName",
    ):
        assert keyword in ds


def test_a_source_in_no_trial_makes_no_trial_attributes() -> None:
    source, ds = Dataset(), Dataset()
    source.ClinicalTrialSeriesID = "left over"
    copy_patient_study_trial(source, ds)
    assert not [element.keyword for element in ds if element.keyword.startswith("ClinicalTrial")]


def test_nested_attributes_are_carried_in_any_character_set(tmp_path: Path) -> None:
    other, code = Dataset(), Dataset()
    other.PatientID, other.IssuerOfPatientID = "0042", "Клиника"
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", "Кодировка"
    source = make_source(
        tmp_path,
        SpecificCharacterSet="ISO_IR 144",
        PatientName="Иванова^Анна",
        OtherPatientIDsSequence=[other],
        ProcedureCodeSequence=[code],
        PatientWeight="61.5",
        PregnancyStatus=4,
    )
    ds = pydicom.dcmread(io.BytesIO(_bytes(_tagged(source, operator_name=""))))
    assert str(ds.PatientName) == "Иванова^Анна"
    assert ds.OtherPatientIDsSequence[0].IssuerOfPatientID == "Клиника"
    assert ds.ProcedureCodeSequence[0].CodeMeaning == "Кодировка"
    assert (ds.PatientWeight, ds.PregnancyStatus) == (61.5, 4)


def test_a_value_that_cannot_be_written_is_left_out_without_a_warning_that_quotes_it() -> None:
    source, ds = Dataset(), Dataset()
    source.PatientID = "7"
    source.add(pydicom.dataelem.RawDataElement(pydicom.tag.Tag("PatientWeight"), "DS", 8, b"61,5 kg ", 0, False, True))
    copy_patient_study_trial(source, ds)
    assert "PatientWeight" not in ds
    assert ds.PatientID == "7"


@pytest.mark.parametrize(("removed", "expected"), [("YES", "not stated by the source"), ("NO", None), (None, None)])
def test_an_empty_method_of_deidentification_is_not_passed_on(removed: str | None, expected: str | None) -> None:
    source, ds = Dataset(), Dataset()
    source.PatientIdentityRemoved, source.DeidentificationMethod = removed, None
    copy_patient_study_trial(source, ds)
    assert ds.get("DeidentificationMethod") == expected
