from __future__ import annotations

import html
import re

import pytest

from gateway.domain.case import CaseState
from gateway.services.worklist import CaseFilter, list_cases
from tests.support.seed import make_segmentations
from tests.support.web_gateway import Bench

_BROWSER = {"Accept": "text/html"}


def _page(bench: Bench, path: str, status: int = 200) -> str:
    answer = bench.client().get(path, headers=_BROWSER)
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def _words(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


def _every_page(bench: Bench) -> list[str]:
    ids = [row.id for row in list_cases(bench.database, CaseFilter(), limit=100).cases]
    return [
        "/", "/?state=FINAL", "/?text=nobody", "/holds", "/holds?state=DISCARDED", "/node", "/node?show=all", "/audit",
        "/audit?check=1", "/docs", f"/cases/{bench.edited}?iteration=0", f"/cases/{bench.edited}?tab=outputs",
        f"/cases/{bench.edited}?tab=audit", f"/cases/{bench.edited}/pictures?generation=1&iteration=1",
        f"/cases/{bench.edited}/pictures?generation=1&iteration=1&plane=x&stage=hippocampus",
        *(f"/cases/{case}" for case in ids),
    ]  # fmt: skip


def test_no_page_holds_script_style_or_anything_from_elsewhere(busy: Bench) -> None:
    for path in _every_page(busy):
        page = _page(busy, path)
        assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)", page), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page), path
        sources = re.findall(r'(?:src|href|action|hx-get)="([^"]*)"', page)
        assert [s for s in sources if not s.startswith(("/", "#", "https://viewer.example/"))] == [], path


def test_every_picture_button_and_field_has_a_name(busy: Bench) -> None:
    for path in _every_page(busy):
        page = _page(busy, path)
        assert re.findall(r"<img(?![^>]*\balt=)[^>]*>", page) == [], path
        for button in re.findall(r"<button\b[^>]*>.</button>", page):
            assert "aria-label=" in button, (path, button)
        for field in re.findall(r"<(?:input|select|textarea)\b[^>]*>", page):
            named = "aria-label=" in field or 'type="hidden"' in field or 'id="comment"' in field
            labelled = re.search(r"<label[^>]*>[^<]*" + re.escape(field), page) is not None
            assert named or labelled, (path, field)


def test_the_worklist_shows_verdict_as_word_and_shape(busy: Bench) -> None:
    page = _page(busy, "/")
    for word in ("Accept", "Review", "Reject", "Not assessable", "No verdict yet"):
        assert re.search(rf'<span class="verdict [^"]*"><svg class="glyph"[^>]*>.*?</svg><span>{word}</span>', page)


def test_filters_live_in_the_url_and_come_back_in_the_form(busy: Bench) -> None:
    page = _page(busy, "/?state=IN_REVIEW&verdict=REJECT&text=MART")
    assert 'value="MART"' in page
    assert '<option value="REJECT" selected>' in page
    assert '<input type="hidden" name="state" value="IN_REVIEW">' in page
    assert page.count('class="row"') == 1
    # A saved view keeps the other filters.
    assert "/?state=FINAL&amp;verdict=REJECT&amp;text=MART" in page


def test_the_worklist_pages_on_by_a_link(busy: Bench) -> None:
    page = _page(busy, "/?limit=5")
    (following,) = re.findall(r'<a href="([^"]*)" rel="next">', page)
    second = _page(busy, html.unescape(following))
    assert second.count('class="row"') == 5
    assert set(re.findall(r"/cases/(c\w+)", page)).isdisjoint(re.findall(r"/cases/(c\w+)", second))


def test_a_wrong_filter_is_a_page_that_names_it(busy: Bench) -> None:
    assert "query.stat" in _page(busy, "/?stat=FINAL", 400)


