"""Seconds and peak memory of Ward's tree: ours, whose memory is linear in the words, beside scikit-learn's.

    python benchmarks/ward.py
    python benchmarks/ward.py --words 8000 --width 384 --threads 2
    python benchmarks/ward.py --words 50000 --width 768 --only ours --activations CACHE/activations/NAME/words.bin

Each is a process of its own; a peak is the process's largest resident memory, and what it held before the tree
(imports, vectors) stands beside. scikit-learn holds the distance of every pair twice, 16 bytes: 20 GB for 50,000
words. Linux only.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

METHODS: tuple[str, ...] = ("ours", "scikit-learn")


class Measured(NamedTuple):
    """One tree."""

    seconds: float
    processor_seconds: float
    peak: int
    """Bytes."""
    before: int
    """Bytes held before the tree was begun."""


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


def run_one(method: str, given: argparse.Namespace, out: Path) -> None:
    """Make one tree in this process, and leave what was measured and the labels."""
    import torch

    torch.set_num_threads(given.threads)
    if given.activations:
        vectors = drawn(Path(given.activations), given.words, given.width)
    else:
        vectors = made_up(given.words, given.width)
    cluster = cluster_ours if method == "ours" else cluster_scikit_learn
    cluster(vectors[:100], 2)  # what is imported late is imported now
    before = peak()
    start, processor = time.monotonic(), time.process_time()
    labels = cluster(vectors, given.clusters)
    measured = Measured(time.monotonic() - start, time.process_time() - processor, peak(), before)
    np.save(out / f"{method}.npy", labels)
    (out / f"{method}.json").write_text(json.dumps(measured), encoding="utf-8")


def cluster_ours(vectors: np.ndarray, k: int) -> np.ndarray:
    import torch

    from clvq_exp.concepts.ward import cut, ward_tree

    return cut(ward_tree(torch.from_numpy(vectors)), k).numpy()


def cluster_scikit_learn(vectors: np.ndarray, k: int) -> np.ndarray:
    from sklearn.cluster import AgglomerativeClustering

    return AgglomerativeClustering(n_clusters=k, linkage="ward").fit_predict(vectors)


def peak() -> int:
    """The process's largest resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report(methods: list[str], folder: Path) -> str:
    """A table of both, and whether their clusters are the same."""
    lines = [f"{'':<14}{'seconds':>9}{'processor':>11}{'peak, MiB':>11}{'before':>8}"]
    for name in methods:
        found = Measured(*json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
        memory = f"{found.peak / 2**20:11.0f}{found.before / 2**20:8.0f}"
        lines.append(f"{name:<14}{found.seconds:9.1f}{found.processor_seconds:11.1f}{memory}")
    if len(methods) > 1:
        from sklearn.metrics import adjusted_rand_score

        labels = [np.load(folder / f"{name}.npy") for name in methods]
        lines.append(f"adjusted Rand index between them: {adjusted_rand_score(*labels):.6f}")
    return "\n".join(lines)


def main() -> None:
    """Measure each method in a process of its own, print the table."""
    parser = argparse.ArgumentParser(description="Seconds and peak memory of Ward's tree.")
    parser.add_argument("--words", type=int, default=2000, help="vectors (default 2000)")
    parser.add_argument("--width", type=int, default=384, help="their width (default 384)")
    parser.add_argument("--clusters", type=int, default=400, help="where the tree is cut (default 400)")
    parser.add_argument("--threads", type=int, default=1, help="of the matrix products (default 1)")
    parser.add_argument("--activations", help="a layer's words.bin in float32; default: made-up vectors")
    parser.add_argument("--only", choices=METHODS, help="leave the other out")
    parser.add_argument("--in-folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    methods: list[str] = [given.only] if given.only else list(METHODS)
    if given.in_folder:
        run_one(given.only, given, Path(given.in_folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in methods:
            subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--only", name, "--in-folder", folder], check=True
            )
        print(report(methods, Path(folder)))


if __name__ == "__main__":
    main()
