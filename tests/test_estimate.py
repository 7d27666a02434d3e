"""What a cell is estimated to need: sizes, work and memory by hand, and what cells share."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from estimating import CPU, SMALL, TOKENS, config_of, corpus, keys_of, seconds_of, subject
from running import call, tiny_cell

from clvq_exp.composing import compose_cells
from clvq_exp.concepts.base import ConceptSettings
from clvq_exp.config import Config
from clvq_exp.estimate import memory, method_codebooks, method_sparse, sizes, work
from clvq_exp.estimate.cell import estimate_cell
from clvq_exp.estimate.corpus import (
    GivenTexts,
    Tokens,
    assumed_corpus,
    tokens_of,
)
from clvq_exp.estimate.hardware import measure_rates
from clvq_exp.estimate.network import GivenSizes, facts_folder, network_sizes
from clvq_exp.estimate.records import STEPS, Part, Rates, StepMemory, once, total
from clvq_exp.estimate.sweep import Asked, EstimatedSweep, estimate_sweep
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.settings import NumberFormat
from clvq_exp.texts import load_texts

NOWHERE = "model.hub_id=nobody/nothing"
"""A model that no cache holds."""


def write_config(folder: Path, **facts: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


# ---------------------------------------------------------------- sizes of the language model

LLAMA_2 = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "rms_norm_eps": 1e-5,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}


def test_network_sizes__of_llama_2_from_its_config(tmp_path: Path) -> None:
    config = config_of("model=llama2_7b", f"model.path={write_config(tmp_path, **LLAMA_2)}")
    found = network_sizes(config.model, facts_folder(config.model))
    # Two tables, then 32 blocks of four square matrices and three to and from the feed-forward width.
    assert found.parameters == 2 * 32000 * 4096 + 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert found.parameters == pytest.approx(6_738_415_616, rel=1e-3)
    assert found.body == 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert sizes.weights_bytes(config, found) == 2 * found.parameters


def test_network_sizes__shared_keys_and_tables(tmp_path: Path) -> None:
    folder = write_config(
        tmp_path,
        hidden_size=64,
        intermediate_size=128,
        num_attention_heads=8,
        num_key_value_heads=2,
        num_hidden_layers=3,
        rms_norm_eps=1e-5,
        vocab_size=100,
        tie_word_embeddings=True,
    )
    config = config_of("model=decoder", f"model.path={folder}", "layer_pair=4-8")
    found = network_sizes(config.model, folder)
    # Keys and values have 2 of the 8 heads: 16 of 64 columns.
    assert found.parameters == 100 * 64 + 3 * (2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 128)


def test_network_sizes__of_a_part_for_text(tmp_path: Path) -> None:
    inner = {"hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 5, "num_attention_heads": 2}
    folder = write_config(tmp_path, model_type="sees_and_reads", text_config=inner)
    found = network_sizes(config_of("model=decoder", f"model.path={folder}", "layer_pair=4-8").model, folder)
    assert (found.width, found.layers, found.vocabulary) == (8, 2, 5)


def test_network_sizes__weights_that_are_there_are_counted(tiny_encoder: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    config = config_of(f"model.path={tiny_encoder}", "layer_pair=0-4")
    model = AutoModelForSequenceClassification.from_pretrained(tiny_encoder)
    found = network_sizes(config.model, tiny_encoder)
    assert found.parameters == sum(each.numel() for each in model.parameters())
    assert (found.layers, found.width, found.heads, found.feed_forward) == (4, 32, 4, 64)


def test_network_sizes__damaged_weights_leave_the_formula(tmp_path: Path) -> None:
    facts = {"hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 5, "num_attention_heads": 2}
    folder = write_config(tmp_path, intermediate_size=16, **facts)
    (folder / "model.safetensors").write_bytes(b"\xff" * 40)
    found = network_sizes(config_of(f"model.path={folder}", "layer_pair=0-4").model, folder)
    assert found.parameters == 5 * 8 + 2 * (4 * 64 + 2 * 8 * 16)


def test_network_sizes__stated_where_nothing_is_there() -> None:
    config = config_of("model=llama2_7b", NOWHERE)
    given = GivenSizes(parameters=6_700_000_000, layers=32, width=4096, vocabulary=32_000)
    found = network_sizes(config.model, None, given)
    assert found.body == 6_700_000_000 - 2 * 32_000 * 4096
    assert sizes.weights_bytes(config, found) == 13_400_000_000


def test_network_sizes__what_is_missing_is_named(tmp_path: Path) -> None:
    config = config_of("model=llama2_7b", NOWHERE)
    assert facts_folder(config.model) is None
    with pytest.raises(LanguageModelError, match=r"\(parameters, layers, width, vocabulary\).*--parameters 6.7e9"):
        network_sizes(config.model, None)
    half = write_config(tmp_path, hidden_size=8, vocab_size=5)
    with pytest.raises(LanguageModelError, match=r"\(layers\)"):
        network_sizes(config.model, half)
    (half / "config.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(LanguageModelError, match="no JSON object"):
        network_sizes(config.model, half)


# ---------------------------------------------------------------- texts


def test_assumed_corpus__follows_settings_and_statements() -> None:
    config = config_of("dataset=jigsaw", "trainer.sentences.refit=100")
    corpus = assumed_corpus(config, GivenTexts(), TOKENS)
    assert (len(corpus.train), len(corpus.validation), len(corpus.dev)) == (8100, 900, 800)
    assert (len(corpus.fine_tuning), len(corpus.refit)) == (9000, 100)
    stated = assumed_corpus(config, GivenTexts(sentences=200, words_per_sentence=7), TOKENS)
    assert (len(stated.train), len(stated.validation)) == (180, 20)
    assert set(stated.train) == {7}


def test_tokens__long_sentences_are_cut_at_the_limit() -> None:
    tokens = Tokens(per_word=2.0, around=2, limit=12, sentence_token=True, measured=True)
    words = np.array([1, 4, 50])
    assert tokens.of(words).tolist() == [4, 10, 12]
    assert tokens.stored(words).tolist() == [2, 5, 6]  # (12 - 2) / 2 words and the sentence token


def test_tokens__are_measured_with_the_models_own_tokenizer(tiny_encoder: Path, reviews: Path) -> None:
    from transformers import AutoTokenizer

    config = config_of("dataset=file", f"dataset.path={reviews}", f"model.path={tiny_encoder}", "layer_pair=0-4")
    texts = load_texts(config.dataset, False)
    found = tokens_of(config, network_sizes(config.model, tiny_encoder), tiny_encoder, texts)
    everything = [each.text for each in (*texts.train, *texts.dev)]  # fewer than the sample
    ids = AutoTokenizer.from_pretrained(tiny_encoder)(everything, add_special_tokens=False)["input_ids"]
    words = sum(len(text.split()) for text in everything)
    assert found.per_word == pytest.approx(sum(map(len, ids)) / words)
    assert (found.around, found.limit, found.sentence_token, found.measured) == (2, 64, True, True)


# ---------------------------------------------------------------- work and memory by hand


def test_forward__operations_by_hand() -> None:
    tokens = np.array([3.0, 5.0])
    found = work.forward(SMALL, tokens, batch_tokens=4)
    body = 1000 - 20 * 10
    assert found.operations == 2 * body * 8 + 4 * 10 * 4 * (9 + 25)
    assert found.blocks == 4 * 2  # two passes of four blocks
    upper = work.forward(SMALL, tokens, 4, layers=1)
    assert upper.operations == found.operations / 4


def test_concept_model__is_as_large_as_its_tensors() -> None:
    from clvq_exp.concepts.module import ClvqVaeModule

    config = config_of(
        "decoder.layers=2", "decoder.heads=4", "decoder.feed_forward=24", "quantizer.codebook_size=7"
    )
    module = ClvqVaeModule(16, settings_of(config), seed=0)
    weights = sum(each.numel() for each in module.parameters())
    assert method_codebooks.concept_parameters(config, 16) == weights
    # Codebook, sums and member means; counts, and member counts of eight bytes.
    buffers = 7 * (3 * 16 + 1 + 2)
    assert method_codebooks.concept_model_bytes(config, 16, trained=True) == 4 * (weights + buffers)


def settings_of(config: Config) -> ConceptSettings:
    return ConceptSettings(
        config.encoder, config.quantizer, config.decoder, config.init, config.trainer, config.weight_decay_on
    )


def test_sparse_model__is_as_large_as_its_tensors() -> None:
    from clvq_exp.concepts.sparse.network import SparseNetwork

    network = SparseNetwork(width=6, neurons=9, k=None, seed=0)
    assert method_sparse.sparse_parameters(9, 6) == sum(each.numel() for each in network.parameters())
    tensors = 4 * sum(each.numel() for each in network.state_dict().values())
    members = 9 * (6 * 4 + 8)  # means, and counts of eight bytes
    assert method_sparse.sparse_model_bytes(9, 6) == tensors + members


def test_store_bytes__by_hand() -> None:
    found = estimate_cell(subject("layer_pair=0-4", "activations.dtype=float16", "activations.layers=[2,4]"))
    words = (100 + 10 + 50) * 21
    assert found.store_bytes == 3 * (words * 10 * 2 + 160 * 10 * 4)


@pytest.mark.parametrize(
    ("override", "step"),
    [
        ("fine_tuning.epochs=4", "language_model"),
        ("attribution.steps=40", "attribution"),
        ("trainer.max_epochs=9", "concepts"),
        ("decoder.layers=9", "concepts"),
        ("quantizer.codebook_size=900", "concepts"),
        ("seeds=[0,1]", "concepts"),
        ("seeds=[0,1]", "intervention"),
        ("layer_pair.lower=1", "intervention"),
        ("attribution.adaptive=true", "attribution"),
    ],
)
def test_seconds__grow_with_what_a_step_does(override: str, step: str) -> None:
    pair = ("layer_pair.lower=3", "layer_pair.upper=4")
    before, after = seconds_of(subject(*pair)), seconds_of(subject(*pair, override))
    assert after[step] > before[step]


def test_seconds__grow_with_sentences_layers_and_a_slower_machine() -> None:
    before = seconds_of(subject("layer_pair=0-4"))
    more = seconds_of(subject("layer_pair=0-4", of=corpus(200)))
    deeper = seconds_of(subject("layer_pair=0-4", network=SMALL._replace(layers=8, parameters=1800)))
    slower = seconds_of(subject("layer_pair=0-4", rates=Rates(5e8, 5e8)))
    for step in ("language_model", "activations", "concepts"):
        assert more[step] > before[step]
    for step in ("language_model", "attribution", "intervention"):
        assert deeper[step] > before[step]
        assert slower[step] > before[step]


def test_seconds__steps_that_are_not_run_take_none() -> None:
    found = seconds_of(subject("layer_pair=0-4", "evaluation.intervention=false"))
    assert found["intervention"] == 0
    assert seconds_of(subject("layer_pair=0-4", there=True))["language_model"] < 3
    assert seconds_of(subject("layer_pair=0-4", tuned=False)) == seconds_of(subject("layer_pair=0-4", there=True))


def test_memory__of_fine_tuning_holds_weights_gradients_and_moments() -> None:
    large = SMALL._replace(parameters=10**9)
    found = estimate_cell(subject("layer_pair=0-4", network=large)).memory["language_model"]
    assert 16 * 10**9 < found.host < 16 * 10**9 + 2 * memory.PROCESS
    opened = estimate_cell(subject("layer_pair=0-4", network=large, tuned=False)).memory["language_model"]
    assert opened.host == memory.PROCESS + 4 * 10**9


def test_memory__on_a_gpu_is_told_apart() -> None:
    large = SMALL._replace(parameters=10**9)
    found = estimate_cell(subject("layer_pair=0-4", network=large, tuned=False, device="cuda"))
    assert found.weights == StepMemory(4 * 10**9, 4 * 10**9)  # on its way through the machine's own memory
    assert found.memory["activations"].gpu > 4 * 10**9
    assert found.memory["activations"].host == memory.GPU_PROCESS
    spread = estimate_cell(
        subject("layer_pair=0-4", "model.device_map=auto", network=large, tuned=False, device="cuda")
    )
    assert spread.weights == StepMemory(0, 4 * 10**9)


def test_memory__layers_stay_on_a_gpu_while_they_fit() -> None:
    def concepts(*overrides: str) -> int:
        return estimate_cell(subject("layer_pair=0-4", *overrides, device="cuda")).memory["concepts"].gpu

    both = 2 * (160 * 21) * 10 * 4
    assert concepts() - concepts("trainer.resident_gib=0") == both


# ---------------------------------------------------------------- what is shared


def test_total__each_key_counts_once_and_work_without_one_always() -> None:
    parts = [Part("concepts", "a", 3.0, 5, 7), Part("concepts", "a", 3.0, 5, 7), Part("report", None, 1.0)]
    found = total([*parts, *parts])
    assert (found.seconds["concepts"], found.seconds["report"]) == (3.0, 2.0)
    assert (found.cache_bytes["concepts"], found.working_bytes) == (5, 7)
    assert once(parts, done=["a"]) == [Part("report", None, 1.0)]


def test_rates__are_measured_in_the_networks_own_format() -> None:
    found = measure_rates("cpu", 16, NumberFormat.bfloat16)
    assert found.network > 0
    assert found.training > 0
    same = measure_rates("cpu", 16, NumberFormat.float32)
    assert same.network == same.training


def test_rates__a_product_that_waits_for_another_process_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def product(rows: int, weights: torch.Tensor) -> float:
        waits = next(calls) % 3
        return 2 * rows * weights.numel() / 1e9 * (50 if waits else 1)

    calls = itertools.count()
    monkeypatch.setattr("clvq_exp.estimate.hardware._product", product)
    assert measure_rates("cpu", 16, NumberFormat.float32).network == pytest.approx(1e9)


# ---------------------------------------------------------------- beside a cell that was run


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, base_encoder: Path, reviews: Path) -> tuple[Path, list[str]]:
    """A tiny cell of all methods that ran to its end, fine-tuning included: its home and its overrides."""
    home = tmp_path_factory.mktemp("estimated")
    overrides = [
        *tiny_cell(base_encoder, reviews),
        CPU,
        "trainer.max_epochs=1",
        "activations.layers=[1]",
        "beside=table1",
        *("beside.sae_2048.neurons=24", "beside.sae_2048.by_kind.encoder.l1=[0.01,0.02]"),
        *("beside.sae_4096.neurons=40", "beside.sae_4096.by_kind.encoder.l1=[0.01]"),
        *("beside.transcoder.expansion=2", "beside.transcoder.k=20"),
        *("specificity.shuffles=2", "evaluation.permutations=100", "probe.max_epochs=2"),
        "trainer.sentences.concepts=50",
        "trainer.sentences.evaluation=20",
        "trainer.sentences.refit=10",
        f"hydra.run.dir={home / 'run'}",
    ]
    done = call(home, *overrides)
    assert done.code == 0, done.err
    return home, overrides


def estimated(ran: tuple[Path, list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch) -> EstimatedSweep:
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(cache))
    monkeypatch.setattr("clvq_exp.estimate.sweep.measure_rates", lambda *_: Rates(1e11, 1e11))
    return estimate_sweep([Asked(*cell) for cell in compose_cells(ran[1])])


def test_disk__is_what_a_cell_leaves(ran: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    found = estimated(ran, ran[0] / "nothing", monkeypatch).cells[0]
    left = [path.stat().st_size for path in (ran[0] / "cache" / "activations").glob("*/*.bin")]
    assert len(left) == 6
    assert found.estimate.store_bytes == sum(left)
    model = ran[0] / "run" / "concept_model" / "seed_0" / "model.safetensors"
    header = 16_384  # of safetensors: names and shapes
    assert 0 <= model.stat().st_size - method_codebooks.concept_model_bytes(found.asked.config, 32, True) < header
    run = sum(path.stat().st_size for path in (ran[0] / "run").rglob("*") if path.is_file())
    assert found.estimate.run_bytes == pytest.approx(run, rel=0.25)
    tuned = ran[0] / "cache" / "language_models"
    weights = sum(path.stat().st_size for path in tuned.glob("*/model/model.safetensors"))
    assert found.alone.cache_bytes["language_model"] == pytest.approx(weights, rel=0.1)


def test_artifacts__are_as_many_and_as_large_as_the_parts_of_all_methods(
    ran: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = estimated(ran, ran[0] / "nothing", monkeypatch).cells[0]
    made = [
        folder
        for kind in ("initial_codebooks", "ward_trees", "concept_models")
        for folder in (ran[0] / "cache" / kind).iterdir()
        if folder.is_dir()
    ]
    assert len(made) == len(keys_of(found.estimate.parts, "concepts")) == 3 + 1 + 9
    tensors = sum(path.stat().st_size for folder in made for path in folder.glob("*.safetensors"))
    assert 0 <= tensors - found.alone.cache_bytes["concepts"] < len(made) * 16_384  # names and shapes
    live = [folder for folder in (ran[0] / "cache" / "interventions").iterdir() if folder.is_dir()]
    assert len(live) <= len(keys_of(found.estimate.parts, "intervention"))  # fewer where directions are the same


def test_fine_tuned_model__that_is_in_the_cache_takes_no_time(
    ran: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = estimated(ran, ran[0] / "nothing", monkeypatch).cells[0]
    there = estimated(ran, ran[0] / "cache", monkeypatch).cells[0]
    assert there.alone.cache_bytes["language_model"] == 0 < absent.alone.cache_bytes["language_model"]
    assert there.alone.seconds["language_model"] < absent.alone.seconds["language_model"]
    assert any("in the cache, fine-tuned" in note for note in there.notes)
    other = compose_cells([*ran[1], "fine_tuning.epochs=2"])[0]
    again = estimate_sweep([Asked(*other)]).cells[0]
    assert again.alone.cache_bytes["language_model"] == absent.alone.cache_bytes["language_model"]


def test_steps__are_those_of_a_run(ran: tuple[Path, list[str]]) -> None:
    measured = json.loads((ran[0] / "run" / "provenance.json").read_text(encoding="utf-8"))
    assert set(measured["seconds"]) == set(STEPS)
    assert set(measured["peak_memory_bytes"]) == set(STEPS)
