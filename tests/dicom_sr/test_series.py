"""Series reading: geometry for any orientation and file order, defects as data, pixels as the NIfTI path has them."""

from __future__ import annotations

import runpy
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_sr.acquisition import SeriesDefect
from dicom_sr.errors import DicomObjectError, GeometryMismatch, MixedSeries, UndecodablePixels, UnreadableObject
from dicom_sr.series import load_volume, read_headers, read_series, series_of
from dicom_sr.series_geometry import Plane, arrange
from tests.support.make_series import AXIAL, CORONAL, SAGITTAL, make_mr_series, oblique, phantom
from tests.support.shared import shared_data, shared_folder

ORIENTATIONS = {"axial": AXIAL, "sagittal": SAGITTAL, "coronal": CORONAL, "oblique": oblique(17, -29)}


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("multiframe", [False, True], ids=["single-frame", "multi-frame"])
def test_grid_and_voxels_do_not_depend_on_how_the_series_is_stored(tmp_path, orientation, descending, multiframe):
    files = make_mr_series(tmp_path, orientation=orientation, descending=descending, multiframe=multiframe)

    series = read_series(files[::-1])
    volume = load_volume(series, files)

    normal = np.cross(orientation[:3], orientation[3:])
    assert series.acquisition.defects == ()
    assert series.grid.shape == (24, 32, 32)
    assert series.grid.spacing == pytest.approx((3.0, 1.5, 1.25), abs=1e-9)
    assert series.grid.image_position_patient(0) == pytest.approx((-20, -24, -30), abs=1e-5)
    assert series.grid.image_position_patient(23) == pytest.approx(np.array([-20, -24, -30]) + 69 * normal, abs=1e-5)
    assert series.grid.image_orientation_patient == pytest.approx(orientation, abs=1e-9)
    np.testing.assert_array_equal(volume.voxels, phantom((24, 32, 32)).astype(np.float32))
    assert volume.modality == "MR"


def test_slice_z_of_the_grid_is_slice_z_of_the_source(tmp_path):
    files = make_mr_series(tmp_path, descending=True)
    by_uid = {str(ds.SOPInstanceUID): ds for ds in (pydicom.dcmread(f) for f in files)}

    series = read_series(files)

    for z, source in enumerate(series.slices):
        position = [float(v) for v in by_uid[source.sop_instance_uid].ImagePositionPatient]
        assert position == pytest.approx(series.grid.image_position_patient(z), abs=1e-5)
        assert source.image_position == pytest.approx(position)
        assert source.frame_number is None
    assert [str(h.SOPInstanceUID) for h in series.headers] == [s.sop_instance_uid for s in series.slices]
    assert series.sop_instance_uids == set(by_uid)


def test_frames_of_a_multi_frame_source_are_numbered_from_one(tmp_path):
    files = make_mr_series(tmp_path, multiframe=True, descending=True, shape=(5, 8, 8))

    series = read_series(files)

    assert [s.frame_number for s in series.slices] == [5, 4, 3, 2, 1]
    assert series.acquisition.frame_count == 5
    assert series.acquisition.instance_count == 1
    assert series.acquisition.repetition_time == 2300


@pytest.mark.parametrize(
    ("options", "defects"),
    [
        ({"gap_at": 5}, {SeriesDefect.MISSING_SLICES}),
        ({"doubled_at": 5}, {SeriesDefect.DOUBLED_SLICES}),
        ({"uneven": True}, {SeriesDefect.UNEVEN_SPACING}),
        ({"tilt_mm": 0.5}, {SeriesDefect.GANTRY_TILT}),
        ({"shape": (1, 16, 16)}, {SeriesDefect.SINGLE_SLICE}),
        ({"by_slice": {3: {"ImageOrientationPatient": list(CORONAL)}}}, {SeriesDefect.MIXED_ORIENTATION}),
        ({"by_slice": {3: {"PixelSpacing": [2, 2]}}}, {SeriesDefect.MIXED_MATRIX}),
        ({"by_slice": {3: {"Rows": 16, "Columns": 64}}}, {SeriesDefect.MIXED_MATRIX}),
        ({"by_slice": {3: {"FrameOfReferenceUID": "1.2.3"}}}, {SeriesDefect.MIXED_FRAME_OF_REFERENCE}),
        ({"by_slice": {3: {"ImagePositionPatient": None}}}, {SeriesDefect.NO_GEOMETRY}),
        ({"by_slice": {3: {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}}}, {SeriesDefect.COLOR_PIXELS}),
        ({"attributes": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}}, {SeriesDefect.LOCALIZER}),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else "",
)
def test_a_bad_series_is_a_series_with_defects(tmp_path, options, defects):
    files = make_mr_series(tmp_path, **options)

    series = read_series(files)

    assert set(series.acquisition.defects) == defects
    if defects & {SeriesDefect.LOCALIZER, SeriesDefect.COLOR_PIXELS}:
        assert series.grid is not None
    else:
        assert series.grid is None
        assert series.slices == ()
        with pytest.raises(GeometryMismatch):
            load_volume(series, files)


