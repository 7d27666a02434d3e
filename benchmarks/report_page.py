"""The report of a large run: how large the page is, and how long a search takes in a browser.

    python benchmarks/report_page.py
    python benchmarks/report_page.py --run RUN              # a run's own page instead of a made-up one
    python benchmarks/report_page.py --concepts 400 --sentences 1000 --words 40

Needs Chromium and playwright (extra `test`). A search is timed from the key stroke until its list is drawn.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEARCHES = ("a", "w1", "w12", "w123", "nowhere", "")
LIMITS = {"bytes": 15 * 10**6, "milliseconds": 100}
_TIMED = """
([id, text]) => {
  const box = document.getElementById(id);
  box.value = text;
  const start = performance.now();
  box.dispatchEvent(new Event("input"));
  document.body.offsetHeight;
  return performance.now() - start;
}
"""


def made_up_run(folder: Path, concepts: int, sentences: int, words: int, width: int = 384) -> None:
    """A run folder with the tables that the page reads, filled with made-up words.

    Args:
        folder: where it is written.
        concepts: in the codebook.
        sentences: of dev.
        words: of each sentence.
        width: of a vector.
    """
    noise = np.random.default_rng(0)
    name = {"method": "clvq_vae", "seed": 0}
    held = noise.integers(20, 900, concepts)
    rows = [
        {
            **name,
            "concept": concept,
            "train_words": int(held[concept]),
            "dev_words": int(held[concept]) // 10,
            "sentence_tokens": 0,
            "train_sentences": int(held[concept]) // 2,
            "forms": 100,
            "label_words": [int(held[concept]) // 2, int(held[concept]) // 2],
            "label": "negative",
            "purity": 0.5,
            "nearest": [{"concept": (concept + step) % concepts, "cosine": 0.5} for step in range(1, 11)],
            "x": float(noise.uniform(-1, 1)),
            "y": float(noise.uniform(-1, 1)),
            "vector": noise.normal(size=width).astype(np.float32).tolist(),
        }
        for concept in range(concepts)
    ]
    spoken = [
        {**name, "concept": concept, "rank": rank, "word": f"w{concept * 31 % 997}x{rank}", "count": 100 - rank}
        for concept in range(concepts)
        for rank in range(100)
    ]
    around = " ".join(f"word{index}" for index in range(8))
    examples = [
        {
            **{**name, "concept": concept, "split": "dev", "sentence": index, "id": "x", "label": 0},
            **{"position": 8, "special": False, "before": around, "word": "word", "after": around},
        }
        for concept in range(concepts)
        for index in range(20)
    ]
    texts = [[f"w{each}" for each in noise.integers(0, 5000, words)] for _ in range(sentences)]
    salient = [
        {
            **{"sentence": row, "id": f"sentence-{row}", "split": "dev", "text": " ".join(text), "label": row % 2},
            **{"prediction": (row // 2) % 2, "confidence": 0.9, "position": 1, "word": text[1], "special": False},
            **{"attribution": 0.5, "code": int(noise.integers(concepts))},
        }
        for row, text in enumerate(texts)
    ]
    attributed = [
        {"sentence": row, "position": at, "word": word, "special": False, "attribution": float(noise.normal())}
        for row, text in enumerate(texts)
        for at, word in enumerate(text)
    ]
    tables = {
        **{"concepts": rows, "concept_words": spoken, "concept_examples": examples},
        **{"salient_words": salient, "attributions": attributed},
    }
    for table, content in tables.items():
        pq.write_table(pa.Table.from_pylist(content), folder / f"{table}.parquet")
    cell = {
        **{"model": "made_up", "dataset": "made_up", "method": "clvq_vae", "seeds": [0]},
        "label_names": ["negative", "positive"],
    }
    (folder / "metrics.json").write_text(json.dumps({"format_version": 1, "cell": cell}))


def searched(page: Path) -> tuple[dict[str, list[float]], float]:
    """Milliseconds of each search in both lists, and those until the page stands."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("no Chromium on this machine: apt-get install chromium")
    times: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        opened: Any = browser.new_context(offline=True).new_page()
        opened.goto(page.as_uri())
        opened.wait_for_selector("#concept-list tbody tr")
        loaded = opened.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        for box in ("concept-search", "sentence-search"):
            times[box] = [opened.evaluate(_TIMED, [box, text]) for _ in range(5) for text in SEARCHES]
        browser.close()
    return times, float(loaded)


def main() -> None:
    """Entry point."""
    from clvq_exp.report.html import write_report

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, help="a finished run, instead of a made-up one")
    parser.add_argument("--concepts", type=int, default=400)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--words", type=int, default=40, help="of a sentence")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if given.run is None:
            folder = Path(scratch)
            made_up_run(folder, given.concepts, given.sentences, given.words)
            write_report(folder, json.loads((folder / "metrics.json").read_text()), {})
        else:
            folder = given.run
        page = folder / "report.html"
        times, loaded = searched(page)
        lines = [f"page: {page.stat().st_size / 10**6:.1f} MB (limit {LIMITS['bytes'] / 10**6:.0f} MB)"]
        lines.append(f"until it stands: {loaded:.0f} ms")
        for box, each in times.items():
            lines.append(
                f"{box}: median {statistics.median(each):.0f} ms, longest {max(each):.0f} ms "
                f"(limit {LIMITS['milliseconds']} ms)"
            )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
