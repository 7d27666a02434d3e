"""`clvq estimate` as a user calls it: overrides, sweep files, what cells share, methods, errors, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import environment, tiny_cell

from clvq_exp.commands import main
from clvq_exp.composing import compose_cells
from clvq_exp.config import Config, ConfigError
from clvq_exp.estimate import work
from clvq_exp.estimate.corpus import Corpus, corpus_of, tokens_of
from clvq_exp.estimate.network import GivenSizes, NetworkSizes, network_sizes
from clvq_exp.estimate.records import STEPS, Rates
from clvq_exp.estimate.sweep import Asked, EstimatedSweep, Given, estimate_sweep
from clvq_exp.texts import TextsError, load_texts

SWEEPS = Path(__file__).resolve().parents[1] / "multirun_sweeps"
CPU = "trainer.device=cpu"
NOWHERE = "model.hub_id=nobody/nothing"
"""A model that no cache holds."""
LLAMA = (
    *("model=llama2_7b", "model.hub_id=nobody/nothing", "--parameters", "6738415616"),
    *("--layers", "32", "--width", "4096", "--vocabulary", "32000"),
)
"""A model that no cache holds, with its sizes."""


@pytest.fixture(autouse=True)
def _fixed_speed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine of one speed, and a cache with nothing in it."""
    monkeypatch.setattr("clvq_exp.estimate.sweep.measure_rates", lambda *_: Rates(1e11, 1e11))
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "no_cache"))


def found_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["estimate", "--json", CPU, *arguments]) == 0
    return json.loads(capsys.readouterr().out)


# ---------------------------------------------------------------- cells


def test_compose_cells__one_cell_without_a_sweep() -> None:
    (cell,) = compose_cells(["quantizer.codebook_size=7", "dataset.name=mine"])
    assert cell.overrides == ()
    assert cell.config.quantizer.codebook_size == 7
    assert cell.run_folder.parts[:4] == ("outputs", "minilm", "mine", "4-6")


def test_compose_cells__one_cell_is_what_a_sweep_of_one_makes_of_it() -> None:
    """Also where overrides are written as a shell leaves them, and one of them is Hydra's own."""
    asked = ["quantizer={temperature: 2.0, top_k: 5}", "dataset.name='my texts'", "hydra.job.name=mine"]
    (alone,) = compose_cells(asked)
    (swept,) = compose_cells([*asked, "hydra.mode=MULTIRUN"])
    assert alone.config == swept.config
    assert alone.config.quantizer.top_k == 5
    assert alone.run_folder == swept.run_folder  # so that either finds what the other has finished
    (elsewhere,) = compose_cells([*asked, "hydra.mode=MULTIRUN", "hydra.sweep.dir=sweep"])
    assert elsewhere.run_folder == Path("sweep", *swept.run_folder.parts[1:])


def test_compose_cells__commas_make_the_cells_of_a_sweep() -> None:
    cells = compose_cells(["quantizer.codebook_size=7,9", "protocol=paper,strict", "seeds=[0,1]"])
    assert [cell.overrides for cell in cells] == [
        ("quantizer.codebook_size=7", "protocol=paper"),
        ("quantizer.codebook_size=7", "protocol=strict"),
        ("quantizer.codebook_size=9", "protocol=paper"),
        ("quantizer.codebook_size=9", "protocol=strict"),
    ]
    assert [cell.config.protocol.name for cell in cells] == ["paper", "strict", "paper", "strict"]
    assert all(cell.config.seeds == [0, 1] for cell in cells)
    assert len({cell.run_folder for cell in cells}) == 4


