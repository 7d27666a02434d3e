"""What training and extraction do on a card: beside the decoder alone, in which kernels, and where hosts wait."""

from __future__ import annotations

import itertools
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from clvq_exp.activations.datamodule import ActivationDataModule, BatchKey, RandomBatches
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.concepts.base import ConceptSettings, FitRun
from clvq_exp.concepts.decoder import ConceptDecoder
from clvq_exp.concepts.module import ClvqVaeModule
from clvq_exp.concepts.precision import rounded_products
from clvq_exp.concepts.training import train
from clvq_exp.records import ActivationBatch
from clvq_exp.settings import Split, TrainerSettings, TrainingPrecision
from gpu.steps import BenchedCell

WARM_UP, TIMED, PROFILED = 3, 12, 3
"""Steps of training: before any is timed, that are timed, and that are profiled."""
STEP = "training step"
WAITS = (
    *("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "hipStreamSynchronize"),
    *("aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero"),
)
"""Names in a profile where a host waits for its card; and every copy from the card to the host."""
COPY_BACK = "Memcpy DtoH"
FUSED = ("flash", "fmha", "efficient_attention", "sdpa_sm")
"""Parts of the names of fused attention: torch's own operations, and the kernels of FlashAttention and CUTLASS."""
UNFUSED = "scaled_dot_product_attention_math"


class Profile(NamedTuple):
    """What a profile shows."""

    waits: dict[str, int]
    warned: int
    """Warnings of torch's own watch over synchronisations."""
    fused: dict[str, int]
    unfused: int
    """Attentions that were computed matrix by matrix."""
    longest: dict[str, float]
    """The kernels that took longest, in ms."""


class _First(RandomBatches):
    """Some batches of an epoch."""

    def __init__(self, own: RandomBatches, most: int) -> None:
        self._own = own
        self._most = most

    def set_epoch(self, epoch: int) -> None:
        self._own.set_epoch(epoch)

    def __len__(self) -> int:
        return min(self._most, len(self._own))

    def __iter__(self) -> Iterator[BatchKey]:
        return itertools.islice(iter(self._own), self._most)


class _FewBatches(ActivationDataModule):
    """Training ends after some batches."""

    most = WARM_UP + TIMED

    def _loader(self, sampler: Any) -> Any:
        return super()._loader(_First(sampler, self.most) if isinstance(sampler, RandomBatches) else sampler)


class _Watched(ClvqVaeModule):
    """Knows when its steps began and ended, and starts and ends a profile among them."""

    begun = ended = 0.0
    timed = 0
    profiler: Any = None
    warned = 0

    def on_train_batch_start(self, batch: ActivationBatch, batch_idx: int) -> None:
        del batch
        if batch_idx == WARM_UP:
            _wait(self.device)
            if self.profiler is not None:
                self.profiler.__enter__()
            self.begun = time.perf_counter()

    def training_step(self, batch: ActivationBatch, batch_idx: int) -> None:
        with record_function(STEP), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            watching = self.profiler is not None and self.device.type == "cuda"
            if watching:
                torch.cuda.set_sync_debug_mode("warn")
            try:
                super().training_step(batch, batch_idx)
            finally:
                if watching:
                    torch.cuda.set_sync_debug_mode("default")
        if batch_idx >= WARM_UP:
            self.timed += 1
            self.warned += sum("synchroniz" in str(each.message) for each in said)

    def on_train_batch_end(self, outputs: Any, batch: ActivationBatch, batch_idx: int) -> None:
        del outputs, batch
        last = WARM_UP + (PROFILED if self.profiler is not None else TIMED) - 1
        if batch_idx == last:
            _wait(self.device)
            self.ended = time.perf_counter()
            if self.profiler is not None:
                self.profiler.__exit__(None, None, None)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def checks(cell: BenchedCell) -> dict[str, Any]:
    """All checks of a cell whose store is there; the language model is made for the last one."""
    store, settings = cell.store(), concept_settings(cell)
    seconds, _ = trained(cell, store, settings, None)
    alone = decoder_alone(cell, store, settings)
    profiler = _profiler(cell.device)
    _, warned = trained(cell, store, settings, profiler)
    of_training = read_profile(profiler.events(), warned, STEP)
    return {
        "step": seconds,
        "decoder": alone,
        "training": of_training._asdict(),
        "extraction": profile_extraction(cell)._asdict(),
    }


def concept_settings(cell: BenchedCell) -> ConceptSettings:
    """The cell's, for one epoch."""
    config = cell.config
    trainer: TrainerSettings = config.trainer
    one = type(trainer)(**{**vars(trainer), "max_epochs": 1})
    return ConceptSettings(
        config.encoder, config.quantizer, config.decoder, config.init, one, config.weight_decay_on
    )


def _few(cell: BenchedCell, store: ActivationStore) -> _FewBatches:
    trainer, pair = cell.config.trainer, cell.config.layer_pair
    return _FewBatches(
        store,
        pair.lower,
        pair.upper,
        trainer.batch_size,
        trainer.micro_batch_words,
        cell.config.seeds[0],
        trainer.num_workers,
        trainer.resident_gib,
        cell.device,
    )


def trained(
    cell: BenchedCell, store: ActivationStore, settings: ConceptSettings, profiler: Any
) -> tuple[float, int]:
    """Seconds of a training step, batches and Lightning included; and warnings of synchronisations."""
    module = _Watched(store.width, settings, cell.config.seeds[0])
    module.profiler = profiler
    start, end = store.word_range(Split.train)
    size = settings.quantizer.codebook_size
    codes = store.gather_words(cell.pair.lower, torch.linspace(start, end - 1, size).long())
    counts = torch.full((size,), (end - start) / size)
    work = cell.home / "checks"
    work.mkdir(exist_ok=True)
    run = FitRun(store, cell.pair, cell.config.seeds[0], work, ArtifactCache(), cell.device)
    checkpoints = train(
        module,
        _few(cell, store),
        settings.trainer,
        run,
        lambda: module.quantizer.initialise(codes, counts),
        f"steps-{'timed' if profiler is None else 'profiled'}",
    )
    checkpoints.remove_all()
    if module.ended <= module.begun:
        least = (WARM_UP + TIMED) * settings.trainer.batch_size
        raise SystemExit(f"an epoch has fewer than {WARM_UP + TIMED} batches: give {least} sentences at least")
    steps = PROFILED if profiler is not None else TIMED
    return (module.ended - module.begun) / steps, module.warned


def decoder_alone(cell: BenchedCell, store: ActivationStore, settings: ConceptSettings) -> float:
    """Seconds of the decoder's own forward and backward pass over the micro-batches of a step."""
    device = cell.device
    batches = list(itertools.islice(iter(_few(cell, store).train_dataloader()), WARM_UP + TIMED))
    decoder = ConceptDecoder(store.width, settings.decoder).to(device).train()
    precision = settings.trainer.precision
    rounds = precision is TrainingPrecision.bfloat16

    def step(batch: ActivationBatch) -> None:
        for each in batch.micro_batches:
            words, real = each.source.to(device), each.real.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=rounds):
                rebuilt = decoder(words.clone().requires_grad_(), words, real)
            rebuilt.float().sum().backward()

    with rounded_products(precision):
        for batch in batches[:WARM_UP]:
            step(batch)
        _wait(device)
        begun = time.perf_counter()
        for batch in batches[WARM_UP:]:
            step(batch)
        _wait(device)
    return (time.perf_counter() - begun) / max(1, len(batches) - WARM_UP)


