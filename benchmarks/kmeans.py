"""k-means and spherical k-means over a layer's words, beside scikit-learn's, at equal inertia.

    python benchmarks/kmeans.py
    python benchmarks/kmeans.py --shape 388932x768 --repetitions 1
    python benchmarks/kmeans.py --activations CACHE/activations/NAME/words.bin --shape 60000x384

Both begin with k-means++ and go on until the inertia hardly changes; a repetition makes the codebooks of several
seeds. Ours reads the words block by block from a file; scikit-learn has them in memory. The inertia is the sum
of squared distances to the nearest centroid, of directions where it is spherical, worked out alike for both.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from turns import Measured, Row, Side, arguments, finish, in_turn, seconds, versions, worker
from ward import drawn, made_up

SHAPES = ("60000x384", "388932x768")
K = 400
BLOCK = 4096
FASTER = 4.0
ALLOWED = 1.005
"""Times scikit-learn's inertia."""
Repeat = Callable[[], "Callable[[], dict[str, Any]]"]


def blocks(file: Path) -> Iterator[np.ndarray]:
    """The file's words, a block at a time."""
    stored = np.load(file, mmap_mode="r")
    for start in range(0, len(stored), BLOCK):
        yield np.array(stored[start : start + BLOCK])


def inertia(file: Path, centroids: np.ndarray, spherical: bool) -> float:
    """Sum of squared distances to the nearest centroid."""
    total = 0.0
    squares = np.square(centroids.astype(np.float64)).sum(1)
    for block in blocks(file):
        words = unit(block) if spherical else block
        crossed = words.astype(np.float64) @ centroids.T
        total += float((np.square(words.astype(np.float64)).sum(1) + (squares - 2 * crossed).min(1)).sum())
    return total


def unit(words: np.ndarray) -> np.ndarray:
    return words / np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-30)


def ours(given: argparse.Namespace) -> Repeat:
    from clvq_exp.composing import compose_cells
    from clvq_exp.concepts.kmeans import kmeans
    from clvq_exp.seeding import numpy_generator

    file = Path(given.words)
    settings = compose_cells([])[0].config.init
    stored = np.load(file, mmap_mode="r")

    def repeat() -> Callable[[], dict[str, Any]]:
        found: list[np.ndarray] = []
        for seed in range(given.seeds):
            n_sample = min(len(stored), settings.seeding_sample)
            chosen = np.sort(numpy_generator(seed, "sample").choice(len(stored), n_sample, replace=False))
            result = kmeans(
                lambda: blocks(file),
                K,
                np.array(stored[chosen]),
                seed,
                given.spherical,
                settings.max_iterations,
                settings.tolerance,
            )
            found.append(result.centroids)
        return lambda: {"inertia": [inertia(file, each, given.spherical) for each in found]}

    return repeat


def scikit_learn(given: argparse.Namespace) -> Repeat:
    from sklearn.cluster import KMeans

    file = Path(given.words)
    words = np.load(file)
    words = unit(words) if given.spherical else words

    def repeat() -> Callable[[], dict[str, Any]]:
        found: list[np.ndarray] = []
        for seed in range(given.seeds):
            centroids = KMeans(K, n_init=1, random_state=seed).fit(words).cluster_centers_
            found.append(unit(centroids) if given.spherical else centroids)
        return lambda: {"inertia": [inertia(file, each, given.spherical) for each in found]}

    return repeat


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__)
    parser.add_argument("--shape", nargs="+", default=list(SHAPES), help="words x width (default: both of them)")
    parser.add_argument("--seeds", type=int, default=3, help="of a repetition (default 3)")
    parser.add_argument("--activations", type=Path, help="a layer's words.bin in float32; default: made-up words")
    parser.add_argument("--scratch", type=Path, help="where words are written; default: the system's")
    parser.add_argument("--words", help=argparse.SUPPRESS)
    parser.add_argument("--spherical", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        limit_threads(given.threads)
        worker(lambda: {"ours": ours, "scikit-learn": scikit_learn}[given.side](given))
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        for shape, spherical in itertools.product(given.shape, (False, True)):
            n, width = (int(part) for part in shape.split("x"))
            file = Path(folder) / f"{shape}.npy"
            if not file.exists():
                np.save(file, drawn(given.activations, n, width) if given.activations else made_up(n, width))
            passed = ["--words", str(file), "--seeds", str(given.seeds), "--threads", str(given.threads)]
            passed += ["--spherical"] if spherical else []
            sides = [Side("ours"), Side("scikit-learn")]
            found = in_turn(__file__, passed, sides, given.repetitions)
            rows.append(row(f"{'spherical ' if spherical else ''}k-means, {n:,} x {width}", found, given.seeds))
    finish(rows, given.rows)


def limit_threads(n: int) -> None:
    """Of torch, faiss and the libraries below scikit-learn."""
    import faiss
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(n)
    faiss.omp_set_num_threads(n)
    threadpool_limits(n)


def row(what: str, found: dict[str, Measured], seeds: int) -> Row:
    """Seconds for a seed, and how the inertias compare."""
    own, other = (float(np.mean(found[side].notes["inertia"])) for side in ("ours", "scikit-learn"))
    equal = "equal" if own <= ALLOWED * other else "NOT equal"
    return Row(
        f"{what}, K {K}, a seed",
        "scikit-learn",
        seconds(found["ours"].median / seeds),
        seconds(found["scikit-learn"].median / seeds),
        found["scikit-learn"].median / found["ours"].median,
        FASTER,
        f"inertia {own / other - 1:+.2%} of scikit-learn's: {equal} within {ALLOWED - 1:.1%}",
        versions("faiss-cpu", "scikit-learn"),
    )


if __name__ == "__main__":
    main()
