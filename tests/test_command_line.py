"""`python -m clvq_exp` as a user runs it; every call is a process of its own."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from running import Call, call, tiny_cell
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
SWEEPS = ROOT / "multirun_sweeps"
GROUPS = ("baseline", "dataset", "init", "layer_pair", "logger", "model", "protocol", "trainer")
KEY = "0123456789abcdef0123456789abcdef01234567"
"""What a W&B key looks like."""

COLUMNS = {
    "history": "method seed epoch train_loss train_reconstruction train_commitment validation_loss "
    "validation_reconstruction validation_commitment perplexity codes_in_use alpha learning_rate "
    "train_sparsity validation_sparsity variance_explained l0 dead_neurons revived_codes",
    "assignments": "seed sentence split position word code",
    "salient_words": "sentence id group split text label prediction confidence position word special attribution "
    "convergence_delta logit_change steps code",
    "attributions": "sentence position word special attribution",
    "sentences": "method removal seed condition sentence correct",
    "concepts": "method seed concept train_words dev_words sentence_tokens train_sentences forms label_words "
    "label purity nearest x y vector",
    "concept_words": "method seed concept rank word count",
    "concept_examples": "method seed concept split sentence id label position special before word after",
    "salient_concepts": "method seed sentence position concept",
    "concept_sentences": "method seed concept sentence id label text",
    "routed_words": "method seed word label against code n_words occurrences purity divergence",
}
REMOVALS = {"concept", "member_mean"}
CONDITIONS = {
    *("original", "perturbed", "random_direction", "random_direction_norm_matched", "random_active_code"),
    *("random_active_code_norm_matched", "mean_direction", "centred_concept", "own_code", "other_word"),
    *("class_means", "refit", "refit_original"),
}
EXTRAS = {
    *("drop", "specific_drop", "standard_deviation", "inverted", "readable", "readable_p_value"),
    *("minimum_detectable_drop", "removed_norm", "rank", "empty_concepts", "without_sentence_token"),
}
CODEBOOK = {
    *("size", "perplexity", "codes_in_use", "mean_cosine", "alpha", "validation_loss", "best_epoch"),
    *("utilisation", "bypass", "codes_alone", "variance_explained", "l0", "dead_neurons"),
}


class Finished(NamedTuple):
    folder: Path
    arguments: list[str]
    home: Path
    call: Call


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, reviews: Path) -> Finished:
    """One cell that ran to its end, with a W&B key in its environment."""
    home = tmp_path_factory.mktemp("cell")
    arguments = [*tiny_cell(tiny_encoder, reviews), f"hydra.run.dir={home / 'run'}"]
    return Finished(home / "run", arguments, home, call(home, *arguments, WANDB_API_KEY=KEY))


def metrics_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def files_with(text: str, folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if text.encode() in path.read_bytes()]


# ---------------------------------------------------------------- before anything runs


def test_help__lists_every_group(tmp_path: Path) -> None:
    done = call(tmp_path, "--help")
    assert done.code == 0
    for group in GROUPS:
        assert re.search(rf"^{group}: \w", done.out, re.MULTILINE)
    assert "rotten_tomatoes" in done.out
    assert list(tmp_path.iterdir()) == []


def test_cfg_job__prints_every_section(tmp_path: Path) -> None:
    done = call(tmp_path, "--cfg", "job")
    assert done.code == 0
    printed = yaml.safe_load(done.out)
    assert {*GROUPS, "quantizer", "decoder", "attribution", "probe", "evaluation", "seeds"} <= set(printed)
    assert "hydra" not in printed
    assert list(tmp_path.iterdir()) == []


def test_composing_and_checking__imports_no_heavy_library() -> None:
    program = """
import sys
import clvq_exp.run
from hydra import compose, initialize_config_module
from clvq_exp.config import check
with initialize_config_module("clvq_exp.conf", version_base="1.3"):
    check(compose("config"))
