"""Which earlier studies are the patient's for certain, and which of them are fetched."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.priors import Candidate, PatientIdentity, PriorRule, choose

TODAY = date(2026, 3, 1)
RULE = PriorRule(modalities=(), within_days=365, maximum=2)


def who(patient_id: str = "P1", issuer: str = "HOSP", birth_date: str = "19700102") -> PatientIdentity:
    return PatientIdentity(patient_id=patient_id, issuer=issuer, birth_date=birth_date)


def study(name: str, day: str = "20260101", patient: PatientIdentity | None = None, *modalities: str) -> Candidate:
    return Candidate(study_instance_uid=name, study_date=day, modalities=modalities, patient=patient or who())


def chosen(*candidates: Candidate, rule: PriorRule = RULE, patient: PatientIdentity | None = None) -> list[str]:
    found = choose(candidates, study_instance_uid="new", patient=patient or who(), of_day=TODAY, rule=rule)
    return [one.study_instance_uid for one in found]


@pytest.mark.parametrize(
    ("other", "is_the_same"),
    [
        (who(), True),
        (who(birth_date=""), True),
        (who(birth_date="19700103"), False),
        (who(issuer="OTHER"), False),
        (who(issuer="hosp"), False),
        (who(issuer=""), False),
        (who(patient_id="p1"), False),
        (who(patient_id="P10"), False),
        (who(patient_id=""), False),
    ],
)
def test_a_person_is_the_same_by_exact_id_and_issuer_and_without_a_contradiction(
    other: PatientIdentity, is_the_same: bool
) -> None:
    assert who().is_surely(other) is is_the_same
    assert other.is_surely(who()) is is_the_same


@pytest.mark.parametrize("unknown", [who(issuer=""), who(patient_id=""), who("", "")])
def test_who_is_not_certain_is_nobody_not_even_himself(unknown: PatientIdentity) -> None:
    assert not unknown.is_surely(unknown)
    assert chosen(study("1.1", patient=unknown), patient=unknown) == []


def test_an_issuer_of_the_configuration_stands_in_only_where_none_is_named() -> None:
    assert who(issuer="").with_issuer("HOSP") == who()
    assert who(issuer="OTHER").with_issuer("HOSP") == who(issuer="OTHER")


def test_the_newest_are_taken_and_none_that_is_too_old_or_later_than_the_study() -> None:
    days = {"1": "20250301", "2": "20250302", "3": "20260301", "4": "20260302", "5": "20240101", "6": "", "7": "2026"}
    assert chosen(*(study(name, day) for name, day in days.items())) == ["3", "2"]


def test_the_study_itself_is_no_prior_and_one_that_is_listed_twice_counts_once() -> None:
    assert chosen(study("new"), study("1.1"), study("1.1"), study("1.2")) == ["1.2", "1.1"]


def test_modalities_are_asked_for_where_they_matter() -> None:
    rule = PriorRule(modalities=("MR", "CT"), within_days=365, maximum=5)
    candidates = study("mr", "20260101", None, "SR", "MR"), study("us", "20260101", None, "US"), study("silent")
    assert chosen(*candidates, rule=rule) == ["mr"]


def test_a_rule_that_reaches_beyond_the_calendar_has_no_earliest_day() -> None:
    assert PriorRule(modalities=(), within_days=10**6, maximum=1).earliest(TODAY) == date.min


@given(st.lists(st.tuples(st.sampled_from(["P1", "P2"]), st.sampled_from(["HOSP", "", "X"])), max_size=8))
def test_nobody_elses_study_is_ever_chosen(patients: list[tuple[str, str]]) -> None:
    candidates = [study(str(n), patient=who(*patient)) for n, patient in enumerate(patients)]
    everything = PriorRule(modalities=(), within_days=10_000, maximum=20)
    named = {str(n) for n, patient in enumerate(patients) if patient == ("P1", "HOSP")}
    assert set(chosen(*candidates, rule=everything)) == named
