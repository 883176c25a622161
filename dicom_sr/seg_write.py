"""Write a segmentation as a DICOM Segmentation object: BINARY, LABELMAP (RLE) or FRACTIONAL.

Equal arguments give equal bytes: no clock, no random UID. The dataset is built without highdicom, whose objects for
every frame and macro cost seconds on a hundred organs; highdicom, dcmqi, dciodvfy and dcentvfy check the outcome in the
tests.

References
----------
PS3.3 A.51 (Segmentation IOD), C.8.20 (Segmentation modules); Supplement 243 (label maps)
"""

from __future__ import annotations

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless
from pydicom.valuerep import format_number_as_ds

from dicom_sr.audit_tags import copy_patient_study_trial, set_creation, set_equipment
from dicom_sr.character_set import character_set_of, settle_character_set
from dicom_sr.coded_items import declare_private_scheme
from dicom_sr.codes import PRIVATE_SCHEME, Code
from dicom_sr.element_bytes import encode_text, raw_sequence
from dicom_sr.errors import GeometryMismatch, UnwritableSegmentation
from dicom_sr.header import legal_texts, text
from dicom_sr.new_object import IMPLEMENTATION_CLASS_UID
from dicom_sr.probabilities import MAXIMUM_FRACTIONAL_VALUE, MaskMaps, is_probability
from dicom_sr.seg_description import (
    AlgorithmType,
    ObjectReference,
    SegDescription,
    SegmentAuthor,
    require_text,
)
from dicom_sr.seg_frames import (
    Frame,
    Probabilities,
    binary_frames,
    functional_groups,
    labelmap_frames,
    probability_frames,
)
from dicom_sr.seg_kind import LABEL_MAP_SEGMENTATION_STORAGE, SEGMENTATION_STORAGE, SegKind
from dicom_sr.seg_planes import binary_pixels, labelmap_pixels, probability_pixels
from dicom_sr.seg_segments import segment_items
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.source import SourceSeries
from dicom_sr.timestamps import date_text, in_zone_of, time_text
from dicom_sr.uids import derive_uid
from dicom_sr.volume import Grid

__all__ = [
    "AlgorithmType",
    "ObjectReference",
    "SegDescription",
    "SegKind",
    "SegmentAuthor",
    "write_probability_seg",
    "write_seg",
]

_SLICE_DIMENSION = (0x00200032, 0x00209113, "Image Position (Patient)")
_SEGMENT_DIMENSION = (0x0062000B, 0x0062000A, "Referenced Segment Number")


def write_seg(
    segmentation: Segmentation,
    source: SourceSeries,
    description: SegDescription,
    *,
    kind: SegKind = SegKind.BINARY,
) -> Dataset:
    """Build the segmentation object of `segmentation`.

    Parameters
    ----------
    segmentation : Segmentation
        On the grid of `source`. BINARY and FRACTIONAL need segment numbers 1, 2, 3...; LABELMAP needs no overlap.
    source : SourceSeries
        With a grid; patient, study and trial attributes come from its first header.
    description : SegDescription
        `tracking` and `authors` must know every segment label.
    kind : SegKind
        BINARY: every viewer reads it. LABELMAP: RLE, a hundred times smaller for many labels. FRACTIONAL: the masks as
        probability 0 or 1; see `write_probability_seg` for maps.

    Returns
    -------
    pydicom.Dataset
        With file meta information, ready to save. Empty frames are left out; what remains when all are empty is said at
        `seg_frames.binary_frames`.

    Raises
    ------
    GeometryMismatch
        If `source` has no grid or `segmentation` is on another one.
    UnwritableSegmentation
        If the segments break a rule of the asked kind; `detail` says which.
    """
    grid = _common_grid(segmentation.grid, source)
    _check_segments(segmentation.segments, description, kind)
    if kind is SegKind.FRACTIONAL:
        return write_probability_seg(MaskMaps(segmentation), segmentation.segments, source, description)
    if kind is SegKind.LABELMAP:
        if segmentation.overlaps:
            raise UnwritableSegmentation("segments overlap: a label map cannot hold them, ask for BINARY")
        frames = labelmap_frames(segmentation)
        ds = _build(segmentation.segments, frames, source, description, kind=kind)
        labelmap_pixels(ds, segmentation, frames)
    else:
        frames = binary_frames(segmentation)
        ds = _build(segmentation.segments, frames, source, description, kind=kind)
        ds.SegmentsOverlap = "YES" if segmentation.overlaps else "NO"
        binary_pixels(ds, segmentation, frames)
    _add_frames(ds, frames, source, grid)
    return ds


