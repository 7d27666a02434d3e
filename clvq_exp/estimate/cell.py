"""What one cell needs: its parts under the names of what they leave, and its memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.artifacts import MANIFEST, cache_root, fingerprint, plain
from clvq_exp.config import Config
from clvq_exp.estimate import sizes, work
from clvq_exp.estimate.corpus import Corpus
from clvq_exp.estimate.network import NetworkSizes
from clvq_exp.estimate.records import (
    ABLATION,
    ACTIVATIONS,
    ATTRIBUTION,
    CONCEPTS,
    INTERVENTION,
    LANGUAGE_MODEL,
    REPORT,
    CellEstimate,
    Part,
    Rates,
)
from clvq_exp.language_models.sources import fine_tuning_inputs, model_fingerprint
from clvq_exp.records import LabelledTexts
from clvq_exp.settings import AttributionAt

UNTRAINED = "clvq_exp.concepts.kmeans_codes.KMeansCodes"
_TARGETS = ("clvq_exp.concepts.clvq_vae.ClvqVae", UNTRAINED)
"""Methods whose work is known here; any other is counted as CLVQ-VAE."""
_NOT_OF_TRAINING = (
    *("name", "sentences", "attribution_steps", "fine_tuning_epochs", "seeds"),
    *("num_workers", "resident_gib", "device"),
)
_OF_CONCEPTS, _OF_NO_CONCEPT = 2, 2
"""Conditions of the live intervention that hang on the concept model, and those that do not."""


class Subject(NamedTuple):
    """All that an estimate is made of."""

    config: Config
    network: NetworkSizes
    corpus: Corpus
    device: str
    """`cpu` or `cuda`."""
    tuned: bool
    """Whether the language model is fine-tuned before it is studied."""
    there: bool = False
    """Whether the fine-tuned model lies in the cache."""
    rates: Rates = Rates(1.0, 1.0)
    """Without rates the seconds mean nothing; memory and disk are right all the same."""

    @property
    def trained(self) -> bool:
        """Whether a concept model is trained."""
        return self.config.baseline.get("_target_") != UNTRAINED


def is_known(config: Config) -> bool:
    """Whether the work of the cell's concept method is known."""
    return config.baseline.get("_target_") in _TARGETS


def tuned_before(config: Config, folder: Path, texts: LabelledTexts, sentences: int, device: str) -> bool:
    """Whether the cache holds this model, fine-tuned on these texts."""
    inputs = fine_tuning_inputs(
        model_fingerprint(folder, config.model),
        texts.fingerprint,
        sentences,
        config.model,
        config.fine_tuning,
        device,
    )
    return (cache_root() / "language_models" / fingerprint(inputs) / MANIFEST).is_file()


def estimate_cell(subject: Subject) -> CellEstimate:
    """What one cell needs from nothing, but for a fine-tuned model that is there."""
    config, network, corpus = subject.config, subject.network, subject.corpus
    names = _Names(subject)
    return CellEstimate(
        parts=(
            *_language_model(subject, names),
            *_activations(subject, names),
            *_attribution(subject, names),
            *_concepts(subject, names),
            *_evaluation(subject, names),
        ),
        memory=sizes.step_memory(
            config, network, corpus, subject.device, subject.tuned and not subject.there, subject.trained
        ),
        weights=sizes.weights_memory(config, network, subject.device),
        store_bytes=len(sizes.store_layers(config)) * sizes.layer_bytes(config, network, corpus),
        run_bytes=sizes.run_bytes(config, network, corpus, subject.trained),
    )


class _Names:
    """Names of what the cells of a sweep may share: the settings that each artifact hangs on."""

    def __init__(self, subject: Subject) -> None:
        config = subject.config
        self._config = config
        texts = [config.dataset, config.protocol.remove_duplicates]
        tuning = [config.fine_tuning, config.trainer.sentences.fine_tuning] if subject.tuned else None
        self.model = fingerprint([config.model, texts, tuning])
        budget = config.trainer.sentences
        self.tables = fingerprint([self.model, budget.concepts, budget.evaluation])
        stored = [config.activations.sub_word, config.activations.dtype, config.activations.batch_tokens]
        self.store = fingerprint([self.tables, stored])
        of_attribution: dict[str, Any] = plain(config.attribution)
        for name in ("sentence_token_can_be_salient", "salient_by"):
            of_attribution.pop(name)
        lower = config.layer_pair.lower if config.attribution.at is AttributionAt.lower_layer else None
        self.attribution = fingerprint([self.tables, of_attribution, lower])

    def layer(self, layer: int) -> str:
        """One layer of the store."""
        return fingerprint([self.store, layer])

    def codebook(self, seed: int) -> str:
        """The initial codebook of a seed."""
        config = self._config
        return fingerprint(
            ["codebook", self.layer(config.layer_pair.lower), config.init, config.quantizer.codebook_size, seed]
        )

    def concepts(self, seed: int) -> str:
        """The trained concept model of a seed."""
        config = self._config
        trainer: dict[str, Any] = plain(config.trainer)
        for name in _NOT_OF_TRAINING:
            trainer.pop(name)
        method = [config.baseline, config.encoder, config.quantizer, config.decoder, trainer]
        target = self.layer(config.layer_pair.upper)
        return fingerprint(["concepts", self.codebook(seed), target, method, config.weight_decay_on])


