"""The pages in a real browser: headless Chromium, driven by Playwright, under the security policy that is served."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.busy_gateway import CONFIG, FACTS, populate
from tests.support.seed import make_segmentations
from tests.support.web_gateway import Bench, serving

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[Bench, str]]:
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as folder:
        bench = Bench(folder=Path(folder), config=CONFIG, facts=FACTS)
        bench.edited = populate(bench.seed).id
        with serving(bench) as address:
            yield bench, address
        bench.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the pages are driven by playwright (pip)")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine (apt install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A tab; anything the browser complains about, a breach of the security policy included, fails the test."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    yield tab
    context.close()
    assert complaints == []


def _until(page: Any, expression: str) -> None:
    """Wait until a script expression holds; Playwright's own wait would need eval, which the policy forbids."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


def _paths(bench: Bench) -> list[str]:
    case = f"/cases/{bench.edited}"
    return ["/", case, f"{case}?tab=outputs", f"{case}?tab=audit", "/holds", "/node", "/audit?check=1", "/docs"]


def test_every_page_loads_without_a_complaint_and_fits_a_narrow_screen(site: tuple[Bench, str], page: Any) -> None:
    bench, url = site
    page.set_viewport_size({"width": 420, "height": 860})
    for path in _paths(bench):
        page.goto(url + path)
        page.wait_for_timeout(150)
        assert page.evaluate("document.documentElement.scrollWidth") <= 420, path


def test_the_worklist_is_walked_by_keys_and_filtered_without_a_button(site: tuple[Bench, str], page: Any) -> None:
    _, url = site
    page.goto(url + "/")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.textContent").strip().startswith("ADEYEMI")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/cases/*")
    page.keyboard.press("u")
    page.wait_for_url(url + "/")
    page.select_option("select[name=verdict]", "REJECT")
    page.wait_for_url("**/?verdict=REJECT")
    assert page.locator(".row").count() == 1
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"


def test_slices_scroll_and_the_overlay_comes_and_goes(site: tuple[Bench, str], page: Any) -> None:
    bench, url = site
    page.goto(f"{url}/cases/{bench.edited}")
    page.wait_for_selector("[data-viewer]")
    where = page.inner_text(".where")
    page.keyboard.press("]")
    page.keyboard.press("]")
    page.keyboard.press("[")
    assert page.inner_text(".where") == f"{int(where.split(' ')[0]) + 1} / 36"
    _until(page, "document.querySelector('.stage .base').naturalWidth > 0")
    assert page.is_visible(".stage .overlay")
    page.keyboard.press("o")
    assert not page.is_visible(".stage .overlay")
    page.locator("[data-slice]").first.click()
    assert page.get_attribute(".stage .base", "src").split("/")[-2] == page.get_attribute("[data-slice]", "data-slice")


def test_an_edit_is_seen_before_after_and_as_change(site: tuple[Bench, str], page: Any) -> None:
    bench, url = site
    page.goto(f"{url}/cases/{bench.edited}")
    page.click("text=Edit of hippocampus")
    page.wait_for_selector("[data-modes]")
    seen = []
    for _ in range(3):
        _until(page, "document.querySelector('.stage .overlay').naturalWidth > 0")
        seen.append(page.get_attribute(".stage .overlay", "src").split("/")[-1].split(".")[0])
        page.keyboard.press("b")
    assert seen == ["change", "before", "overlay"]
    page.click("text=Across columns")
    page.wait_for_selector("[data-base$='/x']")
    assert page.inner_text(".edge.top") == "H"


def test_the_second_opinion_is_seen_as_difference_by_itself_and_beside_the_result(
    site: tuple[Bench, str], page: Any
) -> None:
    bench, url = site
    page.goto(f"{url}/cases/{bench.edited}")
    page.click("text=Second opinion")
    page.wait_for_selector("[data-modes]")
    seen = []
    for _ in range(4):
        _until(page, "document.querySelector('.stage .overlay').naturalWidth > 0")
        seen.append(page.get_attribute(".stage .overlay", "src").split("/")[-1])
        page.keyboard.press("b")
    assert seen == ["difference.png", "second.png", "overlay.png", "difference.png"]


def test_a_doubtful_slice_is_one_click_away(site: tuple[Bench, str], page: Any) -> None:
    bench, url = site
    page.goto(f"{url}/cases/{bench.edited}")
    page.wait_for_selector("[data-viewer]")
    page.click(".worst button")
    assert page.inner_text(".where") == "21 / 36"


def test_a_decision_that_needs_a_reason_asks_for_it_before_it_is_sent(site: tuple[Bench, str], page: Any) -> None:
    bench, url = site
    case = bench.seed.case(bench.seed.study(70))
    bench.seed.iteration(case)
    page.goto(f"{url}/cases/{case.id}")
    page.keyboard.press("4")
    assert page.evaluate("document.activeElement.value") == "FAIL"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "comment"
    page.fill("#comment", "another patient's head")
    page.click("button[value=FAIL]")
    page.wait_for_url("**?notice=decided")
    assert page.inner_text(".notice") == "The decision is recorded."
    assert page.inner_text(".facts .state") == "Final"


def test_news_arrive_while_a_comment_is_being_written_and_leave_it_alone(site: tuple[Bench, str], page: Any) -> None:
    bench, url = site
    case = bench.seed.case(bench.seed.study(71))
    bench.seed.iteration(case, segmentations=make_segmentations())
    page.goto(f"{url}/cases/{case.id}")
    page.wait_for_selector("#live[data-state=on]")
    page.wait_for_selector("[data-viewer]")
    page.fill("#comment", "half a thought")
    bench.seed.iteration(case, number=1, cause="EDIT", segmentations=make_segmentations(shift=1.0))
    bench.seed.edit(case, iteration=1)
    page.wait_for_selector("[data-base*='/pictures/1/1/']", timeout=10_000)
    assert page.input_value("#comment") == "half a thought"
    assert "An edit was accepted" in page.inner_text(".toast")
    assert page.is_visible("text=What the edit changed")


def test_the_worklist_shows_a_new_case_by_itself(site: tuple[Bench, str], page: Any) -> None:
    bench, url = site
    page.goto(url + "/")
    page.wait_for_selector("#live[data-state=on]")
    bench.seed.case(bench.seed.study(72, patient_name="ARRIVED^JUSTNOW"), minutes_ago=0)
    page.wait_for_selector("text=ARRIVED, JUSTNOW", timeout=10_000)


def test_light_is_kept_from_page_to_page(site: tuple[Bench, str], page: Any) -> None:
    _, url = site
    page.goto(url + "/")
    page.keyboard.press("t")
    page.goto(url + "/node")
    assert page.get_attribute("html", "data-theme") == "light"
