"""What each concept method of a cell is estimated to need, and what methods share."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from estimating import SMALL, config_of, corpus, fit_seconds, keys_of, needs_of, seconds_of, subject
from stores import MadeSentence, cut_sentences, write_store

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.word_filter import frequent_words
from clvq_exp.config import Config
from clvq_exp.estimate import evaluation, method_clustering, method_sparse
from clvq_exp.estimate.cell import estimate_cell
from clvq_exp.estimate.corpus import Corpus, frequent_share
from clvq_exp.estimate.evaluation import comparisons
from clvq_exp.estimate.methods import is_known
from clvq_exp.estimate.records import MethodNeeds
from clvq_exp.estimate.subject import Subject
from clvq_exp.fitting import make_method
from clvq_exp.records import Sentence
from clvq_exp.settings import InitMethod, Split, TrainedWords, WeightDecayOn

TABLE1 = ("beside=table1", "layer_pair=0-4", "init.max_iterations=5", "seeds=[0,1]")
STARTS = ("clvq_vae", "kmeans_codes", "clvq_vae_random", "clvq_vae_spherical_kmeans")
CODEBOOKS = (*STARTS, "single_layer", "clustering")
SPARSE = ("sae_2048", "sae_4096", "transcoder")


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
    "trainer.packed": False,
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


def test_specificity__gives_the_words_of_validation_to_their_concepts_too() -> None:
    """They say how much of the upper layer the concepts alone explain; nothing else of the step reads them."""
    read = ("layer_pair=0-4", "beside=none", "baseline=sae_4096", "seeds=[0]")
    few, many = corpus(), corpus()._replace(validation=np.full(60, 20))
    (method,) = needs_of(*read[1:], of=few).values()
    more = 50 * 21  # sentences of 20 words and the sentence token
    assert many.validation_words - few.validation_words == more
    grown = seconds_of(subject(*read, of=many))["specificity"] - seconds_of(subject(*read, of=few))["specificity"]
    summed = more * SMALL.width * evaluation.SUMMED_SECONDS
    assert grown == pytest.approx(more * method.word_seconds + summed)


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
