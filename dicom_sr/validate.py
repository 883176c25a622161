"""Judge an object before it leaves: our own post-conditions, in production, on every object.

The validators of others (dciodvfy, PixelMed) judge the same objects in the tests. This one is fast and knows what
only we promise: that references resolve, that private codes are declared, that a viewer finds a description.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from dicom_sr.carried_attributes import CARRIED_ATTRIBUTES
from dicom_sr.errors import InvalidObject
from dicom_sr.header import number, text
from dicom_sr.iod_attributes import REQUIRED_ATTRIBUTES
from dicom_sr.problem import Problem, Rule
from dicom_sr.seg_kind import LABEL_MAP_SEGMENTATION_STORAGE, SEGMENTATION_STORAGE
from dicom_sr.uids import is_valid_uid
from dicom_sr.validate_values import ItemFacts, Value, ValueWalk

__all__ = ["Problem", "Rule", "check", "require_valid"]

_EVIDENCE = (
    "CurrentRequestedProcedureEvidenceSequence",
    "PertinentOtherEvidenceSequence",
    "PredecessorDocumentsSequence",
    "ReferencedSeriesSequence",
    "IdenticalDocumentsSequence",
)
_OWN_UIDS = ("SOPInstanceUID", "SeriesInstanceUID")


def check(ds: Dataset) -> tuple[Problem, ...]:
    """Find every post-condition that `ds` breaks.

    Parameters
    ----------
    ds : pydicom.Dataset
        Complete object with file meta information; not changed, and what is encoded in it stays encoded.

    Returns
    -------
    tuple of Problem
        Empty when the object may leave. What is carried from the source is the source's to state: codes and references
        in it, and values that identify patient, study and trial subject, are not judged.
    """
    walk = ValueWalk(ds)
    problems = [*_identity(ds), *_required(ds), *walk.problems]
    ours = [item for item in walk.items if item.top not in CARRIED_ATTRIBUTES]
    problems += [*_codes(ours), *_references(ours)]
    if text(ds, "SOPClassUID") in (SEGMENTATION_STORAGE, LABEL_MAP_SEGMENTATION_STORAGE):
        problems += [*_segments(ds, walk.items), *_frames(ds, walk)]
    return tuple(dict.fromkeys(problems))


def require_valid(ds: Dataset) -> None:
    """Raise InvalidObject that says, free of values, what `check` finds; pass in silence where it finds nothing."""
    problems = check(ds)
    if problems:
        shown = "; ".join(problem.text for problem in problems[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InvalidObject(f"the object must not leave: {shown}{more}")


def _identity(ds: Dataset) -> Iterator[Problem]:
    meta = getattr(ds, "file_meta", None) or Dataset()
    for of_meta, of_dataset in (
        ("MediaStorageSOPClassUID", "SOPClassUID"),
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
    ):
        if text(meta, of_meta) != text(ds, of_dataset):
            yield Problem(rule=Rule.FILE_META, path=of_meta)
    if not text(meta, "TransferSyntaxUID"):
        yield Problem(rule=Rule.FILE_META, path="TransferSyntaxUID")
    for keyword in _OWN_UIDS:
        if not is_valid_uid(text(ds, keyword)):
            yield Problem(rule=Rule.ILLEGAL_UID, path=keyword)


def _required(ds: Dataset) -> Iterator[Problem]:
    required = REQUIRED_ATTRIBUTES.get(text(ds, "SOPClassUID"))
    if required is None:
        yield Problem(rule=Rule.UNKNOWN_SOP_CLASS, path="SOPClassUID")
        return
    for keyword in sorted(required.type_1 | required.type_2):
        if keyword not in ds:
            yield Problem(rule=Rule.MISSING, path=keyword)
        elif keyword in required.type_1 and not ds.get_item(keyword).value and ds.get_item(keyword).value != 0:
            yield Problem(rule=Rule.EMPTY, path=keyword)


def _codes(items: list[ItemFacts]) -> Iterator[Problem]:
    declared = {
        item.values.get("CodingSchemeDesignator")
        for item in items
        if item.keyword == "CodingSchemeIdentificationSequence"
    }
    for item in items:
        if not item.keyword.endswith("CodeSequence"):
            continue
        valued = item.values.keys() & {"CodeValue", "LongCodeValue", "URNCodeValue"}
        schemed = "CodingSchemeDesignator" in item.values or "URNCodeValue" in item.values
        if not valued or not schemed or "CodeMeaning" not in item.values:
            yield Problem(rule=Rule.INCOMPLETE_CODE, path=item.path)
        scheme = str(item.values.get("CodingSchemeDesignator", ""))
        if scheme.startswith("99") and scheme not in declared:
            yield Problem(rule=Rule.UNDECLARED_CODING_SCHEME, path=item.path)


def _references(items: list[ItemFacts]) -> Iterator[Problem]:
    """Check that every referenced instance is named whole and listed in one of the object's lists of evidence."""
    listed = {_instance(item) for item in items if item.path.startswith(_EVIDENCE)}
    for item in items:
        named = item.values.keys() & {"ReferencedSOPClassUID", "ReferencedSOPInstanceUID"}
        if len(named) == 1:
            yield Problem(rule=Rule.INCOMPLETE_REFERENCE, path=item.path)
        inside = item.path.startswith(("PerFrameFunctionalGroupsSequence", "ContentSequence"))
        if len(named) == 2 and inside and _instance(item) not in listed:
            yield Problem(rule=Rule.UNRESOLVED_REFERENCE, path=item.path)
    organizations = _values(items, "DimensionOrganizationSequence", "DimensionOrganizationUID")
    for item in items:
        if (
            item.keyword == "DimensionIndexSequence"
            and item.values.get("DimensionOrganizationUID") not in organizations
        ):
            yield Problem(rule=Rule.UNRESOLVED_REFERENCE, path=item.path)


