"""The code table: values fit their VRs, standard codes are the dictionary's, names are unique and lookups total."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr._concepts_dict import concepts

from dicom_sr import codes, finding_codes, segment_codes
from dicom_sr.acquisition import SeriesDefect
from dicom_sr.codes import Code
from dicom_sr.scheme_page import scheme_page
from dicom_sr.uids import is_valid_uid
from dicom_sr.verdict import Outcome


def _all_codes() -> list[Code]:
    found = [value for value in vars(codes).values() if isinstance(value, Code)]
    for table in (codes.QUALITY_REASONS, codes.OUTCOMES, codes.IMAGE_ASSESSMENTS, codes.QC_STATUSES):
        found += list(table.values())
    for concept in finding_codes.FINDING_CONCEPTS.values():
        found += [concept.code] + ([concept.method] if concept.method else [])
    for entry in segment_codes.SEGMENT_CODES.values():
        found += [c for c in (entry.category, entry.property_type, entry.region, entry.modifier) if c]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("code", _all_codes(), ids=lambda code: f"{code.scheme}-{code.value}")
def test_code_value_and_meaning_fit_their_value_representations(code: Code) -> None:
    assert 1 <= len(code.value) <= 16
    assert 1 <= len(code.scheme) <= 16
    assert 1 <= len(code.meaning) <= 64
    assert set(code.value) <= set(string.ascii_letters + string.digits + "-.")


_STANDARD = [c for c in _all_codes() if c.scheme in ("DCM", "SCT", "NCIt")]


@pytest.mark.parametrize("code", _STANDARD, ids=lambda code: f"{code.scheme}-{code.value}")
def test_standard_code_is_in_the_dictionary_with_its_meaning(code: Code) -> None:
    meanings = {
        meaning
        for values in concepts[code.scheme].values()
        for value, (meaning, _) in values.items()
        if value == code.value
    }
    if code == codes.ACTIVITY_SESSION:
        assert not meanings, "pydicom has it now: drop this exception"
        return
    assert code.meaning in meanings


def test_the_standard_codes_under_test_are_not_an_empty_list() -> None:
    assert len(_STANDARD) > 80


def test_no_private_value_names_two_concepts() -> None:
    private = [c for c in _all_codes() if c.scheme == codes.PRIVATE_SCHEME]
    assert len({c.value for c in private}) == len(private)


def test_every_private_code_has_a_published_definition() -> None:
    defined = {c.code.value for c in codes.REPORT_CONCEPTS}
    defined |= {c.code.value for c in finding_codes.FINDING_CONCEPTS.values()}
    used = {c.value for c in _all_codes() if c.scheme == codes.PRIVATE_SCHEME}
    assert used <= defined


def test_private_scheme_has_a_valid_uid_and_a_private_designator() -> None:
    assert is_valid_uid(codes.PRIVATE_SCHEME_UID)
    assert codes.PRIVATE_SCHEME.startswith("99")
    assert len(codes.PRIVATE_SCHEME) <= 16


@pytest.mark.parametrize("finding_code", list(finding_codes.FINDING_CONCEPTS))
def test_finding_code_comes_back_from_its_concept(finding_code: str) -> None:
    concept = finding_codes.finding_concept(finding_code)
    assert finding_codes.finding_code_of(concept.code, concept.method) == finding_code


def test_every_series_defect_has_a_concept_of_its_own() -> None:
    for defect in SeriesDefect:
        assert finding_codes.finding_concept(defect.value).code != codes.OTHER_FINDING


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=80))
def test_any_finding_code_has_a_concept_a_title_and_a_reason(finding_code: str) -> None:
    concept = finding_codes.finding_concept(finding_code)
    assert (concept.code == codes.OTHER_FINDING) == (finding_code not in finding_codes.FINDING_CONCEPTS)
    assert len(finding_codes.finding_title(finding_code)) <= max(40, len(finding_code))
    assert finding_codes.quality_reason(finding_code) in codes.QUALITY_REASONS.values()


def test_every_outcome_has_a_code_and_only_the_abstention_has_no_standard_assessment() -> None:
    assert set(codes.OUTCOMES) == set(Outcome)
    assert set(Outcome) - set(codes.IMAGE_ASSESSMENTS) == {Outcome.NOT_ASSESSABLE}


def test_units_are_ucum_and_an_unknown_unit_is_its_own_meaning() -> None:
    assert codes.unit_code("ml") == Code("ml", "UCUM", "milliliter")
    assert codes.unit_code("kg/m2") == Code("kg/m2", "UCUM", "kg/m2")


def test_segment_codes_are_found_whatever_case_and_spaces_and_unknown_names_are_tissue() -> None:
    assert segment_codes.segment_codes(" Hippocampus  ANTERIOR").modifier == segment_codes.ANTERIOR
    assert segment_codes.segment_codes("something new").property_type == segment_codes.TISSUE


def test_the_published_page_has_one_row_for_each_private_code() -> None:
    page = scheme_page()
    values = {c.value for c in _all_codes() if c.scheme == codes.PRIVATE_SCHEME}
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert {row.split("`")[1] for row in rows} == values
    assert len(rows) == len(values)
    assert all(row.replace("\\|", "").count("|") == 4 for row in rows)
    assert codes.PRIVATE_SCHEME_UID in page
