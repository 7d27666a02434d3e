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

from clvq_exp.activations.store import BLOCK, ActivationStore
from clvq_exp.artifacts import MANIFEST
from clvq_exp.concept_tables import Models
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.evaluation.faithfulness import Probes, RemovalOutcomes
from clvq_exp.evaluation.specificity.figures import Specificity
from clvq_exp.explanations.salient_words import SalientWords
from clvq_exp.explanations.word_attributions import WordAttributions
from clvq_exp.settings import Split


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


def write_history(folder: Path, models: Models) -> None:
    """`history`: the training curves."""
    history = [
        {"method": method, "seed": seed, **record}
        for method, of_seeds in models.items()
        for seed, model in of_seeds.items()
        for record in model.summary.history
    ]
    write_table(folder / "history.parquet", history, _HISTORY)


def write_assignments(
    folder: Path, models: Mapping[int, ConceptModel], store: ActivationStore, layer: int
) -> None:
    """The code of every stored word, -1 for one that has none; a block at a time."""
    with pq.ParquetWriter(folder / "assignments.parquet", _ASSIGNMENTS) as writer:
        for seed, model in models.items():
            for split in Split:
                for start, block in store.iterate_words(layer, (split,)):
                    rows = np.arange(start, start + len(block))
                    values = {name: store.word_column(name, rows) for name in ("sentence", "position", "word")}
                    values["seed"] = pa.array(np.full(len(rows), seed))
                    values["split"] = pa.repeat(pa.scalar(split.value), len(rows))
                    values["code"] = pa.array(model.assign(block)[:, 0].cpu().numpy())
                    writer.write_table(_in_schema(values, _ASSIGNMENTS))


def write_salient_words(
    folder: Path,
    store: ActivationStore,
    layer: int,
    model: ConceptModel,
    parts: Mapping[Split, tuple[WordAttributions, SalientWords]],
) -> None:
    """`salient_words` for all attributed sentences and `attributions` for those of dev, a block at a time."""
    with pq.ParquetWriter(folder / "salient_words.parquet", _SALIENT) as writer:
        for split, (attributions, salient) in parts.items():
            for start in range(0, len(salient.sentences), BLOCK):
                rows = slice(start, start + BLOCK)
                values = _salient_columns(store, layer, model, attributions, salient, rows)
                values["split"] = pa.repeat(pa.scalar(split.value), len(salient.sentences[rows]))
                writer.write_table(_in_schema(values, _SALIENT))
    dev = parts[Split.dev][0]
    with pq.ParquetWriter(folder / "attributions.parquet", _ATTRIBUTIONS) as writer:
        for start in range(0, len(dev.word_rows), BLOCK):
            words = dev.word_rows[start : start + BLOCK]
            values = {name: store.word_column(name, words) for name in ("sentence", "position", "word", "special")}
            values["attribution"] = pa.array(dev.scores[start : start + BLOCK])
            writer.write_table(_in_schema(values, _ATTRIBUTIONS))


def _salient_columns(
    store: ActivationStore,
    layer: int,
    model: ConceptModel,
    attributions: WordAttributions,
    salient: SalientWords,
    rows: slice,
) -> dict[str, Any]:
    """Columns of some attributed sentences."""
    sentences, words = salient.sentences[rows], salient.word_rows[rows]
    prediction = attributions.prediction[rows]
    logits = torch.from_numpy(attributions.logits[rows])
    confidence = torch.softmax(logits.double(), 1).numpy()[np.arange(len(sentences)), prediction]
    codes = model.assign(store.gather_words(layer, torch.from_numpy(words)))[:, 0].cpu()
    return {
        "sentence": pa.array(sentences),
        "id": store.sentence_column("id", sentences),
        "group": store.sentence_column("group", sentences),
        "text": store.sentence_column("text", sentences),
        "label": pa.array(store.sentences.label[sentences]),
        "prediction": pa.array(prediction),
        "confidence": pa.array(confidence),
        "position": store.word_column("position", words),
        "word": store.word_column("word", words),
        "special": store.word_column("special", words),
        "attribution": pa.array(salient.scores[rows]),
        "convergence_delta": pa.array(attributions.convergence_delta[rows]),
        "logit_change": pa.array(attributions.logit_change[rows]),
        "steps": pa.array(attributions.steps[rows]),
        "code": pa.array(codes.numpy()),
    }


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
                        of_all = {
                            "method": method,
                            "removal": removal,
                            "seed": seed,
                            "condition": condition,
                        }
                        values = {name: pa.repeat(pa.scalar(value), len(row)) for name, value in of_all.items()}
                        values |= {"sentence": pa.array(sentences), "correct": pa.array(row.astype(np.bool_))}
                        writer.write_table(_in_schema(values, _SENTENCES))


def write_routed_words(folder: Path, found: Mapping[str, Specificity]) -> None:
    """`routed_words`."""
    routed = [{"method": name, **row._asdict()} for name, each in found.items() for row in each.routed_words]
    write_table(folder / "routed_words.parquet", routed, _ROUTED_WORDS)


def _in_schema(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema, in its order and of its types."""
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)


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
        ("train_sparsity", pa.float64()),
        ("validation_sparsity", pa.float64()),
        ("variance_explained", pa.float64()),
        ("l0", pa.float64()),
        ("dead_neurons", pa.int64()),
        ("revived_codes", pa.int64()),
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
        ("group", pa.string()),
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
_ATTRIBUTIONS = pa.schema(
    [
        ("sentence", pa.int64()),
        ("position", pa.int64()),
        ("word", pa.string()),
        ("special", pa.bool_()),
        ("attribution", pa.float64()),
    ]
)
_ROUTED_WORDS = pa.schema(
    [
        *_METHOD,
        ("word", pa.string()),
        ("label", pa.string()),
        ("against", pa.string()),
        ("code", pa.int64()),
        ("n_words", pa.int64()),
        ("occurrences", pa.int64()),
        ("purity", pa.float64()),
        ("divergence", pa.float64()),
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
