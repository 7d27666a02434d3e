"""The benchmark of a cell on a card: made-up texts and models, resumable steps, shares, checks; run on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from gpu import attempts, cards, processes, shapes, steps, table, texts
from gpu.checks import STEP, read_profile

from clvq_exp.activations.alignment import align
from clvq_exp.artifacts import write_json
from clvq_exp.settings import ModelKind

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_cell.py"
CPU = torch.device("cpu")
CARD = cards.Card("a card", 100e12, 50e12, 10e12, 1e12, True)


# Texts and models


@pytest.mark.parametrize("n", [500, 13_878])
def test_texts__have_the_lengths_of_eraser_movie(n: int) -> None:
    words = np.array([len(each.text.split()) for each in texts.sentences(n, "train", 0)])
    assert words.min() == 1
    assert words.max() == pytest.approx(193, abs=5) or n < 13_878
    assert words.mean() == pytest.approx(25.55, abs=0.6)
    assert np.median(words) == 22
    assert np.quantile(words, 0.95) == pytest.approx(56, abs=1)


def test_texts__are_the_same_every_time_and_split_as_a_data_set() -> None:
    made = texts.labelled(200, 30)
    assert made == texts.labelled(200, 30)
    assert (len(made.train), len(made.validation), len(made.dev)) == (180, 20, 30)
    assert {each.label for each in made.dev} == {0, 1}
    assert len({each.id for split in (made.train, made.validation, made.dev) for each in split}) == 230


@pytest.mark.parametrize("name", shapes.TINY)
def test_models__read_the_texts_word_by_word_without_unknown_sub_words(name: str) -> None:
    shape = shapes.TINY[name]
    config = steps.composed(shape, ["trainer.device=cpu"])
    model: Any = shapes.language_model(shape, config, CPU)
    made = [each.text for each in texts.sentences(300, "dev", 1)]
    encoded = model.encode(made)
    unknown = model.tokenizer.unk_token_id
    assert all(unknown not in each.input_ids for each in encoded)
    aligned = [align(text, each) for text, each in zip(made, encoded, strict=True)]
    own = [[word for word in each.words if not word.special] for each in aligned]
    assert [len(each) for each in own] == [len(text.split()) for text in made]
    pieces = sum(len(word.sub_words) for each in own for word in each)
    assert pieces / sum(map(len, own)) == pytest.approx(1 + texts.DIVIDED, abs=0.02)
    logits = model.run(model.pad(encoded[:2]), [config.layer_pair.upper]).logits
    assert logits.shape == (2, 2)
    assert model.answers_at_end == (config.model.kind is ModelKind.decoder)


def test_full_shapes__have_the_true_numbers_of_weights() -> None:
    """Of the models' own cards, embeddings included, without BERT's heads: in millions."""
    weights = {}
    for name, shape in shapes.FULL.items():
        made = shapes.network(shape, "bfloat16", "meta")
        weights[name] = sum(each.numel() for each in made.parameters()) / 1e6
    assert weights["bert"] == pytest.approx(109.5, rel=0.01)
    assert weights["roberta"] == pytest.approx(124.6, rel=0.01)
    assert weights["qwen2_5_3b"] == pytest.approx(3_086, rel=0.001)
    assert weights["llama2_7b"] == pytest.approx(6_738, rel=0.001)


def test_work__counts_the_weights_that_sub_words_are_multiplied_with() -> None:
    made = shapes.network(shapes.FULL["llama2_7b"], "bfloat16", "meta")
    sizes = steps.network_sizes(made)
    # 32 blocks of four squares of d and three products of the feed-forward width; neither table.
    products = 32 * (4 * 4096**2 + 3 * 4096 * 11_008)
    assert sizes.body == pytest.approx(products, rel=1e-4)


# Cards


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H200", (989.5, 4.8)),
        ("NVIDIA H200 NVL", (835.5, 4.8)),
        ("NVIDIA H100 80GB HBM3", (989.5, 3.35)),
        ("NVIDIA H100 PCIe", (756, 2.0)),
        ("NVIDIA A100-SXM4-80GB", (312, 2.039)),
        ("NVIDIA A100-SXM4-40GB", (312, 1.555)),
        ("NVIDIA L40S", (362, 0.864)),
        ("NVIDIA GeForce RTX 4090", (165.2, 1.008)),
    ],
)
def test_cards__are_known_by_the_driver_s_name(name: str, tera: tuple[float, float]) -> None:
    card = cards.published(name)
    assert card is not None
    assert (card.bfloat16 / 1e12, card.bandwidth / 1e12) == pytest.approx(tera)
    assert card.rate("bfloat16") == card.bfloat16 > card.rate("tf32") >= card.rate("float32")


def test_cards__another_is_measured() -> None:
    assert cards.published("Graphics Card of Tomorrow") is None
    found = cards.card_of(CPU)
    assert not found.published
    assert min(found.bfloat16, found.tf32, found.float32, found.bandwidth) > 0


# Attempts


def attempt(folder: Path, name: str, number: int, seconds: float, ended: bool, **more: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"processor": 2 * seconds, "allocated": 0, "reserved": 0, "host": 0, "ended": ended}
    write_json(folder / f"{name}-{number:03d}.json", {"seconds": seconds, **figures, **more})


def test_taken__sums_what_was_cut_and_what_ended_it_and_nothing_behind(tmp_path: Path) -> None:
    attempt(tmp_path, "concepts", 0, 3.0, False, allocated=7)
    attempt(tmp_path, "concepts", 1, 4.0, True, allocated=5, host=9)
    attempt(tmp_path, "concepts", 2, 100.0, True, allocated=100)  # found in the cache by a later process
    assert attempts.taken(tmp_path, "concepts") == attempts.Taken(7.0, 14.0, 7, 0, 9, 1, True)
    attempt(tmp_path, "kmeans", 0, 1.0, False)
    found = attempts.taken(tmp_path, "kmeans")
    assert found is not None
    assert not found.ended
    assert attempts.taken(tmp_path, "report") is None


def test_watched_steps__an_error_ends_no_step(tmp_path: Path) -> None:
    watched = attempts.WatchedSteps(tmp_path, CPU)
    with pytest.raises(RuntimeError), watched.step("concepts"):
        raise RuntimeError
    with watched.step("concepts"):
        pass
    found = attempts.taken(tmp_path, "concepts")
    assert found is not None
    assert (found.cuts, found.ended) == (1, True)
    assert found.host > 0
    assert set(vars(watched)) == {"seconds", "peak_memory_bytes"}, "the provenance of a run holds nothing else"


KILLED = """
import sys, torch
from pathlib import Path
sys.path.append(sys.argv[2])
from gpu.attempts import WatchedSteps
with WatchedSteps(Path(sys.argv[1]), torch.device("cpu")).step("concepts"):
    while True:
        sum(range(1000))