def test_no_files_are_an_empty_series():
    series = read_series([])

    assert series.acquisition.defects == (SeriesDefect.EMPTY,)
    assert series.headers == ()


def test_objects_without_a_matrix_have_no_pixels(tmp_path):
    files = make_mr_series(tmp_path, shape=(3, 8, 8))
    for file in files:
        ds = pydicom.dcmread(file)
        del ds.Rows, ds.Columns, ds.PixelData
        ds.save_as(file)

    assert read_series(files).acquisition.defects == (SeriesDefect.NO_PIXELS,)


def test_gaps_are_named_by_their_positions(tmp_path):
    files = make_mr_series(tmp_path, gap_at=5, origin=(0, 0, 10))

    assert read_series(files).acquisition.gap_positions == pytest.approx([25.0])


def test_planes_off_by_a_hundredth_millimetre_are_regular(tmp_path):
    series = read_series(make_mr_series(tmp_path, jitter_mm=0.01))

    assert series.acquisition.defects == ()


def test_an_instance_given_twice_counts_once(tmp_path):
    files = make_mr_series(tmp_path)
    copy = tmp_path / "copy.dcm"
    shutil.copy(files[3], copy)

    assert read_series([*files, copy]).acquisition.defects == ()


def test_files_of_two_series_are_refused(tmp_path):
    one = make_mr_series(tmp_path / "a", seed="a", shape=(3, 8, 8))
    two = make_mr_series(tmp_path / "b", seed="b", shape=(3, 8, 8))

    with pytest.raises(MixedSeries):
        read_series([*one, *two])


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM\x02\x00"])
def test_what_is_not_dicom_is_unreadable(tmp_path, content):
    file = tmp_path / "x.dcm"
    file.write_bytes(content)

    with pytest.raises(UnreadableObject):
        read_series([file])


@pytest.mark.parametrize("damage", ["truncated", "absent", "syntax", "matrix"])
def test_pixels_that_cannot_be_decoded_are_named(tmp_path, damage):
    files = make_mr_series(tmp_path)
    ds = pydicom.dcmread(files[4])
    if damage == "truncated":
        ds.PixelData = ds.PixelData[:100]
    elif damage == "absent":
        del ds.PixelData
    elif damage == "matrix":
        ds.Rows = 64
    else:
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
        ds["PixelData"].is_undefined_length = True
        ds.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
    ds.save_as(files[4])
    series = read_series([f for f in files if f != files[4]] + [files[4]])
    if damage == "matrix":
        assert SeriesDefect.MIXED_MATRIX in series.acquisition.defects
        return

    with pytest.raises(UndecodablePixels):
        load_volume(series, files)


def test_a_missing_file_is_named_when_pixels_are_loaded(tmp_path):
    files = make_mr_series(tmp_path)

    with pytest.raises(UnreadableObject):
        load_volume(read_series(files), files[:-1])


def test_rescale_gives_hounsfield_units(tmp_path):
    attributes = {"RescaleSlope": "2", "RescaleIntercept": "-1024"}
    files = make_mr_series(tmp_path, modality="CT", attributes=attributes)

    volume = load_volume(read_series(files), files)

    np.testing.assert_array_equal(volume.voxels, phantom((24, 32, 32)) * 2.0 - 1024.0)


def test_reading_odd_values_warns_about_nothing(tmp_path, recwarn):
    odd = {"PatientBirthDate": "1960", "PatientAge": "six", "PatientID": "x" * 70, "AccessionNumber": "y" * 20}
    with pydicom.config.disable_value_validation():
        files = make_mr_series(tmp_path, shape=(3, 8, 8), attributes=odd)

    series = read_series(files)

    assert series.patient_id == "x" * 70
    assert not recwarn.list


