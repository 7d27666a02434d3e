"""`clvq estimate` as a user calls it: overrides, sweep files, errors, JSON."""

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
from clvq_exp.config import ConfigError
from clvq_exp.estimate.records import STEPS, Rates

SWEEPS = Path(__file__).resolve().parents[1] / "multirun_sweeps"
CPU = "trainer.device=cpu"
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


def test_compose_cells__every_sweep_file_of_the_project() -> None:
    names = sorted(path.stem for path in SWEEPS.glob("*.yaml"))
    assert "eraser_decoder_memory" in names
    for name in names:
        cells = compose_cells([], name, str(SWEEPS))
        assert len(cells) > 1, name
        assert all(cell.overrides for cell in cells), name


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