def test_text_of_people_is_shown_as_text(bench: Bench) -> None:
    study = bench.seed.study(1, patient_name="<SCRIPT>ALERT(1)</SCRIPT>", description='"><img src=x onerror=alert(1)>')
    case = bench.seed.case(study, qc_comment="<b>not bold</b>")
    bench.seed.iteration(case)
    for path in ("/", f"/cases/{case.id}"):
        page = _page(bench, path)
        assert "<SCRIPT>" not in page
        assert "<img src=x" not in page
        assert "<b>not bold</b>" not in page


def test_an_empty_gateway_says_how_to_send_something(bench: Bench) -> None:
    words = _words(_page(bench, "/"))
    assert "No cases yet" in words
    assert "OVERREAD" in words


def test_the_case_page_offers_legal_decisions_only(busy: Bench) -> None:
    page = _page(busy, f"/cases/{busy.edited}")
    assert re.findall(r'name="qc_status" value="(\w+)"', page) == [
        "PASS_WITH_EDITS", "FAIL_NEEDS_REPROCESSING", "QUARANTINED", "FAIL",
    ]  # fmt: skip
    (final, *_) = list_cases(busy.database, CaseFilter(state=(CaseState.FINAL,))).cases
    assert re.findall(r'name="qc_status" value="(\w+)"', _page(busy, f"/cases/{final.id}")) == ["NOT_REVIEWED"]
    (running,) = list_cases(busy.database, CaseFilter(state=(CaseState.RUNNING,))).cases
    assert "Decisions open when the stages have finished" in _words(_page(busy, f"/cases/{running.id}"))


def test_the_case_page_shows_reasons_findings_timeline_and_the_change_of_the_edit(busy: Bench) -> None:
    words = _words(_page(busy, f"/cases/{busy.edited}"))
    for expected in (
        "LINDQVIST, ASTRID",
        "Ensemble agreement of Hippocampus is not measurable",
        "Predicted Dice",
        "0.86\N{EN DASH}0.95",
        "replaced by edit",
        "reused saved 420 ms",
        "instead of 22.1 s",
        "+121 voxels",
        "+0.121 ml",
        "OHIF Viewer 3.13.2",
        "no new instance for 10 s",
    ):
        assert expected in words, expected


def test_an_earlier_iteration_can_be_looked_at(busy: Bench) -> None:
    words = _words(_page(busy, f"/cases/{busy.edited}?iteration=0"))
    assert "Predicted dice of Hippocampus is 0.76" in words
    assert "Show the current iteration, 1" in words
    assert "no such iteration" in _page(busy, f"/cases/{busy.edited}?iteration=7", 404)


def test_a_held_case_says_why_and_offers_to_go_on(busy: Bench) -> None:
    (held,) = list_cases(busy.database, CaseFilter(state=(CaseState.HELD,))).cases
    page = _page(busy, f"/cases/{held.id}")
    assert "the host ran out of memory" in page
    assert f'action="/cases/{held.id}/retry"' in page


def test_outputs_are_shown_with_where_they_went(busy: Bench) -> None:
    words = _words(_page(busy, f"/cases/{busy.edited}?tab=outputs"))
    assert "sent, not proven" in words
    assert "iteration 0, unchanged" in words


def test_pictures_come_as_a_viewer_with_before_after_and_change(busy: Bench) -> None:
    base = f"/cases/{busy.edited}/pictures"
    plain = _page(busy, f"{base}?generation=1&iteration=1")
    assert "Edit of hippocampus" in plain
    assert "data-mode" not in plain
    changed = _page(busy, f"{base}?generation=1&iteration=1&stage=hippocampus")
    assert re.findall(r'data-mode="(\w+)', changed) == ["change", "before", "overlay"]
    _assert_pictures(busy, changed)
    assert busy.client().get(f"{base}/1/1/z/3/before.png?stage=hippocampus").status_code == 200
    assert busy.client().get(f"{base}/1/1/z/999/image.png").status_code == 404
    assert busy.client().get(f"{base}/1/1/w/0/image.png").status_code == 400


