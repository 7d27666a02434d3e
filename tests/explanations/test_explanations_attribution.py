from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clvq_exp.explanations.attribution import attribute
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.settings import (
    AttributionAt,
    AttributionBaseline,
    AttributionSettings,
    ModelKind,
    ModelSettings,
    WordScore,
)

FIXED = AttributionSettings(steps=8, adaptive=False)
ADAPTIVE = AttributionSettings(steps=4, adaptive=True, max_steps=64, tolerance=0.01)
WEIGHT = torch.tensor([1.0, -2.0, 0.5])
TEXTS = ("abc de f", "xyz", "hello my dear world", "q r s t u v w", "aa aa aa")


def linear(summed: torch.Tensor) -> torch.Tensor:
    return summed @ WEIGHT


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Path) -> EncoderModel:
    settings = ModelSettings("tiny", ModelKind.encoder, 2, 4, max_length=64)
    return EncoderModel.load(tiny_encoder, settings, ("0", "1"), torch.device("cpu"))


SENTENCES = (
    "The plot is superb.",
    "Dull.",
    "I can't say more: a mess, as was the camera work in its ending!",
    "Music and pacing, all of it warm and funny (number 7)",
    "tired tired tired",
)


def test_linear_model__scores_are_exact(letters: Any) -> None:
    model = letters(linear)
    results = attribute(model, TEXTS, replace(FIXED, steps=1))
    assert {found.prediction for found in results} == {0, 1}
    for text, found in zip(TEXTS, results, strict=True):
        sign = 1 if found.prediction == 1 else 0  # the logit of class 0 is constant
        expected = [0.0] + [sign * float(sum(model.vector(x) for x in word) @ WEIGHT) for word in text.split()]
        assert found.words == pytest.approx(expected, abs=1e-5)
        assert found.words.dtype == np.float32
        assert found.logit_change == pytest.approx(sum(expected), abs=1e-5)
        assert found.convergence_delta == pytest.approx(0, abs=1e-5)
        assert found.steps == 1


def test_square_model__scores_are_exact(letters: Any) -> None:
    # With F(S) = (w S)^2, IG is w (x - x') times w (S + S'), the mean of the ends of the path.
    model = letters(lambda summed: (summed @ WEIGHT) ** 2)
    (found,) = attribute(model, ["ab c"], FIXED)
    batch = model.pad(model.encode(["ab c"]))
    baseline = model.attribution_baseline(model.encode(["ab c"]))
    ends = [model.embedding(ids).sum(1)[0] @ WEIGHT for ids in (batch.input_ids, baseline)]
    total = float(sum(ends).detach())
    a, b, c = (float(model.vector(x) @ WEIGHT) for x in "abc")
    assert found.prediction == 1
    assert found.words == pytest.approx([0.0, (a + b) * total, c * total], rel=1e-4)
    assert found.convergence_delta == pytest.approx(0, abs=1e-4)


def test_special_tokens__get_the_score_zero(letters: Any, encoder: EncoderModel) -> None:
    for found in attribute(letters(lambda s: torch.tanh(s.sum(1))), TEXTS, FIXED):
        assert found.words[0] == 0
    for found in attribute(encoder, SENTENCES, FIXED):
        assert found.words[0] == 0, "the baseline keeps [CLS]"
        assert np.abs(found.words[1:]).max() > 0


def test_batched__equals_one_by_one(encoder: EncoderModel) -> None:
    together = attribute(encoder, SENTENCES, FIXED)
    for budget in (1, 100):
        small = attribute(encoder, SENTENCES, replace(FIXED, batch_tokens=budget))
        for a, b in zip(together, small, strict=True):
            assert a.words == pytest.approx(b.words, abs=1e-5)
    for text, each in zip(SENTENCES, together, strict=True):
        (alone,) = attribute(encoder, [text], FIXED)
        assert alone.words == pytest.approx(each.words, abs=1e-5)
        assert (alone.prediction, alone.steps) == (each.prediction, each.steps)


def test_scores__add_up_to_the_change_of_the_logit(encoder: EncoderModel) -> None:
    for text, found in zip(SENTENCES, attribute(encoder, SENTENCES, replace(FIXED, steps=64)), strict=True):
        encoded = encoder.encode([text])
        batch = encoder.pad(encoded)
        with torch.no_grad():
            logits = encoder.class_logits(*batch)[0]
            base = encoder.class_logits(encoder.attribution_baseline(encoded), batch.attention_mask)[0]
        assert found.prediction == int(logits.argmax())
        change = float(logits[found.prediction] - base[found.prediction])
        assert found.logit_change == pytest.approx(change, abs=1e-5)
        assert float(found.words.sum()) == pytest.approx(change, abs=0.01 * abs(change) + 1e-4)
        assert found.convergence_delta == pytest.approx(float(found.words.sum()) - change, abs=1e-4)


