"""The concept model of a run: it assigns as the run did, and its card has the run's own figures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from running import call, tiny_cell

from clvq_exp.activations.store import LAYER_FACTS, ActivationStore
from clvq_exp.artifacts import read_json, write_json, write_manifest
from clvq_exp.notebook import Concepts, SharingError
from clvq_exp.report.access import interval
from clvq_exp.report.formatting import percent_with_bounds, with_bounds
from clvq_exp.report.names import condition_name

LAYER = 2


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, reviews: Path) -> Path:
    folder = tmp_path_factory.mktemp("shared_run")
    done = call(
        folder,
        *tiny_cell(tiny_encoder, reviews),
        "beside=none",
        "seeds=[0,3]",
        "evaluation.intervention=false",
        "specificity.shuffles=3",
        'dataset.content_warning="Rude *words*"',
        "hydra.run.dir=run",
    )
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    return home / "run"


@pytest.fixture(scope="module")
def metrics(run: Path) -> dict[str, Any]:
    return read_json(run / "metrics.json")


@pytest.fixture(scope="module")
def words(home: Path) -> np.ndarray:
    """Every stored word at the lower layer, in the order of the store."""
    (tables,) = (path for path in (home / "cache" / "words").iterdir() if path.is_dir())
    layers = {
        read_json(path / LAYER_FACTS)["layer"]: path
        for path in (home / "cache" / "activations").iterdir()
        if path.is_dir()
    }
    return ActivationStore(tables, layers).words(LAYER).numpy()


@pytest.mark.parametrize("seed", [0, 3])
def test_model_of_a_run__assigns_as_the_run_did(run: Path, words: np.ndarray, tmp_path: Path, seed: int) -> None:
    rows = pq.read_table(run / "assignments.parquet", filters=[("seed", "=", seed)])
    expected = rows.column("code").to_numpy()
    found = Concepts.from_run(run, seed)
    assert np.array_equal(found.assign(words), expected)
    loaded = Concepts.from_pretrained(found.save_pretrained(tmp_path / "model"))
    assert np.array_equal(loaded.assign(words), expected)
    assert loaded.metrics == found.metrics == read_json(run / "metrics.json")


def test_model_of_a_run__holds_what_it_assigned_in_training(run: Path) -> None:
    found = Concepts.from_run(run)
    rows = pq.read_table(
        run / "assignments.parquet", filters=[("seed", "=", 0), ("split", "=", "train")]
    ).to_pylist()
    for concept in range(len(found)):
        words = [row["word"].casefold() for row in rows if row["code"] == concept]
        assert found.table().column("n_words")[concept].as_py() == len(words)
        for word, n_words in found.words(concept):
            assert words.count(word) == n_words
        own = sum(1 for row in rows if row["code"] == concept and row["position"] >= 0)
        assert sum(found.labels(concept).values()) == own
        assert None not in found.labels(concept)  # of two labels the other one has its name


def test_model_of_a_run__knows_where_it_comes_from(run: Path, metrics: dict[str, Any]) -> None:
    found = Concepts.from_run(run, 3)
    assert found.origin.layer_pair == (2, 4)
    assert found.origin.counts["train"] == metrics["cell"]["sentences"]["train"]
    assert found.origin.language_model.hub_id is None  # it lay in a folder, which is not told
    assert found.origin.content_warning == "Rude *words*"
    assert found.codebook == metrics["codebook"]["seeds"]["3"]
    assert found.settings["quantizer"]["codebook_size"] == 20


def test_card__has_the_figures_of_the_run_beside_their_controls(run: Path, metrics: dict[str, Any]) -> None:
    card = Concepts.from_run(run).card()
    rows = {line.split(" | ")[0].lstrip("| "): line for line in card.splitlines() if line.startswith("| ")}
    for removal in ("concept", "member_mean"):
        values = metrics["faithfulness"][removal]
        for condition in ("original", "perturbed", "random_direction", "random_active_code", "mean_direction"):
            assert with_bounds(interval(values[condition])) in rows[condition_name(condition).title]
        assert percent_with_bounds(interval(values["specific_drop"])) in rows["Specific drop"]
    assert f"| Concepts | {metrics['codebook']['size']} |" in card
    assert f"{metrics['specificity']['purity']['weighted_mean']:.3f} (labels shuffled: " in card
    assert r"> **Content warning.** Rude \*words\*" in card
    assert "this model is that of seed 0" in card


def test_shared_run__tells_no_path_of_this_machine(
    home: Path, run: Path, tmp_path: Path, tiny_encoder: Path
) -> None:
    folder = Concepts.from_run(run).save_pretrained(tmp_path / "model")
    for path in folder.iterdir():
        content = path.read_bytes()
        for place in (home, tmp_path, tiny_encoder, Path.home()):
            assert str(place).encode() not in content, (path.name, place)


def test_no_run__is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SharingError, match="is no finished run: no such folder"):
        Concepts.from_run(tmp_path / "nowhere")
    with pytest.raises(SharingError, match="is no finished run: no run is in it"):
        Concepts.from_run(tmp_path)
    with pytest.raises(SharingError, match=r"is no finished run: .*below it lie the runs"):
        Concepts.from_run(run.parent)
    with pytest.raises(SharingError, match=r"seed=1: the run .* has the seeds 0, 3"):
        Concepts.from_run(run, 1)


@pytest.mark.parametrize("name", ["concept_model/seed_0/model.safetensors", "concepts.parquet", "metrics.json"])
def test_damaged_run__is_refused(run: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(bytes(content))
    with pytest.raises(SharingError, match="checksum differs"):
        Concepts.from_run(copy)
    (copy / name).unlink()
    with pytest.raises(SharingError, match=name):
        Concepts.from_run(copy)


def copied(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder)
    return folder


def sealed(folder: Path) -> Path:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    write_manifest(folder, {"cell": "0"}, files)
    return folder


def test_run_of_a_method_that_is_not_shipped__asks_for_its_class(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path / "run")
    config = yaml.safe_load((copy / "config.yaml").read_text(encoding="utf-8"))
    config["baseline"]["_target_"] = "os.system"
    (copy / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.raises(SharingError, match=r"clvq_vae \(os.system\), which is not shipped: give the class"):
        Concepts.from_run(sealed(copy))


def test_run_whose_rows_have_another_name__is_shared_as_its_method(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path / "run")
    config = yaml.safe_load((copy / "config.yaml").read_text(encoding="utf-8"))
    config["baseline"]["name"] = "mine"
    (copy / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    found = read_json(copy / "metrics.json")
    write_json(copy / "metrics.json", {**found, "cell": {**found["cell"], "method": "mine"}})
    for path in copy.glob("*.parquet"):
        table = pq.read_table(path)
        column = table.schema.get_field_index("method")
        if column >= 0:
            pq.write_table(table.set_column(column, "method", [["mine"] * table.num_rows]), path)
    made = Concepts.from_run(sealed(copy))
    assert made.words(0) == Concepts.from_run(run).words(0)
    loaded = Concepts.from_pretrained(made.save_pretrained(tmp_path / "model"))
    assert "Concept removed |" in loaded.card()


ROW = {"method": "clvq_vae", "seed": 0}
LABELS = ["no", "yes", "maybe"]


def of_three_labels(copy: Path) -> None:
    found = read_json(copy / "metrics.json")
    write_json(copy / "metrics.json", {**found, "cell": {**found["cell"], "label_names": LABELS}})


def test_run_with_an_inventory__has_every_label_of_a_concept(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path / "run")
    of_three_labels(copy)
    concepts = [{**ROW, "concept": each, "train_words": 9, "label_words": [2, 0, 6]} for each in range(20)]
    pq.write_table(pa.Table.from_pylist(concepts), copy / "concepts.parquet")
    words = [
        {**ROW, "concept": 4, "rank": rank, "word": word, "count": 5 - rank} for rank, word in enumerate("ab")
    ]
    pq.write_table(pa.Table.from_pylist(words), copy / "concept_words.parquet")
    found = Concepts.from_run(sealed(copy))
    assert found.words(4) == [("a", 5), ("b", 4)]
    assert found.words(5) == []
    assert found.labels(4) == {"maybe": 6, "no": 2}
    assert found.purity(4) == 6 / 8
    assert found.table().column("n_words").to_pylist() == [9] * 20
