"""The vector quantizer: distances, top-k temperature sampling, EMA codebook (section 2.3, appendix A.2)."""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from clvq_exp.concepts import packing
from clvq_exp.concepts.precision import exact_products
from clvq_exp.concepts.revival import Candidates, of_all_ranks
from clvq_exp.ranks import ranks, sum_over_ranks
from clvq_exp.records import CodeStatistics, QuantizerOutput
from clvq_exp.seeding import hashed_uniform
from clvq_exp.settings import QuantizerSettings

NOISE_NAME = "sampling"
_AT_ONCE = 2**18
"""Numbers that a CPU works on before it goes on to the next, so that what is between stays in its caches."""


def squared_distances(z: Float[Tensor, "n d"], codebook: Float[Tensor, "K d"]) -> Float[Tensor, "n K"]:
    """||z_e - e_j||^2 (eq. 3), in float32 whatever the precision of training."""
    with exact_products(z.device):
        z, codebook = z.float(), codebook.float()
        squares = codebook.square().sum(1)
        distances = torch.addmm(squares[None, :], z, codebook.T, alpha=-2.0)
        for some in _slices(z):
            distances[some].add_(z[some].square().sum(1, keepdim=True)).clamp_(min=0.0)
        return distances


def _slices(rows: Float[Tensor, "n d"]) -> list[slice]:
    """All rows, on a CPU some at a time."""
    n, width = rows.shape
    at_once = max(1, _AT_ONCE // width) if rows.device.type == "cpu" else max(1, n)
    return [slice(start, start + at_once) for start in range(0, n, at_once)]


class _PassedThrough(torch.autograd.Function):
    """Words become the vectors of their codes, and get the gradients of these and of their distances.

    What autograd would make of `words - (words - chosen).detach()` and `(words - chosen).square().mean(1)`, to the
    last bit in float32, with half of the memory: of what is computed on the way only the differences are kept.
    """

    @staticmethod
    def forward(ctx: Any, words: Tensor, codebook: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors `[n, d]` in float32, and mean squared differences `[n]`."""
        difference = torch.empty_like(words, dtype=torch.float32)
        quantized = torch.empty_like(difference)
        squares = difference.new_empty(len(words))
        for some in _slices(words):
            torch.sub(words[some].float(), codebook[codes[some]], out=difference[some])
            torch.sub(words[some].float(), difference[some], out=quantized[some])
            torch.mean(difference[some].square(), 1, out=squares[some])
        ctx.save_for_backward(difference)
        ctx.dtype = words.dtype
        return quantized, squares

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] -- the decorator knows ctx by its place only
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None]:
        """The gradient of the words."""
        to_quantized, to_squares = gradients
        (difference,) = ctx.saved_tensors
        factors = (2 * (to_squares / difference.shape[1]))[:, None]
        gradient = torch.empty_like(difference)
        for some in _slices(difference):
            torch.mul(difference[some], factors[some], out=gradient[some])
            gradient[some] += to_quantized[some]
        return gradient.to(ctx.dtype), None, None


def nearest_codes(z: Float[Tensor, "n d"], codebook: Float[Tensor, "K d"]) -> Int64[Tensor, " n"]:
    """The nearest code of each row."""
    return squared_distances(z, codebook).argmin(1)


def word_counts(
    codes: Int64[Tensor, "sentences words"], counted: Bool[Tensor, "sentences words"], size: int
) -> Float[Tensor, " K"]:
    """Words of each code, exact up to 2^24. `bincount` would make a host wait for its GPU.

    Args:
        codes: of every word; below 0 where there is none.
        counted: the words that count.
        size: K.
    """
    counts = torch.zeros(size, device=codes.device)
    return counts.index_add_(0, codes.clamp(min=0).flatten(), counted.flatten().float())


def sampling_probabilities(
    distances: Float[Tensor, "n K"], top_k: int, temperature: float
) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """Eq. 4: probabilities over the k nearest codes, and which codes those are, nearest first."""
    nearest, codes = distances.topk(top_k, dim=1, largest=False, sorted=True)
    return torch.softmax(-nearest / temperature, dim=1), codes


def sample_codes(
    distances: Float[Tensor, "n K"], top_k: int, temperature: float, uniform: Float64[Tensor, " n"]
) -> Int64[Tensor, " n"]:
    """Draw a code for each row by eq. 4.

    Args:
        distances: squared distances to all codes.
        top_k: how many nearest codes take part; 1 is the argmin exactly.
        temperature: tau.
        uniform: one number in (0, 1) per row, which decides the draw.
    """
    if top_k == 1:
        return distances.argmin(1)
    probabilities, codes = sampling_probabilities(distances, top_k, temperature)
    cumulative = probabilities.double().cumsum(1)
    chosen = (uniform[:, None] * cumulative[:, -1:] >= cumulative).sum(1, keepdim=True)
    return codes.gather(1, chosen.clamp_(max=top_k - 1)).squeeze(1)


class VectorQuantizer(nn.Module):
    """A codebook E = {e_1, ..., e_K} that follows its words by exponential moving averages.

    The codebook and its averages are buffers: no gradient reaches them. One `forward` per micro-batch collects
    statistics; one `update` per optimizer step moves the codebook.

    Args:
        width: d.
        settings: K, tau, k, gamma, smoothing of counts, when a code is dead.
    """

    codebook: Tensor
    ema_counts: Tensor
    ema_sums: Tensor
    initialised: Tensor

    def __init__(self, width: int, settings: QuantizerSettings) -> None:
        super().__init__()
        size = settings.codebook_size
        self._settings = settings
        self.register_buffer("codebook", torch.zeros(size, width))
        self.register_buffer("ema_counts", torch.zeros(size))
        self.register_buffer("ema_sums", torch.zeros(size, width))
        self.register_buffer("initialised", torch.tensor(False))

    @property
    def size(self) -> int:
        """K."""
        return self._settings.codebook_size

    def initialise(self, codebook: Float[Tensor, "K d"], counts: Float[Tensor, " K"]) -> None:
        """Set codes e_j, counts N_j and sums m_j = N_j e_j."""
        self.codebook.copy_(codebook)
        self.ema_counts.copy_(counts)
        self.ema_sums.copy_(counts[:, None] * codebook)
        self.initialised.fill_(True)

    def forward(
        self,
        z_e: Float[Tensor, "sentences words d"],
        real: Bool[Tensor, "sentences words"],
        word_ids: Int64[Tensor, "sentences words"],
        noise: tuple[int | str, ...] | None,
    ) -> QuantizerOutput:
        """Quantize encoder outputs.

        Args:
            z_e: encoder outputs.
            real: False marks padding, which takes no part.
            word_ids: what the sampling noise of each word hangs on.
            noise: names the draw (seed, epoch, step) for top-k sampling; None takes the nearest code.
        """
        if not packing.picks_real_words(z_e.device):
            return self._with_padding(z_e, real, word_ids, noise)
        if real.all():  # nothing to pick out: no copies
            codes, straight_through, commitment = self._passed_through(
                z_e.flatten(0, 1), word_ids.flatten(), noise
            )
            return QuantizerOutput(straight_through.view_as(z_e), codes.view_as(word_ids), commitment.sum())
        codes, straight_through, commitment = self._passed_through(z_e[real], word_ids[real], noise)
        quantized = torch.zeros_like(z_e).masked_scatter_(real[..., None], straight_through)
        all_codes = torch.full_like(word_ids, -1).masked_scatter_(real, codes)
        return QuantizerOutput(quantized, all_codes, commitment.sum())

    def _with_padding(
        self,
        z_e: Float[Tensor, "sentences words d"],
        real: Bool[Tensor, "sentences words"],
        word_ids: Int64[Tensor, "sentences words"],
        noise: tuple[int | str, ...] | None,
    ) -> QuantizerOutput:
        """`forward` in shapes that hang on no value."""
        codes, straight_through, commitment = self._passed_through(z_e.flatten(0, 1), word_ids.flatten(), noise)
        quantized = torch.where(real[..., None], straight_through.view_as(z_e), 0.0)
        all_codes = torch.where(real, codes.view_as(word_ids), -1)
        return QuantizerOutput(quantized, all_codes, (commitment * real.flatten()).sum())

    def _passed_through(
        self, words: Float[Tensor, "n d"], word_ids: Int64[Tensor, " n"], noise: tuple[int | str, ...] | None
    ) -> tuple[Int64[Tensor, " n"], Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """Codes, their vectors with the gradient of the words, and how far each word lies from its code."""
        codes = self._codes(words.detach(), word_ids, noise)
        quantized, squares = cast(Any, _PassedThrough.apply(words, self.codebook, codes))
        return codes, quantized, squares

    @torch.no_grad()
    def _codes(
        self, words: Float[Tensor, "n d"], word_ids: Int64[Tensor, " n"], noise: tuple[int | str, ...] | None
    ) -> Int64[Tensor, " n"]:
        """The code of each word."""
        distances = squared_distances(words, self.codebook)
        if noise is None:
            return distances.argmin(1)
        uniform = hashed_uniform(word_ids, *noise, NOISE_NAME)
        return sample_codes(distances, self._settings.top_k, self._settings.temperature, uniform)

    @torch.no_grad()
    def statistics(
        self,
        z_e: Float[Tensor, "sentences words d"],
        real: Bool[Tensor, "sentences words"],
        codes: Int64[Tensor, "sentences words"],
    ) -> CodeStatistics:
        """Counts and sums of the real words of a micro-batch; add them up over a batch."""
        if packing.picks_real_words(z_e.device):
            every = bool(real.all())
            chosen = codes.flatten() if every else codes[real]
            words = (z_e.flatten(0, 1) if every else z_e[real]).float()
        else:
            chosen, words = codes.clamp(min=0).flatten(), (z_e.float() * real[..., None]).flatten(0, 1)
        sums = torch.zeros_like(self.ema_sums).index_add_(0, chosen, words)
        return CodeStatistics(word_counts(codes, real, self.size), sums)

    def no_statistics(self) -> CodeStatistics:
        """Of no words at all: what a batch adds to."""
        return CodeStatistics(torch.zeros_like(self.ema_counts), torch.zeros_like(self.ema_sums))

    @torch.no_grad()
    def update(self, batch: CodeStatistics) -> None:
        """One step of appendix A.2 from the statistics of a whole batch, summed over ranks.

        A code with no mass left keeps its vector. With Laplace smoothing the counts themselves are smoothed and
        carried on: N_j = (N_j + epsilon) / (N + K epsilon) N, where N is the sum of all.
        """
        counts, sums = batch
        if ranks().world > 1:
            counts, sums = counts.clone(), sums.clone()
            sum_over_ranks(counts, sums)
        decay = self._settings.ema_decay
        self.ema_counts.mul_(decay).add_(counts, alpha=1 - decay)
        self.ema_sums.mul_(decay).add_(sums, alpha=1 - decay)
        smoothing = self._settings.ema_smoothing
        if smoothing > 0:
            total = self.ema_counts.sum()
            self.ema_counts.add_(smoothing).mul_(total / (total + self.size * smoothing))
        alive = self.ema_counts > torch.finfo(torch.float32).tiny
        means = self.ema_sums / self.ema_counts.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        self.codebook.copy_(torch.where(alive[:, None], means, self.codebook))

    @torch.no_grad()
    def revive(self, candidates: Candidates) -> int:
        """Set dead codes to encoder outputs: the vector, its sum m_j and its count N_j together.

        A code is dead where N_j is below `revive_below`, and begins again at that count. Follows `update`, which
        would otherwise make the vector of the old sums again.

        Args:
            candidates: this rank's; each takes the place of one code at most, and without any nothing changes.

        Returns:
            How many codes were set.
        """
        least = self._settings.revive_below
        draws, z_e = of_all_ranks(candidates, self.size)
        dead = torch.nonzero(self.ema_counts < least).squeeze(1)[: len(draws)]
        self.codebook[dead] = z_e[: len(dead)]
        self.ema_counts[dead] = least
        self.ema_sums[dead] = least * z_e[: len(dead)]
        return len(dead)