def test_compose_cells__a_sweep_file_and_what_stands_beside_it() -> None:
    cells = compose_cells([], "table08_codebook_size", str(SWEEPS))
    assert [cell.config.quantizer.codebook_size for cell in cells] == [50, 100, 400, 800, 1200]
    beside = ["quantizer.codebook_size=5,6", "model=minilm"]
    cells = compose_cells(beside, "table08_codebook_size.yaml", str(SWEEPS))
    assert [cell.config.quantizer.codebook_size for cell in cells] == [5, 6]
    assert {cell.config.model.name for cell in cells} == {"minilm"}
    assert {cell.config.dataset.name for cell in cells} == {"eraser_movie"}


def test_compose_cells__a_further_folder_of_groups(tmp_path: Path) -> None:
    (tmp_path / "init").mkdir()
    (tmp_path / "init" / "mine.yaml").write_text(
        "name: mine\nmethod: random\nseeding_sample: 5\nmax_iterations: 1\ntolerance: 0.1\n", encoding="utf-8"
    )
    (cell,) = compose_cells(["init=mine"], folder=str(tmp_path))
    assert cell.config.init.seeding_sample == 5


def test_compose_cells__all_errors_of_all_cells_together() -> None:
    with pytest.raises(ConfigError) as caught:
        compose_cells(["quantizer.top_k=9", "quantizer.codebook_size=3,400", "layer_pair.lower=7", "seeds=[]"])
    text = str(caught.value)
    assert text.startswith("the configuration has 3 error(s)")
    assert text.count("seeds is empty") == 1
    assert "quantizer.top_k=9 is more than quantizer.codebook_size=3" in text
    assert "layer_pair.lower=7 is not below" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quantizer.codebok_size=3"], "Could not override 'quantizer.codebok_size'"),
        (["init=nope"], "Could not find 'init/nope'"),
        (["a=["], "input '['"),
        (["--config-name", "nope"], "Cannot find primary config 'nope'"),
        (["--config-dir", "nowhere"], "--config-dir=nowhere: no such folder"),
        (["quantizer.top_k=0"], "quantizer.top_k=0 is below 1"),
        (["model=llama2_7b", "model.hub_id=nobody/nothing"], "nothing here tells its sizes"),
        (["dataset.path=nowhere.csv"], "dataset.path=nowhere.csv does not exist"),
    ],
)
def test_estimate__errors_are_those_of_the_configuration(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("the configuration has 1 error(s):\n  - ")
    assert said in printed.err
    assert "\x1b" not in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("given", [["--layers", "0"], ["--parameters", "many"], ["--width", "1.5"], ["--fast"]])
def test_estimate__wrong_options_are_refused(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["estimate", *given])
    assert caught.value.code == 2
    assert given[0] in capsys.readouterr().err


# ---------------------------------------------------------------- what cells share


def sweep_of(*overrides: str, given: GivenSizes | None = None) -> EstimatedSweep:
    cells = [Asked(*cell) for cell in compose_cells([CPU, *overrides])]
    return estimate_sweep(cells, Given(sizes=given or GivenSizes()))


def test_sweep__over_codebooks_shares_all_that_comes_before_them(base_encoder: Path, reviews: Path) -> None:
    cell = tiny_cell(base_encoder, reviews)
    sweep = sweep_of(*cell, "quantizer.codebook_size=10,20")
    first, second = sweep.cells
    assert first.added_seconds == pytest.approx(sum(first.alone.seconds.values()))
    loading = first.estimate.parts[0].seconds
    for step in ("activations", "attribution"):
        assert sweep.together.seconds[step] == first.alone.seconds[step] > 0
    tuning = first.alone.seconds["language_model"]
    assert sweep.together.seconds["language_model"] == pytest.approx(tuning + loading)
    assert sweep.together.seconds["concepts"] == pytest.approx(
        first.alone.seconds["concepts"] + second.alone.seconds["concepts"]
    )
    controls = work.intervention_seconds(*_of(first.asked, base_encoder), Rates(1e11, 1e11), 2)
    assert sweep.together.seconds["intervention"] == pytest.approx(
        first.alone.seconds["intervention"] + second.alone.seconds["intervention"] - controls
    )
    assert sweep.run_bytes == first.estimate.run_bytes + second.estimate.run_bytes
    assert second.added_cache_bytes < first.added_cache_bytes / 2


def _of(asked: Asked, folder: Path) -> tuple[Config, NetworkSizes, Corpus]:
    config = asked.config
    network = network_sizes(config.model, folder)
    texts = load_texts(config.dataset, False)
    return config, network, corpus_of(config, texts, tokens_of(config, network, folder, texts))


def test_sweep__another_layer_pair_keeps_the_layers_that_are_there(tiny_encoder: Path, reviews: Path) -> None:
    cell = tiny_cell(tiny_encoder, reviews)
    sweep = sweep_of(*cell, "layer_pair.lower=1,2")
    first, second = sweep.cells
    tables = first.alone.cache_bytes["activations"] - first.estimate.store_bytes
    of_layer = first.estimate.store_bytes // 2
    assert sweep.together.cache_bytes["activations"] == tables + 3 * of_layer
    assert sweep.together.seconds["attribution"] == first.alone.seconds["attribution"]
    assert sweep.together.seconds["language_model"] == pytest.approx(2 * second.alone.seconds["language_model"])


def test_sweep__a_cell_twice_adds_only_what_is_never_kept(tiny_encoder: Path, reviews: Path) -> None:
    sweep = sweep_of(*tiny_cell(tiny_encoder, reviews), "model.default_lower=2,2")
    kept = ("activations", "attribution", "concepts", "intervention")
    for step in kept:
        assert sweep.together.seconds[step] == sweep.cells[0].alone.seconds[step]
    assert sweep.cells[1].added_cache_bytes == 0
    assert sweep.cells[1].added_seconds > 0


def test_sweep__notes_say_what_is_assumed(tmp_path: Path) -> None:
    given = GivenSizes(10**6, 12, 64, 1000)
    sweep = sweep_of("model=roberta", NOWHERE, "dataset=jigsaw", given=given)
    notes = " ".join(sweep.cells[0].notes)
    assert "the texts of jigsaw are not here" in notes
    assert "9,000 training and 800 dev sentences of 28 words" in notes
    assert "1.35 sub-words a word" in notes
    with pytest.raises(TextsError, match="does not exist"):
        sweep_of("dataset=jigsaw", f"dataset.path={tmp_path / 'absent'}")


def test_estimate__says_that_others_compute_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    for load, said in ((1.6, True), (0.4, False)):
        monkeypatch.setattr("os.getloadavg", lambda load=load: (load, 0.0, 0.0))
        found = "other work keeps 1.6 of 4 cores busy" in " ".join(sweep_of().cells[0].notes)
        assert found == said


# ---------------------------------------------------------------- concept methods


def test_estimate__tells_each_method_of_a_cell(
    capsys: pytest.CaptureFixture[str], tiny_encoder: Path, reviews: Path
) -> None:
    (cell,) = found_by(capsys, *tiny_cell(tiny_encoder, reviews), "beside=table1")["cells"]
    removals = {name: len(each["removals"]) for name, each in cell["methods"].items()}
    sparse = {"sae_2048": 5, "sae_4096": 5, "transcoder": 5}
    codebooks = ("clvq_vae", "kmeans_codes", "clvq_vae_random", "clvq_vae_spherical_kmeans", "single_layer")
    assert removals == {**dict.fromkeys((*codebooks, "clustering"), 2), **sparse}
    assert all(each["known"] for each in cell["methods"].values())
    for step in ("concepts", "intervention", "specificity"):
        own = sum(each["seconds"][step] for each in cell["methods"].values())
        assert own == pytest.approx(cell["steps"][step]["seconds"])
    kept = sum(each["cache_bytes"] for each in cell["methods"].values())
    assert kept == sum(cell["steps"][step]["cache_bytes"] for step in ("concepts", "intervention"))


@pytest.mark.parametrize("name", ["clustering", "clustering_filtered", "sae_2048", "transcoder", "kmeans_codes"])
def test_estimate__of_a_method_alone(
    name: str, capsys: pytest.CaptureFixture[str], tiny_encoder: Path, reviews: Path
) -> None:
    given = (*tiny_cell(tiny_encoder, reviews), f"baseline={name}", "beside=none")
    (cell,) = found_by(capsys, *given)["cells"]
    (own,) = cell["methods"].values()
    assert (list(cell["methods"]), own["known"], cell["problems"]) == ([name], True, [])
    assert own["seconds"]["concepts"] == pytest.approx(cell["steps"]["concepts"]["seconds"])
    assert own["cache_bytes"] > own["model_bytes"] > 0
    trained = name in ("sae_2048", "transcoder")
    (three,) = found_by(capsys, *given, "trainer.max_epochs=9", "trainer.patience=9")["cells"]
    assert (three["seconds"] > cell["seconds"]) == trained


def test_estimate__says_of_which_methods_it_knows_nothing(
    capsys: pytest.CaptureFixture[str], tiny_encoder: Path, reviews: Path
) -> None:
    given = (*tiny_cell(tiny_encoder, reviews), "baseline.name=mine", "baseline._target_=my.Method")
    (cell,) = found_by(capsys, *given)["cells"]
    assert {name: each["known"] for name, each in cell["methods"].items()} == {"mine": False, "kmeans_codes": True}
    (note,) = [each for each in cell["notes"] if "no formula" in each]
    assert note == "no formula is known for mine (my.Method): it is counted as CLVQ-VAE with 20 concepts"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["baseline=sae_2048", "baseline.neurons=many"],
            "baseline.neurons='many': give a whole number of at least 1",
        ),
        (["beside=table1", "beside.sae_4096.neurons=null"], "beside.sae_4096.neurons=None: give a whole number"),
        (["baseline=sae_2048", "baseline.by_kind.encoder.l1=0.1"], "baseline.by_kind.encoder.l1=0.1: give a list"),
        (["baseline=clustering", "baseline.words=some"], "baseline.words='some': give one of all, frequent"),
        (["baseline=transcoder", "baseline.learning_rate=fast"], "baseline.learning_rate='fast': give a number"),
    ],
)
def test_estimate__arguments_that_no_class_takes_are_problems(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tiny_encoder: Path, reviews: Path
) -> None:
    (cell,) = found_by(capsys, *tiny_cell(tiny_encoder, reviews), *arguments)["cells"]
    (problem,) = cell["problems"]
    assert problem.startswith(said)


