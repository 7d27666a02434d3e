"""What `protocol=reference` switches in a fit, one switch at a time; and the revival of dead codes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from clvq_exp.activations.datamodule import ActivationPairs, BatchKey
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache, fingerprint
from clvq_exp.concepts import clvq_vae, word_filter
from clvq_exp.concepts.base import ConceptError, ConceptSettings, FitRun, perplexity
from clvq_exp.concepts.chosen_words import ChosenWords
from clvq_exp.concepts.clvq_vae import ClvqVae
from clvq_exp.concepts.decoder import ConceptDecoder, earlier_or_padding
from clvq_exp.concepts.initialisation import InitialCodebook, initial_codebook
from clvq_exp.concepts.module import ClvqVaeModule
from clvq_exp.concepts.quantizer import VectorQuantizer
from clvq_exp.concepts.word_filter import frequent_words
from clvq_exp.settings import (
    EmaStart,
    InitMethod,
    InitSettings,
    LayerPair,
    LinearStart,
    PerplexityOver,
    SelfAttention,
    Split,
    TrainedWords,
    WeightDecayOn,
    WordsOfConcepts,
)

Settings = Callable[..., ConceptSettings]
PAIR = LayerPair(1, 2)
LATER = {"decoder__self_attention": SelfAttention.later_words}
REFERENCE: dict[str, Any] = {
    **LATER,
    "encoder__linear_start": LinearStart.identity,
    "quantizer__trained_words": TrainedWords.frequent,
    "quantizer__ema_start": EmaStart.ones,
    "quantizer__ema_smoothing": 1e-5,
    "quantizer__perplexity_over": PerplexityOver.last_batch,
    "quantizer__words_of_concepts": WordsOfConcepts.sampled_code,
    "quantizer__revive_below": 0.5,
}


def fit(store: ActivationStore, settings: ConceptSettings, folder: Path, work: Path | None = None) -> ClvqVae:
    run = FitRun(store, PAIR, 0, work or folder / "work", ArtifactCache(folder / "cache"), torch.device("cpu"))
    run.work.mkdir(parents=True, exist_ok=True)
    model = ClvqVae(settings)
    model.fit(run)
    return model


# ---------------------------------------------------------------- self-attention


def test_later_words__mask_by_hand() -> None:
    real = torch.tensor([[True, True, True], [True, True, False]])
    t, f = True, False
    assert earlier_or_padding(real).tolist() == [
        [[f, f, f], [t, f, f], [t, t, f]],
        [[f, f, t], [t, f, t], [t, t, f]],
    ]


@pytest.mark.parametrize("position", range(4))
def test_later_words__a_word_is_seen_by_itself_and_by_those_before_it(settings: Settings, position: int) -> None:
    torch.manual_seed(0)
    decoder = ConceptDecoder(8, settings(**LATER).decoder).eval()
    words, memory, real = torch.randn(1, 4, 8), torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.bool)
    changed = words.clone()
    changed[0, position] += 1
    with torch.no_grad():
        difference = (decoder(changed, memory, real) - decoder(words, memory, real))[0].abs().amax(1)
    assert (difference > 1e-6).tolist() == [other <= position for other in range(4)]


@pytest.mark.parametrize("training", [False, True])
def test_later_words__padding_changes_nothing_and_is_no_trouble(settings: Settings, training: bool) -> None:
    torch.manual_seed(1)
    decoder = ConceptDecoder(8, settings(**LATER).decoder).train(training)
    words, memory = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    real = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    padded = decoder(words, memory, real)
    short = decoder(words[1:, :2], memory[1:, :2], real[1:, :2])
    torch.testing.assert_close(padded[1, :2], short[0], rtol=1e-5, atol=1e-6)
    (padded * real[..., None]).sum().backward()
    assert torch.isfinite(padded).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in decoder.parameters())


def test_later_words__micro_batches_give_the_gradients_of_the_whole_batch(
    store: ActivationStore, settings: Settings
) -> None:
    key = BatchKey(0, 0, tuple(int(row) for row in store.sentence_ids(Split.train)[:8]))
    gradients = []
    for budget in (10_000, 20):
        module = ClvqVaeModule(store.width, settings(**LATER), 0)
        module.quantizer.initialise(store.words(1)[:6].clone(), torch.ones(6))
        module.manual_backward = lambda loss: loss.backward()  # no Trainer is attached
        module.accumulate(ActivationPairs(store, 1, 2, budget)[key])
        gradients.append({name: each.grad for name, each in module.named_parameters()})
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradient, gradients[0][name], rtol=1e-4, atol=1e-6, msg=name)


# ---------------------------------------------------------------- words used to train


def test_chosen_words__gaps_are_closed_and_other_splits_are_whole(
    tmp_path: Path, make_store: Callable[..., ActivationStore]
) -> None:
    words = np.arange(18, dtype=np.float32).reshape(9, 2) + 1
    lengths = {"train": [3, 2, 1], "validation": [2], "dev": [1]}
    store = make_store(tmp_path / "small", lengths, {1: words, 2: -words})
    data = ChosenWords(store, 1, 2, 8, 100, 0)
    data.choose(np.array([0, 2, 5]))
    assert data.steps_per_epoch == 1
    (batch,) = data.train_dataloader()
    (micro,) = batch.micro_batches
    assert batch.n_words == 3, "the second sentence has none of them"
    assert micro.word_ids.tolist() == [[0, 2], [5, -1]]
    assert micro.real.tolist() == [[True, True], [True, False]]
    assert micro.source.tolist() == [[[1, 2], [5, 6]], [[11, 12], [0, 0]]]
    assert torch.equal(micro.target, -micro.source)
    (whole,) = data.val_dataloader()
    assert whole.micro_batches[0].word_ids.tolist() == [[6, 7]]


def test_chosen_words__batches_are_cut_by_the_words_that_are_left(
    tmp_path: Path, make_store: Callable[..., ActivationStore]
) -> None:
    words = np.arange(16, dtype=np.float32).reshape(8, 2)
    store = make_store(tmp_path / "small", {"train": [4, 4], "validation": [], "dev": []}, {1: words, 2: words})
    data = ChosenWords(store, 1, 2, 8, 4, 0)
    data.choose(np.array([1, 3, 4, 6]))
    (batch,) = data.train_dataloader()
    assert [micro.word_ids.tolist() for micro in batch.micro_batches] in (
        [[[1, 3], [4, 6]]],
        [[[4, 6], [1, 3]]],
    ), "two sentences of two words fit into four"


def test_initial_codebook__is_made_of_the_chosen_words(store: ActivationStore, tmp_path: Path) -> None:
    cache, chosen = ArtifactCache(tmp_path / "cache"), np.arange(20, 40)
    words = store.words(1)
    for method in InitMethod:
        init = InitSettings(method.value, method)
        found = initial_codebook(cache, store, 1, init, 4, 0, chosen)
        whole = initial_codebook(cache, store, 1, init, 4, 0)
        assert not torch.equal(found.codes, whole.codes), "the cache tells them apart"
        nearest = (words[20:40, None] - found.codes[None]).square().sum(-1).argmin(1)
        torch.testing.assert_close(found.shares, torch.bincount(nearest, minlength=4) / 20)
    everything = np.arange(*store.word_range(Split.train))
    one, other = (initial_codebook(cache, store, 1, init, 4, 0, each) for each in (everything, None))
    assert torch.equal(one.codes, other.codes), "all words, chosen or not, are all words"


def test_initial_codebook__too_few_chosen_words_says_what_to_do(store: ActivationStore, tmp_path: Path) -> None:
    init = InitSettings("kmeans", InitMethod.kmeans)
    with pytest.raises(ConceptError, match=r"only 3 training words: .* \(quantizer\.trained_words=all\)"):
        initial_codebook(ArtifactCache(tmp_path / "cache"), store, 1, init, 4, 0, np.arange(3))


def test_frequent_words__are_what_a_fit_learns_from(
    store: ActivationStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    seen: set[int] = set()
    forward = VectorQuantizer.forward

    def two_of_them(_store: ActivationStore, seed: int) -> np.ndarray:
        asked.append(seed)
        return np.arange(0, 60, 2)

    def watched(self: VectorQuantizer, z: Any, real: Any, ids: Any, noise: Any) -> Any:
        if noise is not None:
            seen.update(ids[real].tolist())
        return forward(self, z, real, ids, noise)

    monkeypatch.setattr(word_filter, "frequent_words", two_of_them)
    monkeypatch.setattr(VectorQuantizer, "forward", watched)
    chosen = settings(quantizer__trained_words=TrainedWords.frequent, trainer__max_epochs=1)
    fit(store, chosen, tmp_path)
    assert asked == [0]
    assert seen == set(range(0, 60, 2))


# ---------------------------------------------------------------- perplexity and words of concepts


def test_perplexity__of_the_last_batch_in_the_store_s_order(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    chosen = settings(quantizer__perplexity_over=PerplexityOver.last_batch, trainer__batch_size=4)
    model = fit(store, chosen, tmp_path)
    sentences = store.sentence_ids(Split.validation)
    assert len(sentences) == 10, "batches of 4, 4 and 2"
    first, end = store.sentences.first_word[sentences[8]], store.word_range(Split.validation)[1]
    codes = model.assign(store.words(1)[first:end])[:, 0]
    expected = perplexity(torch.bincount(codes, minlength=6))
    assert model.summary.perplexity == expected
    best = model.summary.history[model.summary.best_epoch]
    assert best["perplexity"] == expected
    whole = fit(store, settings(trainer__batch_size=4), tmp_path / "whole")
    assert torch.equal(whole.vectors(), model.vectors()), "it is told otherwise, not trained otherwise"
    assert whole.summary.perplexity != expected
    assert whole.summary.codes_in_use == model.summary.codes_in_use


@pytest.mark.parametrize(
    ("batch_size", "last", "first"),
    [(1, 2, 9), (2, 2, 7), (3, 2, 9), (4, 2, 4), (128, 2, 4), (1, 0, 7), (3, 0, 4)],
)
def test_perplexity__last_batch_begins_at_its_first_word(
    tmp_path: Path,
    make_store: Callable[..., ActivationStore],
    settings: Settings,
    batch_size: int,
    last: int,
    first: int,
) -> None:
    words = np.zeros((10 + last, 2))
    lengths = {"train": [4], "validation": [3, 0, 2, last], "dev": [1]}
    store = make_store(tmp_path / "small", lengths, {1: words, 2: words})
    model = ClvqVae(settings(quantizer__perplexity_over=PerplexityOver.last_batch, trainer__batch_size=batch_size))
    assert model._counted_from(store) == first
    assert ClvqVae(settings(trainer__batch_size=batch_size))._counted_from(store) == 0


def test_sampled_codes__are_those_of_the_best_epoch(
    store: ActivationStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[int, dict[int, int]] = {}
    forward = VectorQuantizer.forward

    def watched(self: VectorQuantizer, z: Any, real: Any, ids: Any, noise: Any) -> Any:
        out = forward(self, z, real, ids, noise)
        if noise is not None:
            words = zip(ids[real].tolist(), out.codes[real].tolist(), strict=True)
            drawn.setdefault(noise[1] + 1, {}).update(words)
        return out

    monkeypatch.setattr(VectorQuantizer, "forward", watched)
    chosen = settings(
        quantizer__words_of_concepts=WordsOfConcepts.sampled_code,
        quantizer__temperature=50.0,
        trainer__max_epochs=4,
    )
    model = fit(store, chosen, tmp_path)
    n = store.word_range(Split.train)[1]
    best = drawn[model.summary.best_epoch]
    assert model.sampled_codes.tolist() == [best[row] for row in range(n)]
    nearest = model.assign(store.words(1)[:n])[:, 0]
    assert not torch.equal(model.sampled_codes.long(), nearest)
    folder = tmp_path / "saved"
    folder.mkdir()
    model.save(folder)
    assert torch.equal(ClvqVae(chosen).load(folder).sampled_codes, model.sampled_codes)


def test_sampled_codes__are_minus_one_for_words_that_were_left_out(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    model = fit(store, settings(**REFERENCE), tmp_path)
    there = torch.nonzero(model.sampled_codes >= 0).squeeze(1).tolist()
    chosen = frequent_words(store, seed=0, at_least=5, at_most=20).tolist()
    assert there == chosen
    assert 0 < len(chosen) < store.word_range(Split.train)[1]


def test_sampled_codes__are_not_kept_unless_asked_for(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    model = fit(store, settings(trainer__max_epochs=1), tmp_path)
    assert model.sampled_codes is None
    assert "sampled_codes" not in model.module.state_dict()


# ---------------------------------------------------------------- revival


def test_revival__brings_a_code_back_that_no_word_is_near(
    store: ActivationStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = store.words(1)[:6].clone()
    codes[3] = 1e4
    shares = torch.tensor([0.2, 0.2, 0.2, 0.0, 0.2, 0.2])
    monkeypatch.setattr(clvq_vae, "initial_codebook", lambda *_: InitialCodebook(codes, shares))
    dead = fit(store, settings(), tmp_path / "dead")
    assert dead.member_counts[3] == 0
    assert torch.equal(dead.vectors()[3], codes[3])
    revived = fit(store, settings(quantizer__revive_below=0.1), tmp_path / "revived")
    assert revived.member_counts[3] > 0
    assert revived.vectors()[3].abs().max() < 100
    again = fit(store, settings(quantizer__revive_below=0.1), tmp_path / "again")
    assert torch.equal(again.vectors(), revived.vectors())


def test_revival__leaves_a_codebook_alone_in_which_every_code_is_used(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    plain = fit(store, settings(trainer__max_epochs=1), tmp_path / "plain")
    asked = fit(store, settings(trainer__max_epochs=1, quantizer__revive_below=1e-6), tmp_path / "asked")
    assert torch.equal(asked.vectors(), plain.vectors())


@pytest.mark.parametrize("dead", [[], [1, 4]])
def test_revived_codes__are_those_that_were_dead(
    store: ActivationStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead: list[int]
) -> None:
    codes, shares = store.words(1)[:6].clone(), torch.full((6,), 1 / (6 - len(dead)))
    codes[dead], shares[dead] = 1e4, 0.0
    monkeypatch.setattr(clvq_vae, "initial_codebook", lambda *_: InitialCodebook(codes, shares))
    one_step = settings(quantizer__revive_below=0.01, trainer__batch_size=40, trainer__max_epochs=1)
    history = fit(store, one_step, tmp_path).summary.history
    assert [record["revived_codes"] for record in history] == [None, len(dead)]


def test_revived_codes__are_none_where_revival_is_off(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    history = fit(store, settings(trainer__max_epochs=1), tmp_path).summary.history
    assert [record["revived_codes"] for record in history] == [None, None]


class KilledError(BaseException):
    """Nobody catches this."""


def killed_fit(
    store: ActivationStore, settings: ConceptSettings, folder: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit that is killed as its third epoch begins."""
    started = ClvqVaeModule.on_train_epoch_start

    def die_in_the_third_epoch(self: ClvqVaeModule) -> None:
        if self.current_epoch == 2:
            raise KilledError
        started(self)

    with monkeypatch.context() as patch:
        patch.setattr(ClvqVaeModule, "on_train_epoch_start", die_in_the_third_epoch)
        with pytest.raises(KilledError):
            fit(store, settings, folder, work)


