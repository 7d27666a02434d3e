"""Random batches of training sentences from a large store, beside what a training step consumes.

    python benchmarks/store.py
    python benchmarks/store.py --gigabytes 4 --scratch FOLDER

The store's files are sparse: as long as real ones, and nearly empty on the disk, so that what is measured is the
way from a file that the system holds to padded batches. Anonymous memory is what the process holds of its own;
Linux only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import Row, Side, arguments, finish, in_turn, mebibytes, versions, worker

WIDTH = 768
LAYERS = (4, 8)
BATCHES = 8
"""In a repetition."""
FASTER = 10.0
LIMIT_BYTES = 2**30
Repeat = Callable[[], "dict[str, Any]"]


def sparse_store(folder: Path, gigabytes: float) -> None:
    """Tables of made-up sentences of 5 to 60 words, and two layers of zeros that take no room."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from clvq_exp.activations.store import (
        LAYER_FACTS,
        SENTENCE_REPRESENTATIONS,
        SENTENCES_TABLE,
        WORD_ACTIVATIONS,
    )
    from clvq_exp.settings import Split

    n_words = int(gigabytes * 1e9 / len(LAYERS) / (4 * WIDTH))
    generator = np.random.default_rng(0)
    lengths = generator.integers(5, 61, n_words // 30)
    lengths = lengths[np.cumsum(lengths) <= n_words]
    tables = folder / "tables"
    tables.mkdir(parents=True)
    n = len(lengths)
    order = {split: number for number, split in enumerate(Split)}
    columns = {
        "id": [str(row) for row in range(n)],
        "split": np.full(n, order[Split.train], dtype=np.int8),
        "label": np.zeros(n, dtype=np.int64),
        "first_word": np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64),
        "n_words": lengths.astype(np.int64),
        "n_tokens": lengths.astype(np.int64) + 2,
    }
    pq.write_table(pa.table(columns), tables / SENTENCES_TABLE)
    for layer in LAYERS:
        out = folder / str(layer)
        out.mkdir()
        facts = {"layer": layer, "width": WIDTH, "dtype": "float32", "n_words": int(lengths.sum())}
        (out / LAYER_FACTS).write_text(json.dumps({**facts, "tables": tables.name}), encoding="utf-8")
        for name, rows in ((WORD_ACTIVATIONS, int(lengths.sum())), (SENTENCE_REPRESENTATIONS, n)):
            with (out / name).open("wb") as stream:
                stream.truncate(rows * 4 * WIDTH)


def anonymous() -> int:
    """Memory that the process holds of its own, in bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def reading(given: argparse.Namespace) -> Repeat:
    from clvq_exp.activations.datamodule import ActivationDataModule
    from clvq_exp.activations.store import ActivationStore

    folder = Path(given.store)
    store = ActivationStore(folder / "tables", {layer: folder / str(layer) for layer in LAYERS})
    data = ActivationDataModule(store, *LAYERS, batch_size=128, micro_batch_words=1024, seed=0)
    batches = iter(data.train_dataloader())

    def repeat() -> dict[str, Any]:
        words = sum(next(batches).n_words for _ in range(BATCHES))
        return {"words": words, "anonymous": anonymous()}

    return repeat


def training(given: argparse.Namespace) -> Repeat:
    """Forward and backward passes of the default model, without its reading."""
    import torch

    from clvq_exp.composing import compose_cells
    from clvq_exp.concepts.base import ConceptSettings
    from clvq_exp.concepts.module import ClvqVaeModule
    from clvq_exp.records import MicroBatch

    del given
    config = compose_cells([])[0].config
    settings = ConceptSettings(
        config.encoder, config.quantizer, config.decoder, config.init, config.trainer, config.weight_decay_on
    )
    module = ClvqVaeModule(WIDTH, settings, seed=0).train()
    module.quantizer.initialise(torch.randn(module.quantizer.size, WIDTH), torch.ones(module.quantizer.size))
    words = torch.randn(32, 32, WIDTH)
    real = torch.ones(32, 32, dtype=torch.bool)
    batch = MicroBatch(words, words, real, torch.arange(1024).reshape(32, 32))

    def repeat() -> dict[str, Any]:
        out = module(batch, noise=(0, 0, 0))
        module.total_loss(out.losses, 1024).backward()
        return {"words": 1024}

    return repeat


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__)
    parser.add_argument("--gigabytes", type=float, default=40, help="of both layers together (default 40)")
    parser.add_argument(
        "--scratch", type=Path, default=Path(tempfile.gettempdir()), help="where the files are made"
    )
    parser.add_argument("--store", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        import torch

        torch.set_num_threads(given.threads)
        worker(lambda: {"reading": reading, "training": training}[given.side](given))
        return
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        store = Path(folder) / "store"
        sparse_store(store, given.gigabytes)
        passed = ["--threads", str(given.threads), "--store", str(store)]
        found = in_turn(__file__, passed, [Side("reading"), Side("training")], given.repetitions)
    rates = {name: side.notes["words"] / side.median for name, side in found.items()}
    held = max(note["anonymous"] for note in found["reading"].noted)
    what = f"random batches, store of {given.gigabytes:g} GB"
    finish(
        [
            Row(
                what,
                "a training step, d 768",
                f"{rates['reading']:,.0f} words/s",
                f"{rates['training']:,.0f} words/s",
                rates["reading"] / rates["training"],
                FASTER,
                versions=versions("torch"),
            ),
            Row(
                f"{what}: anonymous memory",
                "1 GiB",
                mebibytes(held),
                mebibytes(LIMIT_BYTES),
                LIMIT_BYTES / held,
                1,
            ),
        ],
        given.rows,
    )


if __name__ == "__main__":
    main()
