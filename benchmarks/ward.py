"""Seconds and peak memory of Ward's tree: ours, whose memory is linear in the words, beside scikit-learn's.

    python benchmarks/ward.py
    python benchmarks/ward.py --words 8000 --width 384 --threads 2
    python benchmarks/ward.py --words 50000 --width 768 --only --activations CACHE/activations/NAME/words.bin

Each is a process of its own; a peak is the process's largest resident memory, and what it held before the tree
(imports, vectors) stands beside. scikit-learn holds the distance of every pair twice, 16 bytes: 20 GB for 50,000
words. Linux only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import Measured, Row, Side, arguments, finish, in_turn, mebibytes, seconds, versions, worker

OURS, THEIRS = "ours", "scikit-learn"
LIMIT = 24 * 2**30
"""Bytes that a tree may take where scikit-learn's does not fit."""
RAND = "adjusted Rand index between the two"


def made_up(n: int, width: int) -> np.ndarray:
    """Overlapping clusters of unequal size, as words have."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((300, width), dtype=np.float32)
    owner = generator.choice(300, n, p=generator.dirichlet(np.full(300, 0.5)))
    vectors = generator.standard_normal((n, width), dtype=np.float32)
    vectors *= 1.5
    vectors += centres[owner]
    return vectors


def drawn(path: Path, n: int, width: int) -> np.ndarray:
    """Words of a store's layer, a file of float32, drawn by seed."""
    stored = np.memmap(path, dtype=np.float32, mode="r").reshape(-1, width)
    if len(stored) < n:
        sys.exit(f"{path} holds {len(stored)} words of width {width}, --words asks for {n}")
    return stored[np.sort(np.random.default_rng(0).choice(len(stored), n, replace=False))]


def tree_of(method: str, given: argparse.Namespace) -> Callable[[], Callable[[], dict[str, Any]]]:
    """One tree and its clusters."""
    if given.activations:
        vectors = drawn(given.activations, given.words, given.width)
    else:
        vectors = made_up(given.words, given.width)
    cluster = cluster_ours if method == OURS else cluster_scikit_learn
    cluster(vectors[:100], 2)  # what is imported late is imported now

    def repeat() -> Callable[[], dict[str, Any]]:
        labels = cluster(vectors, given.clusters)
        return lambda: {"labels": labels.tolist()}

    return repeat


def cluster_ours(vectors: np.ndarray, k: int) -> np.ndarray:
    import torch

    from clvq_exp.concepts.ward import cut, ward_tree

    return cut(ward_tree(torch.from_numpy(vectors)), k).numpy()


def cluster_scikit_learn(vectors: np.ndarray, k: int) -> np.ndarray:
    from sklearn.cluster import AgglomerativeClustering

    return AgglomerativeClustering(n_clusters=k, linkage="ward").fit_predict(vectors)


def main() -> None:
    """Measure each method in a process of its own, print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--words", type=int, default=2000, help="vectors (default 2000)")
    parser.add_argument("--width", type=int, default=384, help="their width (default 384)")
    parser.add_argument("--clusters", type=int, default=400, help="where the tree is cut (default 400)")
    parser.add_argument(
        "--activations", type=Path, help="a layer's words.bin in float32; default: made-up vectors"
    )
    parser.add_argument(
        "--only", action="store_true", help="leave scikit-learn out, where it needs too much memory"
    )
    parser.set_defaults(repetitions=1)
    given = parser.parse_args()
    if given.side:
        import torch

        torch.set_num_threads(given.threads)
        worker(lambda: tree_of(given.side, given))
        return
    passed = ["--threads", str(given.threads), "--words", str(given.words), "--width", str(given.width)]
    passed += ["--clusters", str(given.clusters)]
    passed += ["--activations", str(given.activations)] if given.activations else []
    sides = [Side(OURS)] if given.only else [Side(OURS), Side(THEIRS)]
    found = in_turn(__file__, passed, sides, given.repetitions, warm_up=False)
    own = found[OURS]
    print(f"{own.median:.1f} s, {mebibytes(own.peak)} at the peak, {mebibytes(own.before)} before the tree")
    finish([limit_row(own, given)] if given.only else rows_of(own, found[THEIRS], given), given.rows)


def limit_row(own: Measured, given: argparse.Namespace) -> Row:
    """Memory beside the limit, where there is nothing to compare with."""
    pairs = given.words * (given.words - 1) / 2
    return Row(
        f"Ward's tree, {given.words:,} x {given.width}: memory of the process",
        "the limit",
        mebibytes(own.peak),
        mebibytes(LIMIT),
        LIMIT / own.peak,
        1.0,
        f"{seconds(own.median)}, threads: {given.threads}; scikit-learn's would take {mebibytes(16 * pairs)}",
        versions=versions("fastcluster"),
    )


def rows_of(own: Measured, other: Measured, given: argparse.Namespace) -> list[Row]:
    """Seconds, memory, and whether the clusters are the same."""
    from sklearn.metrics import adjusted_rand_score

    what = f"Ward's tree, {given.words:,} x {given.width}"
    used = versions("fastcluster", "scikit-learn")
    same = float(adjusted_rand_score(own.notes["labels"], other.notes["labels"]))
    memory = own.peak - own.before, other.peak - other.before
    took = f"{seconds(own.median)}, scikit-learn {seconds(other.median)}"
    return [
        Row(f"{what}: memory", THEIRS, *map(mebibytes, memory), memory[1] / memory[0], 4, took, used),
        Row(f"{what}: the same {given.clusters} clusters", THEIRS, f"{same:.6f}", "1", same, 1.0, RAND, used),
    ]


if __name__ == "__main__":
    main()