def write_probability_seg(
    maps: Probabilities, segments: tuple[Segment, ...], source: SourceSeries, description: SegDescription
) -> Dataset:
    """Build a FRACTIONAL segmentation object (PROBABILITY) of probability maps.

    Parameters
    ----------
    maps : mapping of int to numpy.ndarray, (z, y, x), float or uint8
        Probability 0..1, or in steps of 1/255, by segment number on the grid of `source`; a segment without a map is
        empty. Stored in steps of 1/255; frames that round to zero everywhere are left out.
    segments, source, description
        As for `write_seg`.

    Raises
    ------
    GeometryMismatch, UnwritableSegmentation
        As for `write_seg`; also if a map holds a value outside 0..1.
    """
    grid = _common_grid(None, source)
    _check_segments(segments, description, SegKind.FRACTIONAL)
    for probabilities in maps.values():
        if probabilities.shape != grid.shape:
            raise GeometryMismatch(f"a map of shape {probabilities.shape} on a grid of shape {grid.shape}")
        if not is_probability(probabilities):
            raise UnwritableSegmentation("a probability map holds values outside 0..1")
    frames = probability_frames(maps, segments, grid)
    ds = _build(segments, frames, source, description, kind=SegKind.FRACTIONAL)
    ds.SegmentationFractionalType = "PROBABILITY"
    ds.MaximumFractionalValue = MAXIMUM_FRACTIONAL_VALUE
    ds.SegmentsOverlap = "UNDEFINED"
    probability_pixels(ds, maps, frames)
    _add_frames(ds, frames, source, grid)
    return ds


def _common_grid(own: Grid | None, source: SourceSeries) -> Grid:
    if source.grid is None:
        raise GeometryMismatch("the source series makes no regular volume")
    if own is not None and not own.is_same_as(source.grid):
        raise GeometryMismatch("the segmentation is on another grid than its source series")
    return source.grid


def _check_segments(segments: tuple[Segment, ...], description: SegDescription, kind: SegKind) -> None:
    numbers, labels = [s.number for s in segments], [s.label for s in segments]
    if not segments:
        raise UnwritableSegmentation("a segmentation needs at least one declared segment")
    for label in labels:
        require_text(label, "Segment Label")
    if not all(label.isascii() for label in labels) or len(set(labels)) < len(labels):
        raise UnwritableSegmentation("segment labels must be ASCII and differ from each other")
    if set(labels) - description.tracking.keys() or set(labels) - description.authors.keys():
        raise UnwritableSegmentation("a segment has no tracking identifier or no author")
    if kind is SegKind.LABELMAP:
        if numbers != sorted(set(numbers)) or min(numbers) < 1 or max(numbers) > 65_535:
            raise UnwritableSegmentation("segment numbers of a label map must ascend within 1..65535")
    elif numbers != list(range(1, len(numbers) + 1)):
        raise UnwritableSegmentation(f"segment numbers of a {kind} segmentation must be 1, 2, 3 and so on")


def _build(
    segments: tuple[Segment, ...],
    frames: tuple[Frame, ...],
    source: SourceSeries,
    description: SegDescription,
    *,
    kind: SegKind,
) -> Dataset:
    """Build everything but the pixels and the per-frame groups."""
    assert source.grid is not None
    ds = Dataset()
    _set_identity(ds, source, description, kind)
    _set_content(ds, source.headers[0], description)
    ds.SegmentationType = kind.value
    ds.SegmentSequence = segment_items(segments, description, kind)
    _set_references(ds, source, description)
    _set_matrix(ds, source, kind)
    ds.NumberOfFrames = len(frames)
    _set_dimensions(ds, description, kind)
    ds.SharedFunctionalGroupsSequence = [_shared_groups(source.grid, source.acquisition.slice_thickness)]
    if any(code.scheme == PRIVATE_SCHEME for segment in segments for code in _codes_of(segment)):
        declare_private_scheme(ds)
    settle_character_set(ds, character_set_of(source.headers[0]))
    return ds


def _codes_of(segment: Segment) -> tuple[Code, ...]:
    codes = (segment.category, segment.property_type, segment.anatomic_region, segment.property_type_modifier)
    return tuple(code for code in codes if code is not None)


