"""Eqs. 3 and 4, appendix A.2, the straight-through gradient and perplexity, by hand."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from clvq_exp.concepts.base import mean_pairwise_cosine, perplexity
from clvq_exp.concepts.quantizer import (
    VectorQuantizer,
    nearest_codes,
    sample_codes,
    sampling_probabilities,
    squared_distances,
)
from clvq_exp.concepts.revival import Candidates, drawn
from clvq_exp.records import CodeStatistics
from clvq_exp.seeding import hashed_uniform
from clvq_exp.settings import QuantizerSettings


def quantizer(codebook: torch.Tensor, counts: torch.Tensor | None = None, **knobs: float) -> VectorQuantizer:
    made = VectorQuantizer(
        codebook.shape[1], QuantizerSettings(codebook_size=len(codebook), **{"top_k": 1, **knobs})
    )
    made.initialise(codebook, torch.ones(len(codebook)) if counts is None else counts)
    return made


def as_batch(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One sentence without padding."""
    return z[None], torch.ones(1, len(z), dtype=torch.bool), torch.arange(len(z))[None]


def test_distances__eq3_by_hand() -> None:
    z = torch.tensor([[1.0, 2.0]])
    codebook = torch.tensor([[0.0, 0.0], [1.0, 4.0], [-2.0, 2.0]])
    torch.testing.assert_close(squared_distances(z, codebook), torch.tensor([[5.0, 4.0, 9.0]]))


def test_distances__stay_in_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        distances = squared_distances(torch.randn(4, 8).bfloat16(), torch.randn(3, 8))
    assert distances.dtype is torch.float32


def test_probabilities__eq4_by_hand() -> None:
    distances = torch.tensor([[4.0, 1.0, 9.0, 2.0]])
    probabilities, codes = sampling_probabilities(distances, top_k=3, temperature=2.0)
    weights = [math.exp(-0.5), math.exp(-1.0), math.exp(-2.0)]
    assert codes.tolist() == [[1, 3, 0]]
    torch.testing.assert_close(probabilities, torch.tensor([[w / sum(weights) for w in weights]]))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_sampling__draws_follow_eq4(temperature: float) -> None:
    n = 100_000
    distances = torch.tensor([0.3, 2.5, 1.1, 0.9, 1.7, 6.0]).repeat(n, 1)
    codes = sample_codes(distances, 4, temperature, hashed_uniform(torch.arange(n), 0, "test"))
    expected = torch.zeros(6, dtype=torch.float64)
    nearest = [0, 3, 2, 4]
    expected[nearest] = torch.softmax(-torch.tensor([0.3, 0.9, 1.1, 1.7], dtype=torch.float64) / temperature, 0)
    counts = torch.bincount(codes, minlength=6).double()
    assert counts[[1, 5]].sum() == 0, "codes outside the k nearest are never drawn"
    chi_square = stats.chisquare(counts[nearest].numpy(), (expected[nearest] * n).numpy())
    assert chi_square.pvalue > 0.001


def test_sampling__k_of_one_is_the_argmin_exactly() -> None:
    distances = torch.rand(500, 30)
    uniform = torch.rand(500, dtype=torch.float64)
    assert torch.equal(sample_codes(distances, 1, 1.0, uniform), distances.argmin(1))


def test_sampling__a_far_word_does_not_overflow() -> None:
    codes = sample_codes(torch.tensor([[1e8, 2e8, 3e8]]), 3, 1e-3, torch.tensor([0.999], dtype=torch.float64))
    assert codes.tolist() == [0]


def test_quantizer__noise_hangs_on_the_word_not_on_its_place() -> None:
    torch.manual_seed(0)
    model = quantizer(torch.randn(20, 4), top_k=10, temperature=5.0)
    z, real, ids = as_batch(torch.randn(50, 4))
    order = torch.randperm(50)
    here = model(z, real, ids, (0, 1, 2)).codes[0]
    there = model(z[:, order], real, ids[:, order], (0, 1, 2)).codes[0]
    assert torch.equal(here[order], there)
    assert not torch.equal(here, model(z, real, ids, (0, 1, 3)).codes[0])


def test_quantizer__straight_through_gradient_is_the_identity() -> None:
    model = quantizer(torch.randn(5, 3))
    z, real, ids = as_batch(torch.randn(4, 3))
    z.requires_grad_()
    out = model(z, real, ids, None)
    torch.testing.assert_close(out.quantized[0], model.codebook[out.codes[0]])
    weights = torch.randn_like(out.quantized)
    (out.quantized * weights).sum().backward()
    assert torch.equal(z.grad, weights)
    assert not model.codebook.requires_grad