def _assert_pictures(bench: Bench, viewer: str) -> None:
    for url in re.findall(r'src="([^"]+png[^"]*)"', viewer)[:4]:
        answer = bench.client().get(html.unescape(url))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.headers["cache-control"].startswith("private")


def test_the_second_opinion_of_quality_control_is_drawn_beside_the_result(busy: Bench) -> None:
    base = f"/cases/{busy.edited}/pictures?generation=1&iteration=1"
    assert "Second opinion" in _page(busy, base)
    compared = _page(busy, f"{base}&second=true")
    assert re.findall(r'data-mode="(\w+)', compared) == ["difference", "second", "overlay"]
    assert "only in the second opinion" in compared
    _assert_pictures(busy, compared)
    assert busy.client().get(f"/cases/{busy.edited}/pictures/1/1/z/12/second.png").status_code == 200


def test_the_most_doubtful_slices_are_offered_first_of_all_where_they_were_acquired(busy: Bench) -> None:
    base = f"/cases/{busy.edited}/pictures?generation=1&iteration=1"
    words = _words(_page(busy, base))
    assert "Most doubtful slices Hippocampus 21 12" in words
    assert "Slice 21" in _page(busy, base)
    assert "Most doubtful slices" not in _words(_page(busy, f"{base}&plane=x"))


def test_the_case_page_says_how_good_the_masks_are_predicted_to_be_and_on_how_many_patients_that_rests(
    busy: Bench,
) -> None:
    words = _words(_page(busy, f"/cases/{busy.edited}"))
    predicted = words[words.index("Predicted accuracy") : words.index("Your decision")]
    assert "Hippocampus Dice 0.91 0.86\N{EN DASH}0.95 HD95 1.6 0.9\N{EN DASH}2.8 mm" in predicted
    assert "90% interval from 37 calibration patients (54 images)" in predicted
    assert words.index("Machine verdict") < words.index("Predicted accuracy")


def test_a_reason_that_does_not_name_its_finding_is_given_the_name(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(1))
    text = "the bright object measures 663 ml, a head 800 to 7000 ml"
    reason = {"stage": "image_qc", "code": "PHANTOM", "segment": "", "outcome": "REJECT", "text": text}
    bench.seed.iteration(case, verdict="REJECT", reasons=(reason,))
    assert f"Reject: Phantom: {text} image_qc" in _words(_page(bench, f"/cases/{case.id}"))


def test_what_counts_against_a_result_stands_open_and_what_is_met_is_folded_away(busy: Bench) -> None:
    page = _page(busy, f"/cases/{busy.edited}")
    words = _words(page)
    findings = words[words.index("Findings") : words.index("Stages and iterations")]
    assert findings.index("Not met Ensemble agreement") < findings.index("image_qc 3 checks, all met")
    assert re.search(r"<details class=\"checks\"><summary><code>image_qc</code>", page)


def test_where_nothing_was_segmented_no_edit_is_asked_for(bench: Bench) -> None:
    rejected = bench.seed.case(bench.seed.study(1))
    bench.seed.iteration(rejected, verdict="")
    words = _words(_page(bench, f"/cases/{rejected.id}"))
    assert "Send an edit" not in words
    assert "The machine's verdict is right; the case is final." in words


def test_a_case_held_before_its_first_stage_offers_no_run_that_cannot_help(bench: Bench) -> None:
    reason = "2 series fit the pipeline: narrow its match rule or send one"
    held = bench.seed.case(bench.seed.study(1), state=CaseState.HELD, state_reason=reason)
    page = _page(bench, f"/cases/{held.id}")
    assert reason in page
    assert f"/cases/{held.id}/retry" not in page


def test_a_case_without_an_image_says_so_in_the_place_of_the_viewer(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(1))
    assert "No pictures: this iteration has no image" in _page(
        bench, f"/cases/{case.id}/pictures?generation=1&iteration=0"
    )