def profile_extraction(cell: BenchedCell) -> Profile:
    """Some sentences through the language model, up to the upper layer."""
    model, _, _ = cell.language_model()
    texts = [sentence.text for sentence in cell.ready.texts.dev[:64]]
    batch = model.pad(model.encode(texts))
    model.states(batch, [cell.pair.upper])
    _wait(cell.device)
    with _profiler(cell.device) as profiler:
        model.states(batch, [cell.pair.lower, cell.pair.upper])
        _wait(cell.device)
    return read_profile(profiler.events(), 0, None)


def _profiler(device: torch.device) -> Any:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    return profile(activities=activities)


def read_profile(events: Iterable[Any], warned: int, within: str | None) -> Profile:
    """Count what matters in a profile.

    Args:
        events: of the profiler.
        warned: warnings of synchronisations.
        within: only from the beginning of the first to the end of the last event of this name; None for all.
    """
    every = list(events)
    ranges = [each.time_range for each in every if each.name == within]
    first = min((each.start for each in ranges), default=float("-inf"))
    last = max((each.end for each in ranges), default=float("inf"))
    waits, fused, longest = Counter[str](), Counter[str](), Counter[str]()
    unfused = 0
    for each in every:
        if not (first <= each.time_range.start and each.time_range.end <= last):
            continue
        if each.name in WAITS or each.name.startswith(COPY_BACK):
            waits[each.name] += 1
        if any(part in each.name.lower() for part in FUSED):
            fused[each.name[:80]] += 1
        unfused += UNFUSED in each.name
        spent = getattr(each, "self_device_time_total", 0)
        if spent:
            longest[each.name[:80]] += spent / 1000
    return Profile(dict(waits), warned, dict(fused.most_common(6)), unfused, dict(longest.most_common(8)))