@pytest.mark.parametrize(
    ("character_set", "name"),
    [("ISO_IR 192", "Müller^山田"), ("ISO_IR 100", "Müller^Jörg"), (None, "Miller^Ann")],
)
def test_patient_id_keeps_its_leading_zeros_in_any_character_set(tmp_path, character_set, name):
    files = make_mr_series(
        tmp_path, shape=(3, 8, 8), patient_id="000123", patient_name=name, character_set=character_set
    )

    assert read_series(files).patient_id == "000123"


def damaged(content, rng):
    """Change bytes, mostly of the header, cut the file off, or push bytes in."""
    changed = bytearray(content)
    top = len(changed) if rng.random() < 0.3 else min(len(changed), 1500)
    for _ in range(rng.integers(1, 6)):
        changed[rng.integers(128, top)] = rng.choice([0, 255, rng.integers(0, 256)])
    if rng.random() < 0.2:
        del changed[rng.integers(0, len(changed)) :]
    elif rng.random() < 0.2:
        place = rng.integers(132, top)
        changed[place:place] = rng.integers(0, 256, rng.integers(1, 30), dtype=np.uint8).tobytes()
    return bytes(changed)


def read_damaged(folder, *, count, multiframe):
    files = make_mr_series(folder / "series", shape=(3, 8, 8), multiframe=multiframe, trial=True)
    rng = np.random.default_rng(count)
    outcomes = set()
    for _ in range(count):
        which = int(rng.integers(len(files)))
        replaced = folder / "damaged.dcm"
        replaced.write_bytes(damaged(files[which].read_bytes(), rng))
        given = [*files[:which], replaced, *files[which + 1 :]]
        try:
            series = read_series(given)
            if series.grid is not None:
                load_volume(series, given)
            outcomes.add(series.acquisition.defects)
        except DicomObjectError as refusal:
            outcomes.add(refusal.code)
    return outcomes


@pytest.mark.filterwarnings("ignore")  # pydicom warns while it parses damaged files
@pytest.mark.parametrize("multiframe", [False, True])
def test_damaged_files_are_read_or_refused_by_name(tmp_path, multiframe):
    assert len(read_damaged(tmp_path, count=150, multiframe=multiframe)) > 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("multiframe", [False, True])
def test_thousands_of_damaged_files_are_read_or_refused_by_name(tmp_path, multiframe):
    assert len(read_damaged(tmp_path, count=2500, multiframe=multiframe)) > 3


# Real data


@pytest.mark.parametrize("flip", [1, -1], ids=["as it is", "slices reversed"])
def test_the_dicom_path_equals_the_nifti_path(tmp_path, flip):
    nifti = sorted((shared_data("hippocampus_msd") / "images").glob("*.nii.gz"))[0]
    image = nib.load(nifti)
    expected = np.asanyarray(image.dataobj, dtype=np.float64)[:, :, ::flip] * 0.37
    affine = image.affine.copy()
    if flip < 0:
        affine[:3, 3] += affine[:3, 2] * (expected.shape[2] - 1)
        affine[:3, 2] *= -1
    given = tmp_path / "given.nii.gz"
    nib.save(nib.Nifti1Image(expected.astype(np.float32), affine), given)
    converter = runpy.run_path(str(shared_folder() / "data" / "nifti2dicom.py"))
    converter["convert"](str(given), str(tmp_path / "series"))
    files = sorted((tmp_path / "series").glob("*.dcm"))

    series = read_series(files)
    volume = load_volume(series, files)

    lps_from_voxel = np.diag([-1, -1, 1, 1]) @ affine
    index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.voxels.shape), indexing="ij"), -1).reshape(-1, 3)
    world = series.grid.affine @ np.c_[index, np.ones(len(index))].T
    ijk = (np.linalg.inv(lps_from_voxel) @ world)[:3]
    nearest = np.rint(ijk).astype(int)
    assert np.abs(ijk - nearest).max() < 1e-4
    error = np.abs(expected[tuple(nearest)] - volume.voxels[tuple(index.T)]).max()
    assert error <= (expected.max() - expected.min()) / 32767


