"""The steps of a cell as the cell itself runs them, each in a process that finds the earlier ones in the cache."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from clvq_exp.activations.batching import length_sorted_batches
from clvq_exp.activations.datamodule import ActivationDataModule
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import plain, read_json, write_json
from clvq_exp.cell import _Cell
from clvq_exp.composing import compose_cells
from clvq_exp.concepts.decoder import padding_of_a_pass
from clvq_exp.concepts.initialisation import initial_codebook
from clvq_exp.config import Config
from clvq_exp.estimate.method_codebooks import concept_parameters, decoder_pass
from clvq_exp.estimate.network import NetworkSizes
from clvq_exp.estimate.work import forward
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.language_models.recipe import ALONE, ModelProcesses
from clvq_exp.preflight import Preflight
from clvq_exp.records import LabelledTexts
from clvq_exp.settings import Split
from gpu.attempts import WatchedSteps
from gpu.shapes import Shape, language_model

EXTRACTION, ATTRIBUTION, KMEANS, TRAINING = "activations", "attribution", "kmeans", "concepts"
EVALUATION = ("ablation", "intervention", "specificity", "report")
STORE = "store.json"


_LATE = (
    *("captum.attr", "pytorch_lightning", "clvq_exp.concepts.clvq_vae", "clvq_exp.concepts.clustering"),
    *("faiss", "fastcluster", "sklearn.cluster", "scipy.cluster.hierarchy"),
)
"""What is imported late, and would count for the step that comes to it first."""


def import_late() -> None:
    """Import it before anything is measured."""
    for name in _LATE:
        importlib.import_module(name)


class Work(NamedTuple):
    """What a step has to do at the least."""

    operations: float
    """Of matrix products over real sub-words or words, padding left out."""
    bytes: float
    """To and from the card's memory: weights, gradients and moments; activations are not counted."""


def composed(shape: Shape, overrides: Sequence[str]) -> Config:
    """The cell's configuration: ERASER-Movie's prompt and classes, the paper's settings, one seed."""
    given = ["dataset=eraser_movie", "trainer=default", "seeds=[0]", "fine_tuning.when=never"]
    return compose_cells([*shape.overrides, *given, *overrides])[0].config


