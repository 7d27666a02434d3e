"""Dead codes set anew: which encoder outputs of a batch take the place of codes that no word uses."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from clvq_exp.ranks import ranks
from clvq_exp.seeding import hashed_uniform

NOISE_NAME = "revival"
_NOBODY = 2.0
"""Draw that comes behind all others, which lie below 1: fills up a rank that saw fewer words than another."""


class Candidates(NamedTuple):
    """Encoder outputs of a batch that dead codes may take the place of, in the order in which they are taken."""

    draws: Float64[Tensor, " n"]
    """One number in (0, 1) per word; the lowest comes first."""
    z_e: Float[Tensor, "n d"]


def drawn(
    candidates: Candidates | None,
    z_e: Float[Tensor, "sentences words d"],
    real: Bool[Tensor, "sentences words"],
    word_ids: Int64[Tensor, "sentences words"],
    noise: tuple[int | str, ...],
    most: int,
) -> Candidates:
    """Go on drawing from a batch, one micro-batch after another.

    A word's draw hangs on the word and on `noise` alone, so the same words are drawn however the batch is cut.

    Args:
        candidates: those of the micro-batches before; None at the first.
        z_e: encoder outputs of a micro-batch.
        real: False marks padding.
        word_ids: what the draw of each word hangs on.
        noise: names the draw (seed, epoch, step).
        most: candidates wanted: as many as there are codes.
    """
    own = Candidates(hashed_uniform(word_ids[real], *noise, NOISE_NAME), z_e[real].detach().float())
    if candidates is not None:
        own = Candidates(*(torch.cat(both) for both in zip(candidates, own, strict=True)))
    return _first(own, most)


def no_candidates(codebook: Float[Tensor, "K d"]) -> Candidates:
    """Of a process whose share of a batch is empty."""
    return Candidates(torch.zeros(0, dtype=torch.float64, device=codebook.device), codebook[:0].float())


def of_all_ranks(candidates: Candidates, most: int) -> Candidates:
    """The candidates of all processes together, the same in each."""
    if ranks().world == 1:
        return candidates
    draws, z_e = candidates
    short = most - len(draws)
    filled = (
        torch.cat([draws, draws.new_full((short,), _NOBODY)]),
        torch.cat([z_e, z_e.new_zeros((short, z_e.shape[1]))]),
    )
    gathered: list[Tensor] = []
    for own in filled:
        parts = [torch.empty_like(own) for _ in range(ranks().world)]
        dist.all_gather(parts, own)
        gathered.append(torch.cat(parts))
    there = gathered[0] < _NOBODY
    return _first(Candidates(gathered[0][there], gathered[1][there]), most)


def _first(candidates: Candidates, most: int) -> Candidates:
    order = candidates.draws.argsort(stable=True)[:most]
    return Candidates(candidates.draws[order], candidates.z_e[order])
