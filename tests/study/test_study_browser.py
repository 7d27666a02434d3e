"""Three annotators in headless Chromium at once, one killed half way and resumed; scores held against others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats import inter_rater
from study.made_studies import Made, kept, make, served

from clvq_exp.commands import main

pytestmark = pytest.mark.slow

ANNOTATE = """
import sys
from playwright.sync_api import Page, expect, sync_playwright

PATIENCE = 120_000  # milliseconds: a busy machine is slow, and slow is not wrong
STATE = "[document.title, document.readyState, ...[...document.querySelectorAll(':checked')].map(e => e.value)]"


def annotate(page: Page, way: str, width: int, total: int, answers: str) -> None:
    page.get_by_role("link").focus()
    page.keyboard.press("Enter")
    for each in answers.split(","):
        place, label, confidence = (int(part) for part in each.split(":"))
        page.get_by_role("heading", name=f"{place + 1} of {total}", exact=True).wait_for()
        picture = page.locator("img")
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 720
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if way == "keyboard":
            # the first label gets the focus when the page is drawn, which may be after it was read
            expect(page.locator("input[name=label]").first).to_be_focused(timeout=PATIENCE)
            page.keyboard.press("Space")
            for _ in range(label):
                page.keyboard.press("ArrowRight")
            page.keyboard.press("Tab")
            page.keyboard.press("Space")
            for _ in range(confidence - 1):
                page.keyboard.press("ArrowRight")
            page.keyboard.press("Enter")
        else:
            for name, value in (("label", label), ("confidence", confidence)):
                shown = page.locator(f"label:has(input[name={name}][value='{value}'])")
                shown.tap() if way == "touch" else shown.click()
            page.get_by_role("button").click()
        following = f"{place + 2} of {total}" if place + 1 < total else "Thank you"
        page.get_by_role("heading", name=following, exact=True).wait_for()
        print(place, flush=True)


address, chromium, way, width, total, answers = sys.argv[1:7]
with sync_playwright() as playwright:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    browser = playwright.chromium.launch(executable_path=chromium, args=flags, timeout=PATIENCE)
    page = browser.new_page(viewport={"width": int(width), "height": 844}, has_touch=way == "touch")
    page.set_default_timeout(PATIENCE)
    said, answered = [], []
    page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("response", lambda response: answered.append((response.status, response.request.method)))
    page.goto(address)
    try:
        annotate(page, way, int(width), int(total), answers)
    except Exception:
        print(way, "said", said, "answered", answered[-6:], "shows", page.evaluate(STATE), flush=True)
        raise
    print("said", said, flush=True)
    print(page.locator("h1").inner_text(), flush=True)
    browser.close()
"""


def chosen(annotator: int, place: int) -> tuple[int, int]:
    """What an annotator answers at a place: known beforehand."""
    return (annotator * 7 + place * 3) % 5 % 2, 1 + (annotator * 3 + place * 7) % 10


class Annotator:
    """A browser of its own, in a process of its own."""

    def __init__(self, address: str, annotator: int, places: range, way: str, width: int) -> None:
        answers = ",".join(":".join(str(part) for part in (place, *chosen(annotator, place))) for place in places)
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        command = [
            sys.executable,
            "-c",
            ANNOTATE,
            address,
            str(chromium),
            way,
            str(width),
            str(places.stop),
            answers,
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, line: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: line in self.lines or self._ended, timeout=300)
            assert line in self.lines, "\n".join(self.lines)

    def kill(self) -> None:
        """The browser and its driver, as the operating system kills."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._thread.join()

    def end(self) -> list[str]:
        self.process.wait(timeout=300)
        self._thread.join()
        return self.lines


def by_hand(made: Made, method: int) -> tuple[float, float, float]:
    """Kappa (by statsmodels), confidence and alignment of a method, from what was answered and nothing else."""
    design = made.study.design
    counts = np.zeros((len(design.sentences), 2), int)
    confidences: list[int] = []
    aligned: list[bool] = []
    for each in kept(made.study):
        item = design.items[each.item]
        label, confidence = chosen(int(each.annotator[1:]), each.place)
        assert (each.label, each.confidence) == (label, confidence)
        if item.method == method:
            counts[item.sentence, label] += 1
            confidences.append(confidence)
            aligned.append(label == design.sentences[item.sentence].prediction)
    assert (counts.sum(1) == 3).all()
    return (
        float(inter_rater.fleiss_kappa(counts)),
        sum(confidences) / len(confidences),
        sum(aligned) / len(aligned),
    )


def test_study__three_annotators_at_once_and_one_killed_half_way(tmp_path: Path, capsys) -> None:
    if not any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    made = make(tmp_path, sentences=6)
    n = len(made.study.design.items)
    with served(made.study.folder) as server:
        links = [server.address + link for link in made.links.values()]
        ways = (("keyboard", 1280), ("touch", 390), ("mouse", 390))
        first = [
            Annotator(link, who + 1, range(n), *way)
            for who, (link, way) in enumerate(zip(links, ways, strict=True))
        ]
        first[1].wait_for(str(n // 2))
        first[1].kill()
        before = sum(each.annotator == "a02" for each in kept(made.study))
        assert n // 2 <= before <= n // 2 + 2
        again = Annotator(links[1], 2, range(before, n), "keyboard", 390)
        for each in (first[0], first[2], again):
            lines = each.end()
            assert lines[-2:] == ["said []", "Thank you"], "\n".join(lines)
    found = kept(made.study)
    assert len({(each.annotator, each.item) for each in found}) == len(found) == 3 * n
    assert main(["study", "score", str(made.study.folder), "--format", "json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["complete"] == ["a01", "a02", "a03"]
    for method, ours in enumerate(scored["methods"]):
        kappa, confidence, alignment = by_hand(made, method)
        assert ours["fleiss_kappa"]["mean"] == pytest.approx(kappa)
        assert ours["confidence"]["mean"] == pytest.approx(confidence)
        assert ours["alignment"]["mean"] == pytest.approx(alignment)
