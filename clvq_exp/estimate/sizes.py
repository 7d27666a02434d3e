"""Sizes on the disk, in bytes, by formula."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clvq_exp.config import Config
from clvq_exp.estimate.corpus import Corpus
from clvq_exp.estimate.network import BYTES, NetworkSizes
from clvq_exp.estimate.records import MethodNeeds
from clvq_exp.settings import StoreDtype

STORE_BYTES = {StoreDtype.float32: 4, StoreDtype.float16: 2, StoreDtype.bfloat16: 2}
CHECKPOINT = 12
"""Bytes of a weight in a checkpoint: itself and Adam's two moments."""
REPORT_PAGE = 5_000_000
"""report.html, most of which is its drawing library."""
_TABLES = 300_000
"""Figures and curves of a run folder."""
ASSIGNMENT = 6.2
ATTRIBUTED = 12.3
OUTCOME = 6.8
SALIENT = 120
"""Bytes of a row in the run folder's tables, packed: of ERASER-Movie, 141,461 words and 856 dev sentences."""
CONCEPT = 80
"""The same of a concept: its use, its purity and its ten words."""
CONDITIONS = 13
"""Rows of `sentences.parquet` for each removal, seed and sentence."""


def layer_bytes(config: Config, network: NetworkSizes, corpus: Corpus) -> int:
    """The two files of one layer in the store."""
    stored = corpus.stored
    words = int(stored.sum()) * network.width * STORE_BYTES[config.activations.dtype]
    return words + len(stored) * network.width * 4


def store_layers(config: Config) -> tuple[int, ...]:
    """Layers that a cell keeps."""
    return tuple(sorted({config.layer_pair.lower, config.layer_pair.upper, *config.activations.layers}))


def weights_bytes(config: Config, network: NetworkSizes) -> int:
    """The language model's weights in its number format."""
    return network.parameters * BYTES[config.model.number_format]


def run_bytes(config: Config, corpus: Corpus, methods: Sequence[MethodNeeds]) -> int:
    """The run folder: concept models of the cell's own method, tables of all methods, report."""
    stored, seeds = int(corpus.stored.sum()), len(config.seeds)
    attributed = corpus.dev_words
    removals = sum(len(each.removals) for each in methods)
    tables = (
        stored * seeds * ASSIGNMENT
        + attributed * ATTRIBUTED
        + len(corpus.dev) * seeds * removals * CONDITIONS * OUTCOME
        + (len(corpus.dev) + len(corpus.refit)) * SALIENT
        + sum(each.concepts for each in methods) * seeds * CONCEPT
    )
    return REPORT_PAGE + _TABLES + seeds * methods[0].model_bytes + math.ceil(tables)
