"""Quality control reports: what goes in comes back, and foreign validators and readers take them."""

from __future__ import annotations

import contextlib
import io
import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import highdicom as hd
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicom_sr import codes
from dicom_sr.codes import Code
from dicom_sr.errors import DicomObjectError, InvalidObject, UnreadableObject
from dicom_sr.finding_codes import FINDING_CONCEPTS
from dicom_sr.qc_report import ContentQualification, QcReport, Signature, legal_text
from dicom_sr.source import SourceSeries
from dicom_sr.sr import image_qc_sr, segmentation_qc_sr
from dicom_sr.sr_read import read_qc_sr
from dicom_sr.uids import derive_uid
from dicom_sr.verdict import AssessedFinding, Criterion, Finding, Outcome, Reason, Verdict, decide
from tests.support import sr_tools
from tests.support.qc_example import (
    CREATED,
    EQUIPMENT,
    FINDINGS,
    TRIAL,
    image_report,
    make_source,
    segment,
    segmentation_report,
    signed_report,
    write_source,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceSeries:
    return make_source(tmp_path_factory.mktemp("source"), **TRIAL)


def _bytes(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _through_file(ds: Dataset) -> Dataset:
    return pydicom.dcmread(io.BytesIO(_bytes(ds)))


def _save(ds: Dataset, path: Path) -> Path:
    path.write_bytes(_bytes(ds))
    return path


REPORTS = {
    "segmentation": segmentation_report(),
    "signed after an edit": signed_report(),
    "image": image_report(),
    "nothing found": image_report(verdict=decide((), ())),
    "segmentation without segments": segmentation_report(segments=()),
    "research": segmentation_report(content_qualification=ContentQualification.RESEARCH),
    "unmeasured criterion": image_report(
        verdict=decide(
            (
                Finding(stage="q", code="SNR", value=None, unit="dB", low=1.0, high=2.0),
                Finding(stage="q", code="EFC", value=1e-17),
            ),
            (Criterion(code="SNR", review_below=1e-300, required=True),),
        )
    ),
}  # fmt: skip


def _write(report: QcReport, source: SourceSeries) -> Dataset:
    writer = segmentation_qc_sr if report.segments or "segmentation" in report.series_description else image_qc_sr
    return writer(report, source, EQUIPMENT)


@pytest.mark.parametrize("name", list(REPORTS))
def test_a_report_comes_back_equal_through_a_file(name: str, source: SourceSeries) -> None:
    assert read_qc_sr(_through_file(_write(REPORTS[name], source))) == REPORTS[name]


_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=40).map(str.strip)
_named = _text.filter(bool)
_number = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**6), 10**6).map(float))
_maybe = st.none() | _number
_codes_of_findings = st.one_of(st.sampled_from(sorted(FINDING_CONCEPTS)), _named)
_labels = st.sampled_from(["", "Hippocampus anterior", "Hippocampus posterior", "not declared", "海馬"])


@st.composite
def _assessed(draw: st.DrawFn) -> AssessedFinding:
    code = draw(_codes_of_findings)
    finding = Finding(
        stage=draw(_named),
        code=code,
        value=draw(st.one_of(_maybe, st.sampled_from([math.inf, -math.inf]))),
        unit=draw(st.sampled_from(["1", "mm", "ml", "%", "kg/m2"])),
        segment=draw(_labels),
        low=draw(_maybe),
        high=draw(_maybe),
        detail=draw(_text),
    )
    if draw(st.booleans()):
        return AssessedFinding(finding=finding, criterion=None, outcome=None)
    criterion = Criterion(
        code=code,
        segment=draw(_labels),
        reject_below=draw(_maybe),
        review_below=draw(_maybe),
        review_above=draw(_maybe),
        reject_above=draw(_maybe),
        abstain_below=draw(_maybe),
        abstain_above=draw(_maybe),
        required=draw(st.booleans()),
        source=draw(_text),
    )
    return AssessedFinding(finding=finding, criterion=criterion, outcome=draw(st.sampled_from(list(Outcome))))