ODD = {
    "siemens_xa30_enhanced/In/5_anat-T1w_acq-tfl": set(),
    "siemens_xa30_enhanced/In/25_asl_2d_tra": {SeriesDefect.DOUBLED_SLICES},
    "siemens_xa30_enhanced/In/99_Phoenix_Document": {SeriesDefect.NO_PIXELS},
    "philips_enhanced_fieldmap/In/Philips": {SeriesDefect.DOUBLED_SLICES},
    "siemens_mosaic/In/ep2d_Int_4": {SeriesDefect.DOUBLED_SLICES},
    "dicom2nifti_cases/philips_enhanced/anatomical/001": set(),
    "dicom2nifti_cases/hyperfine/anatomical/001": set(),
    "dicom2nifti_cases/hitachi/anatomical/001": set(),
    "dicom2nifti_cases/generic/anatomical/001": set(),
    "dicom2nifti_cases/generic/compressed_rle/001": set(),
    "dicom2nifti_cases/ge/anatomical/001_single_slice": {SeriesDefect.SINGLE_SLICE},
    "dicom2nifti_cases/siemens/fmri/001": {SeriesDefect.DOUBLED_SLICES},
    "dicom2nifti_cases/failing/sliceincrement/001": {SeriesDefect.MISSING_SLICES},
    "dicom2nifti_cases/failing/gantrytilting/001": {SeriesDefect.GANTRY_TILT},
    "dicom2nifti_cases/failing/sliceorientation/001": {SeriesDefect.MIXED_ORIENTATION, SeriesDefect.MIXED_MATRIX},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_real_headers_are_read_without_a_warning(name, recwarn):
    files = sorted(f for f in (shared_data("odd_dicom") / name).iterdir() if f.suffix == ".dcm")

    series = read_series(files)

    assert set(series.acquisition.defects) == ODD[name]
    assert not recwarn.list
    if series.grid is not None:
        assert load_volume(series, files).voxels.shape == series.grid.shape


def test_a_tilted_head_ct_is_named_so():
    folder = shared_data("head_ct_ge_tilted_dicom")
    files = [f for f in sorted(folder.iterdir()) if f.is_file() and f.suffix not in {".md", ".txt"}]
    files = [f for f in files if f.name != "LICENSE"]

    assert SeriesDefect.GANTRY_TILT in read_series(files).acquisition.defects


# Properties of the arrangement


@st.composite
def stacks(draw):
    """Planes of a regular stack in any orientation, in any order, with what the grid must be."""
    orientation = oblique(draw(st.floats(-180, 180)), draw(st.floats(-180, 180)))
    count = draw(st.integers(2, 12))
    step = draw(st.floats(0.3, 10))
    origin = np.array(draw(st.tuples(*[st.floats(-500, 500)] * 3)))
    normal = np.cross(orientation[:3], orientation[3:])
    order = draw(st.permutations(range(count)))
    planes = [
        Plane(
            position=tuple(float(v) for v in np.round(origin + k * step * normal, 6)),
            orientation=orientation,
            pixel_spacing=(1.5, 0.75),
            rows=4,
            columns=6,
        )
        for k in order
    ]
    return planes, order, origin, step


@settings(deadline=None, max_examples=50)
@given(stacks())
def test_any_regular_stack_in_any_order_is_its_grid(stack):
    planes, order, origin, step = stack

    arrangement = arrange(planes, "1.2.3")

    assert arrangement.defects == ()
    assert [order[i] for i in arrangement.order] == list(range(len(planes)))
    assert arrangement.grid.image_position_patient(0) == pytest.approx(tuple(origin), abs=1e-5)
    assert arrangement.grid.spacing == pytest.approx((step, 1.5, 0.75), abs=1e-5)
    assert np.linalg.det(arrangement.grid.affine[:3, :3]) != 0


@settings(deadline=None, max_examples=50)
@given(stacks(), st.integers(0, 11))
def test_a_stack_without_an_inner_plane_has_one_gap(stack, which):
    planes, order, _, _ = stack
    inner = sorted(range(len(planes)), key=lambda i: order[i])[1:-1]
    if len(planes) < 4:
        return
    missing = inner[which % len(inner)]

    arrangement = arrange([p for i, p in enumerate(planes) if i != missing], "1.2.3")

    assert arrangement.defects == (SeriesDefect.MISSING_SLICES,)
    assert len(arrangement.gap_positions) == 1
    assert arrangement.grid is None


def test_headers_can_be_given_instead_of_files(tmp_path):
    files = make_mr_series(tmp_path, shape=(3, 8, 8))

    assert series_of(read_headers(files)).grid.is_same_as(read_series(files).grid)


def test_a_header_built_by_hand_reads_like_one_from_a_file():
    header = Dataset()
    header.SOPInstanceUID, header.SeriesInstanceUID, header.PatientID = "1.2.3", "1.2", "0007"

    series = series_of([header])

    assert (series.patient_id, series.acquisition.defects) == ("0007", (SeriesDefect.NO_PIXELS,))
