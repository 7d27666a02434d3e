"""Estimates of all cells of a sweep, and of all of them together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from clvq_exp.artifacts import fingerprint
from clvq_exp.config import Config
from clvq_exp.estimate.cell import estimate_cell, tuned_before
from clvq_exp.estimate.corpus import (
    SUB_WORDS_PER_WORD,
    Corpus,
    GivenTexts,
    assumed_corpus,
    corpus_of,
    tokens_of,
)
from clvq_exp.estimate.hardware import busy_cores, device_of, measure_rates
from clvq_exp.estimate.methods import is_known
from clvq_exp.estimate.network import GivenSizes, NetworkSizes, facts_folder, network_sizes
from clvq_exp.estimate.processes import GPU_EFFICIENCY
from clvq_exp.estimate.records import CellEstimate, Part, Rates, StepMemory, Total, largest, total
from clvq_exp.estimate.shortage import argument_problems, disk_problems, memory_problems, shortage
from clvq_exp.estimate.subject import Subject
from clvq_exp.language_models.sources import needs_fine_tuning
from clvq_exp.records import LabelledTexts
from clvq_exp.settings import NumberFormat
from clvq_exp.texts import TextsError, load_texts

_BUSY = 0.25
"""Share of the cores at work from which an estimate says so."""


class Asked(NamedTuple):
    """One cell that an estimate is asked for."""

    overrides: tuple[str, ...]
    """What tells it from the other cells."""
    config: Config
    run_folder: Path


class Given(NamedTuple):
    """What the user states about a model or texts that are not there."""

    sizes: GivenSizes = GivenSizes()
    texts: GivenTexts = GivenTexts()


class EstimatedCell(NamedTuple):
    """One cell with its estimate."""

    asked: Asked
    estimate: CellEstimate
    alone: Total
    """As if it were the only one."""
    added_seconds: float
    """Beside what the cells before it leave in the cache."""
    added_cache_bytes: int
    problems: tuple[str, ...]
    """Why it cannot run on this machine."""
    shortages: tuple[str, ...]
    """What is probably too little."""
    notes: tuple[str, ...]
    """What the estimate assumes."""


class EstimatedSweep(NamedTuple):
    """All cells, on one machine."""

    cells: tuple[EstimatedCell, ...]
    together: Total
    peak: StepMemory
    run_bytes: int
    device: str
    threads: int
    rate: float
    """Of a plain matrix product of the first cell's width, FLOP/s."""


def estimate_sweep(asked: Sequence[Asked], given: Given | None = None) -> EstimatedSweep:
    """Estimate cells one after another; what a cell shares with those before it counts once.

    Args:
        asked: at least one cell.
        given: sizes that the user states; they win over what is found.

    Raises:
        LanguageModelError: a model whose sizes nothing tells.
        TextsError: texts that cannot be used at the path that is given.
    """
    estimator = _Estimator(given or Given())
    parts: list[Part] = []
    cells: list[EstimatedCell] = []
    before = total(parts)
    for each in asked:
        estimate, notes = estimator.cell(each)
        parts += estimate.parts
        now = total(parts)
        cells.append(
            EstimatedCell(
                each,
                estimate,
                total(estimate.parts),
                sum(now.seconds.values()) - sum(before.seconds.values()),
                sum(now.cache_bytes.values()) - sum(before.cache_bytes.values()),
                (*argument_problems(estimate), *estimator.problems(each.config), *disk_problems(estimate)),
                tuple(shortage(each.config, estimate, each.run_folder)),
                notes,
            )
        )
        before = now
    return EstimatedSweep(
        tuple(cells),
        before,
        largest(cell.estimate.peak for cell in cells),
        sum(cell.estimate.run_bytes for cell in cells),
        device_of(asked[0].config.trainer.device),
        torch.get_num_threads(),
        estimator.first_rate,
    )