def _segments(ds: Dataset, items: list[ItemFacts]) -> Iterator[Problem]:
    numbers = [item.values.get("SegmentNumber") for item in items if item.keyword == "SegmentSequence"]
    labelmap = text(ds, "SOPClassUID") == LABEL_MAP_SEGMENTATION_STORAGE
    if len(set(numbers)) < len(numbers) or (not labelmap and numbers != list(range(1, len(numbers) + 1))):
        yield Problem(rule=Rule.ILLEGAL_VALUE, path="SegmentSequence/SegmentNumber")
    for item in items:
        used = item.values.get("ReferencedSegmentNumber")
        if item.keyword == "SegmentIdentificationSequence" and used not in numbers:
            yield Problem(rule=Rule.UNRESOLVED_REFERENCE, path=item.path)


def _frames(ds: Dataset, walk: ValueWalk) -> Iterator[Problem]:
    frames = int(number(ds, "NumberOfFrames") or 0)
    if walk.item_counts.get("PerFrameFunctionalGroupsSequence") != frames:
        yield Problem(rule=Rule.FRAME_COUNT, path="PerFrameFunctionalGroupsSequence")
    element = ds.get_item("PixelData") if "PixelData" in ds else None
    if element is None or _is_encapsulated(ds):
        return
    bits = (
        frames * int(number(ds, "Rows") or 0) * int(number(ds, "Columns") or 0) * int(number(ds, "BitsAllocated") or 0)
    )
    if len(element.value or b"") != (bits + 15) // 16 * 2:
        yield Problem(rule=Rule.PIXEL_LENGTH, path="PixelData")


def _is_encapsulated(ds: Dataset) -> bool:
    element = ds["PixelData"]
    return bool(element.is_undefined_length)


def _instance(item: ItemFacts) -> Value | None:
    return item.values.get("ReferencedSOPInstanceUID")


def _values(items: list[ItemFacts], sequence: str, keyword: str) -> set[Value | None]:
    return {item.values.get(keyword) for item in items if item.keyword == sequence}
