"""The LightningModule: micro-batches, noise, resuming, weight decay, bypass; and the methods built on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from clvq_exp.activations import datamodule
from clvq_exp.activations.datamodule import ActivationPairs, BatchKey
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.concepts import clvq_vae
from clvq_exp.concepts.base import CONCEPT, MEMBER_MEAN, Bypass, ConceptSettings, FitRun, TrainingDivergedError
from clvq_exp.concepts.bypass import measure_bypass
from clvq_exp.concepts.clvq_vae import ClvqVae
from clvq_exp.concepts.kmeans_codes import KMeansCodes
from clvq_exp.concepts.module import ClvqVaeModule, parameter_groups
from clvq_exp.parts import Ledger
from clvq_exp.settings import DecoderMemory, LayerPair, Split, WeightDecayOn

Settings = Callable[..., ConceptSettings]
CPU = torch.device("cpu")
PAIR = LayerPair(1, 2)


def fit_run(store: ActivationStore, folder: Path, seed: int = 0) -> FitRun:
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    return FitRun(store, PAIR, seed, work, ArtifactCache(folder / "cache"), CPU)


def module_with_codes(store: ActivationStore, settings: ConceptSettings, seed: int = 0) -> ClvqVaeModule:
    module = ClvqVaeModule(store.width, settings, seed)
    codes = store.words(1)[:: store.n_words // settings.quantizer.codebook_size]
    module.quantizer.initialise(
        codes[: settings.quantizer.codebook_size].clone(), torch.ones(settings.quantizer.codebook_size)
    )
    module.manual_backward = lambda loss: loss.backward()  # no Trainer is attached
    return module


@pytest.mark.parametrize("memory", list(DecoderMemory))
def test_micro_batches__same_codes_ema_losses_and_gradients_as_the_whole_batch(
    store: ActivationStore, settings: Settings, memory: DecoderMemory
) -> None:
    chosen = settings(decoder__memory=memory)
    sentences = tuple(int(row) for row in store.sentence_ids(Split.train)[:16])
    key = BatchKey(epoch=2, step=1, sentences=sentences)
    results = []
    for budget in (10_000, 30, 1):  # whole and padded, in micro-batches, sentence by sentence
        batch = ActivationPairs(store, 1, 2, budget)[key]
        module = module_with_codes(store, chosen)
        losses, statistics = module.accumulate(batch)
        module.quantizer.update(statistics)
        gradients = {name: each.grad.clone() for name, each in module.named_parameters()}
        codes = {}
        for micro in batch.micro_batches:
            out = module_with_codes(store, chosen)(micro, noise=(0, 2, 1)).quantizer.codes
            codes |= dict(zip(micro.word_ids[micro.real].tolist(), out[micro.real].tolist(), strict=True))
        results.append((len(batch.micro_batches), losses, module.quantizer.codebook, gradients, codes))
    assert [result[0] for result in results][0::2] == [1, 16]
    assert 1 < results[1][0] < 16
    for _, losses, codebook, gradients, codes in results[1:]:
        assert codes == results[0][4]
        torch.testing.assert_close(losses, results[0][1], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(codebook, results[0][2], rtol=1e-5, atol=1e-6)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, results[0][3][name], rtol=1e-4, atol=1e-6, msg=name)


def test_loss__is_the_mean_over_words_and_dimensions_plus_beta_times_commitment(
    store: ActivationStore, settings: Settings
) -> None:
    chosen = settings(quantizer__commitment_weight=0.7)
    module = module_with_codes(store, chosen).eval()
    batch = ActivationPairs(store, 1, 2, 10_000)[BatchKey(0, 0, (0, 1, 2, 3))]
    (micro,) = batch.micro_batches
    out = module(micro)
    z_e = module.encoder(micro.source)
    rebuilt = module.decoder(out.quantizer.quantized, z_e, micro.real)
    real = micro.real
    squared = (rebuilt[real] - micro.target[real]).square()
    commitment = (z_e[real] - module.quantizer.codebook[out.quantizer.codes[real]]).square()
    expected = squared.mean() + 0.7 * commitment.mean()
    torch.testing.assert_close(module.total_loss(out.losses, batch.n_words), expected)


def test_decoder_memory__decides_what_the_codes_can_be_bypassed_by(
    store: ActivationStore, settings: Settings
) -> None:
    batch = ActivationPairs(store, 1, 2, 10_000)[BatchKey(0, 0, (0, 1, 2, 3))]
    (micro,) = batch.micro_batches
    sensitive = {}
    for memory in DecoderMemory:
        module = module_with_codes(store, settings(decoder__memory=memory)).eval()
        z_e = module.encoder(micro.source)
        quantized = module(micro).quantizer.quantized.detach()
        with torch.no_grad():
            change = module.decoder(quantized, z_e + 1, micro.real) - module.decoder(quantized, z_e, micro.real)
        sensitive[memory] = bool(change[micro.real].abs().max() > 1e-6)
    assert sensitive == {
        DecoderMemory.encoder: True,
        DecoderMemory.quantized: False,
        DecoderMemory.none: False,
    }


def test_decoder__is_bidirectional(store: ActivationStore, settings: Settings) -> None:
    module = module_with_codes(store, settings()).eval()
    words = torch.randn(1, 5, store.width)
    changed = words.clone()
    changed[0, -1] += 1
    real = torch.ones(1, 5, dtype=torch.bool)
    with torch.no_grad():
        difference = module.decoder(changed, words, real) - module.decoder(words, words, real)
    assert (difference[0, 0].abs() > 1e-6).any(), "the first word sees the last"


def test_dropout_noise__hangs_on_seed_epoch_and_step_alone(store: ActivationStore, settings: Settings) -> None:
    chosen = settings(decoder__dropout=0.3)
    batch = ActivationPairs(store, 1, 2, 40)[BatchKey(0, 3, (0, 1, 2, 3, 4, 5))]
    first, _ = module_with_codes(store, chosen).accumulate(batch)
    torch.manual_seed(123)
    torch.rand(7)
    second, _ = module_with_codes(store, chosen).accumulate(batch)
    assert torch.equal(first.reconstruction, second.reconstruction)
    other, _ = module_with_codes(store, chosen).accumulate(batch._replace(step=4))
    assert not torch.equal(first.reconstruction, other.reconstruction)


def test_weight_decay__scopes(store: ActivationStore, settings: Settings) -> None:
    module = ClvqVaeModule(store.width, settings(), 0)
    named = {id(parameter): name for name, parameter in module.named_parameters()}

    def decaying(scope: WeightDecayOn) -> set[str]:
        groups = parameter_groups(module, scope, 1e-4)
        assert groups[1]["weight_decay"] == 0
        return {named[id(parameter)] for parameter in groups[0]["params"]}

    everything = set(named.values())
    assert decaying(WeightDecayOn.everything) == everything
    assert decaying(WeightDecayOn.all_but_biases) == {n for n in everything if not n.endswith("bias")}
    weights = decaying(WeightDecayOn.weights_only)
    assert "encoder.linear.weight" in weights
    assert not {"encoder.norm.weight", "encoder.a", "encoder.linear.bias"} & weights
    assert not any("codebook" in name for name in everything)


@pytest.fixture
def fitted(store: ActivationStore, settings: Settings, tmp_path: Path) -> ClvqVae:
    model = ClvqVae(settings())
    model.fit(fit_run(store, tmp_path))
    return model


def test_fit__learns_and_reports(store: ActivationStore, settings: Settings, tmp_path: Path) -> None:
    model = ClvqVae(settings(trainer__max_epochs=12))
    model.fit(fit_run(store, tmp_path))
    summary = model.summary
    assert [record["epoch"] for record in summary.history] == list(range(13))
    assert summary.history[0]["train_loss"] is None
    assert summary.validation_loss == min(record["validation_loss"] for record in summary.history[1:])
    assert summary.validation_loss < 0.5 * summary.history[0]["validation_loss"]
    assert summary.bypass is not None
    best = summary.history[summary.best_epoch]
    assert summary.bypass.as_is == pytest.approx(best["validation_reconstruction"], rel=1e-5)
    assert 1 <= summary.perplexity <= summary.codes_in_use <= 6


def test_fit__same_seed_same_bits_other_seed_other(
    store: ActivationStore, settings: Settings, tmp_path: Path, fitted: ClvqVae
) -> None:
    again, other = ClvqVae(settings()), ClvqVae(settings())
    again.fit(fit_run(store, tmp_path / "again"))
    other.fit(fit_run(store, tmp_path / "other", seed=1))
    assert fitted.summary == again.summary
    assert torch.equal(fitted.vectors(), again.vectors())
    assert not torch.equal(fitted.vectors(), other.vectors())


class KilledError(BaseException):
    """Nobody catches this."""


def killed_fit(run: FitRun, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that is killed as its last epoch begins."""
    started = ClvqVaeModule.on_train_epoch_start

    def die_in_the_last_epoch(self: ClvqVaeModule) -> None:
        if self.current_epoch == 2:
            raise KilledError
        started(self)

    with monkeypatch.context() as patch:
        patch.setattr(ClvqVaeModule, "on_train_epoch_start", die_in_the_last_epoch)
        with pytest.raises(KilledError):
            ClvqVae(settings()).fit(run)