def _set_identity(ds: Dataset, source: SourceSeries, description: SegDescription, kind: SegKind) -> None:
    sop_class = LABEL_MAP_SEGMENTATION_STORAGE if kind is SegKind.LABELMAP else SEGMENTATION_STORAGE
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = UID(description.sop_instance_uid)
    ds.file_meta.TransferSyntaxUID = RLELossless if kind is SegKind.LABELMAP else ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.preamble = b"\0" * 128
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = description.sop_instance_uid
    ds.Modality = "SEG"
    ds.SeriesInstanceUID = description.series_instance_uid
    ds.SeriesNumber = description.series_number
    ds.InstanceNumber = description.instance_number
    ds.SeriesDescription = description.series_description
    first = source.headers[0]
    copy_patient_study_trial(first, ds)
    set_equipment(ds, description.equipment)
    set_creation(ds, in_zone_of(first, description.created_at))
    body_part = legal_texts(first, "BodyPartExamined")
    if body_part:
        ds.BodyPartExamined = body_part[0]
    if source.frame_of_reference_uid:
        ds.FrameOfReferenceUID = source.frame_of_reference_uid
        ds.PositionReferenceIndicator = "\\".join(legal_texts(first, "PositionReferenceIndicator"))


def _set_content(ds: Dataset, first: Dataset, description: SegDescription) -> None:
    moment = in_zone_of(first, description.created_at)
    ds.ContentDate, ds.ContentTime = date_text(moment), time_text(moment)
    ds.ContentLabel = description.content_label
    ds.ContentDescription = description.content_description
    ds.ContentCreatorName = description.content_creator_name


def _set_references(ds: Dataset, source: SourceSeries, description: SegDescription) -> None:
    """Refer to every source instance (Common Instance Reference) and to the objects this one follows."""
    instances = [
        encode_text(0x00081150, "UI", text(header, "SOPClassUID"))
        + encode_text(0x00081155, "UI", text(header, "SOPInstanceUID"))
        for header in source.headers
    ]
    series = Dataset()
    series.set_original_encoding(False, True, ["iso8859"])
    series[0x0008114A] = raw_sequence(0x0008114A, instances)
    series.SeriesInstanceUID = source.series_instance_uid
    ds.ReferencedSeriesSequence = [series]
    prior = [reference for reference in (description.predecessor, description.edited_from) if reference]
    if prior:
        # Not in the IOD (a Standard Extended SOP Class): the one place where viewers look for what an object replaces.
        ds.PredecessorDocumentsSequence = [_predecessor(source.study_instance_uid, reference) for reference in prior]


def _predecessor(study_instance_uid: str, reference: ObjectReference) -> Dataset:
    sop, series, study = Dataset(), Dataset(), Dataset()
    sop.ReferencedSOPClassUID = reference.sop_class_uid
    sop.ReferencedSOPInstanceUID = reference.sop_instance_uid
    series.SeriesInstanceUID = reference.series_instance_uid
    series.ReferencedSOPSequence = [sop]
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return study


def _set_matrix(ds: Dataset, source: SourceSeries, kind: SegKind) -> None:
    assert source.grid is not None
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelRepresentation = 0
    ds.Rows, ds.Columns = source.grid.shape[1:]
    highest = max(int(item.SegmentNumber) for item in ds.SegmentSequence)
    bits = 1 if kind is SegKind.BINARY else 16 if kind is SegKind.LABELMAP and highest > 255 else 8
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    lossy = next((h for h in source.headers if text(h, "LossyImageCompression") == "01"), None)
    ds.LossyImageCompression = "00" if lossy is None else "01"
    if lossy is not None:
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            values = legal_texts(lossy, keyword)
            if values:
                setattr(ds, keyword, list(values))


def _set_dimensions(ds: Dataset, description: SegDescription, kind: SegKind) -> None:
    """Declare what Dimension Index Values count: segment then position, in a label map position alone."""
    uid = derive_uid("dimension organization", description.sop_instance_uid)
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    ds.DimensionOrganizationSequence = [organization]
    items = []
    for pointer, group, label in [*([] if kind is SegKind.LABELMAP else [_SEGMENT_DIMENSION]), _SLICE_DIMENSION]:
        item = Dataset()
        item.DimensionOrganizationUID = uid
        item.DimensionIndexPointer = pointer
        item.FunctionalGroupPointer = group
        item.DimensionDescriptionLabel = label
        items.append(item)
    ds.DimensionIndexSequence = items


def _shared_groups(grid: Grid, slice_thickness: float | None) -> Dataset:
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.SliceThickness = format_number_as_ds(slice_thickness or grid.spacing[0])
    measures.SpacingBetweenSlices = format_number_as_ds(grid.spacing[0])
    measures.PixelSpacing = [format_number_as_ds(grid.spacing[1]), format_number_as_ds(grid.spacing[2])]
    orientation.ImageOrientationPatient = [format_number_as_ds(cosine) for cosine in grid.image_orientation_patient]
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    return shared


def _add_frames(ds: Dataset, frames: tuple[Frame, ...], source: SourceSeries, grid: Grid) -> None:
    groups = functional_groups(frames, source, grid)
    ds[groups.tag] = groups