def test_revived_codes__are_summed_over_an_epoch_and_outlive_a_kill(
    store: ActivationStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revived = iter(range(1, 10))  # three epochs of three steps
    monkeypatch.setattr(VectorQuantizer, "revive", lambda *_: next(revived))
    chosen = settings(quantizer__revive_below=1.0)
    killed_fit(store, chosen, tmp_path, tmp_path / "killed", monkeypatch)
    history = fit(store, chosen, tmp_path, tmp_path / "killed").summary.history
    assert [record["revived_codes"] for record in history] == [None, 1 + 2 + 3, 4 + 5 + 6, 7 + 8 + 9]


def test_revived_codes__are_logged(store: ActivationStore, settings: Settings, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="", version="logs")
    run = FitRun(store, PAIR, 0, tmp_path, ArtifactCache(tmp_path / "cache"), torch.device("cpu"), logger)
    model = ClvqVae(settings(quantizer__revive_below=30.0, trainer__max_epochs=2))
    model.fit(run)
    with (tmp_path / "logs" / "metrics.csv").open(encoding="utf-8") as lines:
        logged = [float(row["revived_codes"]) for row in csv.DictReader(lines) if row["revived_codes"]]
    assert logged == [record["revived_codes"] for record in model.summary.history[1:]]
    assert min(logged) > 0


# ---------------------------------------------------------------- all of them together


def test_reference__a_killed_fit_goes_on_to_the_same_bits(
    store: ActivationStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(**REFERENCE)
    whole = fit(store, chosen, tmp_path)
    killed_fit(store, chosen, tmp_path, tmp_path / "killed", monkeypatch)
    monkeypatch.setattr(ClvqVae, "_initialise", pytest.fail)
    resumed = fit(store, chosen, tmp_path, tmp_path / "killed")
    assert resumed.summary == whole.summary
    one, other = resumed.module.state_dict(), whole.module.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert "sampled_codes" in one


def test_identity__changes_with_every_switch(store: ActivationStore, settings: Settings) -> None:
    found = [
        fingerprint(ClvqVae(settings(**{name: value})).identity(store, PAIR)) for name, value in REFERENCE.items()
    ]
    base = settings()
    found.append(fingerprint(ClvqVae(base).identity(store, PAIR)))
    everything = ConceptSettings(**{**vars(base), "weight_decay_on": WeightDecayOn.everything})
    found.append(fingerprint(ClvqVae(everything).identity(store, PAIR)))
    assert len(set(found)) == len(REFERENCE) + 2
