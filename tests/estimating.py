"""Cells to estimate: sizes that can be multiplied by hand, and what of an estimate tests look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from clvq_exp.composing import compose_cells
from clvq_exp.config import Config
from clvq_exp.estimate.cell import estimate_cell
from clvq_exp.estimate.corpus import Corpus, Tokens
from clvq_exp.estimate.network import NetworkSizes
from clvq_exp.estimate.records import MethodNeeds, Part, Rates, once, total
from clvq_exp.estimate.subject import Subject

CPU = "trainer.device=cpu"
SMALL = NetworkSizes(parameters=1000, layers=4, width=10, vocabulary=20, heads=2, feed_forward=40)
TOKENS = Tokens(per_word=1.5, around=2, limit=512, sentence_token=True, measured=True)


def config_of(*overrides: str) -> Config:
    return compose_cells([CPU, *overrides])[0].config


def corpus(n: int = 100, words: int = 20) -> Corpus:
    of = np.full
    return Corpus(of(n, words), of(n, words), of(10, words), of(50, words), of(40, words), TOKENS, 0.5)


def subject(*overrides: str, network: NetworkSizes = SMALL, of: Corpus | None = None, **changed: Any) -> Subject:
    given: dict[str, Any] = {"device": "cpu", "tuned": True, "rates": Rates(1e9, 1e9)} | changed
    return Subject(config_of(*overrides), network, of or corpus(), **given)


def seconds_of(each: Subject) -> dict[str, float]:
    return total(estimate_cell(each).parts).seconds


def needs_of(*overrides: str, of: Corpus | None = None, **changed: Any) -> dict[str, MethodNeeds]:
    cell = estimate_cell(subject("layer_pair=0-4", *overrides, of=of, **changed))
    return {each.name: each for each in cell.methods}


def keys_of(parts: Iterable[Part], step: str) -> set[str]:
    return {part.key for part in parts if part.step == step and part.key is not None}


def fit_seconds(each: MethodNeeds) -> float:
    return sum(part.seconds for part in once(each.parts))