def test_holds_are_shown_with_their_reasons_and_a_form(busy: Bench) -> None:
    page = _page(busy, "/holds")
    words = _words(page)
    assert "It fits two open outputs of this study equally well" in words
    assert "Study not held here" in words
    assert page.count('name="action" value="accept"') == 3
    # The one case of its study is filled in.
    assert page.count(f'name="case_id" value="{busy.edited}"') == 1


def test_the_node_page_shows_refusals_and_dead_letters(busy: Bench) -> None:
    words = _words(_page(busy, "/node"))
    assert "CTSCAN9 at 10.0.9.3 called OVERREED" in words
    # Each of them, and once more as what its destination said last.
    assert words.count("PACS1 at 10.0.4.7:104 does not answer") == 6
    assert words.count("Send again") == 5
    assert "171 storage and service classes" in words


def test_a_study_that_no_pipeline_takes_is_mentioned_where_people_look_for_it(bench: Bench) -> None:
    study = bench.seed.study(1)
    bench.seed.untaken(study, pipeline="hippocampus-mr", reason="modality is not MR")
    bench.seed.untaken(study, pipeline="brain-mr", reason="10 slices, fewer than 12")
    words = _words(_page(bench, "/"))
    assert "No cases yet" in words
    assert "1 study was received that no pipeline takes: see why" in words
    node = _page(bench, "/node")
    assert 'id="untaken"' in node
    assert "brain-mr: 10 slices, fewer than 12 hippocampus-mr: modality is not MR" in _words(node)


def test_every_page_says_that_it_is_not_for_diagnosis_and_leads_to_the_api(busy: Bench) -> None:
    for path in ("/", f"/cases/{busy.edited}", "/node"):
        page = _page(busy, path)
        assert "Research software, not for diagnosis." in page
        assert '<a href="/docs">HTTP API</a>' in page


def test_the_summary_picture_opens_from_the_outputs(busy: Bench) -> None:
    page = _page(busy, f"/cases/{busy.edited}?tab=outputs")
    assert re.search(
        r'href="/dicom-web/studies/[\d.]+/series/[\d.]+/instances/[\d.]+/rendered"[^>]*>Summary picture', page
    )


def test_the_audit_page_checks_the_chain(busy: Bench) -> None:
    assert "The chain is whole" in _words(_page(busy, "/audit?check=1"))
    assert "EDIT_ACCEPTED" in _page(busy, "/audit?action=EDIT_ACCEPTED")


def test_assets_are_kept_by_browsers_and_named_by_their_content(busy: Bench) -> None:
    page = _page(busy, "/")
    (sheet,) = re.findall(r'href="(/static/overread\.css\?v=\w{12})"', page)
    answer = busy.client().get(sheet)
    assert answer.headers["cache-control"] == "public, max-age=86400"
    assert busy.client().get("/static/../pages.py").status_code == 404


def test_light_is_remembered_without_a_flash(busy: Bench) -> None:
    assert 'data-theme="dark"' in _page(busy, "/")
    assert 'data-theme="light"' in busy.client(cookie="overread_theme=light").get("/").text


@pytest.mark.parametrize("notice", ["decided", "<b>x</b>", "nonsense"])
def test_notices_are_said_by_name_only(busy: Bench, notice: str) -> None:
    page = busy.client().get("/", params={"notice": notice}, headers=_BROWSER)
    said = "The decision is recorded." in page.text
    assert said is (notice == "decided")
    assert "<b>x</b>" not in page.text


def test_pictures_of_reused_stages_are_there(bench: Bench) -> None:
    case = bench.seed.case(bench.seed.study(1))
    bench.seed.iteration(case, segmentations=make_segmentations())
    assert "Hippocampus posterior" in _page(bench, f"/cases/{case.id}/pictures?generation=1&iteration=0")