def test_fit__a_killed_fit_goes_on_to_the_same_bits(
    store: ActivationStore,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fitted: ClvqVae,
) -> None:
    run = fit_run(store, tmp_path / "killed")
    killed_fit(run, settings, monkeypatch)
    assert (run.work / "checkpoints" / "last-000002.ckpt").exists()
    monkeypatch.setattr(clvq_vae.ClvqVae, "_initialise", pytest.fail)
    resumed = ClvqVae(settings())
    resumed.fit(run)
    assert torch.equal(resumed.vectors(), fitted.vectors())
    assert resumed.summary == fitted.summary
    assert not (run.work / "checkpoints").exists()


@pytest.mark.parametrize("which", ["best", "last"])
def test_fit__a_damaged_checkpoint_is_not_gone_on_from(
    store: ActivationStore,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fitted: ClvqVae,
    caplog: pytest.LogCaptureFixture,
    which: str,
) -> None:
    run = fit_run(store, tmp_path / "killed")
    killed_fit(run, settings, monkeypatch)
    folder = run.work / "checkpoints"
    (path,) = folder.glob(f"{which}-*.ckpt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # torch does not notice
    again = ClvqVae(settings())
    again.fit(run)
    assert [message for message in caplog.messages if "checksum" in message] == [
        f"{folder / 'parts.json'}: part {path.name} is not what was written: its checksum differs; "
        "it is made again"
    ]
    assert f"{folder}: training begins again" in caplog.messages
    assert torch.equal(again.vectors(), fitted.vectors())
    assert again.summary == fitted.summary


@pytest.mark.parametrize("call", range(2, 7))
def test_fit__killed_between_a_checkpoint_and_its_checksum_goes_on_from_the_one_before(
    store: ActivationStore,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fitted: ClvqVae,
    call: int,
) -> None:
    run = fit_run(store, tmp_path / "killed")
    entered = Ledger.enter_file
    calls: list[Path] = []

    def die(self: Ledger, path: Path) -> None:
        calls.append(path)
        if len(calls) == call:
            raise KilledError
        entered(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "enter_file", die)
        with pytest.raises(KilledError):
            ClvqVae(settings()).fit(run)
    assert calls[-1].exists()
    resumed = ClvqVae(settings())
    resumed.fit(run)
    assert torch.equal(resumed.vectors(), fitted.vectors())
    assert resumed.summary == fitted.summary


def test_fit__early_stopping(store: ActivationStore, settings: Settings, tmp_path: Path) -> None:
    model = ClvqVae(settings(trainer__max_epochs=50, trainer__patience=1, trainer__learning_rate=0.5))
    model.fit(fit_run(store, tmp_path))
    assert len(model.summary.history) < 51


def test_fit__a_loss_that_is_not_finite_names_the_key(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    model = ClvqVae(settings(trainer__learning_rate=1e30))
    with pytest.raises(TrainingDivergedError, match=r"trainer\.learning_rate=1e\+30: lower it \(1e-3 is a safe"):
        model.fit(fit_run(store, tmp_path))


def test_fit__no_better_than_the_mean_is_said_under_the_run_s_label(
    store: ActivationStore,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(clvq_vae, "measure_bypass", lambda *_: Bypass(2.0, 2.0, 2.0, 1.0))
    run = fit_run(store, tmp_path)._replace(label="single_layer, seed 1")
    ClvqVae(settings(trainer__max_epochs=1)).fit(run)
    assert (
        "single_layer, seed 1: the reconstruction loss 2.0000 is no better than predicting the mean (1.0000) at "
        "trainer.learning_rate=0.005; 1e-3 is a safe start"
    ) in caplog.messages


def test_save_and_load__give_the_same_model(
    store: ActivationStore, settings: Settings, tmp_path: Path, fitted: ClvqVae
) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    fitted.save(folder)
    loaded = ClvqVae(settings()).load(folder)
    words = store.words(1)[:50]
    assert torch.equal(loaded.assign(words), fitted.assign(words))
    assert loaded.summary == fitted.summary
    for removal in (CONCEPT, MEMBER_MEAN):
        ids = fitted.assign(words)
        assert torch.equal(loaded.directions(ids, removal), fitted.directions(ids, removal))
    assert not list(folder.glob("*.pt")) + list(folder.glob("*.ckpt")), "no pickle is left"


def test_directions__are_unit_and_an_unknown_removal_is_refused(fitted: ClvqVae, store: ActivationStore) -> None:
    ids = fitted.assign(store.words(1)[:20])
    norms = fitted.directions(ids, CONCEPT).norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones(20, 1))
    with pytest.raises(ValueError, match=r"offers the removals .* not 'decoder_vector'"):
        fitted.directions(ids, "decoder_vector")


def test_member_mean__is_the_mean_raw_activation_of_the_training_words(
    fitted: ClvqVae, store: ActivationStore
) -> None:
    start, end = store.word_range(Split.train)
    words = store.words(1)[start:end]
    codes = fitted.assign(words)[:, 0]
    code = int(codes.mode().values)
    mean = words[codes == code].mean(0)
    direction = fitted.directions(torch.tensor([[code]]), MEMBER_MEAN)[0, 0]
    torch.testing.assert_close(direction, mean / mean.norm(), rtol=1e-4, atol=1e-5)
    assert int(fitted.member_counts[code]) == int((codes == code).sum())


def test_bypass__permuted_codes_hurt_where_the_codes_are_all_there_is(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    for memory in (DecoderMemory.quantized, DecoderMemory.none):
        chosen = settings(decoder__memory=memory, trainer__max_epochs=25, trainer__learning_rate=1e-2)
        model = ClvqVae(chosen)
        model.fit(fit_run(store, tmp_path / memory.value))
        bypass = model.summary.bypass
        assert bypass.permuted > 5 * bypass.as_is
        if memory is DecoderMemory.none:
            assert bypass.memory_zeroed == bypass.as_is


def test_bypass__permuting_changes_nothing_where_the_decoder_looks_at_its_memory_only(
    store: ActivationStore, settings: Settings
) -> None:
    module = module_with_codes(store, settings()).eval()
    with torch.no_grad():  # a decoder that answers with its memory, whatever the codes
        module.decoder.forward = lambda _quantized, z_e, _real, zero_memory=False: z_e * (not zero_memory)
        data = [ActivationPairs(store, 1, 2, 40)[BatchKey(0, 0, tuple(store.sentence_ids(Split.validation)))]]
        bypass = measure_bypass(module, store, 2, data, seed=0)
    assert bypass.permuted == bypass.as_is
    start, end = store.word_range(Split.validation)
    target, train = store.words(2)[start:end], store.words(2)[slice(*store.word_range(Split.train))]
    assert bypass.memory_zeroed == pytest.approx(float(target.square().mean()), rel=1e-5)
    assert bypass.mean_predictor == pytest.approx(float((target - train.mean(0)).square().mean()), rel=1e-5)


def test_single_layer__rebuilds_its_own_layer(store: ActivationStore, settings: Settings) -> None:
    single = ClvqVae(settings(), target_layer="lower")
    assert single.identity(store, PAIR)["target"] == store.layer_fingerprint(1)
    assert ClvqVae(settings()).identity(store, PAIR)["target"] == store.layer_fingerprint(2)


def test_identity__changes_with_every_training_knob(store: ActivationStore, settings: Settings) -> None:
    from clvq_exp.artifacts import fingerprint

    base = fingerprint(ClvqVae(settings()).identity(store, PAIR))
    for change in (
        {"quantizer__temperature": 2.0},
        {"decoder__memory": DecoderMemory.none},
        {"trainer__learning_rate": 1e-3},
        {"encoder__alpha_start": 0.3},
        {"init__max_iterations": 5},
    ):
        assert fingerprint(ClvqVae(settings(**change)).identity(store, PAIR)) != base, change
    same = fingerprint(ClvqVae(settings(trainer__num_workers=2, trainer__resident_gib=0.0)).identity(store, PAIR))
    assert same == base


def test_fit__layers_kept_on_a_device_change_nothing(
    store: ActivationStore, settings: Settings, tmp_path: Path, fitted: ClvqVae, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodule, "resident_device", lambda *_: torch.device("cpu"))
    kept = ClvqVae(settings())
    run = fit_run(store, tmp_path / "kept")
    assert kept._data(run).pairs._resident, "otherwise both read the store"
    kept.fit(run)
    assert torch.equal(kept.vectors(), fitted.vectors())


def test_kmeans_codes__are_the_initial_codebook_with_the_identity_encoder(
    store: ActivationStore, settings: Settings, tmp_path: Path
) -> None:
    model = KMeansCodes(settings())
    model.fit(fit_run(store, tmp_path))
    words = store.words(1)[:30]
    assert torch.equal(model.encode(words), words)
    brute = (words[:, None] - model.vectors()[None]).square().sum(-1).argmin(1)
    assert torch.equal(model.assign(words)[:, 0], brute)
    assert model.summary.history == ()
    folder = tmp_path / "saved"
    folder.mkdir()
    model.save(folder)
    assert torch.equal(KMeansCodes(settings()).load(folder).vectors(), model.vectors())
    shutil.rmtree(folder)


def test_planted_codes__are_found(
    tmp_path: Path, settings: Settings, make_store: Callable[..., ActivationStore]
) -> None:
    """Words drawn around six planted vectors: training keeps one code on each."""
    generator = np.random.default_rng(4)
    planted = generator.normal(size=(6, 8)) * 4
    lengths = {"train": [6] * 60, "validation": [6] * 10, "dev": [6] * 10}
    owner = generator.integers(0, 6, 480)
    lower = planted[owner] + generator.normal(size=(480, 8)) * 0.2
    store = make_store(tmp_path / "planted", lengths, {1: lower, 2: lower @ generator.normal(size=(8, 8))})
    model = ClvqVae(settings(trainer__learning_rate=1e-3, trainer__max_epochs=5))
    model.fit(fit_run(store, tmp_path))
    from sklearn.metrics import adjusted_mutual_info_score

    codes = model.assign(torch.from_numpy(lower.astype(np.float32)))[:, 0].numpy()
    assert adjusted_mutual_info_score(owner, codes) > 0.95