def _language_model(subject: Subject, names: _Names) -> list[Part]:
    config, network = subject.config, subject.network
    whole = 4 * network.parameters
    opening = work.loading_seconds(sizes.weights_bytes(config, network))
    parts = [Part(LANGUAGE_MODEL, None, opening)]
    if subject.tuned and not subject.there:
        kept = min(3, config.fine_tuning.epochs)  # two checkpoints, and the next one until it is whole
        working = kept * sizes.CHECKPOINT * network.parameters
        seconds = work.tuning_seconds(config, network, subject.corpus, subject.rates)
        parts.append(Part(LANGUAGE_MODEL, names.model, seconds, whole, working))
    if config.model.gguf_file is not None:
        seconds = whole / work.UNPACKED_BYTES_PER_SECOND
        parts.append(Part(LANGUAGE_MODEL, fingerprint(["gguf", config.model]), seconds, whole))
    return parts


def _activations(subject: Subject, names: _Names) -> list[Part]:
    config, network, corpus = subject.config, subject.network, subject.corpus
    layers = sizes.store_layers(config)
    seconds = work.extraction_seconds(config, network, corpus, subject.rates, max(layers))
    of_layer = sizes.layer_bytes(config, network, corpus)
    return [
        Part(ACTIVATIONS, fingerprint([names.store, "pass", layers]), seconds),
        Part(ACTIVATIONS, names.tables, 0.0, 12 * int(corpus.stored.sum())),
        *(Part(ACTIVATIONS, names.layer(layer), 0.0, of_layer) for layer in layers),
    ]


def _attribution(subject: Subject, names: _Names) -> list[Part]:
    corpus = subject.corpus
    budget = subject.config.trainer.sentences
    parts: list[Part] = []
    for split, words in (("dev", corpus.dev), (f"refit {budget.refit}", corpus.refit)):
        seconds = work.attribution_seconds(
            subject.config, subject.network, words, corpus.tokens.of(words), subject.rates
        )
        kept = 12 * int(words.sum()) + 50 * len(words)
        parts.append(Part(ATTRIBUTION, fingerprint([names.attribution, split]), seconds, kept))
    return parts


def _concepts(subject: Subject, names: _Names) -> list[Part]:
    config, network, corpus, rates = subject.config, subject.network, subject.corpus, subject.rates
    parts: list[Part] = []
    code_bytes = 4 * config.quantizer.codebook_size * network.width
    members = work.members_seconds(config, network, corpus, rates)
    for seed in config.seeds:
        codebook = names.codebook(seed)
        clustering = work.clustering_seconds(config, network, corpus, rates)
        parts.append(Part(CONCEPTS, codebook, clustering, code_bytes))
        untrained = sizes.concept_model_bytes(config, network.width, False)
        parts.append(Part(CONCEPTS, fingerprint(["untrained", codebook]), members, untrained))
        if subject.trained:
            seconds = members + work.training_seconds(config, network, corpus, rates)
            whole = sizes.concept_model_bytes(config, network.width, True)
            # The best and the last epoch, and the next one until it is whole.
            working = 3 * sizes.CHECKPOINT * sizes.concept_parameters(config, network.width)
            parts.append(Part(CONCEPTS, names.concepts(seed), seconds, whole, working))
    return parts


def _evaluation(subject: Subject, names: _Names) -> list[Part]:
    config, network, corpus, rates = subject.config, subject.network, subject.corpus, subject.rates
    trained = subject.trained
    parts = [Part(ABLATION, None, work.ablation_seconds(config, network, corpus, rates, trained))]
    if config.evaluation.intervention:
        one = work.intervention_seconds(config, network, corpus, rates, _OF_CONCEPTS)
        kept = 20 * len(corpus.dev) * len(config.seeds) * 3
        of_codes = [names.attribution, *(names.codebook(seed) for seed in config.seeds)]
        of_concepts = [names.attribution, *(names.concepts(seed) for seed in config.seeds)]
        methods = (of_concepts, of_codes) if trained else (of_codes,)
        for method in methods:
            for removal in range(2):
                parts.append(Part(INTERVENTION, fingerprint(["live", removal, method]), one, kept))
        controls = work.intervention_seconds(config, network, corpus, rates, _OF_NO_CONCEPT)
        name = fingerprint(["controls", names.attribution, config.layer_pair.lower, config.seeds])
        parts.append(Part(INTERVENTION, name, controls, kept))
    parts.append(Part(REPORT, None, work.report_seconds(config, corpus, trained)))
    return parts
