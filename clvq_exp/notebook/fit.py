"""A fit of a concept method to the caller's own activations: the cell's own code on a store of them."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache, plain
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.concepts.clvq_vae import ClvqVae
from clvq_exp.concepts.codebook_model import CodebookModel
from clvq_exp.config import Config, ConfigError, Method
from clvq_exp.evaluation.codes_alone import codes_alone
from clvq_exp.evaluation.summary import codebook_figures
from clvq_exp.fitting import ConceptFit, choose_device, fitted, make_method
from clvq_exp.notebook.given import OwnActivations
from clvq_exp.notebook.inspection import held_words
from clvq_exp.notebook.own_store import write_store
from clvq_exp.notebook.rows import NotebookError
from clvq_exp.settings import LayerPair, Split
from clvq_exp.sharing.records import Origin, SharedModel
from clvq_exp.sharing.shipped import ALONE, ARGUMENTS, OF_THE_MACHINE, Configured, stored_settings

_UNNAMED = LayerPair(0, 1)
"""Numbers of layers of which nobody said which they are."""


class OwnFit(NamedTuple):
    """What came out of a fit."""

    shared: SharedModel
    store: ActivationStore


def store_layers(told: tuple[int, int] | None, one_layer: bool) -> LayerPair:
    """The numbers under which layers lie in the store.

    Args:
        told: lower and upper layer; None where the caller did not say.
        one_layer: whether the concepts rebuild their own layer.

    Raises:
        NotebookError: numbers that are none of layers.
    """
    pair = LayerPair(*told) if told is not None else _UNNAMED
    if one_layer and pair.lower >= 0:
        return LayerPair(pair.lower, pair.lower)
    if not 0 <= pair.lower < pair.upper:
        raise NotebookError(
            f"layer_pair={told}: give the lower layer first, counted from 0, the embeddings; to rebuild the lower "
            "layer itself, leave out upper"
        )
    return pair


def fit_own(
    given: OwnActivations,
    configured: Configured,
    shipped: Configured | None,
    pair: LayerPair,
    seed: int,
    folder: Path,
    origin: Origin,
) -> OwnFit:
    """Write the store, fit the method as a run does, and look at what its concepts hold.

    Args:
        given: the caller's activations.
        configured: method and settings.
        shipped: the same without what the caller set; None where nothing was, or for a class of the caller's own.
        pair: numbers of the layers.
        seed: of the fit.
        folder: store and model are kept here, as in a cache: the same call finds them again.
        origin: what is told of the activations.

    Raises:
        NotebookError: activations that do not fit the method.
        ConfigError: a setting that the method has no use for.
        ConceptError: what the method says against them.
    """
    config = replace(configured.config, layer_pair=pair)
    method = configured.method
    _check_fit(make_method(method, config), config, given)
    cache = ArtifactCache(folder)
    store = write_store(cache, given, pair)
    model = make_method(method, config)
    _check_words(model.identity(store, pair), method, given)
    if shipped is not None:
        _check_influence(Configured(config, method, configured.changed), shipped.config, store, pair)
    device = choose_device(config.trainer.device)
    with _quiet_trainer():
        model, _ = fitted(ConceptFit(config, method, store, seed, device, folder), cache)
    held = held_words(model, store, pair.lower, given.label_names, given.words is not None)
    figures = codebook_figures({seed: model}, {seed: codes_alone(model, store, pair)})["seeds"][str(seed)]
    counts = {split.value: len(store.sentence_ids(split)) for split in (Split.train, Split.validation)}
    origin = replace(origin, label_names=given.label_names, counts={**counts, "words": store.n_words})
    settings = stored_settings(config, method)
    return OwnFit(SharedModel(model, method, settings, seed, origin, held, figures), store)


@contextmanager
def _quiet_trainer() -> Generator[None]:
    """Without Lightning's lines on devices and on other products of its own; warnings stay."""
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _check_fit(model: ConceptModel, config: Config, given: OwnActivations) -> None:
    """What can be told before anything is read."""
    if isinstance(model, CodebookModel) and model.n_concepts > given.train_words:
        raise NotebookError(
            f"{model.n_concepts} concepts are asked for, but there are {given.train_words} words to train on "
            f"({given.lower.n} rows less those that training is stopped on): set codebook_size to a part of that, "
            "or give more rows"
        )
    width, heads = given.lower.width, config.decoder.heads
    if isinstance(model, ClvqVae) and width % heads:
        divisors = [each for each in range(1, 33) if width % each == 0]
        raise NotebookError(
            f"the decoder's heads={heads} do not divide the width {width} of the activations: set heads to one of "
            f"{', '.join(map(str, divisors))}"
        )


def _check_words(identity: dict[str, Any], method: Method, given: OwnActivations) -> None:
    """Whether a method that chooses words by their form knows them."""
    chooses = identity.get("frequent") is not None or method.arguments.get("words") == "frequent"
    if chooses and given.words is None:
        raise NotebookError(f"{method.name} with these settings trains on frequent words: give words")


def _check_influence(configured: Configured, shipped: Config, store: ActivationStore, pair: LayerPair) -> None:
    """Refuse settings that this method does not read: its identity holds everything that can change a fit.

    Raises:
        ConfigError: names them.
    """
    config, method = configured.config, configured.method
    identity = plain(make_method(method, config).identity(store, pair))
    idle = [
        key
        for key, undone in _undone(config, shipped, configured.changed)
        if plain(make_method(method._replace(init=undone.init), undone).identity(store, pair)) == identity
    ]
    if idle:
        raise ConfigError([f"{key} changes nothing in a fit of {method.name}: leave it out" for key in idle])


def _undone(config: Config, shipped: Config, changed: Iterable[str]) -> Iterator[tuple[str, Config]]:
    """For each setting that was changed, the configuration with the shipped value in its place."""
    for key in changed:
        section, _, name = key.rpartition(".")
        if section == ARGUMENTS or name in OF_THE_MACHINE:
            continue
        now, before = (each if key == ALONE else getattr(each, section) for each in (config, shipped))
        if getattr(now, name) == getattr(before, name):
            continue
        value = getattr(before, name)
        undone = {key: value} if key == ALONE else {section: replace(now, **{name: value})}
        yield key, replace(config, **undone)
