"""Sparse networks beside an independent implementation, on the same activations at equal L0.

    python3.11 -m venv FOLDER && FOLDER/bin/pip install torch dictionary-learning==0.1.0
    python benchmarks/sparse_peers.py --peer FOLDER
    python benchmarks/sparse_peers.py --peer FOLDER --tables FOLDER --layer 6=FOLDER --neurons 2048 --l0 32

Both rebuild the layer that they read, which is what the peer can do, with as many neurons, steps, words per step
and the same rate; beside that the peer keeps its own recipe (its starts, warm-ups and decay). Figures are the
share of the validation words' variance that is left, once for ReLU with L1, where each searches the penalty that
gives the wanted L0, and once for TopK. Without a store the words are planted: 128 directions of 64 dimensions, six
of them in a word on the average, and noise. The peer lives in a virtual environment of its own, where this file is
its worker.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

ALLOWED = 0.05
"""How much more may be left than by the peer."""
TRAININGS = 6
"""Penalties that are tried."""


class Point(NamedTuple):
    """One trained network."""

    l0: float
    left: float
    """Share of the variance that is not explained."""


class Plan(NamedTuple):
    """What both sides train."""

    neurons: int
    l0: float
    batch_words: int
    epochs: int
    learning_rate: float
    first_l1: float


def at_equal_l0(train: Callable[[float], Point], wanted: float, first: float) -> Point:
    """The share left at an L0, between the trained networks on both sides of it.

    The logarithms of L0 and of the penalty lie nearly on a line, which is followed to the wanted L0.
    """
    tried: list[tuple[float, Point]] = []
    l1, slope = first, -1.3
    for _ in range(TRAININGS):
        point = train(l1)
        tried.append((l1, point))
        print(f"    l1 {l1:.4f}: L0 {point.l0:.2f}, left {point.left:.4f}", file=sys.stderr, flush=True)
        distance = math.log(wanted / max(point.l0, 0.1))
        if abs(distance) < 0.02:
            break
        if len(tried) > 1:
            (a, one), (b, other) = tried[-2:]
            found = math.log(max(other.l0, 0.1) / max(one.l0, 0.1)) / math.log(b / a)
            slope = min(-0.5, max(-4.0, found))
        l1 *= math.exp(distance / slope)
    points = sorted({point for _, point in tried})
    logs = np.log([point.l0 for point in points]), np.log([point.left for point in points])
    return Point(wanted, float(np.exp(np.interp(math.log(wanted), *logs))))


# --- the peer, in its own environment


def peer(given: Path, out: Path) -> None:
    """Train the peer's networks on what lies in a file and write what they leave."""
    from dictionary_learning.trainers.standard import StandardTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    torch.set_num_threads(1)
    arrays = np.load(given)
    plan = Plan(*json.loads(str(arrays["plan"])))
    train, validation = (torch.from_numpy(arrays[name]) for name in ("train", "validation"))
    steps = plan.epochs * -(-len(train) // plan.batch_words)
    common: dict[str, Any] = {
        "steps": steps,
        "activation_dim": train.shape[1],
        "dict_size": plan.neurons,
        "layer": 0,
        "lm_name": "",
        "lr": plan.learning_rate,
        "warmup_steps": steps // 20,
        "decay_start": int(0.8 * steps),
        "seed": 0,
        "device": "cpu",
    }

    def trained(trainer: Any) -> Point:
        generator = torch.Generator().manual_seed(0)
        step = 0
        while step < steps:
            for rows in torch.randperm(len(train), generator=generator).split(plan.batch_words):
                trainer.update(step, train[rows])
                step += 1
        with torch.no_grad():
            rebuilt, active = trainer.ae(validation, output_features=True)
        error = (rebuilt - validation).square().sum() / (validation - train.mean(0)).square().sum()
        return Point(float((active > 0).sum(1).float().mean()), float(error))

    def of_penalty(l1: float) -> Point:
        return trained(StandardTrainer(**common, l1_penalty=l1, sparsity_warmup_steps=steps // 20))

    relu = at_equal_l0(of_penalty, plan.l0, plan.first_l1)
    top_k = trained(TopKTrainer(**common, k=round(plan.l0)))
    out.write_text(json.dumps({"relu": relu, "top_k": top_k}), encoding="utf-8")


# --- this implementation


def own(store: Any, layer: int, plan: Plan, folder: Path) -> dict[str, Point]:
    """Fit the project's networks as a cell does."""
    from clvq_exp.artifacts import ArtifactCache
    from clvq_exp.concepts.base import ConceptModel, ConceptSettings, FitRun
    from clvq_exp.concepts.sparse.autoencoder import SparseAutoencoder
    from clvq_exp.concepts.sparse.transcoder import SparseTranscoder
    from clvq_exp.settings import (
        DecoderSettings,
        EncoderSettings,
        InitMethod,
        InitSettings,
        LayerPair,
        QuantizerSettings,
        SentenceBudget,
        TrainerSettings,
        WeightDecayOn,
    )

    torch.set_num_threads(1)
    trainer = TrainerSettings("peers", SentenceBudget(), plan.epochs, plan.epochs, 1, 1)
    unused = (EncoderSettings(), QuantizerSettings(), DecoderSettings(), InitSettings("none", InitMethod.random))
    settings = ConceptSettings(*unused, trainer, WeightDecayOn.weights_only)
    training = {"learning_rate": plan.learning_rate, "batch_words": plan.batch_words}

    def fitted(model: ConceptModel) -> Point:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            model.fit(
                FitRun(
                    store,
                    LayerPair(layer, layer),
                    0,
                    Path(work),
                    ArtifactCache(folder / "cache"),
                    torch.device("cpu"),
                )
            )
        summary = model.summary
        assert summary.l0 is not None
        assert summary.variance_explained is not None
        return Point(summary.l0, 1 - summary.variance_explained)

    def of_penalty(l1: float) -> Point:
        return fitted(SparseAutoencoder(settings, plan.neurons, [l1], plan.l0, **training))

    width = store.width
    relu = at_equal_l0(of_penalty, plan.l0, plan.first_l1)
    return {
        "relu": relu,
        "top_k": fitted(SparseTranscoder(settings, round(plan.l0), plan.neurons // width, **training)),
    }


def planted_store(folder: Path, n_train: int, width: int = 64, features: int = 128) -> Any:
    """A store of one layer whose words hold planted directions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from clvq_exp.activations import store as layout
    from clvq_exp.artifacts import write_json

    generator = np.random.default_rng(0)
    counts = {"train": n_train // 20, "validation": n_train // 200, "dev": 1}
    n = sum(counts.values())
    directions = generator.normal(size=(features, width))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    amounts = generator.exponential(1.0, (20 * n, features)) * (
        generator.random((20 * n, features)) < 6 / features
    )
    words = amounts @ directions + 0.1 * generator.normal(size=(20 * n, width)) + generator.normal(size=width)
    tables, layer = folder / "tables", folder / "layer"
    tables.mkdir()
    layer.mkdir()
    lengths = np.full(n, 20)
    columns = {
        "split": pa.array(np.repeat(np.arange(3), list(counts.values())), pa.int8()),
        "label": pa.array(np.arange(n) % 2),
        "first_word": pa.array(20 * np.arange(n)),
        "n_words": pa.array(lengths),
        "n_tokens": pa.array(lengths),
    }
    pq.write_table(pa.table(columns), tables / layout.SENTENCES_TABLE)
    words.astype(np.float32).tofile(layer / layout.WORD_ACTIVATIONS)
    words[::20].astype(np.float32).tofile(layer / layout.SENTENCE_REPRESENTATIONS)
    facts = {"layer": 0, "width": width, "dtype": "float32", "after_final_norm": False}
    write_json(layer / layout.LAYER_FACTS, facts)
    return layout.ActivationStore(tables, {0: layer})


def for_peer(store: Any, layer: int, plan: Plan, path: Path) -> None:
    """The words as the peer expects them: centred, with norms of 1 on the average."""
    from clvq_exp.concepts.sparse.network import layer_moments
    from clvq_exp.settings import Split

    moments = layer_moments(store, layer)
    words = {
        split.value: torch.cat([block for _, block in store.iterate_words(layer, (split,))])
        for split in (Split.train, Split.validation)
    }
    scaled = {name: ((each - moments.mean) / moments.scale).numpy() for name, each in words.items()}
    np.savez(path, plan=json.dumps(plan), **scaled)


def main() -> int:
    """Both sides, and a table."""
    if sys.argv[1:2] == ["--as-peer"]:
        peer(*map(Path, sys.argv[2:4]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="virtual environment with dictionary-learning")
    parser.add_argument("--tables", type=Path, help="tables of a store: the folder under <cache>/words")
    parser.add_argument("--layer", help="layer=folder under <cache>/activations")
    parser.add_argument("--words", type=int, default=20_000, help="planted training words")
    parser.add_argument("--neurons", type=int, default=256, help="a multiple of the width")
    parser.add_argument("--l0", type=float, default=8.0)
    parser.add_argument("--batch-words", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--first-l1", type=float, default=0.25, help="penalty that the search begins with")
    given = parser.parse_args()
    plan = Plan(given.neurons, given.l0, given.batch_words, given.epochs, given.learning_rate, given.first_l1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layer = 0
        if given.tables is None:
            store = planted_store(folder, given.words)
        else:
            from clvq_exp.activations.store import ActivationStore

            number, _, path = given.layer.partition("=")
            layer = int(number)
            store = ActivationStore(given.tables, {layer: Path(path)})
        for_peer(store, layer, plan, folder / "given.npz")
        begun = time.monotonic()
        python = given.peer / "bin" / "python"
        subprocess.run(
            [str(python), __file__, "--as-peer", str(folder / "given.npz"), str(folder / "peer.json")], check=True
        )
        of_peer = time.monotonic() - begun
        found = own(store, layer, plan, folder)
        of_own = time.monotonic() - begun - of_peer
        theirs = {kind: Point(*each) for kind, each in json.loads((folder / "peer.json").read_text()).items()}
    print(f"{'':8} {'L0':>6} {'left, here':>11} {'left, peer':>11} {'difference':>11}")
    worst = 0.0
    for kind, ours in found.items():
        difference = ours.left / theirs[kind].left - 1
        worst = max(worst, difference)
        print(f"{kind:8} {ours.l0:6.2f} {ours.left:11.4f} {theirs[kind].left:11.4f} {difference:+11.1%}")
    print(f"seconds: {of_own:.0f} here, {of_peer:.0f} the peer; allowed: {ALLOWED:+.0%}")
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