heavy = {"torch", "transformers", "pytorch_lightning", "numpy", "pandas", "wandb"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_absent_model_and_texts__are_named_in_one_message(tmp_path: Path) -> None:
    done = call(tmp_path, "model=roberta", "dataset=jigsaw", HF_HOME=str(tmp_path / "hub"))
    text = done.out + done.err
    assert done.code == 1
    assert "Traceback" not in text
    assert text.count("the configuration has 2 error(s)") == 1
    model, dataset = (line for line in text.splitlines() if line.startswith("  - "))
    assert "model.path" in model
    assert "config.json" in model
    assert "tokenizer" in model
    assert "dataset.path" in dataset
    assert "train.jsonl and dev.jsonl" in dataset
    assert not list(tmp_path.rglob("metrics.json"))


def test_misspelt_key__is_refused(tmp_path: Path) -> None:
    done = call(tmp_path, "quantizer.codebok_size=100")
    assert done.code == 1
    assert "Key 'codebok_size' is not in struct" in done.err
    assert "Traceback" not in done.err


def test_contradictions_and_wrong_types__come_together(tmp_path: Path) -> None:
    done = call(tmp_path, "quantizer.temperature=0", "decoder.heads=many", "+quantizer.codebok_size=3")
    text = done.out + done.err
    assert done.code == 1
    assert "Traceback" not in text
    assert "the configuration has 3 error(s)" in text
    assert "quantizer.temperature=0.0 is not above 0" in text
    assert "decoder.heads='many'" in text
    assert "quantizer.codebok_size is no key of the configuration; did you mean codebook_size?" in text


def test_wrong_dataset_path__says_what_belongs_there(tmp_path: Path) -> None:
    done = call(tmp_path, "dataset=file", f"dataset.path={tmp_path / 'absent.csv'}")
    text = done.out + done.err
    assert done.code == 1
    assert "Traceback" not in text
    assert f"dataset.path={tmp_path / 'absent.csv'} does not exist" in text
    assert "a JSONL, CSV or Parquet file, or a folder with a train and a dev file" in text


# ---------------------------------------------------------------- one whole cell


def test_cell__runs_to_its_end(finished: Finished) -> None:
    assert finished.call.code == 0, finished.call.err[-3000:]
    assert "Traceback" not in finished.call.err
    assert str(finished.folder / "report.html") in finished.call.out.replace("\n", "")


def test_cell__leaves_the_documented_files(finished: Finished) -> None:
    files = ("manifest.json", "metrics.json", "provenance.json", "config.yaml", "report.html", "probe.safetensors")
    for name in (*files, *(f"{table}.parquet" for table in COLUMNS)):
        assert (finished.folder / name).stat().st_size > 0, name
    models = sorted(path.name for path in (finished.folder / "concept_model" / "seed_0").iterdir())
    assert models == ["model.safetensors", "summary.json"]
    written = [path for path in finished.folder.iterdir() if path.is_file()]
    assert max(written, key=lambda path: path.stat().st_mtime_ns).name in ("manifest.json", "clvq_exp.log")


@pytest.mark.parametrize("table", COLUMNS)
def test_cell__tables_have_the_documented_columns(finished: Finished, table: str) -> None:
    found = pq.read_table(finished.folder / f"{table}.parquet")
    assert found.column_names == COLUMNS[table].split()
    assert len(found) > 0


def test_cell__metrics_have_the_documented_keys(finished: Finished) -> None:
    metrics = metrics_of(finished.folder)
    top = "format_version cell model attribution faithfulness intervention codebook specificity beside comparisons"
    assert set(metrics) == set(top.split())
    cell = "model dataset layer_pair method init protocol trainer seeds codebook_size fingerprint label_names"
    assert {*cell.split(), "sentences", "words"} <= set(metrics["cell"])
    assert {"train", "validation", "evaluation", "refit"} <= set(metrics["cell"]["sentences"])
    assert set(metrics["cell"]["words"]) == {"stored", "vanished", "truncated"}
    assert set(metrics["model"]) == {
        *("accuracy", "majority", "above_majority", "above_majority_p_value", "fine_tuning")
    }
    attribution = "steps_mean tolerance converged_share median_relative_delta sentence_token_share"
    assert set(metrics["attribution"]) == set(attribution.split())
    assert set(metrics["beside"]) == {"kmeans_codes"}
    for method in (metrics, metrics["beside"]["kmeans_codes"]):
        assert set(method["faithfulness"]) == REMOVALS
        for figures in method["faithfulness"].values():
            assert set(figures) == CONDITIONS | EXTRAS
            for condition in CONDITIONS:
                assert set(figures[condition]) == {"mean", "low", "high"}
        assert set(method["codebook"]) == {*CODEBOOK, "seeds"}
        assert {"purity", "routing", "overlap", "cosine", "stability", "seeds"} <= set(method["specificity"])
        assert set(method["codebook"]["seeds"]) == {"0"}
        assert set(method["codebook"]["seeds"]["0"]) == {*CODEBOOK, "chosen"}
        assert set(method["intervention"]) == REMOVALS
        for places in method["intervention"].values():
            assert {"sentence_token", "salient_word", "all_words"} <= set(places)
            for conditions in places.values():
                assert {"original", "perturbed", "random_direction", "mean_direction"} <= set(conditions)
    assert metrics["beside"]["kmeans_codes"]["codebook"]["bypass"] is None
    for row in metrics["comparisons"]:
        assert set(row) == {"removals", "methods", "difference", "cohens_h", "p_value", "p_holm"}


def test_cell__its_files_agree_with_each_other(finished: Finished) -> None:
    metrics = metrics_of(finished.folder)
    outcomes = pq.read_table(finished.folder / "sentences.parquet").to_pandas()
    for name, method in {"clvq_vae": metrics, **metrics["beside"]}.items():
        for removal, figures in method["faithfulness"].items():
            part = outcomes[(outcomes["method"] == name) & (outcomes["removal"] == removal)]
            means = part.groupby("condition")["correct"].mean()
            assert set(means.index) == CONDITIONS
            for condition in CONDITIONS:
                assert figures[condition]["mean"] == pytest.approx(means[condition], abs=1e-12)
    salient = pq.read_table(finished.folder / "salient_words.parquet").to_pandas()
    dev = salient[salient["split"] == "dev"]
    assert len(dev) == metrics["cell"]["sentences"]["evaluation"] == 40
    assert (dev["label"] == dev["prediction"]).mean() == pytest.approx(metrics["model"]["accuracy"]["mean"])
    assert dev["special"].mean() == pytest.approx(metrics["attribution"]["sentence_token_share"])
    words = pq.read_table(finished.folder / "assignments.parquet").to_pandas()
    assert len(words) == metrics["cell"]["words"]["stored"]
    joined = dev.merge(words, on=["sentence", "position"], suffixes=("", "_stored"))
    assert (joined["code"] == joined["code_stored"]).all()
    config = yaml.safe_load((finished.folder / "config.yaml").read_text(encoding="utf-8"))
    assert config["attribution"]["steps"] == 8
    assert config["decoder"]["memory"] == "encoder", "interpolations are resolved"


def test_cell__concepts_count_the_training_words(finished: Finished) -> None:
    stored = pq.read_table(finished.folder / "assignments.parquet").to_pandas()
    concepts = pq.read_table(finished.folder / "concepts.parquet").to_pandas()
    words = pq.read_table(finished.folder / "concept_words.parquet").to_pandas()
    main, of_main = (each[each["method"] == "clvq_vae"] for each in (concepts, words))
    train, dev = (stored[stored["split"] == split] for split in ("train", "dev"))
    spoken = train[train["position"] >= 0]
    counts = spoken.groupby(["code", spoken["word"].str.casefold()]).size()
    assert [counts[row.concept, row.word] for row in of_main.itertuples()] == of_main["count"].tolist()
    assert (of_main.groupby("concept")["count"].first() == counts.groupby("code").max()).all()
    assert len(of_main) == len(counts) == main["forms"].sum()

    def per_concept(codes: Any) -> list[int]:
        return np.bincount(codes, minlength=len(main)).tolist()

    assert per_concept(train["code"]) == main["train_words"].tolist()
    assert per_concept(dev["code"]) == main["dev_words"].tolist()
    assert per_concept(train.loc[train["position"] < 0, "code"]) == main["sentence_tokens"].tolist()
    assert per_concept(train.drop_duplicates(["sentence", "code"])["code"]) == main["train_sentences"].tolist()
    assert [sum(each) for each in main["label_words"]] == per_concept(spoken["code"])


def test_cell__purity_of_the_concepts_is_that_of_the_figures(finished: Finished) -> None:
    metrics = metrics_of(finished.folder)
    concepts = pq.read_table(finished.folder / "concepts.parquet").to_pandas()
    held = concepts[(concepts["method"] == "clvq_vae") & concepts["label"].notna()]
    figures = metrics["specificity"]["purity"]
    assert len(held) == figures["codes"]
    assert held["purity"].mean() == pytest.approx(figures["mean"])
    most = held["label_words"].map(max)
    assert (most / held["label_words"].map(sum)).tolist() == pytest.approx(held["purity"].tolist())
    assert [
        max(each) == each[metrics["cell"]["label_names"].index(name)]
        for each, name in zip(held["label_words"], held["label"], strict=True)
    ] == [True] * len(held)


def test_cell__vectors_and_neighbours_are_those_of_the_codebook(finished: Finished) -> None:
    concepts = pq.read_table(finished.folder / "concepts.parquet").to_pandas()
    main = concepts[concepts["method"] == "clvq_vae"]
    vectors = np.stack(main["vector"])
    codebook = load_file(finished.folder / "concept_model" / "seed_0" / "model.safetensors")["quantizer.codebook"]
    assert np.array_equal(vectors, codebook.astype(np.float32))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    for row in main.itertuples():
        assert [each["cosine"] for each in row.nearest] == pytest.approx(
            [cosines[row.concept, each["concept"]] for each in row.nearest], abs=1e-5
        )
    assert main["x"].notna().tolist() == (main["train_words"] > 0).tolist()


def test_cell__examples_stand_in_their_sentences(finished: Finished) -> None:
    examples = pq.read_table(finished.folder / "concept_examples.parquet").to_pandas()
    stored = pq.read_table(finished.folder / "assignments.parquet").to_pandas()
    salient = pq.read_table(finished.folder / "salient_words.parquet").to_pandas().set_index("sentence")
    joined = examples.merge(stored, on=["seed", "sentence", "position"], suffixes=("", "_stored"))
    assert len(joined) == len(examples) > 0
    assert (joined["concept"] == joined["code"]).all()
    assert (joined["word"] == joined["word_stored"]).all()
    known = examples[examples["sentence"].isin(salient.index)]
    assert set(known["split"]) == {"train", "dev"}
    for row in known.itertuples():
        text = salient.loc[row.sentence, "text"]
        around = [row.before, row.after] if row.special else [row.before, row.word, row.after]
        assert " ".join(filter(None, around)) in " ".join(text.split())
        assert salient.loc[row.sentence, "label"] == row.label


def test_cell__keeps_no_key_of_the_environment(finished: Finished) -> None:
    assert files_with(KEY, finished.home) == []
    assert KEY not in finished.call.out + finished.call.err


def test_second_run__finds_the_result_and_touches_nothing(finished: Finished) -> None:
    path = finished.folder / "metrics.json"
    before = path.stat()
    again = call(finished.home, *finished.arguments)
    assert again.code == 0, again.err[-3000:]
    assert "finished before; nothing is run" in again.out + again.err
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert "perturbed" in again.out.lower() or "removed" in again.out.lower(), "the figures are shown again"


@pytest.mark.slow
def test_other_cache_and_folder__same_metrics_to_the_byte(finished: Finished, tmp_path: Path) -> None:
    arguments = [each for each in finished.arguments if not each.startswith("hydra.run.dir")]
    done = call(tmp_path, *arguments, "logger=wandb", cache=tmp_path / "elsewhere", WANDB_API_KEY=KEY)
    assert done.code == 0, done.err[-3000:]
    (path,) = tmp_path.glob("outputs/minilm/file/2-4/clvq_vae-kmeans-paper-*/metrics.json")
    assert path.read_bytes() == (finished.folder / "metrics.json").read_bytes()
    assert files_with(KEY, tmp_path) == []


# ---------------------------------------------------------------- sweeps


def sweep(name: str, *arguments: str) -> list[str]:
    return ["--config-dir", str(SWEEPS), "--config-name", name, *arguments]


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("table08_codebook_size", (), ("roberta", "eraser_movie", "default", "8-12")),
        (
            "table08_codebook_size",
            ("model=minilm", "dataset=rotten_tomatoes"),
            ("minilm", "rotten_tomatoes", "demo", "4-6"),
        ),
        (
            "table08_codebook_size",
            ("dataset=rotten_tomatoes", "trainer=default", "layer_pair=0-4"),
            ("roberta", "rotten_tomatoes", "default", "0-4"),
        ),
        ("demo_table08_codebook_size", (), ("minilm", "rotten_tomatoes", "demo", "4-6")),
        (
            "demo_table08_codebook_size",
            ("trainer=default", "dataset=agnews"),
            ("minilm", "agnews", "default", "4-6"),
        ),
    ],
)
def test_sweep__composes_with_overrides_of_groups(
    name: str, overrides: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path
) -> None:
    done = call(tmp_path, *sweep(name, "--cfg", "all", "--resolve", *overrides))
    assert done.code == 0, done.err
    printed = yaml.safe_load(done.out)
    pair = "{lower}-{upper}".format(**printed["layer_pair"])
    names = (printed["model"]["name"], printed["dataset"]["name"], printed["trainer"]["name"], pair)
    assert names == expected
    assert printed["hydra"]["mode"] == "MULTIRUN"
    sizes = {"table08_codebook_size": "50,100,400,800,1200", "demo_table08_codebook_size": "20,50,100"}
    assert printed["hydra"]["sweeper"]["params"] == {"quantizer.codebook_size": sizes[name]}