# ---------------------------------------------------------------- what is printed


def test_estimate__json_has_all_steps_of_all_cells(
    capsys: pytest.CaptureFixture[str], tiny_encoder: Path, reviews: Path
) -> None:
    found = found_by(capsys, *tiny_cell(tiny_encoder, reviews), "quantizer.codebook_size=10,20")
    assert {"format_version", "device", "threads", "flops_per_second", "cells"} <= set(found)
    assert (found["device"], found["flops_per_second"], found["format_version"]) == ("cpu", 1e11, 1)
    first, second = found["cells"]
    assert first["overrides"] == ["quantizer.codebook_size=10"]
    assert list(first["steps"]) == sorted(STEPS)
    for step in first["steps"].values():
        assert set(step) == {"seconds", "peak_memory_bytes", "peak_gpu_memory_bytes", "cache_bytes"}
        assert step["peak_gpu_memory_bytes"] == 0
    assert first["seconds"] == pytest.approx(sum(step["seconds"] for step in first["steps"].values()))
    assert found["seconds"] == pytest.approx(first["added_seconds"] + second["added_seconds"])
    assert found["cache_bytes"] == first["added_cache_bytes"] + second["added_cache_bytes"]
    assert found["run_bytes"] == first["run_bytes"] + second["run_bytes"]
    assert found["peak_memory_bytes"] == max(first["peak_memory_bytes"], second["peak_memory_bytes"])
    assert first["problems"] == []