def test_quantizer__commitment_by_hand_and_its_gradient_reaches_the_encoder_only() -> None:
    model = quantizer(torch.tensor([[0.0, 0.0], [10.0, 10.0]]))
    z, real, ids = as_batch(torch.tensor([[1.0, 2.0], [9.0, 10.0]]))
    z.requires_grad_()
    out = model(z, real, ids, None)
    assert float(out.commitment_sum.detach()) == pytest.approx((1 + 4) / 2 + (1 + 0) / 2)
    out.commitment_sum.backward()
    torch.testing.assert_close(z.grad[0], torch.tensor([[1.0, 2.0], [-1.0, 0.0]]))


@pytest.mark.parametrize(("words", "width"), [(1, 5), (1000, 768)], ids=["one word", "several slices of words"])
def test_quantizer__outputs_and_gradients_are_those_of_the_plain_formula_to_the_last_bit(
    words: int, width: int
) -> None:
    torch.manual_seed(0)
    codebook, z, weight = torch.randn(9, width), torch.randn(words, width), torch.randn(words, width)
    given = quantizer(codebook)
    plain, passed = (z.clone().requires_grad_() for _ in range(2))

    difference = plain - codebook[nearest_codes(z, codebook)]
    expected = plain - difference.detach()
    expected_commitment = difference.square().mean(1).sum()
    ((expected * weight).sum() + 0.3 * expected_commitment).backward()

    out = given(*as_batch(passed), noise=None)
    ((out.quantized[0] * weight).sum() + 0.3 * out.commitment_sum).backward()

    assert torch.equal(out.quantized[0], expected)
    assert torch.equal(out.commitment_sum, expected_commitment)
    assert passed.grad is not None
    assert plain.grad is not None
    assert torch.equal(passed.grad, plain.grad)


def test_quantizer__words_in_half_precision_give_float32_and_get_half_precision_back() -> None:
    words = torch.tensor([[1.0, 3.0]], dtype=torch.bfloat16, requires_grad=True)
    out = quantizer(torch.tensor([[0.0, 1.0], [9.0, 9.0]]))(*as_batch(words), noise=None)
    (out.quantized.sum() + out.commitment_sum).backward()
    assert out.quantized.dtype is torch.float32
    assert out.quantized.tolist() == [[[0.0, 1.0]]]
    assert float(out.commitment_sum.detach()) == 2.5  # (1 + 4) / 2
    assert words.grad is not None
    assert words.grad.dtype is torch.bfloat16
    assert words.grad.tolist() == [[2.0, 3.0]]  # 1 passed through, 2 (1, 2) / 2 from the commitment


def test_ema__a2_over_three_steps_by_hand() -> None:
    decay = 0.9
    model = quantizer(torch.tensor([[0.0], [10.0]]), torch.tensor([2.0, 1.0]), ema_decay=decay)
    batches = [[[1.0], [2.0], [9.0]], [[0.5]], [[11.0], [12.0]]]
    counts, sums, codes = [2.0, 1.0], [0.0, 10.0], [0.0, 10.0]
    for batch in batches:
        z, real, ids = as_batch(torch.tensor(batch))
        out = model(z, real, ids, None)
        model.update(model.statistics(z, real, out.codes))
        taken = [[x for (x,) in batch if abs(x - codes[j]) < abs(x - codes[1 - j])] for j in range(2)]
        for j in range(2):
            counts[j] = decay * counts[j] + (1 - decay) * len(taken[j])
            sums[j] = decay * sums[j] + (1 - decay) * sum(taken[j])
            codes[j] = sums[j] / counts[j]
        torch.testing.assert_close(model.codebook[:, 0], torch.tensor(codes))
        torch.testing.assert_close(model.ema_counts, torch.tensor(counts))
        torch.testing.assert_close(model.ema_sums[:, 0], torch.tensor(sums))


def test_ema__a_code_with_no_mass_keeps_its_vector() -> None:
    model = quantizer(torch.tensor([[0.0], [7.0]]), torch.tensor([1.0, 0.0]))
    model.update(CodeStatistics(torch.tensor([3.0, 0.0]), torch.tensor([[3.0], [0.0]])))
    assert model.codebook[1].item() == 7.0
    assert torch.isfinite(model.codebook).all()


def test_ema__an_unused_code_does_not_move_however_long_it_waits() -> None:
    model = quantizer(torch.tensor([[0.0], [7.0]]))
    for _ in range(20_000):
        model.update(CodeStatistics(torch.tensor([1.0, 0.0]), torch.tensor([[0.5], [0.0]])))
    assert model.codebook[1].item() == pytest.approx(7.0, rel=1e-3)


