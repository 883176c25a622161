"""Walk every element of an object once: values against their representations, and the facts that rules across it need.

Elements that are still encoded are walked as bytes and stay encoded, so that judging a segmentation of thousands of
frames neither takes seconds nor makes saving it slow. Equal encoded elements are judged once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pydicom import config
from pydicom.datadict import dictionary_has_tag, dictionary_VM, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from dicom_sr.carried_attributes import IDENTIFYING_ATTRIBUTES
from dicom_sr.character_set import can_encode, codecs_of
from dicom_sr.element_bytes import walk_elements, walk_items
from dicom_sr.errors import UnreadableObject
from dicom_sr.header import character_sets
from dicom_sr.problem import Problem, Rule
from dicom_sr.uids import is_path_safe_uid

_TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_STRING_VRS = _TEXT_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
_ONE_TEXT_VRS = frozenset({"LT", "ST", "UT", "UR"})
_INTEGERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q"}
_LIMITS = {"US": (0, 2**16), "SS": (-(2**15), 2**15), "UL": (0, 2**32), "SL": (-(2**31), 2**31)}
_BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT", "FL", "FD"})
_CODE_KEYWORDS = frozenset({"CodeValue", "LongCodeValue", "URNCodeValue"})

Value = str | int


@dataclass(slots=True)
class ItemFacts:
    """What one item (or the whole object) says that a rule across elements needs.

    Parameters
    ----------
    keyword, path : str
        Sequence the item is in, empty for the object; where it is.
    values : dict of str to Value
        First value of the attributes named in `_FACTS`.
    """

    keyword: str
    path: str
    values: dict[str, Value] = field(default_factory=dict)

    @property
    def top(self) -> str:
        """Keyword of the top-level sequence the item is in, empty for the object itself."""
        return self.path.partition("[")[0]


_FACTS = frozenset(
    {
        *_CODE_KEYWORDS,
        *("CodingSchemeDesignator", "CodeMeaning"),
        *("ReferencedSOPClassUID", "ReferencedSOPInstanceUID", "ReferencedSegmentNumber"),
        *("SegmentNumber", "DimensionOrganizationUID", "SeriesInstanceUID"),
    }
)


class ValueWalk:
    """One walk over one object.

    Attributes
    ----------
    problems : list of Problem
        What the values break.
    items : list of ItemFacts
        The object first, then every item; equal encoded elements are listed once.
    item_counts : dict of str to int
        Items of each top-level sequence.
    """

    def __init__(self, ds: Dataset) -> None:
        self.problems: list[Problem] = []
        self.items: list[ItemFacts] = []
        self.item_counts: dict[str, int] = {}
        self._codecs = codecs_of(character_sets(ds))
        self._judged: set[tuple[int, bytes]] = set()
        self._dataset(ds, ItemFacts("", ""))

    def _report(self, rule: Rule, path: str) -> None:
        self.problems.append(Problem(rule=rule, path=path))

    def _dataset(self, ds: Dataset, facts: ItemFacts) -> None:
        self.items.append(facts)
        for tag in sorted(ds.keys()):
            element = ds.get_item(tag)
            path = _path(facts, tag)
            if isinstance(element, RawDataElement):
                if element.is_implicit_VR or not element.is_little_endian:
                    element = ds[tag]
                else:
                    self._encoded(tag, element.VR or "UN", element.value or b"", facts)
                    continue
            if element.VR == "SQ":
                self._sequence(element, path, top=not facts.keyword)
            else:
                self._values(tag, str(element.VR), _values_of(element), facts)

    def _sequence(self, element: DataElement, path: str, *, top: bool) -> None:
        keyword = keyword_for_tag(element.tag)
        items = element.value or []
        if top:
            self.item_counts[keyword] = len(items)
        for number, item in enumerate(items, start=1):
            self._dataset(item, ItemFacts(keyword, f"{path}[{number}]"))

    def _encoded(self, tag: int, vr: str, value: bytes, facts: ItemFacts) -> None:
        if vr == "SQ":
            try:
                self._encoded_sequence(tag, value, facts)
            except UnreadableObject:
                self._report(Rule.UNREADABLE_ENCODING, _path(facts, tag))
        elif vr not in _BULK_VRS:
            values = self._decoded(vr, value)
            if values is None:
                self._report(Rule.UNDECLARED_CHARACTER_SET, _path(facts, tag))
            else:
                self._values(tag, vr, values, facts)

    def _encoded_sequence(self, tag: int, data: bytes, facts: ItemFacts) -> None:
        keyword, path = keyword_for_tag(tag), _path(facts, tag)
        number = 0
        for number, content in enumerate(walk_items(data), start=1):
            item = ItemFacts(keyword, f"{path}[{number}]")
            self.items.append(item)
            for inner, vr, value in walk_elements(content):
                if vr == "SQ":
                    if (inner, value) in self._judged:
                        continue
                    self._judged.add((inner, value))
                self._encoded(inner, vr, value, item)
        if not facts.keyword:
            self.item_counts[keyword] = number

    def _decoded(self, vr: str, value: bytes) -> list[Value] | None:
        if vr in _INTEGERS:
            letter = _INTEGERS[vr]
            return list(struct.unpack(f"<{len(value) // struct.calcsize('<' + letter)}{letter}", value))
        try:
            codec = self._codecs[0] if self._codecs and vr in _TEXT_VRS else "ascii"
            text = value.decode("ascii" if value.isascii() else codec)
        except UnicodeDecodeError:
            return None
        parts = [text] if vr in _ONE_TEXT_VRS else text.split("\\")
        return [part.strip(" \0") for part in parts] if value else []

    def _values(self, tag: int, vr: str, values: list[Value], facts: ItemFacts) -> None:
        keyword = keyword_for_tag(tag)
        if keyword in _FACTS and values:
            facts.values[keyword] = values[0]
        if (facts.top or keyword) in IDENTIFYING_ATTRIBUTES:
            return
        path = _path(facts, tag)
        if values and dictionary_has_tag(tag) and not _multiplicity_holds(dictionary_VM(tag), len(values)):
            self._report(Rule.ILLEGAL_MULTIPLICITY, path)
        for value in values:
            rule = self._broken_rule(vr, value)
            if rule is not None:
                self._report(rule, path)
                break

    def _broken_rule(self, vr: str, value: Value) -> Rule | None:
        if isinstance(value, int):
            low, high = _LIMITS.get(vr, (value, value + 1))
            return None if low <= value < high else Rule.ILLEGAL_VALUE
        if vr == "UI":
            return None if not value or is_path_safe_uid(value) else Rule.ILLEGAL_UID
        if vr in _TEXT_VRS and not can_encode(value, self._codecs):
            return Rule.UNDECLARED_CHARACTER_SET
        if vr in _STRING_VRS:
            try:
                validate_value(vr, value, config.RAISE)
            except ValueError:
                return Rule.ILLEGAL_VALUE
        return None


def _path(facts: ItemFacts, tag: int) -> str:
    name = keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return f"{facts.path}/{name}" if facts.path else name


def _values_of(element: DataElement) -> list[Value]:
    value = element.value
    if value is None or element.VR in _BULK_VRS:
        return []
    several = value if isinstance(value, list | tuple) or element.VM > 1 else [value]
    found: list[Value] = []
    for one in several:
        if element.VR in _INTEGERS:
            found.append(int(one))
        else:
            found.append(str(getattr(one, "original_string", None) or one))
    return found if any(one != "" for one in found) else []


def _multiplicity_holds(multiplicity: str, count: int) -> bool:
    """Judge a count by a value multiplicity of the data dictionary: ``1``, ``1-3``, ``1-n``, ``2-2n``."""
    low, _, high = multiplicity.partition("-")
    if not high:
        return count == int(low)
    if high == "n":
        return count >= int(low)
    if high.endswith("n"):
        return count >= int(low) and count % int(high[:-1]) == 0
    return int(low) <= count <= int(high)
