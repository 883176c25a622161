from __future__ import annotations

from datetime import timedelta

import pytest

from dicom_sr.verdict import Outcome
from gateway.domain.case import CaseState
from gateway.domain.pipeline import OutputKind
from gateway.domain.qc_status import QcStatus, legal_decisions
from gateway.web.ui import view
from tests.support.seed import NOW


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("DOE^JANE^M", "DOE, JANE"),
        ("DOE", "DOE"),
        ("", ""),
        ("YAMADA^TARO=山田^太郎", "YAMADA, TARO"),
        ("=山田^太郎", "山田, 太郎"),
        ("^JANE", ", JANE"),
    ],
)
def test_person_names(name: str, shown: str) -> None:
    assert view.person(name) == shown


def test_every_value_that_can_occur_has_a_word() -> None:
    assert set(view.STATE_WORDS) == set(CaseState)
    assert set(view.VERDICT_WORDS) == {*Outcome, ""}
    assert set(view.QC_WORDS) == set(QcStatus)
    assert set(view.OUTPUT_WORDS) == set(OutputKind)


def test_every_legal_decision_has_a_button_and_needs_a_reason_where_the_rules_say_so() -> None:
    for state in CaseState:
        for iteration in (0, 1):
            for decision in legal_decisions(state=state, iteration=iteration):
                choice = view.decision_choice(decision, state)
                assert choice.label
                assert choice.hint
    assert view.decision_choice(QcStatus.NOT_REVIEWED, CaseState.FINAL).needs_reason
    assert not view.decision_choice(QcStatus.NOT_REVIEWED, CaseState.QUARANTINED).needs_reason
    assert view.decision_choice(QcStatus.FAIL, CaseState.IN_REVIEW).needs_reason


def test_times_and_sizes_in_one_unit() -> None:
    assert view.ago(NOW - timedelta(seconds=59), NOW) == "just now"
    assert view.ago(NOW - timedelta(minutes=61), NOW) == "1 h ago"
    assert view.ago(NOW - timedelta(days=3), NOW) == "3 d ago"
    assert view.ago(NOW + timedelta(days=3), NOW) == "just now"
    assert view.ago(None, NOW) == "never"
    assert [view.seconds(v) for v in (0.0421, 1.0, 61.25, 600.0)] == ["42 ms", "1.0 s", "61.2 s", "10.0 min"]
    assert [view.size(v) for v in (0, 999, 1234, 5_600_000)] == ["0 B", "999 B", "1.2 kB", "5.6 MB"]


def test_codes_become_words_and_keep_their_acronyms() -> None:
    assert view.sentence_case("QC_DECIDED") == "QC decided"
    assert view.sentence_case("SEGMENTATION_RECEIVED") == "Segmentation received"


def test_dates_that_are_none_are_left_alone() -> None:
    assert view.day("20261122") == "2026-11-22"
    assert view.day("2026") == "2026"


def test_only_what_nobody_reads_to_its_end_is_shortened() -> None:
    assert view.short("2.25.282649556145612786076359180617373550828") == "…617373550828"
    assert view.short("cfd96fa375d064aafd94cc614b9a8c7a005c1d2bebde348ea8cac88acaf1dbd1") == "…c88acaf1dbd1"
    for words in ("segmentation_qc", "FAIL_NEEDS_REPROCESSING", "sending an edit", "c9f465b38dd3e39fa"):
        assert view.short(words) == words


def test_facts_of_an_event_are_words_and_what_is_empty_is_left_out() -> None:
    detail = {"changed_voxels": 0, "parts": [], "evidence": "", "outputs": ["2.25.111111111111111111111", "SEG"]}
    assert view.facts(detail) == [("changed voxels", "0"), ("outputs", "…111111111111, SEG")]


def test_backticks_mark_code_and_nothing_else_becomes_markup() -> None:
    assert view.code_marks("pass `next_cursor` <back>") == "pass <code>next_cursor</code> &lt;back&gt;"
