"""Content items of Structured Reports, written and read (PS3.3 C.17.3, C.18)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from dicom_sr import header
from dicom_sr.coded_items import code_item, read_code
from dicom_sr.codes import Code, unit_code
from dicom_sr.new_object import instance_reference
from dicom_sr.qc_report import legal_text


class Relation(StrEnum):
    """Relationship Type (0040,A010)."""

    CONTAINS = "CONTAINS"
    CONTEXT = "HAS OBS CONTEXT"
    ACQUISITION = "HAS ACQ CONTEXT"
    MODIFIER = "HAS CONCEPT MOD"
    PROPERTY = "HAS PROPERTIES"


def container(relation: Relation, name: Code, children: Iterable[Dataset], *, template: str = "") -> Dataset:
    """Return a CONTAINER; `template` is the DCMR template identifier it follows."""
    item = _item(relation, "CONTAINER", name, ())
    set_container(item, children, template=template)
    return item


def set_container(item: Dataset, children: Iterable[Dataset], *, template: str = "") -> None:
    """Write the CONTAINER attributes of an item, or of the root of a document."""
    item.ContinuityOfContent = "SEPARATE"
    if template:
        identification = Dataset()
        identification.MappingResource = "DCMR"
        identification.TemplateIdentifier = template
        item.ContentTemplateSequence = [identification]
    item.ContentSequence = list(children)


def text(relation: Relation, name: Code, value: str, *children: Dataset) -> Dataset:
    """Return a TEXT item; Text Value is Type 1, so an empty one becomes a dash."""
    item = _item(relation, "TEXT", name, children)
    item.TextValue = legal_text(value) or "-"
    return item


def code(relation: Relation, name: Code, value: Code, *children: Dataset) -> Dataset:
    """Return a CODE item."""
    item = _item(relation, "CODE", name, children)
    item.ConceptCodeSequence = [code_item(value)]
    return item


def number(relation: Relation, name: Code, value: float, unit: str, *children: Dataset) -> Dataset:
    """Return a NUM item; Floating Point Value keeps the exact number beside the 16 characters of Numeric Value."""
    item = _item(relation, "NUM", name, children)
    measured = Dataset()
    measured.NumericValue = _decimal(value)
    measured.FloatingPointValue = float(value)
    measured.MeasurementUnitsCodeSequence = [code_item(unit_code(unit))]
    item.MeasuredValueSequence = [measured]
    return item


def uid_reference(relation: Relation, name: Code, uid: str) -> Dataset:
    """Return a UIDREF item."""
    item = _item(relation, "UIDREF", name, ())
    item.UID = uid
    return item


def date(relation: Relation, name: Code, value: str) -> Dataset:
    """Return a DATE item from a DA value."""
    item = _item(relation, "DATE", name, ())
    item.Date = value
    return item


def person(relation: Relation, name: Code, value: str) -> Dataset:
    """Return a PNAME item."""
    item = _item(relation, "PNAME", name, ())
    item.PersonName = value
    return item


def image(
    relation: Relation,
    name: Code | None,
    sop_class_uid: str,
    sop_instance_uid: str,
    *,
    segment_number: int | None = None,
) -> Dataset:
    """Return an IMAGE item; without a name for entries of an image library or a key object selection."""
    item = _item(relation, "IMAGE", name, ())
    reference = instance_reference(sop_class_uid, sop_instance_uid)
    if segment_number is not None:
        reference.ReferencedSegmentNumber = segment_number
    item.ReferencedSOPSequence = [reference]
    return item


def composite(relation: Relation, name: Code | None, sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return a COMPOSITE item: a reference to an object that is no image, such as a report or a document."""
    item = _item(relation, "COMPOSITE", name, ())
    item.ReferencedSOPSequence = [instance_reference(sop_class_uid, sop_instance_uid)]
    return item


def children(item: Dataset, name: Code, relation: Relation | None = None) -> list[Dataset]:
    """Return the child items with a concept name, in order; Code Meanings do not count."""
    return [
        child
        for child in header.items(item, "ContentSequence")
        if _is_named(child, name) and (relation is None or child.get("RelationshipType") == relation.value)
    ]


def child(item: Dataset, name: Code, relation: Relation | None = None) -> Dataset | None:
    """Return the first child item with a concept name, or None."""
    return next(iter(children(item, name, relation)), None)


def name_of(item: Dataset) -> Code:
    """Return the concept name of an item; empty parts where it has none."""
    name = _first(item, "ConceptNameCodeSequence")
    return Code("", "", "") if name is None else read_code(name)


def text_of(item: Dataset | None) -> str:
    """Return the Text Value or UID of an item, empty for None."""
    if item is None:
        return ""
    return str(item.get("TextValue", None) or item.get("UID", None) or "")


def code_of(item: Dataset | None) -> Code | None:
    """Return the value of a CODE item, or None."""
    value = _first(item, "ConceptCodeSequence")
    return None if value is None else read_code(value)


def number_of(item: Dataset | None) -> float | None:
    """Return the value of a NUM item, exact where it has a Floating Point Value; None when it has no number."""
    measured = _first(item, "MeasuredValueSequence")
    if measured is None:
        return None
    exact = header.number(measured, "FloatingPointValue")
    return header.number(measured, "NumericValue") if exact is None else exact


def unit_of(item: Dataset) -> str:
    """Return the unit of a NUM item, empty when it has no number."""
    unit = _first(_first(item, "MeasuredValueSequence"), "MeasurementUnitsCodeSequence")
    return "" if unit is None else read_code(unit).value


def same_concept(one: Code, other: Code) -> bool:
    """Whether two codes are the same concept: value and scheme, not meaning."""
    return (one.value, one.scheme) == (other.value, other.scheme)


def _item(relation: Relation, value_type: str, name: Code | None, children: Iterable[Dataset]) -> Dataset:
    item = Dataset()
    item.RelationshipType = relation.value
    item.ValueType = value_type
    if name is not None:
        item.ConceptNameCodeSequence = [code_item(name)]
    nested = list(children)
    if nested:
        item.ContentSequence = nested
    return item


def _first(item: Dataset | None, keyword: str) -> Dataset | None:
    found = header.items(item, keyword) if item is not None else ()
    return found[0] if found else None


def _decimal(value: float) -> str:
    """Return the shortest exact decimal where it fits the 16 characters of DS, else the nearest that does."""
    exact = str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
    return exact if len(exact) <= 16 else str(format_number_as_ds(float(value)))


def _is_named(item: Dataset, name: Code) -> bool:
    return same_concept(name_of(item), name)
