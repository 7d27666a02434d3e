"""Random numbers hang on names alone: not on history, on neighbours, or on the layout of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clvq_exp.seeding import derived_seed, hashed_uniform, numpy_generator, scoped_seed, torch_generator

NAMES = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30)
M64 = 2**64 - 1


def name_hashed_to(target: int, *parts: int | str) -> int:
    """The name that SplitMix64's finaliser sends to a 64-bit number: the finaliser run backwards."""

    def unshift(value: int, bits: int) -> int:
        found = value
        for _ in range(64 // bits + 1):
            found = value ^ (found >> bits)
        return found

    x = unshift(target, 31)
    x = unshift(x * pow(0x94D049BB133111EB, -1, 2**64) & M64, 27)
    x = unshift(x * pow(0xBF58476D1CE4E5B9, -1, 2**64) & M64, 30)
    name = (x - derived_seed(*parts)) * pow(0x9E3779B97F4A7C15, -1, 2**64) & M64
    return name - 2**64 if name >= 2**63 else name


def splitmix_uniform(name: int, *parts: int | str) -> float:
    """The same number in Python's own integers."""
    x = (name * 0x9E3779B97F4A7C15 + derived_seed(*parts)) & M64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & M64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & M64
    x ^= x >> 31
    return ((x >> 12) + 0.5) * 2.0**-52


def test_derived_seed__is_the_same_in_every_version():
    assert derived_seed(0, "order", 1) == 7770329341107549510
    assert derived_seed() == 8238016292129134938


@given(st.lists(st.integers() | st.text(), max_size=4))
def test_derived_seed__fits_a_signed_64_bit_number(parts: list[int | str]):
    assert 0 <= derived_seed(*parts) < 2**63


def test_derived_seed__tells_parts_apart():
    assert derived_seed("ab", "c") != derived_seed("a", "bc")
    assert derived_seed(1, 23) != derived_seed(12, 3)
    assert derived_seed(0) != derived_seed(0, "")


def test_generators__repeat_for_a_purpose_and_differ_between_purposes():
    def torch_draw(*parts: int | str) -> torch.Tensor:
        return torch.rand(4, generator=torch_generator(*parts))

    assert torch.equal(torch_draw(0, "a"), torch_draw(0, "a"))
    assert not torch.equal(torch_draw(0, "a"), torch_draw(0, "b"))
    assert numpy_generator(0, "a").random() == numpy_generator(0, "a").random()
    assert numpy_generator(0, "a").random() != numpy_generator(1, "a").random()


def test_generators__leave_global_states_alone():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    torch.rand(3, generator=torch_generator(1))
    numpy_generator(1).random(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


@given(NAMES)
def test_hashed_uniform__lies_strictly_between_0_and_1(names: list[int]):
    drawn = hashed_uniform(torch.tensor(names), 7, "noise")
    assert drawn.dtype == torch.float64
    assert bool(((drawn > 0) & (drawn < 1)).all())


def test_hashed_uniform__neither_end_is_reached_at_the_extreme_hashes():
    names = torch.tensor([name_hashed_to(0, 7), name_hashed_to(M64, 7)])
    low, high = hashed_uniform(names, 7).tolist()
    assert 0 < low < 1e-15
    assert 1 - 1e-15 < high < 1


@given(NAMES, st.integers(0, 100))
def test_hashed_uniform__is_splitmix64_of_name_and_purpose(names: list[int], seed: int):
    drawn = hashed_uniform(torch.tensor(names), seed, "noise").tolist()
    assert drawn == [splitmix_uniform(name, seed, "noise") for name in names]


@given(NAMES, st.integers(-(2**63), 2**63 - 1), st.randoms(use_true_random=False))
def test_hashed_uniform__a_name_has_its_number_whatever_stands_beside_it(names, one, random):
    alone = hashed_uniform(torch.tensor([one]), 3).item()
    among = [*names, one]
    random.shuffle(among)
    drawn = hashed_uniform(torch.tensor(among), 3)
    assert drawn[among.index(one)].item() == alone


def test_hashed_uniform__does_not_see_the_shape_of_the_batch():
    names = torch.arange(24)
    flat = hashed_uniform(names, 0)
    assert torch.equal(hashed_uniform(names.reshape(2, 3, 4), 0).flatten(), flat)
    assert torch.equal(hashed_uniform(names.reshape(4, 6).T, 0).T.flatten(), flat)
    assert hashed_uniform(torch.zeros((0, 3), dtype=torch.int64), 0).shape == (0, 3)


def test_hashed_uniform__leaves_names_and_global_state_alone():
    names, before = torch.arange(5), torch.get_rng_state()
    hashed_uniform(names, 0)
    assert torch.equal(names, torch.arange(5))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_hashed_uniform__is_uniform_over_names(step: int):
    drawn = hashed_uniform(torch.arange(100_000) * step, 11, "words").numpy()
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    assert abs(drawn.mean() - 0.5) < 4 / np.sqrt(12 * len(drawn))


@pytest.mark.parametrize("distance", [1, 2, 400])
def test_hashed_uniform__neighbours_are_not_correlated(distance: int):
    drawn = hashed_uniform(torch.arange(100_000), 5, "words").numpy()
    correlation = np.corrcoef(drawn[:-distance], drawn[distance:])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(len(drawn))


def test_hashed_uniform__other_parts_give_unrelated_numbers():
    names = torch.arange(100_000)
    first, second = hashed_uniform(names, 5, 0).numpy(), hashed_uniform(names, 5, 1).numpy()
    assert not np.any(first == second)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(len(first))


def test_scoped_seed__gives_the_same_inside_whatever_came_before():
    def draw() -> torch.Tensor:
        with scoped_seed(3, "weights"):
            return torch.nn.Linear(3, 2).weight.detach().clone()

    first = draw()
    torch.rand(17)
    assert torch.equal(draw(), first)
    with scoped_seed(4, "weights"):
        assert not torch.equal(torch.nn.Linear(3, 2).weight, first)


def test_scoped_seed__restores_the_global_state():
    before = torch.get_rng_state()
    with scoped_seed(3):
        torch.rand(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_scoped_seed__restores_the_global_state_after_an_error():
    def fail_inside() -> None:
        with scoped_seed(3):
            torch.rand(5)
            raise RuntimeError("inside")

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert torch.equal(torch.get_rng_state(), before)


def test_scoped_seed__nests():
    with scoped_seed(1):
        whole = torch.rand(4)
    with scoped_seed(1):
        start = torch.rand(2)
        with scoped_seed(2):
            torch.rand(9)
        end = torch.rand(2)
    assert torch.equal(torch.cat([start, end]), whole)


def test_scoped_seed__on_the_cpu_reseeds_no_gpu(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a GPU's generator was seeded, and nothing restores it")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    monkeypatch.setattr(torch.cuda, "manual_seed", refuse)
    with scoped_seed(1, device=torch.device("cpu")):
        torch.rand(1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_scoped_seed__restores_the_gpu_too():
    device = torch.device("cuda")
    before = torch.cuda.get_rng_state(device)
    with scoped_seed(1, device=device):
        first = torch.rand(3, device=device)
    with scoped_seed(1, device=device):
        assert torch.equal(torch.rand(3, device=device), first)
    assert torch.equal(torch.cuda.get_rng_state(device), before)
