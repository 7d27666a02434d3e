"""What one cell needs: its parts under the names of what they leave, and its memory."""

from __future__ import annotations

from pathlib import Path

from clvq_exp.artifacts import MANIFEST, cache_root, fingerprint
from clvq_exp.config import Config
from clvq_exp.estimate import sizes, work
from clvq_exp.estimate.evaluation import evaluation_parts
from clvq_exp.estimate.memory import fit_memory, step_memory, weights_memory
from clvq_exp.estimate.methods import methods_of
from clvq_exp.estimate.names import Names
from clvq_exp.estimate.records import ACTIVATIONS, ATTRIBUTION, LANGUAGE_MODEL, CellEstimate, Part
from clvq_exp.estimate.subject import Subject
from clvq_exp.language_models.sources import fine_tuning_inputs, model_fingerprint
from clvq_exp.records import LabelledTexts


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
    names = Names(subject)
    methods = methods_of(subject, names)
    return CellEstimate(
        parts=(
            *_language_model(subject, names),
            *_activations(subject, names),
            *_attribution(subject, names),
            *(part for method in methods for part in method.parts),
            *evaluation_parts(subject, names, methods),
        ),
        methods=methods,
        memory=step_memory(subject, methods),
        fits={each.name: fit_memory(subject, methods, each) for each in methods},
        weights=weights_memory(config, network, subject.device),
        store_bytes=len(sizes.store_layers(config)) * sizes.layer_bytes(config, network, corpus),
        run_bytes=sizes.run_bytes(config, corpus, methods),
    )


def _language_model(subject: Subject, names: Names) -> list[Part]:
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


def _activations(subject: Subject, names: Names) -> list[Part]:
    config, network, corpus = subject.config, subject.network, subject.corpus
    layers = sizes.store_layers(config)
    seconds = work.extraction_seconds(config, network, corpus, subject.rates, max(layers))
    opening = work.loading_seconds(sizes.weights_bytes(config, network))
    seconds = subject.extracting.beside_seconds(seconds, opening)
    of_layer = sizes.layer_bytes(config, network, corpus)
    return [
        Part(ACTIVATIONS, fingerprint([names.store, "pass", layers]), seconds),
        Part(ACTIVATIONS, names.tables, 0.0, 12 * int(corpus.stored.sum())),
        *(Part(ACTIVATIONS, names.layer(layer), 0.0, of_layer) for layer in layers),
    ]


def _attribution(subject: Subject, names: Names) -> list[Part]:
    corpus = subject.corpus
    budget = subject.config.trainer.sentences
    opening = work.loading_seconds(sizes.weights_bytes(subject.config, subject.network))
    parts: list[Part] = []
    for split, words in (("dev", corpus.dev), (f"refit {budget.refit}", corpus.refit)):
        seconds = work.attribution_seconds(
            subject.config, subject.network, words, corpus.tokens.of(words), subject.rates
        )
        seconds = subject.attributing.beside_seconds(seconds, opening)
        kept = 12 * int(words.sum()) + 50 * len(words)
        parts.append(Part(ATTRIBUTION, fingerprint([names.attribution, split]), seconds, kept))
    return parts