_reason = st.builds(
    Reason, stage=_text, code=_codes_of_findings, segment=_labels, outcome=st.sampled_from(list(Outcome)), text=_text
)
_verdict = st.builds(
    Verdict,
    outcome=st.sampled_from(list(Outcome)),
    reasons=st.lists(_reason, max_size=3).map(tuple),
    assessed=st.lists(_assessed(), max_size=5).map(tuple),
)
_moment = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))  # noqa: DTZ001
_person = st.text(st.characters(categories=("L",)), min_size=1, max_size=20)


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    verdict=_verdict,
    comment=st.text(max_size=60),
    created_at=_moment,
    stage_keys=st.dictionaries(_named, _named, max_size=3),
    signer=st.none()
    | st.builds(Signature, name=_person, role=st.just(codes.ROLE_READER), at=_moment, organization=_person),
    iteration=st.integers(0, 40),
    evidence=st.lists(_named, max_size=2).map(tuple),
)
def test_any_report_comes_back_equal(
    source: SourceSeries, verdict: Verdict, comment: str, created_at: datetime, stage_keys: dict[str, str],
    signer: Signature | None, iteration: int, evidence: tuple[str, ...],
) -> None:  # fmt: skip
    changes = {
        "verdict": verdict, "comment": comment, "created_at": created_at, "stage_keys": stage_keys,
        "signature": signer, "iteration": iteration, "completion_evidence": evidence,
    }  # fmt: skip
    report = segmentation_report(**changes)
    assert read_qc_sr(_through_file(segmentation_qc_sr(report, source, EQUIPMENT))) == report
    about_images = image_report(**changes)
    assert read_qc_sr(_through_file(image_qc_sr(about_images, source, EQUIPMENT))) == about_images


@pytest.mark.parametrize(
    "comment", ["Müller", "山田 太郎", "Ελληνικά", "العربية", "שלום", "🧠 ok", "a\\b=c^d", "line\r\nline\t2"]
)
def test_a_comment_survives_in_any_script(comment: str, source: SourceSeries) -> None:
    report = segmentation_report(comment=comment)
    assert report.comment == comment
    assert read_qc_sr(_through_file(segmentation_qc_sr(report, source, EQUIPMENT))).comment == comment


def test_text_that_dicom_cannot_carry_is_dropped_when_the_report_is_made() -> None:
    assert segmentation_report(comment="a\x00b\x1b[31m \n ").comment == "ab[31m"
    assert legal_text("\x85x\u2028") == "x"


def test_findings_are_kept_in_the_order_of_the_report() -> None:
    shuffled = Verdict(outcome=Outcome.REVIEW, reasons=(), assessed=decide(tuple(reversed(FINDINGS)), ()).assessed)
    found = segmentation_report(verdict=shuffled).verdict.assessed
    assert [a.finding.segment for a in found] == ["", "", *["Hippocampus anterior"] * 3, *["Hippocampus posterior"] * 2]
    assert found[0].finding.code == "SOMETHING_NEW"


def test_equal_arguments_give_equal_bytes(source: SourceSeries) -> None:
    assert _bytes(_write(signed_report(), source)) == _bytes(_write(signed_report(), source))


