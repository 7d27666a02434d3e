"""How much of the reconstruction goes around the codebook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import Bypass
from clvq_exp.concepts.module import ClvqVaeModule, reconstruction_sum
from clvq_exp.records import ActivationBatch, MicroBatch
from clvq_exp.seeding import torch_generator
from clvq_exp.settings import Split


@torch.no_grad()
def measure_bypass(
    module: ClvqVaeModule,
    store: ActivationStore,
    target_layer: int,
    validation: Iterable[ActivationBatch],
    seed: int,
) -> Bypass:
    """Reconstruction loss of the validation split when the codes or the memory are tampered with.

    If permuting the codes among all words changes nothing, the decoder rebuilds the target from its memory and
    the codebook is bypassed.

    Args:
        module: the trained model, in evaluation mode on its device.
        store: activations, for the mean of the training targets.
        target_layer: the layer that is rebuilt.
        validation: batches of the validation split, the same at every pass; run through twice.
        seed: of the permutation.
    """
    codes = torch.cat([_codes(module, batch) for batch in _micro_batches(validation, module.device)])
    order = torch.randperm(len(codes), generator=torch_generator(seed, "bypass")).to(codes.device)
    mean = _mean_target(store, target_layer).to(module.device)
    totals = torch.zeros(len(Bypass._fields), dtype=torch.float64)
    start = 0
    for batch in _micro_batches(validation, module.device):
        z_e = module.encoder(batch.source)
        rows = slice(start, start := start + int(batch.real.sum()))
        own = _placed(module, codes[rows], batch)
        other = _placed(module, codes[order[rows]], batch)
        rebuilt = (
            module.decoder(own, z_e, batch.real),
            module.decoder(other, z_e, batch.real),
            module.decoder(own, z_e, batch.real, zero_memory=True),
            mean.expand_as(batch.target),
        )
        totals += torch.stack([reconstruction_sum(each, batch).double().cpu() for each in rebuilt])
    return Bypass(*(float(total) / start for total in totals))


def _micro_batches(batches: Iterable[ActivationBatch], device: torch.device) -> Iterator[MicroBatch]:
    for batch in batches:
        for micro_batch in batch.micro_batches:
            yield MicroBatch(*(each.to(device) for each in micro_batch))


def _codes(module: ClvqVaeModule, batch: MicroBatch) -> Int64[Tensor, " words"]:
    z_e = module.encoder(batch.source)
    return module.quantizer(z_e, batch.real, batch.word_ids, None).codes[batch.real]


def _placed(module: ClvqVaeModule, codes: Tensor, batch: MicroBatch) -> Float[Tensor, "s w d"]:
    vectors = module.quantizer.codebook[codes]
    return torch.zeros_like(batch.source).masked_scatter(batch.real[..., None], vectors)


def _mean_target(store: ActivationStore, layer: int) -> Float[Tensor, " d"]:
    total = torch.zeros(store.width, dtype=torch.float64)
    n = 0
    for _, block in store.iterate_words(layer, (Split.train,)):
        total += block.double().sum(0)
        n += len(block)
    return (total / n).float()
