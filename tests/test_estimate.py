"""What a cell is estimated to need: sizes, work and memory by hand, and what cells share."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import call, tiny_cell
from stores import MadeSentence, cut_sentences, write_store

from clvq_exp.activations.store import ActivationStore
from clvq_exp.composing import compose_cells
from clvq_exp.concepts.base import ConceptSettings
from clvq_exp.concepts.word_filter import frequent_words
from clvq_exp.config import Config
from clvq_exp.estimate import memory, method_clustering, method_codebooks, method_sparse, sizes, work
from clvq_exp.estimate.cell import estimate_cell
from clvq_exp.estimate.corpus import (
    Corpus,
    GivenTexts,
    Tokens,
    assumed_corpus,
    frequent_share,
    tokens_of,
)
from clvq_exp.estimate.evaluation import comparisons
from clvq_exp.estimate.hardware import measure_rates
from clvq_exp.estimate.methods import is_known
from clvq_exp.estimate.network import GivenSizes, NetworkSizes, facts_folder, network_sizes
from clvq_exp.estimate.records import STEPS, MethodNeeds, Part, Rates, StepMemory, once, total
from clvq_exp.estimate.subject import Subject
from clvq_exp.estimate.sweep import Asked, EstimatedSweep, estimate_sweep
from clvq_exp.fitting import make_method
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.records import Sentence
from clvq_exp.settings import InitMethod, NumberFormat, Split, TrainedWords, WeightDecayOn
from clvq_exp.texts import load_texts

CPU = "trainer.device=cpu"
NOWHERE = "model.hub_id=nobody/nothing"
"""A model that no cache holds."""
SMALL = NetworkSizes(parameters=1000, layers=4, width=10, vocabulary=20, heads=2, feed_forward=40)
TOKENS = Tokens(per_word=1.5, around=2, limit=512, sentence_token=True, measured=True)


def config_of(*overrides: str) -> Config:
    return compose_cells([CPU, *overrides])[0].config


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


def corpus(n: int = 100, words: int = 20) -> Corpus:
    of = np.full
    return Corpus(of(n, words), of(n, words), of(10, words), of(50, words), of(40, words), TOKENS, 0.5)


def subject(*overrides: str, network: NetworkSizes = SMALL, of: Corpus | None = None, **changed: Any) -> Subject:
    given: dict[str, Any] = {"device": "cpu", "tuned": True, "rates": Rates(1e9, 1e9)} | changed
    return Subject(config_of(*overrides), network, of or corpus(), **given)


def seconds_of(each: Subject) -> dict[str, float]:
    return total(estimate_cell(each).parts).seconds


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


# ---------------------------------------------------------------- concept methods

TABLE1 = ("beside=table1", "layer_pair=0-4", "init.max_iterations=5", "seeds=[0,1]")
STARTS = ("clvq_vae", "kmeans_codes", "clvq_vae_random", "clvq_vae_spherical_kmeans")
CODEBOOKS = (*STARTS, "single_layer", "clustering")
SPARSE = ("sae_2048", "sae_4096", "transcoder")


def needs_of(*overrides: str, of: Corpus | None = None, **changed: Any) -> dict[str, MethodNeeds]:
    cell = estimate_cell(subject("layer_pair=0-4", *overrides, of=of, **changed))
    return {each.name: each for each in cell.methods}


def keys_of(parts: Iterable[Part], step: str) -> set[str]:
    return {part.key for part in parts if part.step == step and part.key is not None}


def fit_seconds(each: MethodNeeds) -> float:
    return sum(part.seconds for part in once(each.parts))


def test_methods__each_has_parts_of_its_own() -> None:
    cell = estimate_cell(subject(*TABLE1))
    assert [each.name for each in cell.methods] == [*CODEBOOKS, *SPARSE]
    for step in ("concepts", "ablation", "intervention", "specificity", "report"):
        named = {part.method for part in cell.parts if part.step == step}
        assert named - {None} == {*CODEBOOKS, *SPARSE}, step
    fitted = [model for each in cell.methods for model in each.models]
    assert len(set(fitted)) == 9 * 2  # nobody's model is another's


def test_methods__removals_and_concepts_are_those_of_their_classes() -> None:
    from clvq_exp.concepts.sparse.model import ENCODER_TOP

    for name in ("none", "single_layer", "kmeans_codes", "clustering", "clustering_filtered", *SPARSE):
        config = config_of(f"baseline={name}", "beside=none", "layer_pair=0-4")
        (method,) = config.methods.values()
        (found,) = needs_of(f"baseline={name}", "beside=none").values()
        model: Any = make_method(method, config)
        assert tuple(found.removals) == model.removals, name
        assert is_known(method)
        neurons = model.neurons(SMALL.width) if name in SPARSE else config.quantizer.codebook_size
        assert found.concepts == neurons, name
    assert method_sparse.SPARSE_REMOVALS == {**ENCODER_TOP, "concept": 1, "member_mean": 1}


def test_methods__what_is_not_given_is_what_the_class_takes() -> None:
    from clvq_exp.concepts.clustering import Clustering
    from clvq_exp.concepts.sparse.autoencoder import SparseAutoencoder
    from clvq_exp.concepts.sparse.transcoder import SparseTranscoder

    def defaults(kind: type) -> dict[str, Any]:
        return {name: each.default for name, each in inspect.signature(kind.__init__).parameters.items()}

    sae, transcoder, ward = (defaults(kind) for kind in (SparseAutoencoder, SparseTranscoder, Clustering))
    for kind in (sae, transcoder):
        assert kind["learning_rate"] == method_sparse.DEFAULT_RATE
        assert kind["batch_words"] == method_sparse.DEFAULT_BATCH
    assert (sae["l1"], sae["l0"]) == (method_sparse.DEFAULT_L1, method_sparse.DEFAULT_L0)
    assert (transcoder["k"], transcoder["expansion"]) == (method_sparse.DEFAULT_K, method_sparse.DEFAULT_EXPANSION)
    assert (ward["words"], ward["assignment"], ward["max_words"]) == (
        method_clustering.ClusteredWords.all.value,
        method_clustering.Assignment.nearest.value,
        method_clustering.MOST_WORDS,
    )


CHANGES: dict[str, Any] = {
    "layer_pair.lower": 1,
    "layer_pair.upper": 3,
    "init.name": "other",
    "init.method": InitMethod.random,
    "init.tolerance": 0.1,
    **dict.fromkeys(("init.seeding_sample", "init.max_iterations", "evaluation.seed"), 7),
    "quantizer.codebook_size": 9,
    "quantizer.temperature": 2.0,
    "quantizer.trained_words": TrainedWords.frequent,
    "encoder.alpha_start": 0.3,
    "decoder.layers": 2,
    "weight_decay_on": WeightDecayOn.everything,
    "trainer.name": "other",
    **dict.fromkeys(("trainer.max_epochs", "trainer.patience", "trainer.plateau_patience"), 7),
    **dict.fromkeys(("trainer.batch_size", "trainer.micro_batch_words", "trainer.num_workers"), 7),
    **dict.fromkeys(("trainer.learning_rate", "trainer.weight_decay", "trainer.resident_gib"), 0.7),
    **dict.fromkeys(("trainer.gradient_clip", "trainer.plateau_factor"), 0.7),
    "baseline.name": "other",
    "baseline.target_layer": "lower",
    "baseline.words": "frequent",
    "baseline.assignment": "logistic",
    "baseline.l1": [0.5],
    "baseline.learning_rate": 0.5,
    **dict.fromkeys(("baseline.max_words", "baseline.l0", "baseline.neurons", "baseline.k"), 9),
    **dict.fromkeys(("baseline.expansion", "baseline.batch_words"), 9),
}
"""Settings, each with a value of its own."""


def changed(config: Config, key: str) -> Config:
    section, _, name = key.partition(".")
    value = CHANGES[key]
    if section == "baseline":
        value = {**config.baseline, name: value}
    elif name:
        value = replace(getattr(config, section), **{name: value})
    return replace(config, **{section: value})


@pytest.mark.parametrize(
    "method", ["none", "kmeans_codes", "clustering", "clustering_filtered", "sae_2048", "transcoder"]
)
def test_names__of_fitted_models_are_equal_where_the_identities_of_their_artifacts_are(
    method: str, store: ActivationStore
) -> None:
    def found(config: Config) -> tuple[object, str]:
        (given,) = config.methods.values()
        (needs,) = estimate_cell(Subject(config, SMALL, corpus(), "cpu", tuned=False)).methods
        return make_method(given, config).identity(store, config.layer_pair), needs.models[0]

    before = config_of(f"baseline={method}", "beside=none", "layer_pair=0-4", "layer_pair.lower=2", "seeds=[0]")
    if method == "sae_2048":  # its penalties stand apart for encoders and decoders
        before = replace(before, baseline={key: each for key, each in before.baseline.items() if key != "by_kind"})
    identity, name = found(before)
    equal: set[bool] = set()
    for key in CHANGES:
        try:
            other = found(changed(before, key))
        except ValueError:  # an argument of another class
            continue
        assert (other[0] == identity) == (other[1] == name), key
        equal.add(other[1] == name)
    assert equal == {True, False}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """A store whose words have no meaning: layers 0 to 4, as wide as `SMALL`."""
    words = {layer: np.full((40, 10), layer, np.float32) for layer in range(5)}
    return write_store(tmp_path_factory.mktemp("made"), cut_sentences({"train": [20, 20]}, words))


def test_codebooks__are_made_once_for_each_start_and_seed() -> None:
    cell = estimate_cell(subject(*TABLE1))
    fitted = {model for each in cell.methods for model in each.models}
    made = keys_of(cell.parts, "concepts") - fitted
    assert len(made) == 3 * 2 + 1  # k-means, random and spherical k-means for two seeds; Ward's tree for both
    alone = keys_of(estimate_cell(subject(*TABLE1, "beside=kmeans_codes")).parts, "concepts")
    single = keys_of(estimate_cell(subject(*TABLE1, "baseline=single_layer", "beside=none")).parts, "concepts")
    assert len(alone & single) == 2  # both start from the k-means codebooks
    assert alone | single < made | fitted


def test_ward_trees__are_shared_where_the_same_words_are_clustered() -> None:
    def trees(*overrides: str, of: Corpus | None = None) -> set[str]:
        given = ("beside=none", "seeds=[0,1,2]", "quantizer.codebook_size=5")
        (found,) = needs_of(*given, *overrides, of=of).values()
        return keys_of(found.parts, "concepts") - set(found.models)

    every = trees("baseline=clustering")
    assert len(every) == 1  # 2,100 words, for every seed
    assert trees("baseline=clustering", "quantizer.codebook_size=9", "baseline.assignment=logistic") == every
    assert len(trees("baseline=clustering", "baseline.max_words=1000")) == 3  # drawn by seed
    filtered = trees("baseline=clustering_filtered")
    assert len(filtered) == 3
    assert not filtered & every
    assert trees("baseline=clustering_filtered", of=corpus()._replace(frequent_share=1.0)) == every


def test_clustering__takes_the_square_of_the_words_in_time_and_their_number_in_memory_and_disk() -> None:
    def found(words: int, *overrides: str) -> tuple[float, int, int]:
        given = ("baseline=clustering", "beside=none", "seeds=[0]", f"baseline.max_words={words}", *overrides)
        (each,) = needs_of(*given).values()
        tree, _ = each.parts
        return tree.seconds, tree.cache_bytes, each.memory.fit_host

    seconds, disk, held = found(1000)
    assert found(2000) == (pytest.approx(4 * seconds), 2 * disk, 2 * held)
    assert held == 1000 * (10 * 20 + 48)
    assert disk == 1000 * 24
    assert found(9999) == found(2100)  # all there are


def test_clustering__of_frequent_words_takes_their_share() -> None:
    (every,) = needs_of("baseline=clustering", "beside=none", "seeds=[0]").values()
    (frequent,) = needs_of("baseline=clustering_filtered", "beside=none", "seeds=[0]").values()
    assert frequent.parts[0].seconds == pytest.approx(every.parts[0].seconds / 4)  # half of the words


def test_sparse__a_list_of_penalties_multiplies_the_networks() -> None:
    def found(*penalties: float) -> MethodNeeds:
        given = ("baseline=sae_2048", "beside=none", "seeds=[0]")
        return needs_of(*given, f"baseline.by_kind.encoder.l1={list(penalties)}")["sae_2048"]

    one, two, four = found(0.1), found(0.1, 0.2), found(0.1, 0.2, 0.3, 0.4)
    network = fit_seconds(two) - fit_seconds(one)
    passed = 110 * 21 * one.word_seconds  # the words of training and validation, by the chosen network
    assert fit_seconds(one) == pytest.approx(network + passed)
    assert fit_seconds(four) == pytest.approx(fit_seconds(one) + 3 * network)
    weights = 4 * method_sparse.sparse_parameters(2048, 10)
    assert four.parts[0].working_bytes - one.parts[0].working_bytes == 3 * weights
    assert four.model_bytes == one.model_bytes


def test_sparse__a_wider_network_takes_more() -> None:
    found = needs_of(*TABLE1)
    for of in (lambda each: each.model_bytes, lambda each: each.memory.fit, fit_seconds):
        assert 1.8 < of(found["sae_4096"]) / of(found["sae_2048"]) < 2.05
    assert found["transcoder"].concepts == 8 * SMALL.width


def test_interventions__are_one_for_each_removal_and_share_their_controls() -> None:
    cell = estimate_cell(subject(*TABLE1))
    # Of each removal what the concepts take away. Random and mean directions for one, five and ten at once: the
    # transcoder and codebooks share them; under a ReLU some words have fewer concepts: each network has its own.
    assert len(keys_of(cell.parts, "intervention")) == (6 * 2 + 3 * 5) + 3 * (1 + 2)
    few = estimate_cell(subject(*TABLE1, "beside.transcoder.k=7"))
    assert len(keys_of(few.parts, "intervention") - keys_of(cell.parts, "intervention")) == 5 + 1
    alone = estimate_cell(subject("layer_pair=0-4", "beside=none"))
    assert len(keys_of(alone.parts, "intervention")) == 2 + 1
    other = estimate_cell(subject("layer_pair=0-4", "beside=none", "attribution.salient_by=absolute_score"))
    assert not keys_of(alone.parts, "intervention") & keys_of(other.parts, "intervention")
    assert keys_of(alone.parts, "attribution") == keys_of(other.parts, "attribution")


def test_comparisons__by_hand() -> None:
    found = needs_of(*TABLE1)
    codebooks, sparse = [found["clvq_vae"], found["clustering"]], [found["sae_2048"], found["transcoder"]]
    assert comparisons(codebooks[:1]) == 0
    assert comparisons(codebooks) == 2  # concept, which is the first of both, and member_mean
    assert comparisons([codebooks[0], sparse[0]]) == 3  # concept with encoder_top_10, concept, member_mean
    assert comparisons(sparse) == 5


def test_specificity__grows_with_labellings_seeds_and_concepts() -> None:
    def seconds(*overrides: str) -> float:
        return seconds_of(subject("layer_pair=0-4", "beside=none", *overrides))["specificity"]

    assert 0 < seconds("specificity.shuffles=0") < seconds() < seconds("specificity.shuffles=200")
    assert seconds("seeds=[0]") < seconds("seeds=[0,1]")
    wide = ("baseline=sae_4096", "seeds=[0,1]")
    unmatched = seconds(*wide) - seconds(*wide, "specificity.largest_matching=4095")
    assert unmatched > 4096**3 * 2e-11  # of one pair of seeds
    assert seconds("specificity.sentences=50") < seconds()


def test_probes__in_the_folds_of_dev_take_one_for_each_fold() -> None:
    def seconds(folds: int) -> float:
        given = ("beside=none", "probe.trained_on=dev_folds", f"probe.folds={folds}")
        return seconds_of(subject("layer_pair=0-4", *given))["ablation"]

    assert seconds(5) < seconds(10) < seconds(50) == seconds(99)  # of 50 sentences


def test_frequent_share__is_that_of_the_filter(tmp_path: Path) -> None:
    types = [["a"] * 30 + ["b"] * 5, ["c"] * 4 + ["a"]]  # 20 of the 31, all 5, none, and two sentence tokens
    rows = [np.zeros((1 + len(words), 4), np.float32) for words in types]
    made = [MadeSentence({0: each}, 0, words) for each, words in zip(rows, types, strict=True)]
    kept = frequent_words(write_store(tmp_path, {Split.train: made}), seed=0)
    sentences = [Sentence(str(index), " ".join(words), 0, str(index)) for index, words in enumerate(types)]
    assert frequent_share(sentences, sentence_token=True) == len(kept) / 42 == 27 / 42
    assert frequent_share(sentences, sentence_token=False) == 25 / 40


def test_another_class__is_counted_as_clvq_vae_under_a_name_of_its_own() -> None:
    given = ("beside=kmeans_codes", "seeds=[0]")
    (own, _), (other, beside) = (
        needs_of(*given, *more).values() for more in ((), ("baseline._target_=mine.Method", "+baseline.size=3"))
    )
    assert (fit_seconds(other), other.memory, other.removals) == (fit_seconds(own), own.memory, own.removals)
    assert other.models != own.models
    assert other.parts[0].key == beside.parts[0].key  # its codebook is that of the k-means codes
    (third, _) = needs_of(*given, "baseline._target_=mine.Method", "+baseline.size=4").values()
    assert third.models != other.models


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
