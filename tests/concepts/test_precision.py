"""Training with rounded products: what is rounded, what stays exact, and what a fit is then filed under."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sparse_models import Settings, autoencoder, fit_run

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.concepts.clvq_vae import ClvqVae
from clvq_exp.concepts.decoder import ConceptDecoder
from clvq_exp.concepts.encoder import AdaptiveResidualEncoder
from clvq_exp.concepts.precision import rounded_products
from clvq_exp.concepts.quantizer import squared_distances
from clvq_exp.concepts.sparse.network import SparseNetwork
from clvq_exp.settings import EncoderSettings, LayerPair, TrainingPrecision

PAIR = LayerPair(1, 2)
FLOAT32, TF32, BFLOAT16 = TrainingPrecision.float32, TrainingPrecision.tf32, TrainingPrecision.bfloat16
METHODS: dict[str, Callable[[Settings, TrainingPrecision], ConceptModel]] = {
    "clvq_vae": lambda settings, precision: ClvqVae(settings(trainer__precision=precision)),
    "sae": lambda settings, precision: autoencoder(lambda **more: settings(trainer__precision=precision, **more)),
}


def fitted(method: str, settings: Settings, store: ActivationStore, precision: TrainingPrecision, folder: Path):
    model = METHODS[method](settings, precision)
    model.fit(fit_run(store, folder / f"{method}-{precision.value}"))
    return model


def losses(model: ConceptModel) -> list[float]:
    return [float(each["validation_reconstruction"] or 0.0) for each in model.summary.history]


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16__is_near_what_float32_learns_and_leaves_float32_behind(
    method: str, settings: Settings, store: ActivationStore, tmp_path: Path
) -> None:
    exact, rounded = (fitted(method, settings, store, each, tmp_path) for each in (FLOAT32, BFLOAT16))
    assert losses(rounded) != losses(exact), "nothing was rounded"
    assert losses(rounded) == pytest.approx(losses(exact), rel=0.1)
    (tmp_path / "saved").mkdir()
    rounded.save(tmp_path / "saved")
    kept = [each for file in (tmp_path / "saved").rglob("*.safetensors") for each in load_file(file).values()]
    assert kept
    assert torch.bfloat16 not in {each.dtype for each in kept}


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16__the_same_command_gives_the_same_bits(
    method: str, settings: Settings, store: ActivationStore, tmp_path: Path
) -> None:
    first, second = (fitted(method, settings, store, BFLOAT16, tmp_path / name) for name in "ab")
    assert losses(first) == losses(second)


@pytest.mark.parametrize("method", METHODS)
def test_identity__names_a_precision_that_is_not_that_of_float32(
    method: str, settings: Settings, store: ActivationStore
) -> None:
    of = {each: METHODS[method](settings, each).identity(store, PAIR)["trainer"] for each in TrainingPrecision}
    assert "precision" not in of[FLOAT32], "fits of float32 keep the place where earlier versions filed them"
    assert [of[each]["precision"] for each in (TF32, BFLOAT16)] == [TF32, BFLOAT16]


def test_autocast__encoder_outputs_and_distances_stay_exact() -> None:
    torch.manual_seed(0)
    encoder = AdaptiveResidualEncoder(16, EncoderSettings())
    words, codebook = torch.randn(50, 16), torch.randn(7, 16)
    z_e = encoder(words)
    distances = squared_distances(z_e, codebook)
    with torch.autocast("cpu", torch.bfloat16):
        assert (words @ codebook.T).dtype == torch.bfloat16
        assert torch.equal(encoder(words), z_e)
        assert torch.equal(squared_distances(z_e, codebook), distances)
    assert torch.equal(distances.argmin(1), torch.cdist(z_e, codebook).argmin(1))


@pytest.mark.parametrize(
    ("precision", "inside"),
    [(FLOAT32, "highest"), (TF32, "high"), (BFLOAT16, "highest")],
    ids=[each.value for each in TrainingPrecision],
)
def test_tf32__holds_while_the_decoder_is_trained_and_no_longer(
    settings: Settings,
    store: ActivationStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: TrainingPrecision,
    inside: str,
) -> None:
    seen: set[str] = set()
    own: Any = ConceptDecoder.forward

    def watched(self: ConceptDecoder, *given: Any, **more: Any) -> Any:
        if self.training:
            seen.add(torch.get_float32_matmul_precision())
        return own(self, *given, **more)

    monkeypatch.setattr(ConceptDecoder, "forward", watched)
    fitted("clvq_vae", settings, store, precision, tmp_path)
    assert seen == {inside}
    assert torch.get_float32_matmul_precision() == "highest"


def test_tf32__does_not_reach_encoder_outputs() -> None:
    encoder, seen = AdaptiveResidualEncoder(16, EncoderSettings()), []
    encoder.linear.register_forward_pre_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
    with rounded_products(TF32):
        encoder(torch.randn(2, 16))
        assert torch.get_float32_matmul_precision() == "high"
    assert seen == ["highest"]


def test_tf32__is_over_when_a_fit_fails(settings: Settings, store: ActivationStore, tmp_path: Path) -> None:
    model = ClvqVae(settings(trainer__precision=TF32, trainer__learning_rate=1e30))
    with pytest.raises(Exception, match="not finite"):
        model.fit(fit_run(store, tmp_path / "diverges"))
    assert torch.get_float32_matmul_precision() == "highest"


def test_sparse_network__activations_are_float32_whatever_the_products() -> None:
    network = SparseNetwork(8, 12, None, seed=0)
    words = torch.randn(5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        active = network.encode(words)
        sums = network.loss_sums(active, words)
    assert {active.dtype, sums.reconstruction.dtype, sums.sparsity.dtype} == {torch.float32}
