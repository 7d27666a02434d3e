"""The model run from a layer upwards, and directions removed inside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from running import call, tiny_cell

from clvq_exp.evaluation.controls import OTHER_WORD, PERTURBED
from clvq_exp.evaluation.intervention import (
    ALL_WORDS,
    SALIENT_WORD,
    SENTENCE_TOKEN,
    Bases,
    Sentences,
    intervene,
    places,
    project_out,
)
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.settings import ModelKind, ModelSettings

TEXTS = ["The acting is superb.", "A dull and clumsy script", "warm", "I can't say more: first-rate music!"]
LABELS = np.array([1, 0, 1, 1])


@pytest.fixture(scope="module")
def model(tiny_encoder: Path) -> EncoderModel:
    settings = ModelSettings("tiny", ModelKind.encoder, 2, 4)
    return EncoderModel.load(tiny_encoder, settings, ["0", "1"], torch.device("cpu"))


@pytest.mark.parametrize("layer", [0, 1, 2, 4])
def test_replacing__equals_a_hook_that_changes_the_layer(model: EncoderModel, layer: int) -> None:
    batch = model.pad(model.encode(TEXTS))
    states = model.run(batch, [layer]).hidden[layer]
    changed = states + torch.linspace(-1, 1, model.width)

    handle = model.layer_module(layer).register_forward_hook(lambda *_: changed)
    with torch.no_grad():
        expected = model.class_logits(*batch)
    handle.remove()
    with torch.no_grad(), model.replacing(layer, changed):
        found = model.class_logits(*batch)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, model.run(batch, [layer]).logits)


def test_replacing__runs_only_the_upper_blocks_and_leaves_the_model_as_it_was(model: EncoderModel) -> None:
    batch = model.pad(model.encode(TEXTS))
    before = model.run(batch, [2])
    calls: list[int] = []
    handles = [
        block.attention.register_forward_hook(lambda *_, layer=layer: calls.append(layer))
        for layer, block in enumerate(model.model.bert.encoder.layer, 1)
    ]
    with torch.no_grad(), model.replacing(2, before.hidden[2]):
        same = model.class_logits(*batch)
    for handle in handles:
        handle.remove()
    assert calls == [3, 4]
    torch.testing.assert_close(same, before.logits)
    with pytest.raises(RuntimeError, match="boom"), model.replacing(2, before.hidden[2]):
        raise RuntimeError("boom")
    torch.testing.assert_close(model.run(batch, [2]).logits, before.logits, rtol=0, atol=0)


def test_project_out__touches_the_chosen_tokens_only() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(2, 3, 4)
    basis = torch.linalg.qr(torch.randn(2, 4, 2)).Q.transpose(1, 2)
    where = torch.tensor([[True, False, False], [False, True, True]])
    changed = project_out(hidden, basis, where)
    assert torch.equal(changed[~where], hidden[~where])
    inner = torch.einsum("btd,brd->btr", changed, basis)
    torch.testing.assert_close(inner[where], torch.zeros_like(inner[where]), atol=1e-6, rtol=0)


def bases_of(basis: torch.Tensor, seeds: tuple[int, ...] = (0,)) -> Bases:
    return {name: dict.fromkeys(seeds, basis) for name in (PERTURBED, OTHER_WORD)}


def test_intervene__removing_nothing_changes_nothing(model: EncoderModel) -> None:
    nothing = torch.zeros(len(TEXTS), 1, model.width)
    sentences = Sentences(TEXTS, LABELS, np.zeros(4, dtype=np.int64))
    found = intervene(model, 2, sentences, bases_of(nothing, (0, 1)), 40)
    logits = model.run(model.pad(model.encode(TEXTS)), [2]).logits
    right = logits.argmax(1).numpy() == LABELS
    assert set(found) == {SENTENCE_TOKEN, SALIENT_WORD, ALL_WORDS}
    for conditions in found.values():
        assert set(conditions) == {PERTURBED, OTHER_WORD}
        for outcomes in conditions.values():
            assert not outcomes.flips.any()
            np.testing.assert_allclose(outcomes.probability_change, 0, atol=1e-6)
            np.testing.assert_array_equal(outcomes.correct, np.stack([right, right]))


def test_intervene__each_condition_and_seed_loses_its_own_directions(model: EncoderModel) -> None:
    torch.manual_seed(2)
    given = {
        name: {
            seed: torch.nn.functional.normalize(torch.randn(len(TEXTS), 1, model.width), dim=-1) for seed in (3, 5)
        }
        for name in (PERTURBED, OTHER_WORD)
    }
    sentences = Sentences(TEXTS, LABELS, np.zeros(4, dtype=np.int64))
    together = intervene(model, 2, sentences, given, 40)[ALL_WORDS]
    for name, of_seeds in given.items():
        for index, (seed, basis) in enumerate(of_seeds.items()):
            alone = intervene(model, 2, sentences, {name: {seed: basis}}, 40)[ALL_WORDS][name]
            np.testing.assert_array_equal(together[name].probability_change[index], alone.probability_change[0])
    changes = [row for each in together.values() for row in each.probability_change]
    assert len({tuple(row) for row in changes}) == 4


@pytest.mark.parametrize(
    ("place", "expected"),
    # [CLS] the acting is superb . [SEP]: the salient word is `superb.`, word 3, two sub-words
    [(SENTENCE_TOKEN, [0]), (SALIENT_WORD, [4, 5]), (ALL_WORDS, [0, 1, 2, 3, 4, 5])],
)
def test_intervene__equals_changing_those_tokens_by_hand(
    model: EncoderModel, place: str, expected: list[int]
) -> None:
    torch.manual_seed(1)
    basis = torch.nn.functional.normalize(torch.randn(1, 1, model.width), dim=-1)
    text = TEXTS[:1]
    assert model.tokenizer.tokenize(text[0]) == ["the", "acting", "is", "superb", "."]
    found = intervene(model, 2, Sentences(text, LABELS[:1], np.array([3])), bases_of(basis), 40)
    batch = model.pad(model.encode(text))
    run = model.run(batch, [2])
    states = run.hidden[2].clone()
    for token in expected:
        states[0, token] -= (states[0, token] @ basis[0, 0]) * basis[0, 0]
    with torch.no_grad(), model.replacing(2, states):
        after = torch.softmax(model.class_logits(*batch), 1)[0]
    predicted = int(run.logits.argmax())
    change = float(after[predicted] - torch.softmax(run.logits, 1)[0, predicted])
    outcomes = found[place][PERTURBED]
    assert outcomes.probability_change[0, 0] == pytest.approx(change, abs=1e-6)
    assert outcomes.correct[0, 0] == float(int(after.argmax()) == LABELS[0])


def test_places__sentence_token_only_where_there_is_one(model: EncoderModel) -> None:
    assert places(model) == (SENTENCE_TOKEN, SALIENT_WORD, ALL_WORDS)


@pytest.mark.slow
def test_metrics__are_the_same_bytes_whether_interventions_are_made_or_read(
    tmp_path: Path, tiny_encoder: Path, reviews: Path
) -> None:
    cell = [*tiny_cell(tiny_encoder, reviews), "trainer.max_epochs=1", "seeds=[0,1]"]

    def run(name: str) -> tuple[bytes, bool]:
        """The figures, and whether a sentence went through the model with something removed."""
        done = call(tmp_path, *cell, f"hydra.run.dir={name}")
        assert done.code == 0, done.err
        return (tmp_path / name / "metrics.json").read_bytes(), "intervention, " in done.err

    made, ran = run("made")
    assert ran
    assert run("read") == (made, False)
    shutil.rmtree(tmp_path / "cache" / "interventions")
    assert run("again") == (made, True)
