"""The header of any segmentation object: identity, declared segments and every reference it makes; no pixels.

Nothing here depends on what viewers drop: character set, Frame Content, dimension indices, codes and tracking ids may
all be absent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicom_sr.codes import Code
from dicom_sr.header import items, number, text
from dicom_sr.seg_errors import UnreadableReason, UnreadableSeg, refusing
from dicom_sr.seg_groups import FrameTable, read_frame_table
from dicom_sr.seg_kind import LABEL_MAP_SEGMENTATION_STORAGE, SEGMENTATION_STORAGE, SegKind

#: How deep the references of a header are followed; Predecessor Documents uses three levels.
_REFERENCE_DEPTH = 6
#: Segment Sequence, which holds codes, and Per-Frame Functional Groups Sequence, which is read on its own.
_WITHOUT_REFERENCES = frozenset({0x00620002, 0x52009230})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSegment:
    """One item of Segment Sequence (PS3.3 C.8.20.2), as the editor wrote it.

    Parameters
    ----------
    number : int
        Segment Number; -1 when absent.
    label : str
        Segment Label, stripped.
    tracking_id, tracking_uid : str
        Empty when absent.
    category, property_type : Code or None
        Segmented Property Category and Type.
    property_type_modifier : Code or None
        Segmented Property Type Modifier, the first of several.
    algorithm_type : str
        AUTOMATIC, SEMIAUTOMATIC, MANUAL or empty. Says nothing about whether the mask was edited.
    """

    number: int
    label: str
    tracking_id: str = ""
    tracking_uid: str = ""
    category: Code | None = None
    property_type: Code | None = None
    property_type_modifier: Code | None = None
    algorithm_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegHeader:
    """Header of a segmentation object.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, series_instance_uid, study_instance_uid, patient_id, frame_of_reference_uid : str
        Identity; empty when absent.
    kind : SegKind
        How the masks are encoded.
    segments : tuple of DeclaredSegment
        In the order of Segment Sequence, background included.
    referenced_sop_instance_uids : frozenset of str
        Source images: Derivation Image, Source Image and Referenced Series Sequence united.
    predecessor_uids : frozenset of str
        SOP Instance UIDs in Predecessor Documents Sequence.
    referenced_seg_uids : frozenset of str
        Every other SOP Instance UID that stands anywhere outside the per-frame groups: a reference to a segmentation of
        ours may be among them.
    manufacturer, model_name : str
        The editor's equipment.
    software_versions : str
        The editor's software versions, joined by a backslash.
    implementation_class_uid, implementation_version_name : str
        The library that wrote the file (file meta information); empty when unknown.
    declares_character_set : bool
        Whether Specific Character Set is present.
    rows, columns : int
        Matrix of a frame; 0 when absent.
    bits_allocated : int
        1, 8 or 16; 0 when absent.
    maximum_fractional_value : int
        Of a FRACTIONAL object; 0 when absent.
    pixel_padding_value : int or None
        Pixel Padding Value (0028,0120): in a label map the value of the background (Supplement 243).
    frames : FrameTable
        The functional groups.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str = field(repr=False)
    frame_of_reference_uid: str
    kind: SegKind
    segments: tuple[DeclaredSegment, ...] = field(repr=False)
    referenced_sop_instance_uids: frozenset[str]
    predecessor_uids: frozenset[str]
    referenced_seg_uids: frozenset[str]
    manufacturer: str = ""
    model_name: str = ""
    software_versions: str = ""
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    declares_character_set: bool = True
    rows: int = 0
    columns: int = 0
    bits_allocated: int = 0
    maximum_fractional_value: int = 0
    pixel_padding_value: int | None = None
    frames: FrameTable = field(repr=False)

    @property
    def foreground(self) -> tuple[DeclaredSegment, ...]:
        """Declared segments without the item that label maps may declare for their background."""
        values = {0, self.pixel_padding_value}
        return tuple(
            s for s in self.segments if not (s.number in values and s.label.strip().casefold() == "background")
        )


def read_seg_header(ds: Dataset) -> SegHeader:
    """Read the header of a segmentation object.

    Parameters
    ----------
    ds : pydicom.Dataset
        From `seg_open.open_seg`, or any dataset.

    Returns
    -------
    SegHeader

    Raises
    ------
    UnreadableSeg
        NOT_A_SEGMENTATION, FRAME_COUNT, TOO_LARGE or BROKEN_STRUCTURE.
    """
    with refusing(UnreadableReason.BROKEN_STRUCTURE, "the header cannot be read"):
        return _read(ds)


