"""Concepts and sentences on the page as a browser shows them: search, order, pages, keyboard."""

from __future__ import annotations

import pytest
from report.test_report_browser import opened

pytestmark = pytest.mark.slow

LIST = "#concept-list tbody tr"


def test_search__finds_words_and_numbers_and_says_how_many(run, browser) -> None:
    page, messages = opened(run, browser, 1400)
    found = page.locator("#concept-found")
    assert found.inner_text() == "8 of 8 concepts"
    page.get_by_label("Search words, or a number").fill("SCRIPT")
    assert page.locator(LIST).count() == 1
    assert found.inner_text() == "1 of 8 concepts"
    assert "<script>alert(1)</script>" in page.locator(LIST).inner_text()
    page.get_by_label("Search words, or a number").fill("nowhere")
    assert found.inner_text() == "0 of 8 concepts"
    page.get_by_label("Search words, or a number").press("Enter")  # no form is sent
    page.get_by_label("Search words, or a number").fill("")
    page.get_by_label("Commonest label", exact=True).select_option("negative")
    assert page.locator(LIST).count() == 6
    page.get_by_label("Search sentences, or an id").fill("movie-17")
    assert page.locator("#sentence-list tbody tr").count() == 1
    assert messages == []


def test_order__by_a_click_and_by_the_keyboard(run, browser) -> None:
    page, messages = opened(run, browser, 1400)
    button = page.get_by_role("button", name="Training words")

    def column() -> list[str]:
        return page.locator(f"{LIST} td:nth-child(4)").all_inner_texts()

    button.click()
    assert column() == ["400", "150", "80", "41", "20", "9", "3", "0"]
    assert page.locator("#concept-list th[aria-sort=descending]").inner_text().startswith("Training words")
    button.focus()
    page.keyboard.press("Enter")
    assert column() == ["0", "3", "9", "20", "41", "80", "150", "400"]
    page.get_by_role("button", name="Purity").click()
    purities = page.locator(f"{LIST} td:nth-child(7)").all_inner_texts()
    assert purities[-2:] == ["–", "–"], "what has none comes last"
    assert messages == []


def test_concept_and_sentence__have_pages_with_addresses(run, browser) -> None:
    page, messages = opened(run, browser, 1400)
    page.locator(LIST).filter(has_text="concept 2").get_by_role("link").click()
    detail = page.locator("#concept-detail")
    assert detail.locator("h3").inner_text() == "Concept 2"
    assert page.evaluate("document.activeElement.textContent") == "Concept 2"
    text = detail.inner_text()
    for shown in ("<script>alert(1)</script>", "150", "75%", "cosine 0.90", "{{"):
        assert shown in text
    detail.locator("a[href^='#sentence-']").last.click()
    sentence = page.locator("#sentence-detail")
    sentence.wait_for(state="visible")
    assert detail.is_hidden()
    assert "salient" in sentence.inner_text()
    assert page.url.rpartition("#")[2].startswith("sentence-")
    page.go_back()
    detail.wait_for(state="visible")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Back to the list"
    page.keyboard.press("Enter")
    detail.wait_for(state="hidden")
    assert messages == []


@pytest.mark.parametrize("address", ["#concept-999", "#sentence-999", "#concept-", "#concept--1", "#<img>"])
def test_address__of_nothing_shows_no_page(run, browser, address: str) -> None:
    page, messages = opened(run, browser, 1400)
    page.evaluate("where => { window.location.hash = where; }", address)
    assert page.locator("#concept-detail").is_hidden()
    assert page.locator("#sentence-detail").is_hidden()
    assert messages == []


def test_hostile_text__does_nothing(run, browser) -> None:
    page, messages = opened(run, browser, 1400)
    page.evaluate("window.location.hash = '#sentence-0'")
    page.locator("#sentence-detail").wait_for(state="visible")
    assert "<script>alert(1)</script>" in page.locator("#sentence-detail").inner_text()
    images = page.evaluate("[...document.images].map(each => each.src.slice(0, 5))")
    assert set(images) == {"data:"}
    assert page.evaluate("document.querySelectorAll('#sentence-detail script, #concept-list script').length") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    assert messages == []


def test_map__a_click_opens_the_concept(run, browser) -> None:
    page, messages = opened(run, browser, 1400)
    page.wait_for_selector("#plot-concept-map .main-svg .points path")
    page.locator("#plot-concept-map").scroll_into_view_if_needed()
    box = page.locator("#plot-concept-map .points path").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator("#concept-detail").wait_for(state="visible")
    assert page.locator("#concept-detail h3").inner_text() == "Concept 1"
    assert messages == []


@pytest.mark.parametrize("width", [1400, 480])
def test_page__stays_within_its_width(run, browser, width: int) -> None:
    page, messages = opened(run, browser, width)
    for address in ("#concept-2", "#sentence-0", "#sentence-3"):
        page.evaluate("where => { window.location.hash = where; }", address)
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert messages == []