def test_estimate__of_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    (cell,) = found_by(capsys, *LLAMA, "dataset=jigsaw")["cells"]
    assert cell["weights_bytes"] == 2 * 6_738_415_616
    assert 2 * 6_738_415_616 < cell["steps"]["language_model"]["peak_memory_bytes"] < 15e9


def test_estimate__overrides_may_stand_behind_options(capsys: pytest.CaptureFixture[str]) -> None:
    (cell,) = found_by(capsys, *LLAMA, "seeds=[4]", "--sentences", "50", "dataset=jigsaw")["cells"]
    assert (cell["seeds"], cell["dataset"]) == ([4], "jigsaw")
    # 45 training, 5 validation and 800 dev sentences of 28 words, without a sentence token, at two layers.
    assert cell["store_bytes"] == 2 * 4 * 4096 * (28 * 850 + 850)


def test_estimate__table_shows_steps_sum_and_assumptions(
    capsys: pytest.CaptureFixture[str], tiny_encoder: Path, reviews: Path
) -> None:
    assert main(["estimate", CPU, *tiny_cell(tiny_encoder, reviews)]) == 0
    printed = capsys.readouterr().out
    for step in STEPS:
        assert step.replace("_", " ").capitalize() in printed
    assert "100 GFLOP/s" in printed
    assert "estimated from nothing" in printed
    assert "GPU memory" not in printed
    assert "Added" not in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_estimate__table_of_a_sweep_shows_what_each_cell_adds(
    capsys: pytest.CaptureFixture[str], tiny_encoder: Path, reviews: Path
) -> None:
    assert main(["estimate", CPU, *tiny_cell(tiny_encoder, reviews), "quantizer.codebook_size=10,20"]) == 0
    printed = capsys.readouterr().out
    assert "2 cells" in printed
    assert "quantizer.codebook_size=20" in printed
    assert "Added" in printed


