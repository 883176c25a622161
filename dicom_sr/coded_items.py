"""Codes as sequence items and back, and the declaration of the private scheme that objects with private codes carry."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from dicom_sr.codes import (
    PRIVATE_SCHEME,
    PRIVATE_SCHEME_NAME,
    PRIVATE_SCHEME_ORGANIZATION,
    PRIVATE_SCHEME_UID,
    PRIVATE_SCHEME_VERSION,
    REPORT_CONCEPTS,
    Code,
    PrivateConcept,
)
from dicom_sr.finding_codes import FINDING_CONCEPTS


def code_item(code: Code) -> Dataset:
    """Return a code sequence item (PS3.3 table 8.8-1); a value of over 16 characters goes to Long Code Value."""
    item = Dataset()
    if len(code.value) <= 16:
        item.CodeValue = code.value
    else:
        item.LongCodeValue = code.value
    item.CodingSchemeDesignator = code.scheme
    item.CodeMeaning = code.meaning[:64]
    return item


def read_code(item: Dataset) -> Code:
    """Return the code of a code sequence item; missing parts are empty."""
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return Code(str(value), str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeMeaning") or ""))


def declare_private_scheme(ds: Dataset) -> None:
    """Add the private scheme to Coding Scheme Identification Sequence (0008,0110) if `ds` uses it anywhere."""
    if any(code.scheme == PRIVATE_SCHEME for code in _codes_in(ds)):
        item = Dataset()
        item.CodingSchemeDesignator = PRIVATE_SCHEME
        item.CodingSchemeUID = PRIVATE_SCHEME_UID
        item.CodingSchemeName = PRIVATE_SCHEME_NAME
        item.CodingSchemeVersion = PRIVATE_SCHEME_VERSION
        item.CodingSchemeResponsibleOrganization = PRIVATE_SCHEME_ORGANIZATION
        ds.CodingSchemeIdentificationSequence = [item]


def private_concepts() -> tuple[PrivateConcept, ...]:
    """Return every concept of the private scheme with its definition, for the published documentation."""
    findings = [
        PrivateConcept(c.code, c.definition) for c in FINDING_CONCEPTS.values() if c.code.scheme == PRIVATE_SCHEME
    ]
    return (*REPORT_CONCEPTS, *findings)


def _codes_in(ds: Dataset) -> Iterator[Code]:
    for element in ds.iterall():
        if element.VR == "SQ" and "CodeSequence" in element.keyword:
            yield from (read_code(item) for item in element.value or ())
