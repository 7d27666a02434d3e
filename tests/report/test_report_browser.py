"""The page of nine methods as a browser shows it, wide and narrow."""

from __future__ import annotations

import pytest

from clvq_exp.report.html import write_report

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("width", [1400, 480])
def test_page__tables_scroll_in_their_own_boxes_beside_a_standing_column(nine, browser, width: int) -> None:
    page, messages = opened(nine, browser, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for box in page.locator(".scroll").all():
        if not box.is_visible():
            continue
        title = box.locator("tbody th:not([colspan])").last
        before = title.bounding_box()
        moved = box.evaluate("box => { box.scrollLeft = 200; return box.scrollLeft; }")
        after = title.bounding_box()
        assert abs(after["x"] - before["x"]) < 1.5, moved
    wide = page.locator("[aria-label^='Inside the live model']").first
    assert wide.evaluate("box => box.scrollWidth - box.clientWidth") > 0
    assert messages == []


def test_page__a_plot_in_a_closed_block_is_drawn_when_it_is_opened(nine, browser) -> None:
    page, messages = opened(nine, browser, 1400)
    closed = page.locator("#plot-accuracy-concept")
    assert closed.locator(".main-svg").count() == 0
    page.locator("details.block summary", has_text="Removing the concept vector").click()
    closed.locator(".main-svg").first.wait_for()
    own = page.locator("#plot-accuracy-own .main-svg").first.bounding_box()
    assert closed.locator(".main-svg").first.bounding_box()["width"] == pytest.approx(own["width"], abs=2)
    assert messages == []


def test_page__small_plots_stand_below_each_other_where_it_is_narrow(nine, browser) -> None:
    places: dict[int, list[float]] = {}
    for width in (1400, 480):
        page, _ = opened(nine, browser, width)
        panels = page.locator("#plot-purity .main-svg .bg .bg, #plot-purity .main-svg .bglayer .bg").all()
        places[width] = sorted({round(panel.bounding_box()["x"]) for panel in panels})
    assert len(places[1400]) == 3
    assert len(places[480]) == 1


def opened(run, browser, width: int):
    """The page at a width in pixels, and what it complained of."""
    write_report(run.folder, run.metrics, run.provenance)
    page = browser.new_page()
    messages: list[str] = []
    page.on("console", lambda line: messages.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto((run.folder / "report.html").as_uri())
    page.wait_for_selector(".js-plotly-plot .main-svg")
    return page, messages