class BenchedCell(_Cell):
    """A cell over made-up texts and random weights, whose steps are watched.

    Args:
        config: the checked configuration.
        shape: of the language model.
        texts: labelled texts.
        folder: of the benchmark.
        device: where it runs.
    """

    def __init__(self, config: Config, shape: Shape, texts: LabelledTexts, folder: Path, device: Any) -> None:
        text = yaml.safe_dump(plain(config))
        ready = Preflight(texts, folder, "random weights", False, "made up", text, None)
        run_folder = folder / "run"
        run_folder.mkdir(parents=True, exist_ok=True)
        super().__init__(config, ready, run_folder)
        self.device = device
        self.shape = shape
        self.home = folder
        self.steps = WatchedSteps(folder / "attempts", device)
        self._model: LanguageModel | None = None

    def language_model(self) -> tuple[LanguageModel, dict[str, Any] | None, ModelProcesses]:
        """Made on the device, once for each process."""
        if self._model is None:
            with self.steps.step("language_model"):
                self._model = language_model(self.shape, self.config, self.device)
        self.subject = {"asked": plain(self._model.asked), "language_model": {"fingerprint": "made up"}}
        return self._model, None, ALONE

    def extract(self) -> Work:
        """Both layers of the pair; the store is then found without the model."""
        model, _, processes = self.language_model()
        store = self.activations(model, processes)
        folders = {layer: str(path) for layer, path in store.layer_folders.items()}
        write_json(self.home / STORE, {"tables": str(store.tables), "layers": folders})
        tokens = store.sentences.n_tokens
        budget = self.config.activations.batch_tokens
        sizes = sizes_of(model)
        operations = forward(sizes, tokens.astype(np.float64), budget, self.pair.upper).operations
        passes = len(length_sorted_batches(tokens, budget))
        return Work(operations, passes * weights_bytes(model) * self.pair.upper / max(1, model.n_layers))

    def store(self) -> ActivationStore:
        """Of an earlier process."""
        found = read_json(self.home / STORE)
        layers = {int(layer): Path(path) for layer, path in found["layers"].items()}
        return ActivationStore(Path(found["tables"]), layers)

    def attribute(self) -> Work:
        """Dev, and the refit probe's training sentences."""
        model, _, processes = self.language_model()
        store = self.store()
        explained = self.salient_words(model, store, processes)
        settings = self.config.attribution
        operations = moved = 0.0
        for each in explained.values():
            tokens = store.sentences.n_tokens[each.attributions.sentences].astype(np.float64)
            steps = each.attributions.steps.astype(np.float64)
            sizes = sizes_of(model)
            # A pass forward, one back through activations; and four more over texts and baselines.
            once = forward(sizes, tokens, settings.batch_tokens).operations
            operations += once * (2 * float(steps.mean()) + 4)
            moved += 2 * float((steps * tokens).sum()) / settings.batch_tokens * weights_bytes(model)
        return Work(operations, moved)

    def cluster(self) -> Work:
        """The initial codebook of every seed: k-means on the processor."""
        store, config = self.store(), self.config
        start, end = store.word_range(Split.train)
        with self.steps.step(KMEANS):
            for seed in config.seeds:
                initial_codebook(
                    self.cache, store, self.pair.lower, config.init, config.quantizer.codebook_size, seed
                )
        one_pass = 2.0 * (end - start) * config.quantizer.codebook_size * store.width
        return Work(one_pass * len(config.seeds), 0.0)

    def train(self) -> Work:
        """The cell's method and what stands beside it, every seed."""
        store, config = self.store(), self.config
        models, _ = self.concepts(store)
        weights = concept_parameters(config, store.width)
        words = {split: store.sentences.n_words[store.sentence_ids(split)] for split in Split}
        sizes = NetworkSizes(0, 0, store.width, 0, 1, 0)
        learning = decoder_pass(config, sizes, words[Split.train], 1.0).operations
        reading = decoder_pass(config, sizes, words[Split.validation], 1.0).operations
        epochs = sum(len(each.summary.history) - 1 for each in models[config.baseline["name"]].values())
        data = make_data(config, store, self.device)
        loader = iter(data.train_dataloader())
        passes = np.mean([len(next(loader).micro_batches) for _ in range(min(3, data.steps_per_epoch))])
        # A pass reads the weights twice, and reads and writes gradients; Adam reads four and writes three.
        moved = 4 * weights * epochs * data.steps_per_epoch * (4 * float(passes) + 7)
        return Work(3 * epochs * learning + (epochs + 5) * reading, moved)

    def evaluate(self) -> None:
        """All that is left of the cell, its run folder included."""
        self.run()


def make_data(config: Config, store: ActivationStore, device: Any) -> ActivationDataModule:
    """The batches that CLVQ-VAE is trained on."""
    trainer, pair = config.trainer, config.layer_pair
    return ActivationDataModule(
        store,
        pair.lower,
        pair.upper,
        trainer.batch_size,
        trainer.micro_batch_words,
        config.seeds[0],
        trainer.num_workers,
        trainer.resident_gib,
        device,
        padding_of_a_pass(store.width, config.decoder, device, trainer.packed),
    )


def sizes_of(model: Any) -> NetworkSizes:
    """Sizes of the weights that every sub-word is multiplied with."""
    return network_sizes(model.model)


def network_sizes(network: Any) -> NetworkSizes:
    """The same of a network of `transformers`, which may lie on torch's `meta` device."""
    embeddings = network.get_input_embeddings().weight
    every = {id(each): each.numel() for each in network.parameters()}
    body = sum(every.values()) - every.get(id(embeddings), 0)
    output = network.get_output_embeddings()
    if isinstance(output, torch.nn.Linear) and id(output.weight) != id(embeddings):
        body -= output.weight.numel()
    config = network.config
    layers, width = config.num_hidden_layers, config.hidden_size
    return NetworkSizes(body, layers, width, 0, config.num_attention_heads, config.intermediate_size)


def weights_bytes(model: Any) -> int:
    """Of the weights that a pass reads whole."""
    return sizes_of(model).parameters * next(model.model.parameters()).element_size()


STEPS: dict[str, Callable[[BenchedCell], Work | None]] = {
    EXTRACTION: BenchedCell.extract,
    ATTRIBUTION: BenchedCell.attribute,
    KMEANS: BenchedCell.cluster,
    TRAINING: BenchedCell.train,
    "evaluation": BenchedCell.evaluate,
}
"""Processes of a cell, in order."""
