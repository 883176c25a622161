"""Dumps: a report for people and for programs, and any object normalised so that two compare as text."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dicom_sr.dump import dump_json, dump_text, golden
from dicom_sr.source import SourceSeries
from dicom_sr.sr import segmentation_qc_sr
from dicom_sr.uids import derive_uid
from tests.support.qc_example import CREATED, EQUIPMENT, image_report, make_source, segmentation_report, signed_report


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceSeries:
    return make_source(tmp_path_factory.mktemp("source"))


def test_text_tells_verdict_reasons_findings_and_provenance() -> None:
    text = dump_text(signed_report())
    assert text.startswith("REVIEW  ")
    for part in (
        "because: Predicted dice of Hippocampus anterior is 0.71",
        "QC status: PASS with edits",
        "  zweite Zeile",
        "verified by Müller^Ada, Results Quality Controller",
        "edit of hippocampus by OHIF: 1198 voxels changed",
        "Predicted Dice of Hippocampus anterior: 0.71 (0.62-0.79) [reject below 0.5, review below 0.7]",
        "not measurable (no voxel)",
        "segment 2: Hippocampus posterior (Hippocampus)",
        "model hippocampus 1.0 " + "c" * 64,
    ):
        assert part in text


def test_text_of_a_report_about_images_has_no_person_and_no_edit() -> None:
    text = dump_text(image_report())
    assert "verified" not in text
    assert "edit" not in text
    assert "reject" in text


def test_json_holds_every_field_and_can_be_written() -> None:
    report = signed_report()
    loaded = json.loads(json.dumps(dump_json(report)))
    assert set(loaded) == set(report.__dataclass_fields__)
    assert loaded["created_at"] == "2026-03-04T05:06:07.250000+00:00"
    assert loaded["verdict"]["outcome"] == "REVIEW"
    assert loaded["stage_keys"] == {"hippocampus": "a" * 64, "segmentation_qc": "b" * 64}
    assert loaded["comment"].endswith("山田\nzweite Zeile")


def test_golden_is_equal_for_objects_that_differ_in_uids_creation_and_versions(source: SourceSeries) -> None:
    one = segmentation_qc_sr(segmentation_report(), source, EQUIPMENT)
    changed = segmentation_report(
        sop_instance_uid=derive_uid("another"),
        created_at=CREATED.replace(year=2031),
        series_instance_uid=derive_uid("b"),
    )
    other = segmentation_qc_sr(changed, source, replace(EQUIPMENT, software_versions=("9.9",)))
    assert golden(one) == golden(other)


def test_golden_differs_when_what_is_said_differs(source: SourceSeries) -> None:
    one = golden(segmentation_qc_sr(segmentation_report(), source, EQUIPMENT))
    assert one != golden(segmentation_qc_sr(segmentation_report(iteration=1), source, EQUIPMENT))
    assert one != golden(segmentation_qc_sr(segmentation_report(comment="x"), source, EQUIPMENT))


def test_golden_numbers_uids_in_order_and_hashes_bulk(source: SourceSeries) -> None:
    ds = segmentation_qc_sr(segmentation_report(), source, EQUIPMENT)
    ds.add_new(0x7FE00010, "OB", b"\x01\x02")
    lines = golden(ds).splitlines()
    assert any(line.startswith("SOPInstanceUID UI <uid ") for line in lines)
    assert "SOPClassUID UI 1.2.840.10008.5.1.4.1.1.88.34" in lines
    assert lines[-1].startswith("PixelData OB <2 bytes ")