def test_ema__laplace_smoothing_over_two_steps_by_hand() -> None:
    model = quantizer(torch.tensor([[1.0], [10.0]]), ema_decay=0.5, ema_smoothing=0.25)
    model.update(CodeStatistics(torch.tensor([3.0, 0.0]), torch.tensor([[6.0], [0.0]])))
    # N = (0.5 + 1.5, 0.5) = (2, 0.5), smoothed (2.25, 0.75) * 2.5 / 3; m = (0.5 + 3, 5)
    torch.testing.assert_close(model.ema_counts, torch.tensor([1.875, 0.625]))
    torch.testing.assert_close(model.codebook, torch.tensor([[3.5 / 1.875], [5 / 0.625]]))
    model.update(CodeStatistics(torch.tensor([1.0, 1.0]), torch.tensor([[2.0], [9.0]])))
    # The smoothed counts are what is carried on: N = (1.4375, 0.8125), of sum 2.25; m = (2.75, 7)
    counts = torch.tensor([1.6875, 1.0625]) * 2.25 / 2.75
    torch.testing.assert_close(model.ema_counts, counts)
    torch.testing.assert_close(model.codebook[:, 0], torch.tensor([2.75, 7.0]) / counts)


def test_ema__without_smoothing_the_second_step_is_a2() -> None:
    model = quantizer(torch.tensor([[1.0], [10.0]]), ema_decay=0.5)
    model.update(CodeStatistics(torch.tensor([3.0, 0.0]), torch.tensor([[6.0], [0.0]])))
    assert model.ema_counts.tolist() == [2.0, 0.5]
    assert model.codebook[:, 0].tolist() == [3.5 / 2, 10.0]


def test_ema__smoothing_of_nothing_at_all_stays_finite() -> None:
    model = quantizer(torch.tensor([[1.0], [2.0]]), torch.zeros(2), ema_smoothing=1e-5)
    model.update(CodeStatistics(torch.zeros(2), torch.zeros(2, 1)))
    assert model.codebook[:, 0].tolist() == [1.0, 2.0]


def test_ema_start__ones_takes_the_codes_themselves_as_sums() -> None:
    codes = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    model = quantizer(codes, torch.ones(2))
    assert torch.equal(model.ema_sums, codes)


def test_revival__sets_vector_sum_and_count_of_dead_codes_only() -> None:
    codes = torch.tensor([[1.0, 0.0], [0.0, 5.0], [7.0, 7.0]])
    model = quantizer(codes, torch.tensor([4.0, 0.5, 0.1]), ema_decay=0.5, revive_below=2.0)
    words = torch.tensor([[3.0, 3.0], [8.0, 8.0], [9.0, 9.0]])
    model.update(CodeStatistics(torch.tensor([4.0, 0.0, 0.0]), torch.tensor([[8.0, 0.0], [0.0, 0.0], [0.0, 0.0]])))
    live = model.codebook[0].clone()
    assert model.revive(Candidates(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), words)) == 2
    assert torch.equal(model.codebook, torch.stack([live, words[0], words[1]]))
    assert model.ema_counts.tolist() == [4.0, 2.0, 2.0]
    assert model.ema_sums.tolist() == [[6.0, 0.0], [6.0, 6.0], [16.0, 16.0]]
    # A next step in which nobody uses them does not bring the old vectors back.
    model.update(CodeStatistics(torch.tensor([4.0, 0.0, 0.0]), torch.zeros(3, 2)))
    torch.testing.assert_close(model.codebook[1:], words[:2])


def test_revival__too_few_words_revive_as_many_codes() -> None:
    model = quantizer(torch.zeros(3, 1), torch.zeros(3), revive_below=1.0)
    one = Candidates(torch.tensor([0.5], dtype=torch.float64), torch.tensor([[4.0]]))
    assert model.revive(one) == 1
    assert model.codebook[:, 0].tolist() == [4.0, 0.0, 0.0]
    assert model.revive(Candidates(one.draws[:0], one.z_e[:0])) == 0


def test_revival__candidates_hang_on_words_and_step_not_on_the_cut() -> None:
    torch.manual_seed(3)
    z, real, ids = as_batch(torch.randn(12, 2))
    whole = drawn(None, z, real, ids, (0, 1, 2), most=4)
    assert len(whole.z_e) == 4
    assert whole.draws.tolist() == sorted(hashed_uniform(ids[0], 0, 1, 2, "revival").tolist())[:4]
    order = torch.randperm(12)
    parts = None
    for chosen in order.split(5):
        padded = torch.cat([chosen, chosen[:1]])  # and one word of padding, which is never drawn
        there = torch.ones(1, len(padded), dtype=torch.bool)
        there[0, -1] = False
        parts = drawn(parts, z[:, padded], there, ids[:, padded], (0, 1, 2), most=4)
    assert torch.equal(parts.z_e, whole.z_e)
    other = drawn(None, z, real, ids, (0, 1, 3), most=4)
    assert not torch.equal(other.z_e, whole.z_e), "another step draws other words"