class _Estimator:
    """Reads texts, models and the machine's speed once for all cells that share them."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._texts: dict[str, LabelledTexts | None] = {}
        self._folders: dict[str, Path | None] = {}
        self._rates: dict[tuple[str, int, NumberFormat], Rates] = {}
        self._busy = busy_cores() or 0.0
        self.first_rate = 0.0

    def cell(self, asked: Asked) -> tuple[CellEstimate, tuple[str, ...]]:
        """The estimate of one cell, and what it assumes."""
        config = asked.config
        folder, texts = self._folder(config), self._texts_of(config)
        network = network_sizes(config.model, folder, self._given.sizes)
        tokens = tokens_of(config, network, folder, texts)
        if texts is None:
            corpus = assumed_corpus(config, self._given.texts, tokens)
        else:
            corpus = corpus_of(config, texts, tokens)
        device = device_of(config.trainer.device)
        tuned = needs_fine_tuning(config.model, config.fine_tuning.when, folder)
        there = False
        if tuned and folder is not None and texts is not None:
            there = tuned_before(config, folder, texts, len(corpus.fine_tuning), device)
        rates = self._rates_of(config, network, device)
        subject = Subject(config, network, corpus, device, tuned, there, rates)
        estimate = estimate_cell(subject)
        notes = [*_notes(subject, texts is not None), *_method_notes(subject, estimate)]
        if device == "cpu" and self._busy > _BUSY * (os.cpu_count() or 1):
            notes.append(f"other work keeps {self._busy:.1f} of {os.cpu_count()} cores busy: expect longer")
        return estimate, tuple(notes)

    def problems(self, config: Config) -> tuple[str, ...]:
        """Why the cell cannot run here: too few GPUs, or too little memory for the language model."""
        return (*_device_problems(config), *memory_problems(config, self._folder(config), self._given.sizes))

    def _folder(self, config: Config) -> Path | None:
        name = fingerprint(config.model)
        if name not in self._folders:
            self._folders[name] = facts_folder(config.model)
        return self._folders[name]

    def _texts_of(self, config: Config) -> LabelledTexts | None:
        name = fingerprint([config.dataset, config.protocol.remove_duplicates])
        if name not in self._texts:
            try:
                self._texts[name] = load_texts(config.dataset, config.protocol.remove_duplicates)
            except TextsError:
                if config.dataset.path is not None:  # given, and wrong: nobody wants other texts assumed
                    raise
                self._texts[name] = None
        return self._texts[name]

    def _rates_of(self, config: Config, network: NetworkSizes, device: str) -> Rates:
        asked = (device, network.width, config.model.number_format)
        if asked not in self._rates:
            self._rates[asked] = measure_rates(*asked)
        self.first_rate = self.first_rate or self._rates[asked].network
        return self._rates[asked]


def _device_problems(config: Config) -> Iterator[str]:
    """A line where processes that train together cannot have a GPU each."""
    trainer = config.trainer
    if trainer.devices == 1 or device_of(trainer.device) == "cpu":
        return
    from clvq_exp.fitting import check_devices, choose_device  # late: it brings the libraries of training

    try:
        check_devices(choose_device(trainer.device), trainer.devices)
    except ValueError as error:
        yield str(error)


def _notes(subject: Subject, texts_are_there: bool) -> list[str]:
    """What the estimate assumes, a line each."""
    config, corpus = subject.config, subject.corpus
    notes: list[str] = []
    if not texts_are_there:
        notes.append(_assumed(config, corpus))
    if not corpus.tokens.measured:
        notes.append(
            f"no tokenizer or no texts of {config.model.name} are here: {SUB_WORDS_PER_WORD} sub-words a word"
        )
    if subject.there:
        notes.append(f"{config.model.name} is in the cache, fine-tuned on these texts: that takes no time")
    return notes


def _method_notes(subject: Subject, estimate: CellEstimate) -> list[str]:
    """What is assumed of the concept methods."""
    config = subject.config
    notes = [
        f"no formula is known for {each.name} ({each.target}): it is counted as CLVQ-VAE with "
        f"{config.quantizer.codebook_size} concepts"
        for each in config.methods.values()
        if not is_known(each)
    ]
    trainer = config.trainer
    if trainer.patience < trainer.max_epochs and any(each.trains for each in estimate.methods):
        notes.append(f"all {trainer.max_epochs} epochs are counted: early stopping may end training sooner")
    if trainer.devices > 1:
        notes.append(_several(trainer.devices, subject.device))
    return notes


def _several(processes: int, device: str) -> str:
    """What is assumed of processes that share work."""
    if device == "cpu":
        return (
            f"trainer.devices={processes}: {processes} processes share the cores, which is no faster than one; "
            "the memory of all of them is counted"
        )
    return (
        f"trainer.devices={processes}: {processes} GPUs are assumed to extract, attribute and train "
        f"{processes * GPU_EFFICIENCY:.1f} times as fast as one; memory of the GPU is that of the first"
    )


def _assumed(config: Config, corpus: Corpus) -> str:
    n, words = len(corpus.train) + len(corpus.validation), int(corpus.train[0])
    return (
        f"the texts of {config.dataset.name} are not here (dataset.path says where they are): {n:,} training and "
        f"{len(corpus.dev):,} dev sentences of {words} words are assumed (--sentences, --words-per-sentence)"
    )
