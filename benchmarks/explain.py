"""How long a sentence takes to explain once the run is loaded.

    python benchmarks/explain.py RUN
    python benchmarks/explain.py RUN --sentences 50

Sentences are those of the run's dev split, spread evenly over their lengths, each explained by itself.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import pyarrow.parquet as pq

LIMIT_SECONDS = 2.0


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--sentences", type=int, default=20)
    given = parser.parse_args()
    begun = time.perf_counter()
    from clvq_exp.explainer import Explainer

    imported = time.perf_counter()
    explainer = Explainer.load(given.run)
    loaded = time.perf_counter()
    rows = pq.read_table(given.run / "salient_words.parquet", filters=[("split", "=", "dev")]).to_pylist()
    texts = sorted((str(row["text"]) for row in rows), key=len)
    n = min(given.sentences, len(texts))
    chosen = [texts[(2 * step + 1) * len(texts) // (2 * n)] for step in range(n)]
    explainer.explain(chosen[:1])
    seconds: list[float] = []
    for text in chosen:
        before = time.perf_counter()
        explainer.explain([text])
        seconds.append(time.perf_counter() - before)
    print(f"imports {imported - begun:.1f} s, loading {loaded - imported:.1f} s")
    print(
        f"{n} sentences of {len(chosen[0].split())} to {len(chosen[-1].split())} words: median "
        f"{statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s (limit {LIMIT_SECONDS:.0f} s)"
    )


if __name__ == "__main__":
    main()