def test_quantizer__padding_takes_no_part() -> None:
    torch.manual_seed(1)
    model = quantizer(torch.randn(6, 4), top_k=3)
    words = torch.randn(3, 4)
    plain = model(*as_batch(words), (0, 0, 0))
    padded_z = torch.full((1, 5, 4), 1e6)
    padded_z[0, :3] = words
    real = torch.tensor([[True, True, True, False, False]])
    ids = torch.tensor([[0, 1, 2, -1, -1]])
    padded = model(padded_z, real, ids, (0, 0, 0))
    assert torch.equal(plain.codes[0], padded.codes[0, :3])
    assert padded.codes[0, 3:].tolist() == [-1, -1]
    assert padded.quantized[0, 3:].abs().sum() == 0
    assert torch.equal(plain.commitment_sum, padded.commitment_sum)
    expected = model.statistics(words[None], real[:, :3], plain.codes)
    for a, b in zip(expected, model.statistics(padded_z, real, padded.codes), strict=True):
        assert torch.equal(a, b)


def test_perplexity__by_hand() -> None:
    assert perplexity(torch.tensor([5, 5, 5, 5, 0])) == pytest.approx(4.0)
    assert perplexity(torch.tensor([0, 9])) == pytest.approx(1.0)
    p = [0.5, 0.25, 0.25]
    assert perplexity(torch.tensor([2, 1, 1])) == pytest.approx(math.exp(-sum(x * math.log(x) for x in p)))


def test_perplexity__of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="the split is empty"):
        perplexity(torch.zeros(3))


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50).filter(any))
@hypothesis_settings(deadline=None)
def test_perplexity__lies_between_one_and_the_codes_used(counts: list[int]) -> None:
    value = perplexity(torch.tensor(counts))
    assert 1 - 1e-9 <= value <= sum(count > 0 for count in counts) + 1e-9


def test_mean_cosine__by_hand() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    root = math.sqrt(0.5)
    assert mean_pairwise_cosine(vectors) == pytest.approx((0 + root + root) / 3)


def test_nearest_codes__agree_with_brute_force() -> None:
    torch.manual_seed(2)
    z, codebook = torch.randn(300, 16), torch.randn(40, 16)
    brute = (z[:, None] - codebook[None]).square().sum(-1).argmin(1)
    assert torch.equal(nearest_codes(z, codebook), brute)


def _rank(rank: int, folder: str, queue: multiprocessing.Queue) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    model = quantizer(torch.tensor([[0.0], [10.0]]), torch.tensor([2.0, 1.0]), ema_decay=0.9)
    words = [torch.tensor([[1.0], [2.0]]), torch.tensor([[9.0], [3.0], [12.0]])][rank]
    for _ in range(3):
        z, real, ids = as_batch(words)
        model.update(model.statistics(z, real, model(z, real, ids, None).codes))
    queue.put((rank, model.codebook.tolist(), model.ema_counts.tolist()))
    torch.distributed.destroy_process_group()


def _reviving_rank(rank: int, folder: str, queue: multiprocessing.Queue) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    model = quantizer(torch.zeros(3, 1), torch.zeros(3), revive_below=1.0)
    z, real, ids = as_batch(torch.arange(4.0)[:, None])
    own = slice(0, 1) if rank == 0 else slice(1, 4)
    model.revive(drawn(None, z[:, own], real[:, own], ids[:, own], (0, 0, 0), most=3))
    queue.put((rank, model.codebook[:, 0].tolist()))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_revival__two_ranks_set_the_same_codes_as_one_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    ranks = [context.Process(target=_reviving_rank, args=(rank, str(tmp_path), queue)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = [queue.get(timeout=600)[1] for _ in ranks]
    for process in ranks:
        process.join(timeout=60)
    alone = quantizer(torch.zeros(3, 1), torch.zeros(3), revive_below=1.0)
    alone.revive(drawn(None, *as_batch(torch.arange(4.0)[:, None]), (0, 0, 0), most=3))
    assert found == [alone.codebook[:, 0].tolist()] * 2


@pytest.mark.slow
def test_ema__two_ranks_equal_one_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    ranks = [context.Process(target=_rank, args=(rank, str(tmp_path), queue)) for rank in range(2)]
    for process in ranks:
        process.start()
    results = sorted(queue.get(timeout=600) for _ in ranks)
    for process in ranks:
        process.join(timeout=60)
    alone = quantizer(torch.tensor([[0.0], [10.0]]), torch.tensor([2.0, 1.0]), ema_decay=0.9)
    for _ in range(3):
        z, real, ids = as_batch(torch.tensor([[1.0], [2.0], [9.0], [3.0], [12.0]]))
        alone.update(alone.statistics(z, real, alone(z, real, ids, None).codes))
    for _, codebook, counts in results:
        torch.testing.assert_close(torch.tensor(codebook), alone.codebook)
        torch.testing.assert_close(torch.tensor(counts), alone.ema_counts)
