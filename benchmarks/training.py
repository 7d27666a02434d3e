"""Training of CLVQ-VAE beside its decoder's own forward and backward pass.

    python benchmarks/training.py --texts FOLDER_OR_FILE

Ours is an epoch of the fit, with everything that belongs to it: batches of 128 sentences read from the store and
cut into micro-batches, encoder, quantizer, decoder, losses, Adam, the moving averages of the codebook. The limit
is the decoder alone, run forwards, and backwards to its weights and to both of its inputs, on as many words in
sentences that all have the mean length, so that nothing is padded.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from subjects import MODELS, model_folder, open_model, sentences
from turns import Row, Side, arguments, finish, in_turn, versions, worker

PAIRS = {"minilm": (4, 6), "bert": (4, 8)}
FLOOR = 0.85
VALIDATION = 16
Repeat = Callable[[], "dict[str, Any]"]


def store_of(given: argparse.Namespace) -> Any:
    """Activations of the texts, made once."""
    from clvq_exp.activations.extraction import extract
    from clvq_exp.artifacts import ArtifactCache
    from clvq_exp.settings import ActivationSettings, Split

    rows = sentences(given.texts, given.sentences + VALIDATION)
    splits = {Split.train: rows[VALIDATION:], Split.validation: rows[:VALIDATION]}
    model = open_model(given.model, given.models)
    return extract(
        ArtifactCache(given.models / "cache"), model, splits, PAIRS[given.model], ActivationSettings(), 512
    )


def concept_settings(given: argparse.Namespace) -> Any:
    """What a cell without overrides trains, for one epoch."""
    from clvq_exp.composing import compose_cells
    from clvq_exp.concepts.base import ConceptSettings

    config = compose_cells(["trainer=default", f"decoder.layers={given.layers}"])[0].config
    trainer = replace(config.trainer, max_epochs=1, device="cpu")
    return ConceptSettings(
        init=config.init,
        encoder=config.encoder,
        quantizer=config.quantizer,
        decoder=config.decoder,
        trainer=trainer,
        weight_decay_on=config.weight_decay_on,
    )


def ours(given: argparse.Namespace) -> Repeat:
    import torch

    from clvq_exp.activations.datamodule import ActivationDataModule
    from clvq_exp.artifacts import ArtifactCache
    from clvq_exp.concepts.base import FitRun
    from clvq_exp.concepts.decoder import padding_of_a_pass
    from clvq_exp.concepts.module import ClvqVaeModule
    from clvq_exp.concepts.training import train
    from clvq_exp.records import ActivationBatch
    from clvq_exp.settings import LayerPair, Split

    store, settings = store_of(given), concept_settings(given)
    pair, device = LayerPair(*PAIRS[given.model]), torch.device("cpu")
    start, end = store.word_range(Split.train)
    drawn = torch.linspace(start, end - 1, settings.quantizer.codebook_size).long()
    codes = store.gather_words(pair.lower, drawn)

    class Timed(ClvqVaeModule):
        """Knows when its epoch of training began and ended."""

        begun = ended = 0.0

        def on_train_epoch_start(self) -> None:
            super().on_train_epoch_start()
            self.begun = time.perf_counter()

        def training_step(self, batch: ActivationBatch, batch_idx: int) -> None:
            super().training_step(batch, batch_idx)
            self.ended = time.perf_counter()

    def repeat() -> dict[str, Any]:
        module = Timed(store.width, settings, seed=0)
        counts = torch.full((len(codes),), (end - start) / len(codes))
        trainer = settings.trainer
        data = ActivationDataModule(
            store,
            pair.lower,
            pair.upper,
            trainer.batch_size,
            trainer.micro_batch_words,
            seed=0,
            batch_cost=padding_of_a_pass(store.width, settings.decoder, device, trainer.packed),
        )
        with tempfile.TemporaryDirectory(dir=given.models) as work:
            run = FitRun(store, pair, 0, Path(work), ArtifactCache(given.models / "cache"), device)
            train(module, data, trainer, run, lambda: module.quantizer.initialise(codes, counts))
        return {"words": end - start, "epoch": module.ended - module.begun}

    return repeat


def limit(given: argparse.Namespace) -> Repeat:
    import torch

    from clvq_exp.concepts.decoder import ConceptDecoder
    from clvq_exp.settings import Split

    store, settings = store_of(given), concept_settings(given)
    start, end = store.word_range(Split.train)
    mean = round((end - start) / len(store.sentence_ids(Split.train)))
    at_once = max(1, settings.trainer.micro_batch_words // mean)
    passes = round((end - start) / (at_once * mean))
    decoder = ConceptDecoder(store.width, settings.decoder).train()
    words = torch.randn(at_once, mean, store.width)
    real = torch.ones(at_once, mean, dtype=torch.bool)

    def repeat() -> dict[str, Any]:
        begun = time.perf_counter()
        for _ in range(passes):
            quantized, z_e = (words.clone().requires_grad_() for _ in range(2))
            decoder(quantized, z_e, real).sum().backward()
        return {"words": passes * at_once * mean, "epoch": time.perf_counter() - begun}

    return repeat


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__)
    parser.add_argument("--texts", help="JSONL file or folder of such (text, label 0 or 1); default: film reviews")
    parser.add_argument("--sentences", type=int, default=512, help="of an epoch (default 512)")
    parser.add_argument("--layers", type=int, default=6, help="of the decoder (default 6)")
    parser.add_argument("--models", type=Path, help="keeps models and activations; default: made anew")
    parser.add_argument("--model", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        import torch

        torch.set_num_threads(given.threads)
        worker(lambda: {"ours": ours, "limit": limit}[given.side](given))
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        models = given.models or Path(folder)
        for name in MODELS:
            model_folder(name, models)
            passed = ["--threads", str(given.threads), "--models", str(models), "--model", name]
            passed += ["--sentences", str(given.sentences), "--layers", str(given.layers)]
            passed += ["--texts", given.texts] if given.texts else []
            found = in_turn(__file__, passed, [Side("limit"), Side("ours")], given.repetitions)
            rates = {
                side: each.median_of(lambda note: note["words"] / note["epoch"]) for side, each in found.items()
            }
            rows.append(
                Row(
                    f"training, width of {name}, {given.layers} layers",
                    "the decoder alone, unpadded",
                    f"{rates['ours']:,.0f} words/s",
                    f"{rates['limit']:,.0f} words/s",
                    rates["ours"] / rates["limit"],
                    FLOOR,
                    versions=versions("torch", "pytorch-lightning"),
                )
            )
    finish(rows, given.rows)


if __name__ == "__main__":
    main()
