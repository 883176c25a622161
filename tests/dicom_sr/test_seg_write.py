"""SEG writing: what goes in is what every reader gets out; objects are legal, complete and the same every time."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.uid import ImplicitVRLittleEndian

from dicom_sr.audit_tags import apply_audit_tags
from dicom_sr.codes import Code
from dicom_sr.errors import GeometryMismatch, InvalidUid, UnwritableSegmentation
from dicom_sr.probabilities import MaskMaps
from dicom_sr.seg_description import AlgorithmType, ObjectReference, SegmentAuthor
from dicom_sr.seg_header import read_seg_header
from dicom_sr.seg_kind import LABEL_MAP_SEGMENTATION_STORAGE, SEGMENTATION_STORAGE
from dicom_sr.seg_open import open_seg
from dicom_sr.seg_read import read_seg
from dicom_sr.seg_write import SegKind, write_probability_seg, write_seg
from dicom_sr.segment_codes import HIPPOCAMPUS
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.series import read_series
from dicom_sr.validate import check
from dicom_sr.volume import Grid
from tests.support import dicom_tools as tools
from tests.support.make_segmentation import make_description, make_segmentation, make_segments
from tests.support.make_series import AXIAL, CORONAL, SAGITTAL, TRIAL, make_mr_series, oblique


@pytest.fixture(params=[False, True], ids=["single-frame", "multi-frame"])
def files(request, tmp_path):
    return make_mr_series(tmp_path / "files", shape=(6, 16, 24), multiframe=request.param, descending=True)


@pytest.fixture
def source(tmp_path):
    return read_series(make_mr_series(tmp_path / "source", shape=(6, 16, 24)))


def save(ds, folder, name="seg.dcm"):
    path = folder / name
    ds.save_as(path, enforce_file_format=True)
    return path


def encoded(ds):
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def masks_of(segmentation):
    return {s.label: segmentation.mask(s) for s in segmentation.segments}


def assert_same_masks(found, segmentation):
    for label, mask in masks_of(segmentation).items():
        if label in found or mask.any():
            np.testing.assert_array_equal(found[label], mask, err_msg=label)


def test_a_label_map_refuses_overlapping_segments(source):
    segmentation = make_segmentation(source.grid, "whole", "part", overlap=True)

    with pytest.raises(UnwritableSegmentation, match="overlap"):
        write_seg(segmentation, source, make_description(segmentation.segments), kind=SegKind.LABELMAP)


def test_a_label_map_describes_its_background_behind_its_segments(source):
    # OHIF takes the colour of segment n from the n-th item.
    segmentation = make_segmentation(source.grid, "whole", "part")

    ds = write_seg(segmentation, source, make_description(segmentation.segments), kind=SegKind.LABELMAP)

    assert [int(item.SegmentNumber) for item in ds.SegmentSequence] == [1, 2, 0]


def test_more_than_255_labels_need_sixteen_bits(source, tmp_path):
    segments = tuple(
        Segment(number=n, label=f"S{n}", category=s.category, property_type=s.property_type)
        for n, s in zip((3, 255, 256, 700), make_segments(*"abcd"), strict=True)
    )
    labels = np.zeros(source.grid.shape, np.uint16)
    for i, segment in enumerate(segments):
        labels[i, 2:9, i : 3 * i + 2] = segment.number
    segmentation = Segmentation.from_labelmap(source.grid, labels, segments)

    path = save(write_seg(segmentation, source, make_description(segments), kind=SegKind.LABELMAP), tmp_path)

    assert pydicom.dcmread(path).BitsAllocated == 16
    assert_same_masks(tools.highdicom_masks(path, source.grid), segmentation)


def test_probabilities_come_back_to_half_a_step(source, tmp_path):
    segments = make_segments("a", "b")
    rng = np.random.default_rng(7)
    maps = {1: rng.random(source.grid.shape).astype(np.float32)}

    ds = write_probability_seg(maps, segments, source, make_description(segments))

    path = save(ds, tmp_path)
    stored = pydicom.dcmread(path)
    assert tools.dciodvfy_errors(path) == []
    assert (stored.SegmentationType, stored.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    assert stored.NumberOfFrames == source.grid.shape[0]
    assert np.abs(stored.pixel_array / 255 - maps[1]).max() <= 0.5 / 255 + 1e-6


def test_maps_in_steps_of_the_object_are_written_as_they_are(source):
    segments = make_segments("a")
    steps = np.random.default_rng(7).integers(0, 256, source.grid.shape, np.uint8)

    ds = write_probability_seg({1: steps}, segments, source, make_description(segments))

    np.testing.assert_array_equal(ds.pixel_array, steps)


def test_masks_become_maps_one_at_a_time(source):
    segmentation = make_segmentation(source.grid, "whole", "part", overlap=True)
    maps = MaskMaps(segmentation)
    assert list(maps) == [1, 2]
    for number, segment in zip(maps, segmentation.segments, strict=True):
        np.testing.assert_array_equal(maps[number], segmentation.mask(segment) * np.uint8(255))


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_probabilities_outside_their_range_are_refused(source, value):
    segments = make_segments("a")
    maps = {1: np.full(source.grid.shape, value)}

    with pytest.raises(UnwritableSegmentation, match=r"0\.\.1"):
        write_probability_seg(maps, segments, source, make_description(segments))


# Identity, determinism, references


@pytest.mark.parametrize("kind", SegKind)
def test_equal_arguments_give_equal_bytes(source, kind):
    segmentation = make_segmentation(source.grid)
    description = make_description(segmentation.segments)

    assert encoded(write_seg(segmentation, source, description, kind=kind)) == encoded(
        write_seg(segmentation, source, description, kind=kind)
    )


def test_every_source_instance_and_the_frame_of_each_plane_is_referenced(files):
    source = read_series(files)
    segmentation = make_segmentation(source.grid)

    ds = write_seg(segmentation, source, make_description(segmentation.segments))

    series = ds.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == source.series_instance_uid
    assert {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence} == source.sop_instance_uids
    by_position = {s.image_position: s for s in source.slices}
    for group in ds.PerFrameFunctionalGroupsSequence:
        position = tuple(float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient)
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        plane = by_position[position]
        assert (image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID) == (
            plane.sop_class_uid,
            plane.sop_instance_uid,
        )
        assert image.get("ReferencedFrameNumber") == plane.frame_number
        assert image.SpatialLocationsPreserved == "YES"


def test_the_object_says_what_it_is(source):
    segmentation = make_segmentation(source.grid, "Left part", "Right part")
    prior = ObjectReference(sop_class_uid=SEGMENTATION_STORAGE, sop_instance_uid="1.2.3", series_instance_uid="1.2")
    edit = ObjectReference(
        sop_class_uid=LABEL_MAP_SEGMENTATION_STORAGE, sop_instance_uid="1.4.3", series_instance_uid="1.4"
    )
    manual = SegmentAuthor(algorithm_type=AlgorithmType.MANUAL)
    automatic = make_description(segmentation.segments)
    description = make_description(
        segmentation.segments,
        predecessor=prior,
        edited_from=edit,
        authors={**automatic.authors, "Right part": manual},
        content_creator_name="Reader^One",
    )

    ds = write_seg(segmentation, source, description)

    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID == description.sop_instance_uid
    assert (ds.SeriesInstanceUID, ds.SeriesNumber) == (description.series_instance_uid, 9001)
    assert (ds.SeriesDate, ds.SeriesTime, ds.ContentTime) == ("20260102", "030405.000678", "030405.000678")
    assert (ds.ContentLabel, ds.SeriesDescription) == ("SEG_IT00", "QC ACCEPT it0 | SEG brain v1")
    assert ds.ContentCreatorName == "Reader^One"
    assert ds.FrameOfReferenceUID == source.frame_of_reference_uid
    assert ds.SoftwareVersions == ["0.1.0", "unet 1"]
    left, right = ds.SegmentSequence
    assert (left.TrackingID, left.TrackingUID) == description.tracking["Left part"]
    assert (left.SegmentAlgorithmType, left.SegmentAlgorithmName) == ("AUTOMATIC", "unet-3d")
    algorithm = left.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmVersion, algorithm.AlgorithmParameters) == ("1.0.0", "weights=sha256:00ff")
    assert right.SegmentAlgorithmType == "MANUAL"
    assert "SegmentAlgorithmName" not in right
    assert left.SegmentedPropertyTypeCodeSequence[0].CodeValue == "12738006"
    assert left.RecommendedDisplayCIELabValue != right.RecommendedDisplayCIELabValue
    assert [
        p.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for p in ds.PredecessorDocumentsSequence
    ] == ["1.2.3", "1.4.3"]


def test_times_are_told_in_the_zone_of_the_source(tmp_path):
    attributes = {"TimezoneOffsetFromUTC": "+0530"}
    source = read_series(make_mr_series(tmp_path, shape=(3, 8, 8), attributes=attributes))
    segmentation = make_segmentation(source.grid)
    moment = datetime(2026, 1, 1, 22, 0, tzinfo=timezone(timedelta(hours=-1)))

    ds = write_seg(segmentation, source, make_description(segmentation.segments, created_at=moment))

    assert (ds.TimezoneOffsetFromUTC, ds.ContentDate, ds.ContentTime) == ("+0530", "20260102", "043000")


def test_trial_attributes_are_carried_but_the_series_id_is_its_own(tmp_path):
    source = read_series(make_mr_series(tmp_path, shape=(3, 8, 8), trial=True))
    segmentation = make_segmentation(source.grid)

    ds = write_seg(segmentation, source, make_description(segmentation.segments))

    for keyword, value in TRIAL.items():
        if keyword == "ClinicalTrialSeriesID":
            assert ds.ClinicalTrialSeriesID != value
        else:
            assert ds[keyword].value == value


@pytest.mark.parametrize(
    ("declared", "stored", "expected"),
    [
        ("ISO_IR 192", "Müller^山田".encode(), "ISO_IR 192"),
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "ISO_IR 100"),
        (None, b"Miller^Ann", "ISO_IR 192"),
        (None, "Müller^Jörg".encode(), "ISO_IR 192"),
        (None, "Müller^Jörg".encode("latin-1"), "ISO_IR 100"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎".encode("iso2022_jp"), ["", "ISO 2022 IR 87"]),
    ],
)
def test_the_patient_name_keeps_its_bytes_in_any_character_set(tmp_path, declared, stored, expected):
    files = make_mr_series(tmp_path / "source", shape=(3, 8, 8), patient_id="000123", character_set=None)
    for file in files:
        ds = pydicom.dcmread(file)
        if declared:
            ds.SpecificCharacterSet = declared
        padded = stored + b" " * (len(stored) % 2)
        ds[0x00100010] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(0x00100010), "PN", len(padded), padded, 0, False, True
        )
        ds.set_original_encoding(False, True, pydicom.charset.convert_encodings(declared or "ISO_IR 6"))
        ds.save_as(file)
    source = read_series(files)
    segmentation = make_segmentation(source.grid)

    path = save(write_seg(segmentation, source, make_description(segmentation.segments)), tmp_path)

    written = pydicom.dcmread(path)
    assert written.get_item(0x00100010).value.rstrip(b" ") == stored
    assert written.SpecificCharacterSet == expected
    assert written.PatientID == "000123"
    assert tools.dcentvfy_complaints([*files, path]) == []


def test_our_own_text_in_another_script_makes_the_object_utf_8(tmp_path):
    files = make_mr_series(tmp_path, shape=(3, 8, 8), patient_name="Müller^Jörg", character_set="ISO_IR 100")
    source = read_series(files)
    segmentation = make_segmentation(source.grid)

    ds = write_seg(segmentation, source, make_description(segmentation.segments, content_creator_name="山田^太郎"))

    written = pydicom.dcmread(io.BytesIO(encoded(ds)))
    assert written.SpecificCharacterSet == "ISO_IR 192"
    assert (written.PatientName, written.ContentCreatorName) == ("Müller^Jörg", "山田^太郎")


def test_illegal_values_are_carried_where_they_identify_and_left_out_elsewhere(tmp_path, recwarn):
    odd = {"PatientBirthDate": "1960", "PatientAge": "six", "AccessionNumber": "y" * 20, "PatientWeight": "70"}
    with pydicom.config.disable_value_validation():
        source = read_series(make_mr_series(tmp_path, shape=(3, 8, 8), attributes=odd))
    segmentation = make_segmentation(source.grid)

    content = encoded(write_seg(segmentation, source, make_description(segmentation.segments)))

    assert not recwarn.list
    with pydicom.config.disable_value_validation():
        written = pydicom.dcmread(io.BytesIO(content))
        assert (written.PatientBirthDate, written.AccessionNumber) == ("1960", "y" * 20)
        assert (written.get("PatientAge"), written.PatientWeight) == (None, 70)


def test_a_source_without_frame_of_reference_has_a_segmentation_without(tmp_path):
    source = read_series(make_mr_series(tmp_path / "source", shape=(3, 8, 8), attributes={"FrameOfReferenceUID": None}))
    segmentation = make_segmentation(source.grid)

    ds = write_seg(segmentation, source, make_description(segmentation.segments))

    assert "FrameOfReferenceUID" not in ds
    assert tools.dciodvfy_errors(save(ds, tmp_path)) == []


def test_lossy_sources_make_a_lossy_segmentation(tmp_path):
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "12.5",
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    source = read_series(make_mr_series(tmp_path / "source", shape=(3, 8, 8), attributes=lossy))
    segmentation = make_segmentation(source.grid)

    ds = write_seg(segmentation, source, make_description(segmentation.segments))

    assert (ds.LossyImageCompression, ds.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert tools.dciodvfy_errors(save(ds, tmp_path)) == []


def test_private_codes_are_declared(source, tmp_path):
    private = Code("VENT", "99OVERREAD", "Ventricle part")
    segments = (Segment(number=1, label="a", category=make_segments("a")[0].category, property_type=private),)
    segmentation = make_segmentation(source.grid, "a")
    segmentation = Segmentation.from_labelmap(source.grid, segmentation.layers[0], segments)

    ds = write_seg(segmentation, source, make_description(segments))

    assert ds.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99OVERREAD"


# The dataset behaves like any other


@pytest.mark.parametrize("kind", SegKind)
def test_the_part_of_a_type_is_its_modifier_and_comes_back(source, kind, tmp_path):
    anterior, posterior = Code("255549009", "SCT", "Anterior"), Code("255551008", "SCT", "Posterior")
    whole = make_segmentation(source.grid, "Front", "Back")
    segments = tuple(
        replace(s, property_type=HIPPOCAMPUS, property_type_modifier=modifier)
        for s, modifier in zip(whole.segments, (anterior, posterior), strict=True)
    )
    segmentation = replace(whole, segments=segments)

    ds = write_seg(segmentation, source, make_description(segments), kind=kind)

    path = save(ds, tmp_path)
    declared = read_seg_header(open_seg(path)).foreground
    assert [s.property_type_modifier for s in declared] == [anterior, posterior]
    assert check(ds) == ()
    errors = tools.labelmap_dciodvfy_errors(path, tmp_path) if kind is SegKind.LABELMAP else tools.dciodvfy_errors(path)
    assert errors == []


def test_the_encoded_groups_read_like_any_sequence(source):
    segmentation = make_segmentation(source.grid)

    ds = write_seg(segmentation, source, make_description(segmentation.segments))

    assert len(ds.PerFrameFunctionalGroupsSequence) == ds.NumberOfFrames
    numbers = [g.SegmentIdentificationSequence[0].ReferencedSegmentNumber for g in ds.PerFrameFunctionalGroupsSequence]
    assert set(numbers) == {1, 2}
    indices = [g.FrameContentSequence[0].DimensionIndexValues for g in ds.PerFrameFunctionalGroupsSequence]
    assert indices == sorted(indices)


def test_audit_attributes_leave_the_object_legal_and_encoded(tmp_path):
    source = read_series(make_mr_series(tmp_path / "source", shape=(3, 8, 8), trial=True))
    segmentation = make_segmentation(source.grid)
    description = make_description(segmentation.segments)
    ds = write_seg(segmentation, source, description)

    apply_audit_tags(
        ds,
        equipment=description.equipment,
        created_at=description.created_at,
        source=source.headers[0],
        credits=[],
        operator_name="山田^太郎",
        content_qualification="RESEARCH",
        audit_head="00ff",
    )

    assert isinstance(ds.get_item(0x52009230), RawDataElement)
    assert check(ds) == ()
    path = save(ds, tmp_path)
    assert tools.dciodvfy_errors(path) == []
    assert pydicom.dcmread(path).OperatorsName == "山田^太郎"


def test_attributes_can_be_added_and_other_transfer_syntaxes_written(source, tmp_path):
    segmentation = make_segmentation(source.grid)
    ds = write_seg(segmentation, source, make_description(segmentation.segments))
    before = encoded(ds)
    ds.OperatorsName = "Reader^One"
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    implicit = pydicom.dcmread(save(ds, tmp_path))

    explicit = pydicom.dcmread(io.BytesIO(before))
    assert implicit.OperatorsName == "Reader^One"
    assert implicit.PixelData == explicit.PixelData
    del implicit.OperatorsName, implicit.PixelData, explicit.PixelData
    assert implicit.to_json() == explicit.to_json()


# Refusals


def test_another_grid_is_refused(source):
    grid = source.grid
    moved = Grid(shape=grid.shape, affine=grid.affine + np.eye(4, k=3), frame_of_reference_uid="")
    segmentation = make_segmentation(moved)

    with pytest.raises(GeometryMismatch):
        write_seg(segmentation, source, make_description(segmentation.segments))


def test_a_source_without_a_grid_is_refused(tmp_path, source):
    irregular = read_series(make_mr_series(tmp_path / "gap", shape=(6, 16, 24), gap_at=3))
    segmentation = make_segmentation(source.grid)

    with pytest.raises(GeometryMismatch):
        write_seg(segmentation, irregular, make_description(segmentation.segments))


@pytest.mark.parametrize(
    ("numbers", "labels", "kind", "rule"),
    [
        ((1, 3), "ab", SegKind.BINARY, "1, 2, 3"),
        ((2, 1), "ab", SegKind.FRACTIONAL, "1, 2, 3"),
        ((3, 1), "ab", SegKind.LABELMAP, "ascend"),
        ((0, 1), "ab", SegKind.LABELMAP, "ascend"),
        ((1, 2), "aa", SegKind.BINARY, "differ"),
        ((1, 2), "aä", SegKind.BINARY, "ASCII"),
        ((1, 2), ("a", "x" * 65), SegKind.BINARY, "64"),
        ((1, 2), ("a", "b\\c"), SegKind.BINARY, "backslash"),
        ((), "", SegKind.BINARY, "at least one"),
    ],
)
def test_segments_that_break_a_rule_are_refused_by_that_rule(source, numbers, labels, kind, rule):
    model = make_segments("x")[0]
    segments = tuple(
        Segment(number=n, label=label, category=model.category, property_type=model.property_type)
        for n, label in zip(numbers, labels, strict=True)
    )
    segmentation = Segmentation.from_labelmap(source.grid, np.zeros(source.grid.shape), segments)

    with pytest.raises(UnwritableSegmentation, match=rule):
        write_seg(segmentation, source, make_description(segments), kind=kind)


def test_a_segment_without_tracking_or_author_is_refused(source):
    segmentation = make_segmentation(source.grid)

    with pytest.raises(UnwritableSegmentation, match="tracking"):
        write_seg(segmentation, source, make_description(segmentation.segments, tracking={}))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"series_description": "x" * 65}, UnwritableSegmentation),
        ({"series_description": ""}, UnwritableSegmentation),
        ({"content_label": "lower case"}, UnwritableSegmentation),
        ({"content_label": "A" * 17}, UnwritableSegmentation),
        ({"content_description": "a\nb"}, UnwritableSegmentation),
        ({"created_at": datetime(2026, 1, 1)}, UnwritableSegmentation),  # noqa: DTZ001
        ({"series_number": 0}, UnwritableSegmentation),
        ({"sop_instance_uid": "../../evil"}, InvalidUid),
    ],
)
def test_a_description_that_breaks_a_limit_is_refused(change, error):
    with pytest.raises(error):
        make_description(make_segments("a"), **change)


def test_an_algorithm_must_be_named():
    with pytest.raises(UnwritableSegmentation, match="algorithm"):
        SegmentAuthor(algorithm_type=AlgorithmType.AUTOMATIC)


# Properties


@st.composite
def masks(draw, shape, count):
    """Random boxes by segment number; they may be empty, overlap and touch every edge."""
    found = {}
    for number in range(1, count + 1):
        mask = np.zeros(shape, bool)
        if draw(st.booleans()):
            spans = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
            mask[tuple(slice(low, high) for low, high in spans)] = True
        found[number] = mask
    return found


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_masks_on_any_grid_come_back_as_they_were(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    shape = data.draw(st.tuples(st.integers(2, 5), st.integers(1, 9), st.integers(1, 9)))
    orientation = data.draw(st.sampled_from([AXIAL, SAGITTAL, CORONAL, oblique(31, 47)]))
    source = read_series(
        make_mr_series(folder, shape=shape, orientation=orientation, descending=data.draw(st.booleans()))
    )
    segments = make_segments(*"abc")
    segmentation = Segmentation.from_masks(source.grid, data.draw(masks(shape, 3)), segments)
    kinds = [SegKind.BINARY, SegKind.FRACTIONAL] + ([] if segmentation.overlaps else [SegKind.LABELMAP])

    kind = data.draw(st.sampled_from(kinds))

    ds = write_seg(segmentation, source, make_description(segments), kind=kind)

    written = pydicom.dcmread(io.BytesIO(encoded(ds)))
    assert check(ds) == ()
    assert_same_masks(by_geometry(written, source.grid), segmentation)
    if kind is not SegKind.FRACTIONAL:
        content = read_seg(written, source)
        assert_same_masks({s.label: content.mask(s.number) for s in segments}, segmentation)


def by_geometry(ds, grid):
    """Read masks by plane position and segment number alone, independently of the writer and of our own reader."""
    labels = {int(s.SegmentNumber): s.SegmentLabel for s in ds.SegmentSequence if s.SegmentNumber}
    found = {label: np.zeros(grid.shape, bool) for label in labels.values()}
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    for frame, group in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        z, y, x = (np.linalg.inv(grid.affine) @ [*position, 1])[:3]
        assert abs(z - round(z)) + abs(y) + abs(x) < 1e-3
        if "SegmentIdentificationSequence" in group:
            number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            found[labels[number]][round(z)] |= frame > 0
        else:
            for number, label in labels.items():
                found[label][round(z)] |= frame == number
    return found