def test_a_report_without_signature_is_unverified_and_preliminary(source: SourceSeries) -> None:
    ds = _write(segmentation_report(), source)
    assert (ds.CompletionFlag, ds.VerificationFlag, ds.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in ds
    assert "PredecessorDocumentsSequence" not in ds


def test_a_signed_report_is_verified_and_final_and_names_its_predecessor(source: SourceSeries) -> None:
    ds = _through_file(_write(signed_report(), source))
    assert (ds.CompletionFlag, ds.VerificationFlag, ds.PreliminaryFlag) == ("COMPLETE", "VERIFIED", "FINAL")
    verifier = ds.VerifyingObserverSequence[0]
    assert str(verifier.VerifyingObserverName) == "Müller^Ada"
    assert verifier.VerificationDateTime == "20260304050607.250000+0000"
    prior = ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert prior.ReferencedSOPInstanceUID == segmentation_report().sop_instance_uid


def test_time_is_written_in_the_zone_the_source_states(tmp_path: Path) -> None:
    tokyo = make_source(tmp_path, TimezoneOffsetFromUTC="+0900")
    ds = segmentation_qc_sr(signed_report(), tokyo, EQUIPMENT)
    assert (ds.TimezoneOffsetFromUTC, ds.ContentTime) == ("+0900", "140607.250000")
    assert ds.VerifyingObserverSequence[0].VerificationDateTime.endswith("+0900")
    assert read_qc_sr(_through_file(ds)) == signed_report()


def test_without_a_stated_zone_the_zone_of_the_report_holds(source: SourceSeries) -> None:
    local = CREATED.astimezone(timezone(timedelta(hours=-5)))
    ds = segmentation_qc_sr(segmentation_report(created_at=local), source, EQUIPMENT)
    assert (ds.TimezoneOffsetFromUTC, ds.ContentDate, ds.ContentTime) == ("-0500", "20260304", "000607.250000")


def test_every_referenced_object_is_evidence(source: SourceSeries) -> None:
    ds = _write(segmentation_report(), source)
    referenced = {str(e.value) for e in ds.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
    evidence = Dataset()
    evidence.update({"CurrentRequestedProcedureEvidenceSequence": ds.CurrentRequestedProcedureEvidenceSequence})
    listed = {str(e.value) for e in evidence.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
    assert referenced == listed
    assert listed == source.sop_instance_uids | {segment("x", 1).seg_sop_instance_uid}


def test_segments_of_two_segs_in_one_series_make_one_item_of_evidence(source: SourceSeries) -> None:
    first, second = segment("a", 1), replace(segment("b", 1), seg_sop_instance_uid=derive_uid("other-seg"))
    third = replace(segment("c", 1), seg_series_instance_uid=derive_uid("third"), seg_sop_instance_uid=derive_uid("c"))
    ds = _write(segmentation_report(segments=(first, third, second), verdict=decide((), ())), source)
    series = [s.SeriesInstanceUID for s in ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence]
    assert len(series) == len(set(series)) == 3


def test_a_500_slice_series_makes_no_large_report(source: SourceSeries) -> None:
    header = source.headers[0]
    many = []
    for z in range(500):
        copy = Dataset()
        copy.update(header)
        copy.SOPInstanceUID = derive_uid("many", z)
        many.append(copy)
    large = replace(source, headers=tuple(many))
    size = len(_bytes(_write(segmentation_report(), large)))
    assert size < 40_000
    library = [
        i
        for i in _write(segmentation_report(), large).ContentSequence
        if i.ConceptNameCodeSequence[0].CodeValue == "111028"
    ]
    listed = [i for i in library[0].ContentSequence[0].ContentSequence if i.ValueType == "IMAGE"]
    assert len(listed) == 32
    ends = {
        listed[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
        listed[-1].ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
    }
    assert ends == {many[0].SOPInstanceUID, many[-1].SOPInstanceUID}


def test_image_verdicts_use_the_standard_quality_assessment(source: SourceSeries) -> None:
    expected = {
        Outcome.ACCEPT: "111237",
        Outcome.REVIEW: "111236",
        Outcome.REJECT: "111235",
        Outcome.NOT_ASSESSABLE: None,
    }
    for outcome, value in expected.items():
        ds = _write(image_report(verdict=Verdict(outcome=outcome, reasons=(), assessed=())), source)
        group = ds.ContentSequence[-2].ContentSequence[0]
        found = [i.ConceptCodeSequence[0].CodeValue for i in group.ContentSequence
                 if i.ValueType == "CODE" and i.ConceptNameCodeSequence[0].CodeValue == "111050"]  # fmt: skip
        assert found == ([] if value is None else [value])


def test_the_private_scheme_is_declared_once_with_its_organization(source: SourceSeries) -> None:
    ds = _write(segmentation_report(), source)
    (declared,) = ds.CodingSchemeIdentificationSequence
    assert declared.CodingSchemeDesignator == codes.PRIVATE_SCHEME
    assert declared.CodingSchemeUID == codes.PRIVATE_SCHEME_UID
    assert declared.CodingSchemeResponsibleOrganization


def test_patient_study_and_trial_are_those_of_the_source(tmp_path: Path) -> None:
    from dicom_sr.series import read_series

    source = read_series(write_source(tmp_path, PatientName="山田^太郎=やまだ^たろう", PatientID="000123", **TRIAL))
    ds = _through_file(segmentation_qc_sr(segmentation_report(), source, EQUIPMENT))
    assert str(ds.PatientName) == "山田^太郎=やまだ^たろう"
    assert (ds.PatientID, ds.IssuerOfPatientID) == ("000123", "Hospital")
    assert ds.ClinicalTrialSubjectID == "SUBJ-0042"
    assert ds.ClinicalTrialSeriesID == "SER-9/900"


@pytest.mark.parametrize(
    "change",
    [
        {"created_at": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"verdict": Verdict(outcome=Outcome.ACCEPT, reasons=(), assessed=(
            AssessedFinding(finding=FINDINGS[0], criterion=Criterion(code="OTHER"), outcome=Outcome.ACCEPT),))},
        {"verdict": Verdict(outcome=Outcome.ACCEPT, reasons=(), assessed=(
            AssessedFinding(finding=FINDINGS[0], criterion=None, outcome=Outcome.ACCEPT),))},
    ],
)  # fmt: skip
def test_a_report_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidObject):
        segmentation_report(**change)


def test_unwritable_reports_are_refused_by_name(source: SourceSeries) -> None:
    with pytest.raises(InvalidObject, match="declares segments"):
        image_qc_sr(segmentation_report(), source, EQUIPMENT)
    with pytest.raises(InvalidObject, match="same label"):
        segmentation_qc_sr(segmentation_report(segments=(segment("a", 1), segment("a", 2))), source, EQUIPMENT)
    with pytest.raises(InvalidObject, match="no code"):
        segmentation_qc_sr(segmentation_report(qc_status="PERFECT"), source, EQUIPMENT)
    with pytest.raises(InvalidObject, match="no instance"):
        segmentation_qc_sr(segmentation_report(), replace(source, headers=()), EQUIPMENT)


def test_a_foreign_object_is_no_report_of_ours(source: SourceSeries) -> None:
    with pytest.raises(UnreadableObject):
        read_qc_sr(source.headers[0])
    ds = _write(segmentation_report(), source)
    ds.ContentSequence = ds.ContentSequence[:3]
    with pytest.raises(UnreadableObject):
        read_qc_sr(ds)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesNumber", "ContentDate", "ContentTime"])
def test_a_report_that_lost_an_attribute_is_refused_by_name(keyword: str, source: SourceSeries) -> None:
    ds = _write(segmentation_report(), source)
    delattr(ds, keyword)
    with pytest.raises(UnreadableObject):
        read_qc_sr(ds)


def _places(ds: Dataset) -> list[tuple[Dataset, BaseTag]]:
    found = [(ds, element.tag) for element in ds]
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                found += _places(item)
    return found


@pytest.fixture(scope="module")
def signed(source: SourceSeries) -> bytes:
    return _bytes(_write(signed_report(), source))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.randoms(use_true_random=False), kind=st.sampled_from(["delete", "empty", "shorten", "replace"]))
def test_a_damaged_report_is_read_or_refused_by_name(signed: bytes, choice: random.Random, kind: str) -> None:
    ds = pydicom.dcmread(io.BytesIO(signed))
    for _ in range(3):
        item, tag = choice.choice(_places(ds))
        element = item[tag]
        if kind == "delete":
            del item[tag]
        elif kind == "empty":
            element.value = [] if element.VR == "SQ" else None
        elif kind == "shorten" and element.VR == "SQ" and element.value:
            element.value.pop()
        elif kind == "replace" and element.VR in ("UT", "LO", "SH", "CS"):
            element.value = "ZZZ"
    with contextlib.suppress(DicomObjectError):
        assert isinstance(read_qc_sr(ds), QcReport)


@pytest.mark.parametrize("name", list(REPORTS))
def test_dciodvfy_finds_no_error(name: str, source: SourceSeries, tmp_path: Path) -> None:
    assert sr_tools.dciodvfy_errors(_save(_write(REPORTS[name], source), tmp_path / "sr.dcm")) == []


@pytest.mark.parametrize("name", ["segmentation", "signed after an edit", "image", "unmeasured criterion"])
@pytest.mark.slow
def test_pixelmed_finds_no_error(name: str, source: SourceSeries, tmp_path: Path) -> None:
    assert sr_tools.pixelmed_errors(_save(_write(REPORTS[name], source), tmp_path / "sr.dcm")) == []


@pytest.mark.slow
def test_pixelmed_would_find_mixed_groups(source: SourceSeries, tmp_path: Path) -> None:
    ds = _write(segmentation_report(), source)
    about_images = _write(image_report(), source)
    ds.ContentSequence[-2].ContentSequence.append(about_images.ContentSequence[-2].ContentSequence[0])
    assert sr_tools.pixelmed_errors(_save(ds, tmp_path / "mixed.dcm")) != []


def test_dcentvfy_is_silent_about_patient_study_and_trial(tmp_path: Path) -> None:
    files = write_source(tmp_path / "source", **TRIAL)
    from dicom_sr.series import read_series

    source = read_series(files)
    reports = [
        _save(_write(report, source), tmp_path / f"{number}.dcm")
        for number, report in enumerate((segmentation_report(), image_report()))
    ]
    assert sr_tools.dcentvfy_complaints([*files, *reports]) == []


def test_dcmtk_prints_the_content_tree(source: SourceSeries, tmp_path: Path) -> None:
    tree = sr_tools.dsrdump(_save(_write(signed_report(), source), tmp_path / "sr.dcm"))
    assert '"Analysis Results Quality Control")=(S-PASS-EDITS,99OVERREAD,"PASS with edits")' in tree
    assert '"Machine verdict")=(V-REVIEW,99OVERREAD,"Review")' in tree


def test_dcmqi_reads_measurements_algorithm_and_tracking(source: SourceSeries, tmp_path: Path) -> None:
    read = sr_tools.tid1500(_save(_write(segmentation_report(), source), tmp_path / "sr.dcm"), tmp_path)
    first = read["Measurements"][0]
    assert first["TrackingUniqueIdentifier"] == segment("Hippocampus anterior", 1).tracking_uid
    assert first["ReferencedSegment"] == 1
    by_code = {m["quantity"]["CodeValue"]: m for m in reversed(first["measurementItems"])}
    assert float(by_code["QC-DSC"]["value"]) == 0.71
    assert float(by_code["QC-HD95"]["value"]) == 3.4
    assert by_code["QC-DSC"]["measurementAlgorithmIdentification"]["AlgorithmName"] == "hippocampus-mr"
    bounds = [m["value"] for m in first["measurementItems"] if "derivationModifier" in m]
    assert [float(b) for b in bounds] == [0.62, 0.79]
    verdicts = [e["conceptValue"]["CodeMeaning"] for e in first["qualitativeEvaluations"]
                if e["conceptCode"]["CodeMeaning"] == "Machine verdict"]  # fmt: skip
    assert verdicts == ["Review"]


def test_highdicom_reads_the_measurement_groups(source: SourceSeries) -> None:
    read = hd.sr.Comprehensive3DSR.from_dataset(_through_file(_write(segmentation_report(), source)))
    groups = read.content.get_volumetric_roi_measurement_groups()
    assert [str(g.tracking_uid) for g in groups] == [s.tracking_uid for s in segmentation_report().segments]
    assert groups[0].get_measurements()[0].value == 0.71
    image = hd.sr.Comprehensive3DSR.from_dataset(_through_file(_write(image_report(), source)))
    assert len(image.content.get_image_measurement_groups()) == 1


def test_an_unknown_finding_is_reported_by_name_not_refused(source: SourceSeries) -> None:
    finding = Finding(stage="s", code="A_RULE_OF_2031", value=2.0)
    report = image_report(verdict=decide((finding,), (Criterion(code="A_RULE_OF_2031", reject_above=1.0),)))
    back = read_qc_sr(_through_file(_write(report, source)))
    assert back.verdict.assessed[0].finding == finding
    assert back.verdict.reasons[0].code == "A_RULE_OF_2031"


def test_a_long_property_type_code_comes_back(source: SourceSeries) -> None:
    long = replace(segment("Hippocampus anterior", 1), property_type=Code("1234567890123456789", "99X", "Long"))
    report = segmentation_report(segments=(long,))
    assert read_qc_sr(_through_file(_write(report, source))).segments == (long,)
