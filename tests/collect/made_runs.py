"""Finished run folders made by hand: the configuration is composed, every figure is given."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from composing import composed
from omegaconf import OmegaConf

from clvq_exp.artifacts import fingerprint, write_json, write_manifest
from clvq_exp.collect.gather import Collected, gather
from clvq_exp.collect.runs import find_runs
from clvq_exp.collect.tables import Row

PAPER_CELL = ("model=roberta", "dataset=eraser_movie")
DEMO_CELL = ("model=minilm", "dataset=rotten_tomatoes")
SIZES = {"eraser_movie": (12_490, 1_388, 856), "jigsaw": (8_100, 900, 800), "agnews": (14_400, 1_600, 1_200)}
"""Training, validation and dev sentences of the paper's data sets."""


@lru_cache
def _composed(*overrides: str) -> Mapping[str, Any]:
    found: Any = OmegaConf.to_container(composed(*overrides), resolve=True)
    return found


def configuration(*overrides: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `config.yaml` of a run holds: composed with the overrides, then changed key by key."""
    config = copy.deepcopy(dict(_composed(*overrides)))
    for key, value in (settings or {}).items():
        *way, last = key.split(".")
        section = config
        for part in way:
            section = section[part]
        section[last] = value
    return config


def interval(mean: float, half: float = 0.01) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def faithfulness(perturbed: float, original: float = 0.8, deviation: float | None = None) -> dict[str, Any]:
    """The figures of one removal; the interval of an accuracy goes 0.01 to either side."""
    accuracies = {
        "original": original,
        "perturbed": perturbed,
        "random_direction": original - 0.05,
        "random_active_code": original - 0.1,
        "random_active_code_norm_matched": original - 0.11,
    }
    drop = (original - perturbed) / original
    return {
        **{name: interval(value) for name, value in accuracies.items()},
        "drop": interval(drop, 0.02),
        "specific_drop": interval(drop - 0.1, 0.03),
        "standard_deviation": dict.fromkeys(accuracies, deviation),
    }


def codebook(perplexities: Sequence[float], size: int) -> dict[str, Any]:
    """The figures of a codebook, one perplexity for each seed."""
    each = [{"size": size, "perplexity": value, "utilisation": value / size} for value in perplexities]
    mean = sum(perplexities) / len(perplexities)
    return {
        "size": size,
        "perplexity": mean,
        "utilisation": mean / size,
        "seeds": {str(seed): values for seed, values in enumerate(each)},
    }


def specificity(purity: float, n_seeds: int = 1) -> dict[str, Any]:
    """The figures of Figure 2 and Table 17, the same for each seed."""
    ratios = {"below": {"0.1": 1.5, "0.3": 1.75}, "at_least": {"0": 1.6, "0.1": 2.5, "0.3": 4.0}}
    of_seed: dict[str, Any] = {
        "purity": {"weighted_mean": purity, "pure_share": 0.25},
        "routing": {"differing_share": 0.5, "divergence": 0.75},
        "overlap": {
            reading: {edge: {"ratio": ratio} for edge, ratio in edges.items()} for reading, edges in ratios.items()
        },
    }
    shuffled = {"weighted_mean": {"mean": 0.53, "low": 0.52, "high": 0.54}}
    return {
        **of_seed,
        "purity": {**of_seed["purity"], "shuffled": shuffled},
        "seeds": {str(seed): of_seed for seed in range(n_seeds)},
    }


def block(
    perturbed: float = 0.2,
    perplexities: Sequence[float] = (200.0,),
    size: int = 400,
    removals: Sequence[str] = ("concept",),
    **more: Any,
) -> dict[str, Any]:
    """The figures of one method."""
    return {
        "faithfulness": {removal: faithfulness(perturbed, **more) for removal in removals},
        "codebook": codebook(perplexities, size),
        "specificity": specificity(0.7, len(perplexities)),
    }


def metrics(
    config: Mapping[str, Any], main: Mapping[str, Any], beside: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What `metrics.json` holds, as far as tables are made of it."""
    pair = config["layer_pair"]
    train, validation, dev = SIZES.get(config["dataset"]["name"], (1_350, 150, 300))
    return {
        "format_version": 1,
        "cell": {
            "model": config["model"]["name"],
            "dataset": config["dataset"]["name"],
            "layer_pair": f"{pair['lower']}-{pair['upper']}",
            "method": config["baseline"]["name"],
            "seeds": config["seeds"],
            "codebook_size": config["quantizer"]["codebook_size"],
            "fingerprint": fingerprint(dict(config)),
            "label_names": config["dataset"]["label_names"],
            "sentences": {"train": train, "validation": validation, "evaluation": dev},
        },
        **main,
        "beside": dict(beside),
    }


def history(method: str, perplexities: Mapping[int, Sequence[float]], losses: Sequence[float] = ()) -> pa.Table:
    """Training curves: seed -> perplexity at epoch 0, 1, ...; the losses are those of every seed."""
    rows = [
        {
            "method": method,
            "seed": seed,
            "epoch": epoch,
            "validation_loss": losses[epoch] if epoch < len(losses) else 0.5,
            "perplexity": value,
        }
        for seed, values in perplexities.items()
        for epoch, value in enumerate(values)
    ]
    return pa.Table.from_pylist(rows)


def write_run(
    folder: Path,
    *overrides: str,
    main: Mapping[str, Any] | None = None,
    beside: Mapping[str, Mapping[str, Any]] | None = None,
    curves: pa.Table | None = None,
    departures: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    **changed: Any,
) -> Path:
    """A finished run folder; `changed` replaces parts of the metrics.

    Args:
        folder: made with its parents.
        overrides: of the configuration, composed once for all tests.
        main: figures of the cell's own method.
        beside: method -> figures.
        curves: training curves.
        departures: of `provenance.json`.
        settings: key -> value, put into the composed configuration.
        changed: top-level entries of the metrics.
    """
    folder.mkdir(parents=True)
    config = configuration(*overrides, settings=settings)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)), encoding="utf-8")
    found = {**metrics(config, main or block(), beside or {}), **changed}
    write_json(folder / "metrics.json", found)
    write_json(folder / "provenance.json", {"departures_from_protocol": dict(departures or {})})
    if curves is not None:
        pq.write_table(curves, folder / "history.parquet")
    write_manifest(folder, {"cell": found["cell"]["fingerprint"]})
    return folder


def gathered(folder: Path, key: str) -> Collected:
    """One table of the runs below a folder."""
    (found,) = gather(find_runs([folder]).runs, [key])
    return found


def rows_of(folder: Path, key: str) -> list[Row]:
    """The rows of ours of one table."""
    return [row for row in gathered(folder, key).filled.rows if row.is_ours]
