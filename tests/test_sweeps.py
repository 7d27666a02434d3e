"""The sweeps of the paper's tables: every cell composes, with the values that the tables print."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from clvq_exp.composing import ComposedCell, compose_cells
from clvq_exp.settings import AlphaMode

pytestmark = pytest.mark.slow
SWEEPS = Path(__file__).parent.parent / "multirun_sweeps"
PAPER = sorted(file.stem for file in SWEEPS.glob("*table*.yaml") if not file.stem.startswith("demo_"))
TWINS = [f"demo_{name}" for name in PAPER]
ALPHA = [
    *((AlphaMode.adaptive, 0.1), (AlphaMode.adaptive_full, 0.1)),
    *((AlphaMode.fixed, alpha) for alpha in (0.0, 0.1, 0.4, 0.75, 1.0)),
]
TAU_K = [(0.5, 5), (1, 5), (2, 5), (3, 5), (1, 1), (1, 10), (1, 50), (1, 100)]
K_TAU = [(1, 1), (10, 1), (100, 1), (400, 0.1), (400, 1), (400, 2), (400, 4)]
SWEPT: dict[str, tuple[tuple[str, ...], list[Any]]] = {
    "table08_codebook_size": (("quantizer.codebook_size",), [50, 100, 400, 800, 1200]),
    "table12_alpha": (("encoder.alpha_mode", "encoder.alpha"), ALPHA),
    "table14_sampling": (("quantizer.temperature", "quantizer.top_k"), TAU_K),
    "table15_sampling_faithfulness": (("quantizer.top_k", "quantizer.temperature"), K_TAU),
}
"""Sweeps on RoBERTa and ERASER-Movie alone: keys and their values in the paper's order."""
MODELS = {"bert": "8-12", "roberta": "8-12", "llama2_7b": "28-32", "qwen2_5_3b": "32-36"}
DATASETS = ("eraser_movie", "jigsaw", "agnews")
BESIDE = {
    "table01_methods": {
        *("kmeans_codes", "clvq_vae_random", "clvq_vae_spherical_kmeans", "single_layer", "clustering"),
        *("sae_2048", "sae_4096", "transcoder"),
    },
    "table05_initialisations": {"kmeans_codes", "clvq_vae_random", "clvq_vae_spherical_kmeans"},
    "v2_table10_sae_subspaces": {"kmeans_codes", "sae_2048", "sae_4096"},
    "v2_table12_transcoder": {"kmeans_codes", "transcoder"},
    "v2_table13_random_active_code": {"kmeans_codes"},
}
"""Sweeps over the whole grid, and the methods beside CLVQ-VAE."""


def cells(name: str) -> list[ComposedCell]:
    return compose_cells([], name, str(SWEEPS))


def layers(cell: ComposedCell) -> str:
    return f"{cell.config.layer_pair.lower}-{cell.config.layer_pair.upper}"


@pytest.mark.parametrize("name", SWEPT)
def test_sweep_of_one_table__has_the_papers_values(name: str) -> None:
    keys, values = SWEPT[name]
    found = cells(name)
    assert [attrgetter(*keys)(cell.config) for cell in found] == values
    assert {(cell.config.model.name, cell.config.dataset.name) for cell in found} == {("roberta", "eraser_movie")}


@pytest.mark.parametrize("name", BESIDE)
def test_sweep_over_the_grid__has_every_cell_once_with_three_seeds(name: str) -> None:
    found = cells(name)
    grid = [(cell.config.model.name, cell.config.dataset.name, layers(cell)) for cell in found]
    assert sorted(grid) == sorted((model, dataset, MODELS[model]) for model in MODELS for dataset in DATASETS)
    for cell in found:
        assert set(cell.config.methods) == {"clvq_vae", *BESIDE[name]}
        assert len(cell.config.seeds) == 3


def test_commitment_sweep__is_on_both_data_sets() -> None:
    found = [
        (each.config.dataset.name, each.config.quantizer.commitment_weight) for each in cells("table13_commitment")
    ]
    assert sorted(found) == [(name, beta) for name in ("eraser_movie", "jigsaw") for beta in (0, 0.1, 0.3, 0.6, 1)]


def test_layer_sweep__keeps_the_layers_of_all_pairs_in_one_store() -> None:
    found = cells("table16_layer_pairs")
    assert sorted((cell.config.model.name, cell.config.dataset.name, layers(cell)) for cell in found) == sorted(
        (model, dataset, pair)
        for model in ("bert", "roberta")
        for dataset in DATASETS
        for pair in ("0-4", "4-8", "8-12")
    )
    assert {tuple(cell.config.activations.layers) for cell in found} == {(0, 4, 8, 12)}


@pytest.mark.parametrize("name", PAPER)
def test_demo_twin__is_the_embedded_cell_with_the_same_methods(name: str) -> None:
    twin = cells(f"demo_{name}")
    assert {(cell.config.model.name, cell.config.dataset.name) for cell in twin} == {("minilm", "rotten_tomatoes")}
    assert {cell.config.trainer.name for cell in twin} == {"demo"}
    assert len({cell.run_folder for cell in twin}) == len(twin)
    (methods,) = {frozenset(cell.config.methods) for cell in twin}
    assert methods == {"clvq_vae", *BESIDE.get(name, methods)}
    if name == "table16_layer_pairs":
        assert [layers(cell) for cell in twin] == ["0-2", "2-4", "4-6"]
    if name in SWEPT and name != "table08_codebook_size":
        keys, values = SWEPT[name]
        assert [attrgetter(*keys)(cell.config) for cell in twin] == values


@pytest.mark.parametrize("name", sorted({file.stem for file in SWEEPS.glob("*.yaml")} - {*PAPER, *TWINS}))
def test_sweep_of_other_cells__tells_them_apart(name: str) -> None:
    found = cells(name)
    assert found
    assert len({cell.overrides for cell in found}) == len(found)
    assert len({cell.run_folder for cell in found}) == len(found)


def test_every_table__has_a_sweep() -> None:
    assert set(PAPER) == {*SWEPT, *BESIDE, "table13_commitment", "table16_layer_pairs"}


@pytest.mark.parametrize("file", sorted(SWEEPS.glob("*.yaml")), ids=lambda file: file.stem)
def test_sweep_file__says_how_it_is_run(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert f"#   python -m clvq_exp --config-dir multirun_sweeps --config-name {file.stem}" in text