def steep(summed: torch.Tensor) -> torch.Tensor:
    """Flat but for one place of the path: few steps miss it."""
    return 5 + summed[:, 0] + 2 * torch.tanh(6 * summed[:, 1])


def test_adaptive__takes_the_next_rule_only_where_it_is_needed(letters: Any) -> None:
    model = letters(steep)
    weight = model.embedding.weight.data
    weight[:, 1] = 0
    weight[3 + 25, 1] = 1.0  # only the letter z is steep
    easy, hard = attribute(model, ["abc", "abz"], ADAPTIVE)
    assert easy.steps == 4
    assert hard.steps in (9, 19, 39)
    for found in (easy, hard):
        assert found.converged(ADAPTIVE.tolerance)
    (before,) = attribute(model, ["abz"], replace(ADAPTIVE, max_steps=hard.steps - 1))
    assert before.steps == (hard.steps - 1) / 2
    assert not before.converged(ADAPTIVE.tolerance), "the rule before was too short"
    (at_once,) = attribute(model, ["abz"], replace(ADAPTIVE, steps=hard.steps))
    assert at_once.words == pytest.approx(hard.words, abs=1e-6), "as if all its points had been found together"


def test_adaptive__computes_no_point_of_the_path_twice(letters: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = letters(lambda summed: 5 + torch.tanh(1e7 * (summed[:, 0] - 0.123)))
    model.embedding.weight.data[:, 0] = torch.linspace(-1, 1, 29)
    with_gradient: list[int] = []
    logits = model.class_logits

    def counted(ids: Any, mask: Any) -> Any:
        if torch.is_grad_enabled():
            with_gradient.append(len(ids))
        return logits(ids, mask)

    monkeypatch.setattr(model, "class_logits", counted)
    (found,) = attribute(model, ["zzz"], ADAPTIVE)
    assert found.steps == 39
    assert sum(with_gradient) == 39


@pytest.mark.parametrize("layer", [0, 2])
def test_adaptive__is_captum_s_integral(encoder: EncoderModel, layer: int) -> None:
    at = AttributionAt.lower_layer if layer else AttributionAt.embeddings
    settings = replace(ADAPTIVE, steps=15, tolerance=1e-4, max_steps=255, at=at)
    many = replace(FIXED, steps=128, at=at)
    for own, captum_s in zip(
        attribute(encoder, SENTENCES, settings, layer), attribute(encoder, SENTENCES, many, layer), strict=True
    ):
        near = 1e-4 * float(np.abs(captum_s.words).max()) + 1e-6
        assert own.words == pytest.approx(captum_s.words, abs=near)
        assert own.logits == pytest.approx(captum_s.logits, abs=1e-5)
        assert own.prediction == captum_s.prediction
        assert own.logit_change == pytest.approx(captum_s.logit_change, abs=1e-5)
        assert own.words.dtype == np.float32


def test_adaptive__batched_equals_one_by_one(encoder: EncoderModel) -> None:
    together = attribute(encoder, SENTENCES, replace(ADAPTIVE, tolerance=1e-4))
    assert len({found.steps for found in together}) > 1, "some were run again in other company"
    for text, each in zip(SENTENCES, together, strict=True):
        (alone,) = attribute(encoder, [text], replace(ADAPTIVE, tolerance=1e-4, batch_tokens=1))
        assert alone.words == pytest.approx(each.words, abs=1e-5)
        assert alone.steps == each.steps


@pytest.mark.parametrize(("most", "last"), [(64, 39), (79, 79), (4, 4)])
def test_adaptive__stops_at_the_most_steps(letters: Any, most: int, last: int) -> None:
    model = letters(lambda summed: 5 + torch.tanh(1e7 * (summed[:, 0] - 0.123)))
    model.embedding.weight.data[:, 0] = torch.linspace(-1, 1, 29)
    texts = ["zzz", "aaa"]
    found = attribute(model, texts, replace(ADAPTIVE, max_steps=most))
    stuck = [each for each in found if not each.converged(0.01)]
    assert stuck
    assert {each.steps for each in stuck} == {last}


def test_attribute__of_nothing_is_nothing(letters: Any) -> None:
    assert attribute(letters(linear), [], FIXED) == []


def test_model__keeps_no_gradient_and_no_hook(encoder: EncoderModel) -> None:
    def hooks() -> int:  # transformers leaves some of its own
        modules = encoder.model.modules()
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)

    before = hooks()
    attribute(encoder, SENTENCES[:2], FIXED)
    assert all(parameter.grad is None for parameter in encoder.model.parameters())
    assert hooks() == before


