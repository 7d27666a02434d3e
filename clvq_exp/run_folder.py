"""The tables that a run leaves behind (docs/run_folder.md lists their columns)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import MANIFEST
from clvq_exp.concepts.base import ConceptModel, concept_counts
from clvq_exp.evaluation.faithfulness import Probes, RemovalOutcomes
from clvq_exp.explanations.meanings import concept_words
from clvq_exp.explanations.salient_words import SalientWords, WordAttributions
from clvq_exp.settings import Split

Models = Mapping[str, Mapping[int, ConceptModel]]
"""method -> seed -> fitted model."""


def write_concept_models(folder: Path, sources: Mapping[int, Path]) -> None:
    """Copy the main method's fitted models, seed by seed."""
    for seed, source in sources.items():
        shutil.copytree(
            source,
            folder / "concept_model" / f"seed_{seed}",
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns(MANIFEST),
        )


def write_probes(folder: Path, probes: Mapping[int, Probes]) -> None:
    """All probes in one file, tensors named `seed_<s>.<layer>`."""
    tensors = {
        f"seed_{seed}.{name}": value.contiguous()
        for seed, each in probes.items()
        for name, value in each.original.state_dict().items()
    }
    save_file(tensors, folder / "probe.safetensors")


def write_training_tables(folder: Path, models: Models, store: ActivationStore, layer: int) -> None:
    """`history`, `code_use` and `concepts`."""
    history: list[dict[str, Any]] = []
    use: list[dict[str, Any]] = []
    concepts: list[dict[str, Any]] = []
    for method, of_seeds in models.items():
        for seed, model in of_seeds.items():
            name = {"method": method, "seed": seed}
            history += [{**name, **record._asdict()} for record in model.summary.history]
            train = concept_counts(model, store, layer, Split.train).tolist()
            dev = concept_counts(model, store, layer, Split.dev).tolist()
            use += [
                {**name, "code": code, "train_words": a, "dev_words": b}
                for code, (a, b) in enumerate(zip(train, dev, strict=True))
            ]
            concepts += [
                {**name, "concept": each.concept, "rank": each.rank, "word": each.word, "count": each.n_words}
                for each in concept_words(model, store, layer)
            ]
    write_table(folder / "history.parquet", history, _HISTORY)
    write_table(folder / "code_use.parquet", use, _CODE_USE)
    write_table(folder / "concepts.parquet", concepts, _CONCEPTS)


def write_assignments(
    folder: Path, models: Mapping[int, ConceptModel], store: ActivationStore, layer: int
) -> None:
    """The code of every stored word, a block at a time."""
    columns = {name: store.word_column(name) for name in ("sentence", "position", "word")}
    splits = np.asarray([split.value for split in Split])
    with pq.ParquetWriter(folder / "assignments.parquet", _ASSIGNMENTS) as writer:
        for seed, model in models.items():
            for split in Split:
                for start, block in store.iterate_words(layer, (split,)):
                    n = len(block)
                    values = {name: column.slice(start, n) for name, column in columns.items()}
                    values["seed"] = pa.array(np.full(n, seed), pa.int64())
                    values["split"] = pa.array(np.full(n, splits[list(Split).index(split)]))
                    values["code"] = pa.array(model.assign(block)[:, 0].cpu().numpy(), pa.int64())
                    ordered = [values[name].cast(_ASSIGNMENTS.field(name).type) for name in _ASSIGNMENTS.names]
                    writer.write_table(pa.table(ordered, schema=_ASSIGNMENTS))


