"""The inventory of concepts as tables of a run folder (docs/run_folder.md lists their columns)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.explanations.codebook_map import codebook_map
from clvq_exp.explanations.concept_inventory import Inventory, nearest_concepts, take_inventory
from clvq_exp.explanations.examples import LONGEST, Drawn
from clvq_exp.explanations.salient_words import SalientWords
from clvq_exp.settings import Split

AROUND = 8
"""Words shown on either side of an example."""
_ROWS = 2048
"""Examples whose texts are in memory at once."""
_METHOD = [("method", pa.string()), ("seed", pa.int64())]
_CONCEPTS = pa.schema(
    [
        *_METHOD,
        ("concept", pa.int64()),
        ("train_words", pa.int64()),
        ("dev_words", pa.int64()),
        ("sentence_tokens", pa.int64()),
        ("train_sentences", pa.int64()),
        ("forms", pa.int64()),
        ("label_words", pa.list_(pa.int64())),
        ("label", pa.string()),
        ("purity", pa.float64()),
        ("nearest", pa.list_(pa.struct([("concept", pa.int64()), ("cosine", pa.float64())]))),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("vector", pa.list_(pa.float32())),
    ]
)
_WORDS = pa.schema(
    [*_METHOD, ("concept", pa.int64()), ("rank", pa.int64()), ("word", pa.string()), ("count", pa.int64())]
)
_EXAMPLES = pa.schema(
    [
        *_METHOD,
        ("concept", pa.int64()),
        ("split", pa.string()),
        ("sentence", pa.int64()),
        ("id", pa.string()),
        ("label", pa.int64()),
        ("position", pa.int64()),
        ("special", pa.bool_()),
        ("before", pa.string()),
        ("word", pa.string()),
        ("after", pa.string()),
    ]
)
_SENTENCES = pa.schema(
    [
        *_METHOD,
        ("concept", pa.int64()),
        ("sentence", pa.int64()),
        ("id", pa.string()),
        ("label", pa.int64()),
        ("text", pa.string()),
    ]
)
_SALIENT = pa.schema([*_METHOD, ("sentence", pa.int64()), ("position", pa.int64()), ("concept", pa.int64())])

Models = Mapping[str, Mapping[int, ConceptModel]]
"""method -> seed -> fitted model."""


def write_concept_tables(
    folder: Path, models: Models, store: ActivationStore, layer: int, label_names: Sequence[str]
) -> None:
    """`concepts`, `concept_words` and `concept_sentences` of all methods, `concept_examples` of the first.

    A model at a time.

    Args:
        folder: the run folder.
        models: the main method first.
        store: whose words are counted.
        layer: layer l.
        label_names: names of the classes.
    """
    with (
        pq.ParquetWriter(folder / "concepts.parquet", _CONCEPTS) as concepts,
        pq.ParquetWriter(folder / "concept_words.parquet", _WORDS) as words,
        pq.ParquetWriter(folder / "concept_examples.parquet", _EXAMPLES) as examples,
        pq.ParquetWriter(folder / "concept_sentences.parquet", _SENTENCES) as sentences,
    ):
        for method, of_seeds in models.items():
            main = method == next(iter(models))
            for seed, model in of_seeds.items():
                held = take_inventory(model, store, layer, len(label_names), seed)
                name = {"method": method, "seed": seed}
                mapped = main and seed == next(iter(of_seeds))
                columns = _concept_columns(model, held, label_names, seed, mapped, main)
                concepts.write_table(_table(name, columns, _CONCEPTS))
                words.write_table(_table(name, _word_columns(held), _WORDS))
                sentences.write_table(_table(name, _sentence_columns(store, held.drawn), _SENTENCES))
                if main:
                    for start in range(0, len(held.drawn.row), _ROWS):
                        part = Drawn(*(each[start : start + _ROWS] for each in held.drawn))
                        examples.write_table(_table(name, _example_columns(store, part), _EXAMPLES))


def write_salient_concepts(
    folder: Path, models: Models, store: ActivationStore, layer: int, salient: SalientWords
) -> None:
    """`salient_concepts`: the concept that every method gives the salient word of a dev sentence.

    Args:
        folder: the run folder.
        models: method -> seed -> fitted model.
        store: where the words are.
        layer: layer l.
        salient: of the dev sentences.
    """
    words = store.gather_words(layer, torch.from_numpy(salient.word_rows))
    of_all = {"sentence": salient.sentences, "position": store.word_column("position", salient.word_rows)}
    with pq.ParquetWriter(folder / "salient_concepts.parquet", _SALIENT) as writer:
        for method, of_seeds in models.items():
            for seed, model in of_seeds.items():
                concept = model.assign(words)[:, 0].cpu().numpy()
                writer.write_table(
                    _table({"method": method, "seed": seed}, {**of_all, "concept": concept}, _SALIENT)
                )


def _concept_columns(
    model: ConceptModel, held: Inventory, names: Sequence[str], seed: int, mapped: bool, with_vectors: bool
) -> dict[str, Any]:
    vectors = model.vectors().detach().float().cpu()
    k = len(vectors)
    near = nearest_concepts(vectors, held.train_words > 0)
    points = codebook_map(vectors, held.train_words, seed) if mapped else np.full((k, 2), np.nan)
    return {
        "concept": np.arange(k),
        **{each: getattr(held, each) for each in _CONCEPTS.names if each in Inventory._fields},
        "label_words": held.label_words.tolist(),
        "label": [names[each] if each >= 0 else None for each in held.label],
        "purity": _known(held.purity),
        "nearest": [
            [{"concept": concept, "cosine": cosine} for concept, cosine in zip(*each, strict=True)]
            for each in zip(near.concepts.tolist(), near.cosines.tolist(), strict=True)
        ],
        "x": _known(points[:, 0]),
        "y": _known(points[:, 1]),
        "vector": list(vectors.numpy()) if with_vectors else [None] * k,
    }


def _known(values: NDArray[np.float64]) -> pa.Array:
    """Null where there is no number."""
    return pa.array(values, from_pandas=True)


def _word_columns(held: Inventory) -> dict[str, Any]:
    return {
        "concept": [each.concept for each in held.words],
        "rank": [each.rank for each in held.words],
        "word": [each.word for each in held.words],
        "count": [each.n_words for each in held.words],
    }


def _example_columns(store: ActivationStore, drawn: Drawn) -> dict[str, Any]:
    """Examples with the words around them; a sentence token with its whole sentence."""
    word = {name: store.word_column(name, drawn.row) for name in ("sentence", "position", "word", "special")}
    sentences = word["sentence"].to_numpy().astype(np.int64)
    texts = store.sentence_column("text", sentences).to_pylist()
    around = [
        _around(text.split(), position) for text, position in zip(texts, word["position"].to_pylist(), strict=True)
    ]
    names = [split.value for split in Split]
    return {
        **word,
        "concept": drawn.concept,
        "split": [names[index] for index in store.sentences.split[sentences]],
        "id": store.sentence_column("id", sentences),
        "label": store.sentences.label[sentences],
        "before": [before for before, _ in around],
        "after": [after for _, after in around],
    }


def _sentence_columns(store: ActivationStore, drawn: Drawn) -> dict[str, Any]:
    """The training sentences that were drawn by their token."""
    special = store.word_column("special", drawn.row).to_numpy(zero_copy_only=False)
    sentences = store.word_column("sentence", drawn.row[special]).to_numpy().astype(np.int64)
    return {
        "concept": drawn.concept[special],
        "sentence": sentences,
        "id": store.sentence_column("id", sentences),
        "label": store.sentences.label[sentences],
        "text": store.sentence_column("text", sentences),
    }


def _around(words: Sequence[str], position: int) -> tuple[str, str]:
    """What stands before and behind a word; the sentence behind its token."""
    if position < 0:
        return "", " ".join(words[:LONGEST])
    return " ".join(words[max(0, position - AROUND) : position]), " ".join(
        words[position + 1 : position + 1 + AROUND]
    )


def _table(name: Mapping[str, Any], columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """A table with some columns that have one value."""
    n = len(columns["concept"])
    of_all = {key: [value] * n for key, value in name.items()}
    return pa.table([_typed({**of_all, **columns}[field.name], field.type) for field in schema], schema=schema)


def _typed(values: Any, kind: pa.DataType) -> Any:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values.cast(kind)
    return pa.array(values, kind)