# ---------------------------------------------------------------- the reference protocol's switches

LAYER = replace(FIXED, steps=40, at=AttributionAt.lower_layer, baseline=AttributionBaseline.token_zero)


def test_token_zero__takes_the_place_of_special_tokens_too(letters: Any) -> None:
    model = letters(lambda summed: 10 + linear(summed))
    model.embedding.weight.data[0] = torch.tensor([0.5, 0.0, 0.0])
    (found,) = attribute(model, ["ab c"], replace(FIXED, steps=1, baseline=AttributionBaseline.token_zero))
    embedding = model.embedding.weight.detach()
    cls, sep, a, b, c = (float((embedding[row] - embedding[0]) @ WEIGHT) for row in range(1, 6))
    assert found.prediction == 1
    assert found.words == pytest.approx([cls, a + b, c], abs=1e-5)
    assert found.logit_change == pytest.approx(cls + sep + a + b + c, abs=1e-5)


def test_max_absolute__is_the_largest_share_of_the_norm_by_hand(letters: Any) -> None:
    model = letters(lambda summed: summed[:, 0])
    embedding = model.embedding.weight.data
    embedding[:] = 0
    embedding[3:8, 0] = torch.tensor([3.0, -12.0, 4.0, 0.0, 20.0])  # the scores of a to e against the pad id
    (found,) = attribute(model, ["ab cd e"], replace(FIXED, steps=1, word_score=WordScore.max_absolute))
    norm = float(np.sqrt(9 + 144 + 16 + 400))
    assert found.prediction == 1
    assert found.words == pytest.approx([0.0, 12 / norm, 4 / norm, 20 / norm], abs=1e-6)
    assert found.logit_change == pytest.approx(15.0)
    assert found.convergence_delta == pytest.approx(0, abs=1e-4), "of the scores themselves, which add up"


def test_max_absolute__of_a_sentence_in_which_nothing_counts_is_zero(letters: Any) -> None:
    settings = replace(FIXED, word_score=WordScore.max_absolute)
    (found,) = attribute(letters(lambda summed: 0 * summed[:, 0] - 1), ["ab c"], settings)
    assert found.words.tolist() == [0, 0, 0]


def test_lower_layer__scores_add_up_and_reach_the_sentence_token(encoder: EncoderModel) -> None:
    for text, found in zip(SENTENCES, attribute(encoder, SENTENCES, LAYER, layer=2), strict=True):
        batch = encoder.pad(encoder.encode([text]))
        with torch.no_grad():
            logits = encoder.class_logits(*batch)[0]
            base = encoder.class_logits(torch.zeros_like(batch.input_ids), batch.attention_mask)[0]
        change = float(logits[found.prediction] - base[found.prediction])
        assert found.logit_change == pytest.approx(change, abs=1e-5)
        assert abs(found.convergence_delta) < 0.01 * abs(change) + 1e-4
        assert abs(found.words[0]) > 1e-6


def test_lower_layer__of_the_last_layer_only_the_sentence_token_counts(encoder: EncoderModel) -> None:
    for found in attribute(encoder, SENTENCES, LAYER, layer=4):
        assert found.words[0] == pytest.approx(found.logit_change, abs=1e-4), "the head reads [CLS] alone"
        assert np.abs(found.words[1:]).max() < 1e-6


def test_lower_layer__is_captum_s_layer_integrated_gradients(encoder: EncoderModel) -> None:
    from captum.attr import LayerIntegratedGradients

    (found,) = attribute(encoder, SENTENCES[2:3], LAYER, layer=2)
    batch = encoder.pad(encoder.encode(SENTENCES[2:3]))
    method = LayerIntegratedGradients(encoder.class_logits, encoder.layer_module(2))
    own = method.attribute(
        batch.input_ids, target=found.prediction, additional_forward_args=(batch.attention_mask,), n_steps=40
    )
    assert found.words[0] == pytest.approx(float(own.sum(-1)[0, 0]), abs=1e-6)


def test_layer_l__is_not_looked_at_where_the_path_leads_to_the_embeddings(encoder: EncoderModel) -> None:
    one, other = (attribute(encoder, SENTENCES[:2], FIXED, layer) for layer in (0, 3))
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.words, b.words)


def test_lower_layer__batched_equals_one_by_one(encoder: EncoderModel) -> None:
    settings = replace(LAYER, steps=8, word_score=WordScore.max_absolute)
    together = attribute(encoder, SENTENCES, settings, layer=1)
    for text, each in zip(SENTENCES, together, strict=True):
        (alone,) = attribute(encoder, [text], replace(settings, batch_tokens=1), layer=1)
        assert alone.words == pytest.approx(each.words, abs=1e-5)
