"""The sparse network against plain loops: losses, gradients, steps, activations, starts, counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from clvq_exp.activations.store import ActivationStore
from clvq_exp.activations.word_batches import WordBatch
from clvq_exp.concepts.base import ConceptSettings
from clvq_exp.concepts.sparse.module import SparseModule, SparseSettings
from clvq_exp.concepts.sparse.network import Moments, SparseNetwork, layer_moments

NEURONS, WIDTH, WORDS = 3, 4, 5
SOURCE_SCALE, TARGET_SCALE, L1, RATE = 2.0, 3.0, 0.2, 0.1


def alone(source: torch.Tensor, target: torch.Tensor, epoch: int, step: int) -> WordBatch:
    """A batch that one process has whole."""
    return WordBatch(source, target, len(source), epoch, step)


def network_of(neurons: int = NEURONS, width: int = WIDTH, k: int | None = None, seed: int = 0) -> SparseNetwork:
    """Small weights that differ everywhere."""
    network = SparseNetwork(width, neurons, k, seed)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        network.encoder_weight.copy_(network.decoder_weight)
        network.encoder_weight += 0.3 * torch.randn((neurons, width), generator=generator)
        network.encoder_bias.zero_()
        for bias in (network.encoder_bias, network.input_bias, network.decoder_bias):
            bias += 0.2 * torch.randn(bias.shape, generator=generator)
        network.source_scale.fill_(SOURCE_SCALE)
        network.target_scale.fill_(TARGET_SCALE)
    return network


def words(seed: int, n: int = WORDS) -> torch.Tensor:
    return 2 * torch.randn((n, WIDTH), generator=torch.Generator().manual_seed(seed))


def module_of(network: SparseNetwork, settings: Callable[..., ConceptSettings], l1: float = L1) -> SparseModule:
    module = SparseModule(network, SparseSettings(RATE, WORDS, settings().trainer), l1)
    module.manual_backward = lambda loss: loss.backward()  # no Trainer is attached
    return module


class ByHand:
    """The same network in loops over words, neurons and dimensions."""

    def __init__(self, network: SparseNetwork) -> None:
        state = {name: each.numpy().astype(np.float64) for name, each in network.state_dict().items()}
        self.w_enc, self.b_enc = state["encoder_weight"].copy(), state["encoder_bias"].copy()
        self.w_dec, self.b_dec = state["decoder_weight"].copy(), state["decoder_bias"].copy()
        self.b_in = state["input_bias"].copy()

    def step(self, source: np.ndarray, target: np.ndarray) -> tuple[float, float]:
        """A step of plain gradient descent; returns both losses before it, per word and dimension."""
        grads = {name: np.zeros_like(value) for name, value in vars(self).items()}
        squares = total = 0.0
        for x, y in zip(source / SOURCE_SCALE, target / TARGET_SCALE, strict=True):
            z = [max(0.0, float(self.w_enc[i] @ (x - self.b_in) + self.b_enc[i])) for i in range(NEURONS)]
            error = [
                sum(z[i] * self.w_dec[i, j] for i in range(NEURONS)) + self.b_dec[j] - y[j] for j in range(WIDTH)
            ]
            squares += sum(each**2 for each in error)
            total += sum(z)
            for j in range(WIDTH):
                grads["b_dec"][j] += 2 * error[j] / len(source)
            for i in range(NEURONS):
                if z[i] == 0:
                    continue
                up = L1 / len(source)
                for j in range(WIDTH):
                    grads["w_dec"][i, j] += 2 * error[j] * z[i] / len(source)
                    up += 2 * error[j] * self.w_dec[i, j] / len(source)
                grads["b_enc"][i] += up
                for j in range(WIDTH):
                    grads["w_enc"][i, j] += up * (x[j] - self.b_in[j])
                    grads["b_in"][j] -= up * self.w_enc[i, j]
        for i in range(NEURONS):
            along = sum(grads["w_dec"][i, j] * self.w_dec[i, j] for j in range(WIDTH))
            grads["w_dec"][i] -= along * self.w_dec[i]
        for name, gradient in grads.items():
            setattr(self, name, getattr(self, name) - RATE * gradient)
        for i in range(NEURONS):
            self.w_dec[i] /= sum(each**2 for each in self.w_dec[i]) ** 0.5
        unit = TARGET_SCALE**2 / WIDTH / len(source)
        return squares * unit, total * unit


def test_steps__are_those_of_a_loop_by_hand(settings: Callable[..., ConceptSettings]) -> None:
    network = network_of()
    by_hand, module = ByHand(network), module_of(network, settings)
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    module.optimizers = lambda: optimizer
    for step in range(3):
        batch = alone(words(step), words(step + 10), 0, step)
        assert 0 < float((network.encode(batch.source) > 0).float().mean()) < 1, "both sides of the ReLU"
        module.on_train_epoch_start()
        module.on_validation_epoch_start()
        module.validation_step(batch, 0)
        before = module.record(0)
        module.training_step(batch, 0)
        reconstruction, sparsity = by_hand.step(batch.source.numpy(), batch.target.numpy())
        assert before["validation_reconstruction"] == pytest.approx(reconstruction, rel=1e-5)
        assert before["validation_sparsity"] == pytest.approx(sparsity, rel=1e-5)
        assert before["validation_loss"] == pytest.approx(reconstruction + L1 * sparsity, rel=1e-5)
        after = module.record(1)
        assert after["train_loss"] == before["validation_loss"]
        assert after["learning_rate"] == RATE
        for name, value in {
            "encoder_weight": by_hand.w_enc,
            "encoder_bias": by_hand.b_enc,
            "decoder_weight": by_hand.w_dec,
            "decoder_bias": by_hand.b_dec,
            "input_bias": by_hand.b_in,
        }.items():
            np.testing.assert_allclose(network.state_dict()[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_decoder_rows__have_norm_one_after_every_step(settings: Callable[..., ConceptSettings]) -> None:
    network = network_of()
    module = module_of(network, settings)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.3)
    module.optimizers = lambda: optimizer
    first = network.decoder_weight.detach().clone()
    for step in range(5):
        module.training_step(alone(words(step), words(step + 10), 0, step), 0)
        torch.testing.assert_close(network.decoder_weight.norm(dim=1), torch.ones(NEURONS), atol=1e-6, rtol=0)
        along = (network.decoder_weight.grad * first).sum(1)
        assert along.abs().max() < 1e-6 * max(1.0, float(network.decoder_weight.grad.abs().max()))
        first = network.decoder_weight.detach().clone()
    assert (first - SparseNetwork(WIDTH, NEURONS, None, 0).decoder_weight).abs().max() > 0.1


def test_losses__are_means_of_raw_activations_whatever_the_scale(settings: Callable[..., ConceptSettings]) -> None:
    network = network_of()
    module = module_of(network, settings)
    source, target = words(0), words(1)
    module.on_validation_epoch_start()
    module.validation_step(alone(source, target, 0, 0), 0)
    found = module.record(0)
    active = network.encode(source).detach()
    squared = (network.decode(active) - target).square().mean().detach()
    assert found["validation_reconstruction"] == pytest.approx(float(squared), rel=1e-5)
    raw = (active * TARGET_SCALE).sum(1).mean()  # in raw units a neuron adds its activation times the scale
    assert found["validation_sparsity"] == pytest.approx(float(raw) * TARGET_SCALE / WIDTH, rel=1e-5)


def test_batches__of_other_sizes_weigh_by_their_words(settings: Callable[..., ConceptSettings]) -> None:
    whole, parts = (module_of(network_of(), settings) for _ in range(2))
    source, target = words(0, 9), words(1, 9)
    for module, bounds in ((whole, [(0, 9)]), (parts, [(0, 2), (2, 9)])):
        module.on_validation_epoch_start()
        for start, end in bounds:
            module.validation_step(alone(source[start:end], target[start:end], 0, 0), 0)
    one, other = whole.record(0), parts.record(0)
    for name in ("validation_reconstruction", "validation_sparsity", "variance_explained", "l0"):
        assert one[name] == pytest.approx(other[name], rel=1e-5)


def test_top_k__keeps_exactly_the_k_largest() -> None:
    network = network_of(neurons=8, k=4)
    source = words(3, 50)
    every = torch.nn.functional.linear(
        source / SOURCE_SCALE - network.input_bias, network.encoder_weight, network.encoder_bias
    )
    active = network.encode(source)
    positive = (every > 0).sum(1)
    assert {2, 3, 4, 5, 6} <= set(positive.tolist())
    assert torch.equal((active > 0).sum(1), positive.clamp(max=4)), "none is made active that the ReLU stops"
    for row, kept in zip(every, active, strict=True):
        largest = row.relu().sort(descending=True).values[:4]
        torch.testing.assert_close(kept.sort(descending=True).values[:4], largest)
        assert torch.equal(kept[kept > 0], row[kept > 0])


def test_top_k__only_kept_neurons_have_a_gradient() -> None:
    network = network_of(neurons=6, k=2)
    network.loss_sums(network.encode(words(3, 1)), words(4, 1)).reconstruction.backward()
    moved = network.encoder_weight.grad.abs().sum(1) > 0
    assert torch.equal(moved, network.encode(words(3, 1))[0] > 0)
    assert int(moved.sum()) == 2


def test_start__biases_stand_at_the_means() -> None:
    network = SparseNetwork(2, 3, None, 0)
    network.start_at(Moments(torch.tensor([4.0, -2.0]), 2.0), Moments(torch.tensor([1.0, 9.0]), 0.5))
    mean = network.encode(torch.tensor([[4.0, -2.0]]))
    torch.testing.assert_close(mean, network.encoder_bias.relu()[None], msg="the mean word is centred")
    torch.testing.assert_close(network.decode(torch.zeros(1, 3)), torch.tensor([[1.0, 9.0]]))
    one_over = network.encode(torch.tensor([[6.0, -2.0]]))  # one scale above the mean, along the first axis
    torch.testing.assert_close(one_over, (network.encoder_weight[:, 0] + network.encoder_bias).relu()[None])


def test_moments__by_hand(make_store: Callable[..., ActivationStore], tmp_path: object) -> None:
    layer = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 3.0], [100.0, 100.0], [100.0, 100.0]])
    store = make_store(
        tmp_path / "made", {"train": [2, 1], "validation": [1], "dev": [1]}, {1: layer, 2: 0 * layer}
    )
    mean, scale = layer_moments(store, 1)
    assert mean.tolist() == [2.0, 1.0]
    assert scale == pytest.approx(((4 + 1 + 16 + 1 + 4 + 4) / 3) ** 0.5)
    assert layer_moments(store, 2).scale == 1.0, "words that are all the same are not divided by zero"


def test_l0_and_dead_neurons__by_hand(settings: Callable[..., ConceptSettings]) -> None:
    network = SparseNetwork(2, 4, None, 0)
    with torch.no_grad():
        network.encoder_weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, -1.0]]))
        network.encoder_bias.copy_(torch.tensor([0.0, -1.5, 0.0, 0.0]))
        network.decoder_weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]))
    network.target_mean.copy_(torch.tensor([1.0, 1.0]))
    module = module_of(network, settings)
    module.on_validation_epoch_start()
    module.validation_step(alone(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 3.0]]), 0, 0), 0)
    module.validation_step(alone(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0]]), 0, 1), 0)
    found = module.record(0)
    # Neurons 0 and 2 (1 and 2) for the first word, which is rebuilt as (1, 2); 2 alone for the second: (0, 1).
    assert found["l0"] == 1.5
    assert found["dead_neurons"] == 2
    assert found["validation_reconstruction"] == pytest.approx(1 / 2 / 2)
    assert found["validation_sparsity"] == pytest.approx((3 + 1) / 2 / 2)
    assert found["variance_explained"] == pytest.approx(1 - 1 / (4 + 1))
    assert found["train_loss"] is None


def test_variance_explained__of_targets_without_variance_is_none(settings: Callable[..., ConceptSettings]) -> None:
    module = module_of(SparseNetwork(WIDTH, NEURONS, None, 0), settings)
    module.on_validation_epoch_start()
    module.validation_step(alone(words(0), torch.zeros(WORDS, WIDTH), 0, 0), 0)
    assert module.record(0)["variance_explained"] is None


def test_first_weights__hang_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    one = SparseNetwork(WIDTH, NEURONS, None, 3)
    torch.manual_seed(6)
    again, other = SparseNetwork(WIDTH, NEURONS, None, 3), SparseNetwork(WIDTH, NEURONS, None, 4)
    assert torch.equal(one.decoder_weight, again.decoder_weight)
    assert not torch.equal(one.decoder_weight, other.decoder_weight)
    assert torch.equal(one.encoder_weight, 0.1 * one.decoder_weight), "along the decoder's rows, but shorter"
    torch.testing.assert_close(one.decoder_weight.norm(dim=1), torch.ones(NEURONS))
    assert len(one.encoder_bias.unique()) == NEURONS, "no two neurons start alike"
    assert 0 < one.encoder_bias.abs().max() <= 0.5


def test_top_k_start__leaves_the_choice_to_the_words() -> None:
    network = SparseNetwork(width=16, neurons=256, k=4, seed=0)
    words = torch.randn(512, 16, generator=torch.Generator().manual_seed(0))
    assert int((network.encode(words) > 0).any(0).sum()) > 250