def test_estimate__table_shows_methods_where_there_are_several(
    capsys: pytest.CaptureFixture[str], tiny_encoder: Path, reviews: Path
) -> None:
    assert main(["estimate", CPU, *tiny_cell(tiny_encoder, reviews), "beside=table1"]) == 0
    printed = capsys.readouterr().out
    for name in ("clvq_vae_spherical_kmeans", "single_layer", "clustering", "sae_4096", "transcoder"):
        assert f"\n{name} " in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert main(["estimate", CPU, *tiny_cell(tiny_encoder, reviews), "beside=none"]) == 0
    assert "Method" not in capsys.readouterr().out


def test_estimate__names_cannot_act_on_the_terminal(
    capsys: pytest.CaptureFixture[str], tiny_encoder: Path, reviews: Path
) -> None:
    name = 'model.name="\x1b[31mred"'
    assert main(["estimate", CPU, *tiny_cell(tiny_encoder, reviews), name]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\\x1b[31mred" in printed


# ---------------------------------------------------------------- the process


def test_module__help_and_errors_need_no_heavy_library(tmp_path: Path) -> None:
    program = """
import sys
from clvq_exp.commands import main
try:
    main(["estimate", "--help"])
except SystemExit:
    pass
main(["estimate", "seeds=[]"])
print(sorted({"torch", "transformers", "pytorch_lightning", "numpy", "pandas"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "seeds is empty" in done.stderr


def test_module__runs_without_being_installed_and_leaves_nothing(
    tmp_path: Path, tiny_encoder: Path, reviews: Path
) -> None:
    command = [sys.executable, "-m", "clvq_exp.commands", "estimate", "--json", CPU]
    done = subprocess.run(
        [*command, *tiny_cell(tiny_encoder, reviews)],
        cwd=tmp_path,
        env=environment(tmp_path / "cache"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["flops_per_second"] > 0
    assert list(tmp_path.iterdir()) == []
