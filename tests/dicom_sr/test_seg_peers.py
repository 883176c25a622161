"""Real programs judge and read what we write: dicom3tools, PixelMed, dcmqi and highdicom, over awkward sources."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from dicom_sr.seg_kind import SEGMENTATION_STORAGE
from dicom_sr.seg_write import ObjectReference, SegKind, write_probability_seg, write_seg
from dicom_sr.series import read_series
from tests.support import dicom_tools as tools
from tests.support.make_segmentation import make_description, make_segmentation
from tests.support.make_series import CORONAL, SAGITTAL, make_mr_series, oblique
from tests.support.shared import shared_data

pytestmark = pytest.mark.peer

SOURCES = {
    "axial": {},
    "sagittal descending": {"orientation": SAGITTAL, "descending": True},
    "coronal": {"orientation": CORONAL},
    "oblique": {"orientation": oblique(17, -29), "descending": True},
    "odd matrix": {"shape": (5, 19, 13)},
    "multi-frame": {"multiframe": True, "descending": True},
    "trial": {"trial": True},
}


@pytest.fixture(params=SOURCES, ids=SOURCES)
def files(request, tmp_path):
    options = {"shape": (6, 16, 24), **SOURCES[request.param]}
    return make_mr_series(tmp_path / "source", **options)


@pytest.fixture
def source(tmp_path):
    return read_series(make_mr_series(tmp_path / "source", shape=(6, 16, 24)))


def save(ds, folder, name="seg.dcm"):
    path = folder / name
    ds.save_as(path, enforce_file_format=True)
    return path


def masks_of(segmentation):
    return {s.label: segmentation.mask(s) for s in segmentation.segments}


def assert_same_masks(found, segmentation):
    for label, mask in masks_of(segmentation).items():
        if label in found or mask.any():
            np.testing.assert_array_equal(found[label], mask, err_msg=label)


@pytest.mark.parametrize("kind", [SegKind.BINARY, SegKind.LABELMAP])
def test_other_readers_get_every_voxel(files, kind, tmp_path):
    source = read_series(files)
    segmentation = make_segmentation(source.grid)

    path = save(write_seg(segmentation, source, make_description(segmentation.segments), kind=kind), tmp_path)

    assert_same_masks(tools.highdicom_masks(path, source.grid), segmentation)
    assert_same_masks(tools.dcmqi_masks(path, tmp_path / "dcmqi", source.grid), segmentation)


def test_dicom3tools_finds_no_error_and_one_patient_study_and_trial(files, tmp_path):
    source = read_series(files)
    segmentation = make_segmentation(source.grid)
    prior = ObjectReference(sop_class_uid=SEGMENTATION_STORAGE, sop_instance_uid="1.2.3", series_instance_uid="1.2")
    description = make_description(segmentation.segments, predecessor=prior)

    binary = save(write_seg(segmentation, source, description), tmp_path, "binary.dcm")
    fractional = save(write_seg(segmentation, source, description, kind=SegKind.FRACTIONAL), tmp_path, "fractional.dcm")
    labelmap = save(write_seg(segmentation, source, description, kind=SegKind.LABELMAP), tmp_path, "labelmap.dcm")

    assert tools.dciodvfy_errors(binary) == []
    assert tools.dciodvfy_errors(fractional) == []
    assert tools.labelmap_dciodvfy_errors(labelmap, tmp_path) == []
    assert tools.dcentvfy_complaints([*files, binary]) == []
    assert tools.dcentvfy_complaints([*files, tools.as_bit_planes(labelmap, tmp_path)]) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", SegKind)
def test_pixelmed_finds_no_error(source, kind, tmp_path):
    segmentation = make_segmentation(source.grid)

    path = save(write_seg(segmentation, source, make_description(segmentation.segments), kind=kind), tmp_path)

    is_labelmap = kind is SegKind.LABELMAP
    errors = tools.labelmap_pixelmed_errors(path, tmp_path) if is_labelmap else tools.pixelmed_iod_errors(path)
    assert errors == []


def test_other_readers_get_every_probability(source, tmp_path):
    import highdicom as hd

    segments = make_segmentation(source.grid, "a", "b").segments
    noise = np.random.default_rng(5)
    maps = {s.number: noise.random(source.grid.shape, np.float32) for s in segments}

    path = save(write_probability_seg(maps, segments, source, make_description(segments)), tmp_path)

    seg = hd.seg.segread(path)
    for segment in segments:
        volume = seg.get_volume(segment_numbers=[segment.number], rescale_fractional=True)
        volume = volume.match_geometry(hd.Volume(np.zeros(source.grid.shape), source.grid.affine, "PATIENT"))
        np.testing.assert_allclose(volume.array[..., 0], maps[segment.number], atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("kind", [SegKind.BINARY, SegKind.FRACTIONAL])
def test_overlapping_segments_keep_their_shared_voxels(source, kind, tmp_path):
    segmentation = make_segmentation(source.grid, "whole", "part", overlap=True)
    assert segmentation.overlaps

    path = save(write_seg(segmentation, source, make_description(segmentation.segments), kind=kind), tmp_path)

    assert_same_masks(tools.highdicom_masks(path, source.grid), segmentation)
    assert_same_masks(tools.dcmqi_masks(path, tmp_path / "dcmqi", source.grid), segmentation)
    if kind is SegKind.BINARY:
        assert pydicom.dcmread(path).SegmentsOverlap == "YES"


@pytest.mark.parametrize("kind", SegKind)
def test_nothing_found_is_a_legal_object(source, kind, tmp_path):
    segmentation = make_segmentation(source.grid, "a", "b", empty=("a", "b"))

    path = save(write_seg(segmentation, source, make_description(segmentation.segments), kind=kind), tmp_path)

    ds = pydicom.dcmread(path)
    assert ds.NumberOfFrames == (1 if kind is SegKind.LABELMAP else 2)
    assert not ds.pixel_array.any()
    assert [s.SegmentLabel for s in ds.SegmentSequence if s.SegmentNumber] == ["a", "b"]
    if kind is SegKind.LABELMAP:
        assert tools.labelmap_dciodvfy_errors(path, tmp_path) == []
    else:
        assert tools.dciodvfy_errors(path) == []
    assert_same_masks(tools.dcmqi_masks(path, tmp_path / "dcmqi", source.grid), segmentation)


def test_an_empty_segment_beside_a_filled_one_stays_declared(source, tmp_path):
    segmentation = make_segmentation(source.grid, "a", "b", empty=("a",))

    path = save(write_seg(segmentation, source, make_description(segmentation.segments)), tmp_path)

    assert [s.SegmentLabel for s in pydicom.dcmread(path).SegmentSequence] == ["a", "b"]
    assert tools.dciodvfy_errors(path) == []
    assert_same_masks(tools.highdicom_masks(path, source.grid), segmentation)
    assert_same_masks(tools.dcmqi_masks(path, tmp_path / "dcmqi", source.grid), segmentation)


# Real data


#: Real sources with an age that is no age string: our object leaves it out.
ODD_AGE = tools.FalseError("Element=<PatientAge>", "the source says 0Y, which is no age string")
ODD_SOURCES = {
    "siemens_xa30_enhanced/In/5_anat-T1w_acq-tfl": (),
    "dicom2nifti_cases/philips_enhanced/anatomical/001": (ODD_AGE,),
    "dicom2nifti_cases/hyperfine/anatomical/001": (),
    "dicom2nifti_cases/hitachi/anatomical/001": (ODD_AGE,),
    "dicom2nifti_cases/generic/compressed_rle/001": (ODD_AGE,),
}
TYPE_2 = ("PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName", "StudyID", "StudyTime")


def absent_type_2(source):
    """Our object states these, empty, although the source does not: they are type 2."""
    return [
        tools.FalseError(
            f"present in one instance but not the other - Element=<{keyword}>", "type 2, not in the source"
        )
        for keyword in TYPE_2
        if keyword not in source.headers[0]
    ]


@pytest.mark.parametrize("name", ODD_SOURCES)
def test_odd_real_headers_make_legal_segmentations(name, tmp_path, recwarn):
    files = sorted(f for f in (shared_data("odd_dicom") / name).iterdir() if f.suffix == ".dcm")
    source = read_series(files)
    segmentation = make_segmentation(source.grid)

    path = save(write_seg(segmentation, source, make_description(segmentation.segments)), tmp_path)

    assert not recwarn.list
    assert tools.dciodvfy_errors(path) == []
    known = [*ODD_SOURCES[name], *absent_type_2(source)]
    assert tools.without(tools.dcentvfy_complaints([*files, path]), known) == []
    assert_same_masks(tools.dcmqi_masks(path, tmp_path / "dcmqi", source.grid), segmentation)
