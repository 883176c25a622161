"""Segment Sequence (0062,0002): what each segment is, who drew it, how it is shown and followed (PS3.3 C.8.20.4)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_sr.coded_items import code_item
from dicom_sr.codes import Code
from dicom_sr.palette import cielab
from dicom_sr.seg_description import AlgorithmType, SegDescription, SegmentAuthor
from dicom_sr.seg_kind import SegKind
from dicom_sr.segmentation import Segment

BACKGROUND = Code("125040", "DCM", "Background")
_ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
_SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")


def segment_items(segments: tuple[Segment, ...], description: SegDescription, kind: SegKind) -> list[Dataset]:
    """Build one item per segment; a label map also describes its background, number 0.

    Every pixel value of a label map must be described (PS3.3 C.8.20.2.3); the background is the one that Pixel Padding
    Value names.
    """
    items = [_item(segment, description) for segment in segments]
    # Last: OHIF 3.13 takes the colour of segment n from the n-th item, so a background before it shifts every colour.
    return [*items, _background()] if kind is SegKind.LABELMAP else items


def _item(segment: Segment, description: SegDescription) -> Dataset:
    item = Dataset()
    item.SegmentNumber = segment.number
    item.SegmentLabel = segment.label
    item.SegmentedPropertyCategoryCodeSequence = [code_item(segment.category)]
    property_type = code_item(segment.property_type)
    if segment.property_type_modifier is not None:
        property_type.SegmentedPropertyTypeModifierCodeSequence = [code_item(segment.property_type_modifier)]
    item.SegmentedPropertyTypeCodeSequence = [property_type]
    if segment.anatomic_region is not None:
        item.AnatomicRegionSequence = [code_item(segment.anatomic_region)]
    item.RecommendedDisplayCIELabValue = list(cielab(segment.color))
    item.TrackingID, item.TrackingUID = description.tracking[segment.label]
    _set_author(item, description.authors[segment.label])
    return item


def _set_author(item: Dataset, author: SegmentAuthor) -> None:
    item.SegmentAlgorithmType = author.algorithm_type.value
    if not author.algorithm_name:
        return
    item.SegmentAlgorithmName = author.algorithm_name[:64]
    if author.algorithm_type is AlgorithmType.MANUAL:
        return
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = [code_item(_ARTIFICIAL_INTELLIGENCE)]
    algorithm.AlgorithmName = author.algorithm_name[:64]
    algorithm.AlgorithmVersion = author.algorithm_version[:64]
    if author.parameters:
        algorithm.AlgorithmParameters = "; ".join(author.parameters)[:10_240]
    item.SegmentationAlgorithmIdentificationSequence = [algorithm]


def _background() -> Dataset:
    item = Dataset()
    item.SegmentNumber = 0
    item.SegmentLabel = BACKGROUND.meaning
    item.SegmentedPropertyCategoryCodeSequence = [code_item(_SPATIAL_CONCEPT)]
    item.SegmentedPropertyTypeCodeSequence = [code_item(BACKGROUND)]
    item.SegmentAlgorithmType = AlgorithmType.MANUAL.value
    item.RecommendedDisplayCIELabValue = list(cielab((0, 0, 0)))
    return item