"""


@pytest.mark.slow
def test_watched_steps__what_a_killed_process_took_is_there(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), str(SCRIPT.parent)])
    try:
        while not list(tmp_path.glob("concepts-*.json")):
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    found = attempts.taken(tmp_path, "concepts")
    assert found is not None
    assert (found.cuts, found.ended) == (1, False)
    assert found.seconds > 0


# Processes

STEPS_OF_TEST = """
import sys, time
from pathlib import Path
sys.path.append(sys.argv[1])
from gpu.processes import finish_step
folder, name = Path(sys.argv[2]), sys.argv[3]
with (folder / "calls").open("a") as calls:
    calls.write(name + "\\n")
if name == "wrong":
    sys.exit("this went wrong")
parts = folder / f"{name}.parts"
done = parts.read_text().count("x") if parts.exists() else 0
if name == "long":
    while done < 3:
        with parts.open("a") as out:
            out.write("x")
        if done < 2:
            time.sleep(600)
        done += 1
finish_step(folder, name, {"parts": done})
"""


class Bench(NamedTuple):
    folder: Path
    command: list[str]

    def run(self, *names: str, step: float = 60.0, call: float | None = None, cuts: int = 10) -> None:
        processes.run_steps(self.folder, names, self.command, processes.Limits(step, call, cuts))

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().split()


@pytest.fixture
def steps_of_test(tmp_path: Path) -> Bench:
    folder = tmp_path / "work"
    processes.open_folder(folder, {"n": 1})
    return Bench(folder, [sys.executable, "-c", STEPS_OF_TEST, str(SCRIPT.parent), str(folder)])


@pytest.mark.slow
def test_run_steps__each_once_in_order_and_never_again(steps_of_test: Bench) -> None:
    steps_of_test.run("one", "two")
    steps_of_test.run("one", "two", "three")
    assert steps_of_test.calls == ["one", "two", "three"]
    assert processes.facts_of(steps_of_test.folder, "two") == {"parts": 0}


@pytest.mark.slow
def test_run_steps__a_cut_step_is_begun_again_until_it_ends(steps_of_test: Bench) -> None:
    (steps_of_test.folder / "long.parts").write_text("x")
    with pytest.raises(processes.StepFailed, match="long was cut 1 times: raise --step-seconds"):
        steps_of_test.run("long", step=20, cuts=1)
    assert processes.facts_of(steps_of_test.folder, "long") is None
    steps_of_test.run("long")
    assert processes.facts_of(steps_of_test.folder, "long") == {"parts": 3}
    assert steps_of_test.calls == ["long", "long"]


@pytest.mark.slow
def test_run_steps__an_error_names_its_last_line_and_the_log(steps_of_test: Bench) -> None:
    log = steps_of_test.folder / "logs" / "wrong.log"
    with pytest.raises(processes.StepFailed) as error:
        steps_of_test.run("one", "wrong", "two")
    assert str(error.value) == f"wrong failed (this went wrong): see {log}"
    assert steps_of_test.calls == ["one", "wrong"]


def test_run_steps__ends_when_the_call_s_time_is_over(steps_of_test: Bench) -> None:
    with pytest.raises(processes.Unfinished):
        steps_of_test.run("one", call=0.0)
    assert not (steps_of_test.folder / "calls").exists()


def test_folder__of_other_settings_or_a_damaged_plan_is_refused(steps_of_test: Bench) -> None:
    folder = steps_of_test.folder
    processes.open_folder(folder, {"n": 1})
    with pytest.raises(SystemExit, match="holds measurements of other settings"):
        processes.open_folder(folder, {"n": 2})
    (folder / "plan.json").write_text("{")
    with pytest.raises(SystemExit, match="give another --work"):
        processes.open_folder(folder, {"n": 1})


def test_facts__a_changed_byte_is_no_finished_step(steps_of_test: Bench) -> None:
    folder = steps_of_test.folder
    processes.finish_step(folder, "one", {"words": 10})
    path = folder / "done" / "one.json"
    path.write_text(path.read_text().replace("10", "11"))
    assert processes.facts_of(folder, "one") is None


# The table and the checks


def event(name: str, start: float, end: float, spent: float = 0.0) -> Any:
    return SimpleNamespace(
        name=name, time_range=SimpleNamespace(start=start, end=end), self_device_time_total=spent
    )


def test_profile__counts_waits_between_the_first_and_the_last_step_only() -> None:
    events = [
        event("cudaDeviceSynchronize", 0, 1),  # the profiler's own
        event(STEP, 10, 20),
        event("aten::item", 11, 12),
        event("cudaStreamSynchronize", 22, 23),  # between two steps: batches are made there
        event("Memcpy DtoH (Device -> Pinned)", 24, 25),
        event(STEP, 30, 40),
        event("cudaLaunchKernel", 31, 32),
        event("pytorch_flash::flash_fwd_kernel<...>", 33, 34, 2000.0),
        event("cudaDeviceSynchronize", 50, 51),
    ]
    found = read_profile(events, 1, STEP)
    assert found.waits == {
        "aten::item": 1,
        "cudaStreamSynchronize": 1,
        "Memcpy DtoH (Device -> Pinned)": 1,
    }
    assert found.fused == {"pytorch_flash::flash_fwd_kernel<...>": 1}
    assert (found.warned, found.unfused) == (1, 0)
    assert found.longest == {"pytorch_flash::flash_fwd_kernel<...>": 2.0}


def test_profile__sees_a_wait_and_unfused_attention_of_real_operations() -> None:
    q = torch.randn(1, 2, 8, 4, requires_grad=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        q.sum().item()
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            torch.nn.functional.scaled_dot_product_attention(q, q, q)
    found = read_profile(profiler.events(), 0, None)
    assert found.waits["aten::_local_scalar_dense"] == 1
    assert found.unfused == 1
    assert not found.fused


def filled(folder: Path, step: float, waits: dict[str, int]) -> Path:
    processes.open_folder(folder, {})
    for name in table.CELL:
        attempt(folder / "attempts", name, 0, 10.0, True)
    profile = {"waits": waits, "warned": 0, "fused": {"flash": 3}, "unfused": 0, "longest": {}}
    work = {"operations": 500e12, "bytes": 2e12}
    processes.finish_step(folder, "activations", {"work": work, "number_format": "bfloat16"})
    learned = {"operations": 80e12, "bytes": 0.0}
    processes.finish_step(folder, "concepts", {"work": learned, "number_format": "bfloat16", "precision": "tf32"})
    facts = {"step": step, "decoder": 0.1, "training": profile, "extraction": profile}
    processes.finish_step(folder, "checks", facts)
    return folder


def test_table__shares_and_checks_by_hand(tmp_path: Path) -> None:
    good = table.found_checks("bert", filled(tmp_path / "good", 0.12, {}), CARD)
    assert [(found, reached) for _, found, _, reached in good] == [
        ("80.0 s", True),
        ("50.0%", True),  # 500 TFLOP in 10 s, of 100 TFLOP/s
        ("120.0 ms, 1.20 times", True),
        ("all", True),
        ("all", True),
        ("0", True),
    ]
    bad = table.found_checks("bert", filled(tmp_path / "bad", 0.14, {"aten::item": 2}), CARD)
    assert [(found, reached) for _, found, _, reached in bad][2::3] == [
        ("140.0 ms, 1.40 times", False),
        ("2", False),
    ]
    text = table.table({"bert": tmp_path / "bad"}, CARD, judged=True)
    assert "| activations | 10.0 | 20.0 | 0 | 0.00 | 0.00 | 0.00 | 50 | 50.0% | 200 | 20.0% |" in text
    share = 80e12 / 10.0 / CARD.tf32
    assert f"| concepts | 10.0 | 20.0 | 0 | 0.00 | 0.00 | 0.00 | 8 | {share:.1%} |  |  |" in text, "of TF32's rate"
    assert "| places in the training loop where the host waits | 2 | 0 | **no** |" in text
    assert "**no**" not in table.table({"bert": tmp_path / "bad"}, CARD, judged=False)


# The whole


def command(work: Path, *more: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--work", str(work), "--size", "tiny", "--device", "cpu", *more]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.mark.slow
def test_tiny_cell__killed_in_the_middle_goes_on_and_prints_its_table(tmp_path: Path) -> None:
    given = command(tmp_path, "--models", "llama2_7b")
    work = tmp_path / "llama2_7b"
    process = subprocess.Popen(given, env=environment())
    try:
        while not list((work / "attempts").glob("concepts-*.json")):
            assert process.poll() is None, "it ended before it trained"
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = {path.name: path.read_bytes() for path in (work / "done").glob("*.json")}
    assert set(before) == {"activations.json", "attribution.json", "kmeans.json"}
    done = subprocess.run(given, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all((work / "done" / name).read_bytes() == content for name, content in before.items())
    for name in (*table.CELL, "language_model"):
        assert f"| {name} | " in done.stdout, name
    assert "the whole cell" in done.stdout
    assert "so far" not in done.stdout
    found = attempts.taken(work / "attempts", "concepts")
    assert found is not None
    assert (found.cuts, found.ended) == (1, True)
    metrics = json.loads((work / "run" / "metrics.json").read_text())
    assert metrics["cell"]["model"] == "llama2_7b"
    again = subprocess.run(
        [*given, "--seconds", "0"], env=environment(), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, "all is measured: the table alone is made again"


def test_command__a_gpu_that_is_not_there_is_said(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    given = [sys.executable, str(SCRIPT), "--work", str(tmp_path / "work"), "--device", "cuda"]
    done = subprocess.run(given, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "--device cuda: no GPU is to be seen; give --device cpu --size tiny\n"
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_command__its_time_is_over_and_the_code_says_so(tmp_path: Path) -> None:
    given = command(tmp_path, "--models", "bert", "--seconds", "0")
    done = subprocess.run(given, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == processes.UNFINISHED
    assert done.stderr == "gpu_cell: the time is over; the same command goes on\n"