@pytest.mark.slow
def test_sweep__shares_artifacts_and_outlives_a_failing_cell(
    tmp_path: Path, tiny_encoder: Path, reviews: Path
) -> None:
    overrides = [each for each in tiny_cell(tiny_encoder, reviews) if "codebook_size" not in each]
    tuning = ("fine_tuning.when=always", "fine_tuning.epochs=1")
    sizes = "quantizer.codebook_size=3,20,30"  # three codes are fewer than the top_k of 5
    done = call(tmp_path, *sweep("table08_codebook_size", "model=minilm", *overrides, *tuning, sizes))
    assert done.code != 0
    assert "quantizer.top_k=5 is more than quantizer.codebook_size=3" in done.out + done.err
    assert "1 of 3 cells have no result:" in done.err
    assert "  quantizer.codebook_size=3: the configuration has 1 error(s):" in done.err
    assert "quantizer.codebook_size=20: " not in done.err
    found = [metrics_of(path.parent) for path in tmp_path.glob("outputs/minilm/file/2-4/*/metrics.json")]
    assert sorted(each["cell"]["codebook_size"] for each in found) == [20, 30]
    assert found[0]["model"] == found[1]["model"]
    cache = tmp_path / "cache"
    manifests = [path.parent.parent.name for path in cache.glob("*/*/manifest.json")]
    counts = {kind: manifests.count(kind) for kind in set(manifests)}
    assert counts["language_models"] == 1
    assert counts["words"] == 1
    assert counts["activations"] == 2, "one of each layer"
    assert counts["attributions"] == 2, "one of dev, one of the refit sentences"
    assert counts["concept_models"] == 4, "two methods for each size"
    again = shlex.split(next(line for line in done.err.splitlines() if line.startswith("    python -m clvq_exp")))
    (folder,) = (line.split()[1] for line in done.err.splitlines() if line.startswith("    in outputs/"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/**/metrics.json")}
    assert len(before) == 2
    retried = call(
        tmp_path, *again[3:], f"hydra.sweep.subdir={Path(folder).relative_to('outputs')}", "quantizer.top_k=2"
    )
    assert retried.code == 0, retried.err
    assert not (tmp_path / folder / "failure.json").exists()
    assert metrics_of(tmp_path / folder)["cell"]["codebook_size"] == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
