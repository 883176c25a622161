"""Every kind of object about real series of many makers: legal, and of one patient and study with its source."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SegmentationStorage

from dicom_sr import codes, header
from dicom_sr.audit_tags import apply_audit_tags
from dicom_sr.kos import KeyObject, KeyObjectSelection, KeyObjectTitle, key_object_selection, whole_series
from dicom_sr.pdf import summary_pdf
from dicom_sr.qc_report import Signature
from dicom_sr.seg_description import SegDescription
from dicom_sr.seg_kind import SegKind
from dicom_sr.seg_write import write_seg
from dicom_sr.segment_codes import ANTERIOR, HIPPOCAMPUS, POSTERIOR
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from dicom_sr.sr import image_qc_sr, segmentation_qc_sr
from dicom_sr.sr_read import read_qc_sr
from dicom_sr.summary import summary_sc
from dicom_sr.uids import derive_uid
from dicom_sr.validate import check
from tests.support import dicom_tools, sr_tools
from tests.support.dicom_tools import FalseError
from tests.support.make_segmentation import make_description, make_segmentation
from tests.support.qc_example import CREATED, EQUIPMENT, image_report, segmentation_report
from tests.support.shared import shared_data

SIGNATURE = Signature(name="Müller^Ada", role=codes.ROLE_RESULTS_QC, at=CREATED, organization="Core lab")
RESULTS = tuple(
    KeyObject(
        series_instance_uid=derive_uid("series", sop_class),
        sop_class_uid=str(sop_class),
        sop_instance_uid=derive_uid("result", sop_class),
    )
    for sop_class in (SegmentationStorage, SecondaryCaptureImageStorage, Comprehensive3DSRStorage)
)
#: What dcentvfy may find because the source itself is not legal; ours cannot be both legal and equal to it.
SOURCE_FAULTS = (
    FalseError(
        r"present in one instance but not the other - Element=<(PatientName|PatientID|PatientBirthDate|PatientSex"
        r"|StudyDate|StudyTime|AccessionNumber|ReferringPhysicianName|StudyID)>",
        "the source lacks an attribute of Type 2, which has to be there, be it empty",
    ),
    FalseError(r"present in one instance but not the other - Element=<PatientAge>", "the source's age is no AS value"),
    FalseError(
        r"zero length.*Element=<DeidentificationMethod>", "the source was de-identified and does not say by what method"
    ),
)


def _series(folder: Path, *, most: int) -> list[list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        try:
            ds = pydicom.dcmread(path, stop_before_pixels=True) if path.is_file() else Dataset()
        except InvalidDicomError:
            continue
        if header.text(ds, "Modality") in ("MR", "CT", "PT"):
            found[header.text(ds, "SeriesInstanceUID")].append(path)
    return list(found.values())[:most]


def _documents(source: SourceSeries) -> dict[str, Dataset]:
    uid, picture = source.series_instance_uid, np.zeros((32, 32, 3), np.uint8)

    def named(kind: str) -> dict[str, object]:
        return {"sop_instance_uid": derive_uid(uid, kind), "series_instance_uid": derive_uid(uid, kind, "series")}

    selection = KeyObjectSelection(
        sop_instance_uid=derive_uid(uid, "ko"), series_instance_uid=derive_uid(uid, "ko", "series"), series_number=905,
        instance_number=1, series_description="Quality issue", created_at=CREATED, title=KeyObjectTitle.QUALITY_ISSUE,
        reason=codes.QUALITY_REASONS[codes.QualityReason.MOTION_BLUR], selected=whole_series(source),
    )  # fmt: skip
    decided = replace(
        selection, title=KeyObjectTitle.REJECTED_FOR_QUALITY, signature=SIGNATURE, selected=RESULTS,
        sop_instance_uid=derive_uid(uid, "ko2"), series_instance_uid=derive_uid(uid, "ko2", "series"),
    )  # fmt: skip
    return {
        "segmentation": segmentation_qc_sr(segmentation_report(**named("seg")), source, EQUIPMENT),
        "image": image_qc_sr(image_report(**named("image")), source, EQUIPMENT),
        "picture": summary_sc(segmentation_report(**named("sc")), picture, source, EQUIPMENT),
        "pdf": summary_pdf(segmentation_report(**named("pdf")), picture, source, EQUIPMENT),
        "ko": key_object_selection(selection, source, EQUIPMENT),
        "ko of results": key_object_selection(decided, source, EQUIPMENT),
    } | _segmentations(source)


def _segmentations(source: SourceSeries) -> dict[str, Dataset]:
    """Each kind of SEG a destination can get, with parts of one type told by their modifier; none without a volume."""
    if source.grid is None:
        return {}
    whole = make_segmentation(source.grid, "Front", "Back")
    segments = tuple(
        replace(segment, property_type=HIPPOCAMPUS, property_type_modifier=modifier)
        for segment, modifier in zip(whole.segments, (ANTERIOR, POSTERIOR), strict=True)
    )
    segmentation = replace(whole, segments=segments)

    def described(kind: SegKind) -> SegDescription:
        uids = {"sop_instance_uid": derive_uid(source.series_instance_uid, kind)}
        return make_description(segments, series_instance_uid=derive_uid(uids["sop_instance_uid"]), **uids)

    return {kind: write_seg(segmentation, source, described(kind), kind=kind) for kind in SegKind}


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("mislabelled_phantom_ge_dicom", 1),
        pytest.param("head_ct_ge_tilted_dicom", 1, marks=pytest.mark.slow),
        pytest.param("brain_t1_siemens_dicom", 1, marks=pytest.mark.slow),
        pytest.param("prostate_mr_prostatex_dicom", 2, marks=pytest.mark.slow),
        pytest.param("odd_dicom", 99, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom warns about the sources when the test lists them
def test_documents_are_legal_and_belong_to_their_source(name: str, most: int, tmp_path: Path) -> None:
    groups = _series(shared_data(name), most=most)
    assert groups
    for number, files in enumerate(groups):
        source = read_series(files)
        made = []
        for kind, ds in _documents(source).items():
            apply_audit_tags(
                ds,
                equipment=EQUIPMENT,
                created_at=CREATED,
                source=source.headers[0],
                credits=(),
                operator_name="Müller^Ada",
                audit_head="f" * 64,
            )
            made.append(tmp_path / f"{number}_{kind}.dcm")
            ds.save_as(made[-1], enforce_file_format=True)
            assert check(ds) == (), (files[0].name, kind)
            if kind == SegKind.LABELMAP:
                errors = dicom_tools.labelmap_dciodvfy_errors(made[-1], tmp_path)
                made[-1] = dicom_tools.as_bit_planes(made[-1], tmp_path)
            else:
                errors = sr_tools.dciodvfy_errors(made[-1])
            assert errors == [], (files[0].name, kind)
        complaints = sr_tools.dcentvfy_complaints([files[0], *made])
        assert dicom_tools.without(complaints, SOURCE_FAULTS) == [], files[0].name
        back = read_qc_sr(pydicom.dcmread(made[0]))
        assert replace(back, sop_instance_uid="", series_instance_uid="") == segmentation_report(
            sop_instance_uid="", series_instance_uid=""
        )
