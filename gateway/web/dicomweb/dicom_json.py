"""The DICOM JSON Model (PS3.18 Annex F): attributes and whole data sets as JSON values."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from gateway.domain.errors import NotFound

#: One data set in the DICOM JSON Model: raw JSON by eight-digit tag.
JsonDataset = dict[str, dict[str, Any]]

#: Binary values up to this many bytes stand in the JSON itself, larger ones are fetched as bulk data.
_INLINE_BYTES = 4096
_PIXEL_DATA = Tag(0x7FE00010)


def attribute(keyword: str, *values: str | int | JsonDataset) -> JsonDataset:
    """Return one attribute by keyword; empty values are left out, so that it has a VR and no value."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    vr = dictionary_VR(tag)
    given = [_person(v) if vr == "PN" else _number(v) if vr == "IS" else v for v in values if v != ""]
    element: dict[str, Any] = {"vr": vr}
    if given:
        element["Value"] = given
    return {f"{tag:08X}": element}


def _person(value: str | int | JsonDataset) -> dict[str, str]:
    groups = str(value).split("=")
    return {name: text for name, text in zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=False) if text}


def _number(value: str | int | JsonDataset) -> object:
    text = str(value)
    return int(text) if text.lstrip("+-").isdigit() else value


def read_header(path: Path) -> Dataset:
    """Read a stored instance without its pixels."""
    return dcmread(path, stop_before_pixels=True, force=True)


def metadata(path: Path, bulk_data_url: Callable[[str], str]) -> JsonDataset:
    """Return a stored instance as metadata.

    Parameters
    ----------
    path : Path
        DICOM file.
    bulk_data_url : callable
        Gives the URL of the value with an eight-digit tag.
    """
    header = read_header(path)
    large = {
        element.tag: element.VR
        for element in header
        if isinstance(element.value, bytes) and len(element.value) > _INLINE_BYTES
    }
    for tag in large:
        del header[tag]
    if "SpecificCharacterSet" in header:
        # JSON text is UTF-8, whatever the file was (PS3.18 F.2.1).
        header.SpecificCharacterSet = "ISO_IR 192"
    encoded: JsonDataset = header.to_json_dict(bulk_data_threshold=1 << 40, suppress_invalid_tags=True)
    if "Rows" in header:
        large[_PIXEL_DATA] = "OB" if header.file_meta.TransferSyntaxUID.is_compressed else "OW"
    for tag, vr in large.items():
        name = f"{int(tag):08X}"
        encoded[name] = {"vr": vr, "BulkDataURI": bulk_data_url(name)}
    return dict(sorted(encoded.items()))


def frame_numbers(path: Path) -> range:
    """Return the frame numbers of a stored instance, from 1."""
    return range(1, int(read_header(path).get("NumberOfFrames") or 1) + 1)


def bulk_value(path: Path, tag: int) -> bytes:
    """Return the value of a binary attribute at the top level.

    Raises
    ------
    NotFound
        If there is none.
    """
    element = read_header(path).get(tag)
    if element is None or not isinstance(element.value, bytes):
        raise NotFound("this instance has no bulk data under this tag")
    return element.value


def picked(path: Path, keywords: Container[str] | None) -> JsonDataset:
    """Return attributes of a stored instance, all of them for None; sequences and binary values only when named."""
    ds = read_header(path)
    elements = [e for e in ds if keywords is None or e.keyword in keywords]
    found: JsonDataset = {}
    for element in elements:
        if keywords is None and (element.VR == "SQ" or isinstance(element.value, bytes)):
            continue
        found.update(_encoded(element))
    return found


def _encoded(element: DataElement) -> JsonDataset:
    one = Dataset()
    one.add(element)
    return one.to_json_dict(bulk_data_threshold=1 << 40, suppress_invalid_tags=True)