def write_salient_words(
    folder: Path,
    store: ActivationStore,
    layer: int,
    model: ConceptModel,
    parts: Mapping[Split, tuple[WordAttributions, SalientWords]],
) -> None:
    """`salient_words` for all attributed sentences and `attributions` for those of dev."""
    words, positions, special = (store.word_column(name) for name in ("word", "position", "special"))
    ids, texts = store.sentence_column("id"), store.sentence_column("text")
    rows: list[dict[str, Any]] = []
    for split, (attributions, salient) in parts.items():
        codes = model.assign(store.gather_words(layer, torch.from_numpy(salient.word_rows)))[:, 0].tolist()
        offset = store.sentence_ids(split)[0] if len(store.sentence_ids(split)) else 0
        confidence = torch.softmax(store.logits(split).double(), 1)
        for index, sentence in enumerate(salient.sentences.tolist()):
            word = int(salient.word_rows[index])
            prediction = int(attributions.prediction[index])
            rows.append(
                {
                    "sentence": sentence,
                    "id": ids[sentence].as_py(),
                    "split": split.value,
                    "text": texts[sentence].as_py(),
                    "label": int(store.sentences.label[sentence]),
                    "prediction": prediction,
                    "confidence": float(confidence[sentence - offset, prediction]),
                    "position": positions[word].as_py(),
                    "word": words[word].as_py(),
                    "special": special[word].as_py(),
                    "attribution": float(salient.scores[index]),
                    "convergence_delta": float(attributions.convergence_delta[index]),
                    "logit_change": float(attributions.logit_change[index]),
                    "steps": int(attributions.steps[index]),
                    "code": int(codes[index]),
                }
            )
    write_table(folder / "salient_words.parquet", rows, _SALIENT)
    dev = parts[Split.dev][0]
    taken = pa.array(dev.word_rows)
    table = pa.table(
        {
            "sentence": store.word_column("sentence").take(taken).cast(pa.int64()),
            "position": positions.take(taken).cast(pa.int64()),
            "word": words.take(taken),
            "special": special.take(taken),
            "attribution": pa.array(dev.scores.astype(np.float64)),
        }
    )
    pq.write_table(table, folder / "attributions.parquet")


def write_sentence_outcomes(
    folder: Path,
    results: Mapping[str, Mapping[str, RemovalOutcomes]],
    sentences: NDArray[np.int64],
    seeds: Sequence[int],
) -> None:
    """`sentences`: correct or not, for every method, removal, seed, condition and sentence."""
    with pq.ParquetWriter(folder / "sentences.parquet", _SENTENCES) as writer:
        for method, removals in results.items():
            for removal, outcomes in removals.items():
                for condition, correct in outcomes.correct.items():
                    for seed, row in zip(seeds, correct, strict=True):
                        n = len(row)
                        constant = {
                            "method": method,
                            "removal": removal,
                            "seed": seed,
                            "condition": condition,
                        }
                        columns = {name: [value] * n for name, value in constant.items()}
                        columns |= {"sentence": sentences.tolist(), "correct": row.astype(bool).tolist()}
                        writer.write_table(pa.table(columns, schema=_SENTENCES))


def write_table(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet."""
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)


_METHOD = [("method", pa.string()), ("seed", pa.int64())]
_HISTORY = pa.schema(
    [
        *_METHOD,
        ("epoch", pa.int64()),
        ("train_loss", pa.float64()),
        ("train_reconstruction", pa.float64()),
        ("train_commitment", pa.float64()),
        ("validation_loss", pa.float64()),
        ("validation_reconstruction", pa.float64()),
        ("validation_commitment", pa.float64()),
        ("perplexity", pa.float64()),
        ("codes_in_use", pa.int64()),
        ("alpha", pa.float64()),
        ("learning_rate", pa.float64()),
    ]
)
_CODE_USE = pa.schema([*_METHOD, ("code", pa.int64()), ("train_words", pa.int64()), ("dev_words", pa.int64())])
_CONCEPTS = pa.schema(
    [
        *_METHOD,
        ("concept", pa.int64()),
        ("rank", pa.int64()),
        ("word", pa.string()),
        ("count", pa.int64()),
    ]
)
_ASSIGNMENTS = pa.schema(
    [
        ("seed", pa.int64()),
        ("sentence", pa.int64()),
        ("split", pa.string()),
        ("position", pa.int64()),
        ("word", pa.string()),
        ("code", pa.int64()),
    ]
)
_SALIENT = pa.schema(
    [
        ("sentence", pa.int64()),
        ("id", pa.string()),
        ("split", pa.string()),
        ("text", pa.string()),
        ("label", pa.int64()),
        ("prediction", pa.int64()),
        ("confidence", pa.float64()),
        ("position", pa.int64()),
        ("word", pa.string()),
        ("special", pa.bool_()),
        ("attribution", pa.float64()),
        ("convergence_delta", pa.float64()),
        ("logit_change", pa.float64()),
        ("steps", pa.int64()),
        ("code", pa.int64()),
    ]
)
_SENTENCES = pa.schema(
    [
        ("method", pa.string()),
        ("removal", pa.string()),
        ("seed", pa.int64()),
        ("condition", pa.string()),
        ("sentence", pa.int64()),
        ("correct", pa.bool_()),
    ]
)