def _read(ds: Dataset) -> SegHeader:
    kind = _kind(ds)
    frames = read_frame_table(ds)
    images = frozenset(_listed_images(ds)) | frames.source_uids
    predecessors = frozenset(uid for item in items(ds, "PredecessorDocumentsSequence") for uid in _references(item))
    meta = getattr(ds, "file_meta", None) or Dataset()
    return SegHeader(
        sop_class_uid=text(ds, "SOPClassUID"),
        sop_instance_uid=text(ds, "SOPInstanceUID"),
        series_instance_uid=text(ds, "SeriesInstanceUID"),
        study_instance_uid=text(ds, "StudyInstanceUID"),
        patient_id=text(ds, "PatientID"),
        frame_of_reference_uid=text(ds, "FrameOfReferenceUID"),
        kind=kind,
        segments=tuple(_segment(item) for item in items(ds, "SegmentSequence")),
        referenced_sop_instance_uids=images,
        predecessor_uids=predecessors,
        referenced_seg_uids=frozenset(_references(ds)) - predecessors,
        manufacturer=text(ds, "Manufacturer"),
        model_name=text(ds, "ManufacturerModelName"),
        software_versions=text(ds, "SoftwareVersions"),
        implementation_class_uid=text(meta, "ImplementationClassUID"),
        implementation_version_name=text(meta, "ImplementationVersionName"),
        declares_character_set=bool(text(ds, "SpecificCharacterSet")),
        rows=_count(ds, "Rows"),
        columns=_count(ds, "Columns"),
        bits_allocated=_count(ds, "BitsAllocated"),
        maximum_fractional_value=_count(ds, "MaximumFractionalValue"),
        pixel_padding_value=_padding(ds, kind),
        frames=frames,
    )


def _kind(ds: Dataset) -> SegKind:
    sop_class = text(ds, "SOPClassUID")
    if sop_class == LABEL_MAP_SEGMENTATION_STORAGE:
        return SegKind.LABELMAP
    if sop_class != SEGMENTATION_STORAGE:
        raise UnreadableSeg(UnreadableReason.NOT_A_SEGMENTATION, "the SOP Class is not one of the two of segmentations")
    declared = text(ds, "SegmentationType")
    if declared in SegKind.__members__:
        return SegKind(declared)
    raise UnreadableSeg(UnreadableReason.UNSUPPORTED_PIXELS, "Segmentation Type (0062,0001) is absent or unknown")


def _segment(item: Dataset) -> DeclaredSegment:
    declared = number(item, "SegmentNumber")
    modified = items(item, "SegmentedPropertyTypeCodeSequence")[:1]
    return DeclaredSegment(
        number=-1 if declared is None else int(declared),
        label=text(item, "SegmentLabel"),
        tracking_id=text(item, "TrackingID"),
        tracking_uid=text(item, "TrackingUID"),
        category=_code(item, "SegmentedPropertyCategoryCodeSequence"),
        property_type=_code(item, "SegmentedPropertyTypeCodeSequence"),
        property_type_modifier=_code(modified[0], "SegmentedPropertyTypeModifierCodeSequence") if modified else None,
        algorithm_type=text(item, "SegmentAlgorithmType"),
    )


def _code(item: Dataset, keyword: str) -> Code | None:
    for coded in items(item, keyword):
        value = text(coded, "CodeValue") or text(coded, "LongCodeValue") or text(coded, "URNCodeValue")
        if value:
            return Code(value, text(coded, "CodingSchemeDesignator"), text(coded, "CodeMeaning"))
    return None


def _listed_images(ds: Dataset) -> set[str]:
    """SOP Instance UIDs that the object's own lists name as its images."""
    found = {text(image, "ReferencedSOPInstanceUID") for image in items(ds, "SourceImageSequence")}
    series = [
        *items(ds, "ReferencedSeriesSequence"),
        *(
            series
            for study in items(ds, "StudiesContainingOtherReferencedInstancesSequence")
            for series in items(study, "ReferencedSeriesSequence")
        ),
    ]
    for listed in series:
        found |= {text(image, "ReferencedSOPInstanceUID") for image in items(listed, "ReferencedInstanceSequence")}
    return found - {""}


def _references(ds: Dataset, depth: int = _REFERENCE_DEPTH) -> set[str]:
    """Every SOP Instance UID referred to, at any level, outside the per-frame groups."""
    found = {text(ds, "ReferencedSOPInstanceUID")}
    for tag in list(ds.keys()):
        if depth and tag not in _WITHOUT_REFERENCES and _is_sequence(ds, tag):
            for item in ds[tag].value or ():
                found |= _references(item, depth - 1)
    return found - {""}


def _is_sequence(ds: Dataset, tag: BaseTag) -> bool:
    vr = ds.get_item(tag).VR
    return vr == "SQ" or (vr is None and dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ")


def _padding(ds: Dataset, kind: SegKind) -> int | None:
    value = number(ds, "PixelPaddingValue") if kind is SegKind.LABELMAP else None
    return None if value is None else int(value)


def _count(ds: Dataset, keyword: str) -> int:
    found = number(ds, keyword)
    return 0 if found is None else int(found)
