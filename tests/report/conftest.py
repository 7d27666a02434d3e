"""A small but complete run folder, as `docs/run_folder.md` describes it, with figures known by hand."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report import nine_methods

METHODS = ("clvq_vae", "kmeans_codes")
SEEDS = (0, 1)
WORDS = ("great", "dull", "acting", "plot", "and", "the", "film", "scene", "awful", "charming")

HOSTILE_WORDS = (
    "<script>alert(1)</script>",
    "{{",
    "7*7",
    "}}",
    "{{7*7}}",
    "\x1b[31mred",
    "\u202egnp.exe",
    "[red]markup[/red]",
    "</script><img",
    "שלום",
    "A" * 10_000,
)


class Run(NamedTuple):
    """A run folder and what was written into its JSON files."""

    folder: Path
    metrics: dict[str, Any]
    provenance: dict[str, Any]


def interval(mean: float, half: float = 0.02) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def faithfulness(perturbed: float) -> dict[str, Any]:
    accuracies = {
        "original": 0.8,
        "perturbed": perturbed,
        "random_direction": 0.79,
        "random_direction_norm_matched": 0.78,
        "random_active_code": 0.76,
        "random_active_code_norm_matched": 0.74,
        "mean_direction": 0.72,
        "centred_concept": 0.7,
        "own_code": 0.68,
        "other_word": 0.66,
        "class_means": 0.1,
        "refit": 0.74,
        "refit_original": 0.76,
    }
    drop = (0.8 - perturbed) / 0.8
    without = {name: interval(value + 0.01) for name, value in accuracies.items()}
    return {
        **{name: interval(value) for name, value in accuracies.items()},
        "drop": interval(drop),
        "specific_drop": interval(drop - (0.8 - 0.66) / 0.8),
        "standard_deviation": dict.fromkeys(accuracies, 0.011),
        "inverted": ["class_means"],
        "readable": True,
        "readable_p_value": 0.0001,
        "minimum_detectable_drop": 0.031,
        "removed_norm": {name: 0.3 for name in accuracies if name != "original"},
        "rank": 1,
        "empty_concepts": 0.05,
        "without_sentence_token": {
            "sentences": 30,
            **without,
            "drop": interval(0.2),
            "specific_drop": interval(0.1),
        },
    }


def intervention() -> dict[str, Any]:
    places: dict[str, Any] = {}
    for place, flips in (("sentence_token", 0.125), ("salient_word", 0.05), ("all_words", 0.4)):
        places[place] = {"original": {"accuracy": interval(0.9)}}
        for condition in ("perturbed", "random_direction", "mean_direction", "other_word"):
            flipped = flips if condition == "perturbed" else 0.02
            places[place][condition] = {
                "accuracy": interval(0.9 - flipped),
                "flips": interval(flipped, 0.01),
                "probability_change": interval(-flipped / 2, 0.01),
            }
    return places


def codebook(trained: bool) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "size": 8,
        "perplexity": 5.5,
        "codes_in_use": 7,
        "mean_cosine": 0.61,
        "alpha": 0.275 if trained else None,
        "validation_loss": 0.1166 if trained else None,
        "best_epoch": 3 if trained else None,
        "utilisation": 0.875,
        "bypass": {"as_is": 0.1166, "permuted": 0.1167, "memory_zeroed": 0.22, "mean_predictor": 0.21}
        if trained
        else None,
    }
    return {**whole, "seeds": {str(seed): copy.deepcopy(whole) for seed in SEEDS}}


def metrics(main: str = "clvq_vae") -> dict[str, Any]:
    other = next(method for method in METHODS if method != main)
    blocks = {
        method: {
            "faithfulness": {removal: faithfulness(accuracy) for removal in ("concept", "member_mean")},
            "intervention": {removal: intervention() for removal in ("concept", "member_mean")},
            "codebook": codebook(method == "clvq_vae"),
            "specificity": nine_methods.specificity(),
        }
        for method, accuracy in (("clvq_vae", 0.6), ("kmeans_codes", 0.64))
    }
    return {
        "format_version": 1,
        "cell": {
            "model": "minilm",
            "dataset": "movie",
            "layer_pair": "4-6",
            "method": main,
            "init": "spherical_kmeans",
            "protocol": "paper",
            "trainer": "demo",
            "seeds": list(SEEDS),
            "codebook_size": 8,
            "fingerprint": "0123456789abcdef",
            "label_names": ["negative", "positive"],
            "sentences": {"train": 90, "validation": 10, "evaluation": 40, "refit": 20},
            "words": {"stored": 1200, "vanished": 1, "truncated": 2},
        },
        "model": {
            "accuracy": interval(0.9),
            "majority": 0.5,
            "fine_tuning": {"accuracy": 0.91, "sentences": 90, "epochs": 1},
        },
        "attribution": {
            "steps_mean": 24.5,
            "tolerance": 0.01,
            "converged_share": 0.975,
            "median_relative_delta": 0.0021,
            "sentence_token_share": 0.25,
        },
        **blocks[main],
        "beside": {other: blocks[other]},
        "comparisons": [
            {
                "removals": ["concept", "concept"],
                "methods": [main, other],
                "difference": {"mean": -0.04, "low": -0.07, "high": -0.01},
                "cohens_h": -0.08,
                "p_value": 0.02,
                "p_holm": 0.04,
            }
        ],
    }


def provenance() -> dict[str, Any]:
    return {
        "git_commit": "abc123",
        "versions": {"python": "3.11", "torch": "2.13.0"},
        "overridden": [],
        "seconds": {"extract": 30.2, "train": 156.0},
        "peak_memory_bytes": {"extract": 2**30, "train": 3 * 2**29},
    }


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")


def history() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        for epoch in range(6):
            loss = 0.1 + 0.2 * 0.6**epoch + 0.004 * seed
            train = None if epoch == 0 else loss * 0.95
            rows.append(
                {
                    "method": "clvq_vae",
                    "seed": seed,
                    "epoch": epoch,
                    "train_loss": train,
                    "train_reconstruction": train,
                    "train_commitment": None if epoch == 0 else loss * 0.1,
                    "validation_loss": loss,
                    "validation_reconstruction": loss * 0.9,
                    "validation_commitment": loss * 0.1,
                    "perplexity": 4.0 + 0.3 * epoch,
                    "codes_in_use": 7,
                    "alpha": 0.275 + 0.01 * epoch,
                    "learning_rate": 0.005,
                }
            )
    return rows


def sentence_words(sentence: int) -> list[str]:
    words = [WORDS[(3 * sentence + step) % len(WORDS)] for step in range(9 + sentence % 4)]
    return [*HOSTILE_WORDS, *words] if sentence == 0 else words


def write_sentences(folder: Path) -> None:
    salient: list[dict[str, Any]] = []
    attributions: list[dict[str, Any]] = []
    for sentence in range(40):
        words = sentence_words(sentence)
        position = -1 if sentence % 4 == 1 else sentence % 3
        spoken = [(-1, "[CLS]"), *enumerate(words)]
        scores = {
            place: (0.9 if place == position else ((place * 7 + sentence) % 11 - 5) / 10) for place, _ in spoken
        }
        salient.append(
            {
                "sentence": sentence,
                "id": f"movie-{sentence}",
                "split": "dev" if sentence < 36 else "train",
                "text": " ".join(words),
                "label": sentence % 2,
                "prediction": sentence % 2 if sentence % 9 else 1 - sentence % 2,
                "confidence": 0.55 + 0.01 * sentence,
                "position": position,
                "word": dict(spoken)[position],
                "special": position == -1,
                "attribution": scores[position],
                "convergence_delta": 0.001,
                "logit_change": 1.5,
                "steps": 16,
                "code": sentence % 8,
            }
        )
        if sentence < 36:
            attributions += [
                {
                    "sentence": sentence,
                    "position": place,
                    "word": word,
                    "special": place == -1,
                    "attribution": scores[place],
                }
                for place, word in spoken
            ]
    write(folder, "salient_words", salient)
    write(folder, "attributions", attributions)


HELD = (0, 400, 150, 80, 41, 20, 9, 3)
"""Training words of each concept."""
TOKENS = (0, 0, 0, 0, 0, 0, 9, 2)
"""Those of them that are sentence tokens."""


def concept_row(concept: int, main: bool, first: bool) -> dict[str, Any]:
    held, words = HELD[concept], HELD[concept] - TOKENS[concept]
    others = [each for each in range(1, 8) if each != concept][:3]
    return {
        "concept": concept,
        "train_words": held,
        "dev_words": held // 4,
        "sentence_tokens": TOKENS[concept],
        "train_sentences": held // 2,
        "forms": 10 if words else 0,
        "label_words": [words - words // 4, words // 4],
        "label": "negative" if words else None,
        "purity": (words - words // 4) / words if words else None,
        "nearest": [{"concept": each, "cosine": 0.9 - 0.1 * at} for at, each in enumerate(others)],
        "x": concept / 8 if main and first and held else None,
        "y": -concept / 8 if main and first and held else None,
        "vector": [1.0, concept / 4, 0.0] if main else None,
    }


def write_concepts(folder: Path) -> None:
    concepts: list[dict[str, Any]] = []
    words: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    for method in METHODS:
        for seed in SEEDS:
            for concept in range(8):
                name = {"method": method, "seed": seed}
                row = concept_row(concept, method == METHODS[0], seed == 0)
                concepts.append({**name, **row})
                spoken = [HOSTILE_WORDS[0].lower(), *WORDS[:9]] if concept == 2 else list(WORDS)
                words += [
                    {
                        **name,
                        "concept": concept,
                        "rank": rank,
                        "word": word if seed == 0 else f"seed1{word}",
                        "count": 60 - 5 * rank,
                    }
                    for rank, word in enumerate(spoken)
                    if row["forms"]
                ]
                if method == METHODS[0] and row["train_words"]:
                    examples += [{**name, "concept": concept, **each} for each in concept_examples(concept)]
    write(folder, "concepts", concepts)
    write(folder, "concept_words", words)
    write(folder, "concept_examples", examples)


def concept_examples(concept: int) -> list[dict[str, Any]]:
    texts = sentence_words(0) if concept == 2 else sentence_words(concept)
    at = {"split": "dev", "sentence": 0 if concept == 2 else concept, "id": "x", "label": concept % 2}
    spoken = {**at, "position": 1, "special": False, "before": texts[0], "word": texts[1], "after": texts[2]}
    token = {**at, "split": "train", "sentence": 36, "position": -1, "special": True, "before": ""}
    if not TOKENS[concept]:
        return [spoken]
    return [spoken, {**token, "word": "[CLS]", "after": " ".join(texts)}]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    def make(main: str = "clvq_vae", **replaced: Any) -> Run:
        folder = tmp_path / "run"
        folder.mkdir()
        write_sentences(folder)
        write_concepts(folder)
        if main == "clvq_vae":
            write(folder, "history", history())
        content = {**metrics(main), **replaced}
        (folder / "metrics.json").write_text(json.dumps(content))
        return Run(folder, content, provenance())

    return make


def with_nine_methods(metrics: dict[str, Any]) -> dict[str, Any]:
    """The same run with every method of Table 1 beside CLVQ-VAE, keys sorted as in the file."""
    changed = copy.deepcopy(metrics)
    beside = changed["beside"]
    for index, method in enumerate(nine_methods.BESIDE):
        removals = [nine_methods.ENCODER_TOP[0], *nine_methods.ENCODER_TOP[1:]] * (method in nine_methods.SPARSE)
        beside[method] = {
            "faithfulness": {
                name: faithfulness(0.5 + 0.02 * index) for name in (*removals, "concept", "member_mean")
            },
            "intervention": {name: intervention() for name in (*removals, "concept", "member_mean")},
            "codebook": codebook(method.startswith(("clvq", "single"))),
            "specificity": nine_methods.specificity(),
        }
    for method in nine_methods.SPARSE:
        beside[method]["codebook"] = nine_methods.sparse_codebook((0.03, 0.045))
    changed["comparisons"] = nine_methods.comparisons([changed["cell"]["method"], *nine_methods.BESIDE])
    return json.loads(json.dumps(changed, sort_keys=True))


def nine_histories() -> list[dict[str, Any]]:
    sparse = {"train_commitment": None, "validation_commitment": None, "alpha": None, "codes_in_use": None}
    more = {"variance_explained": 0.6, "l0": 30.0, "dead_neurons": 4, "validation_sparsity": 0.2}
    rows = [{**dict.fromkeys(more), **row} for row in history()]
    for method in ("single_layer", "sae_2048"):
        changed = {**sparse, **more} if method == "sae_2048" else {}
        rows += [{**row, **changed, "method": method} for row in rows[: len(history())]]
    return rows


@pytest.fixture
def nine(make_run: Callable[..., Run]) -> Run:
    """A run with nine methods."""
    run = make_run()
    metrics = with_nine_methods(run.metrics)
    labels = ("negative", nine_methods.HOSTILE_LABEL)
    words = ("entertainment", *HOSTILE_WORDS)
    routed = [row for name in ("clvq_vae", "sae_2048") for row in nine_methods.routed_rows(name, words, labels)]
    write(run.folder, "routed_words", routed)
    write(run.folder, "history", nine_histories())
    (run.folder / "metrics.json").write_text(json.dumps(metrics))
    return run._replace(metrics=metrics)


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    return make_run()
