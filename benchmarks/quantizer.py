"""A quantizer's training step (distances, sampling, EMA) beside `vector-quantize-pytorch`.

    python benchmarks/quantizer.py --peers FOLDER/bin/python

Both draw a code for each word from all its distances or the nearest few, pass the gradient straight through and
move the codebook by exponential moving averages; the gradient with respect to the words is part of the step.
Memory is what a process holds at its peak beyond what it held before the first step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from turns import Row, Side, arguments, finish, in_turn, mebibytes, seconds, versions, worker

WORDS, WIDTH = 4096, 768
SENTENCES = 128
STEPS = 4
"""In a repetition."""
WANTED = {400: 3.0, 4096: 2.5}


def words_and_codes(size: int) -> Any:
    """Words around codes, `[sentences, words, d]` and `[K, d]`."""
    import torch

    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(size, WIDTH, generator=generator)
    owner = torch.randint(size, (WORDS,), generator=generator)
    words = codes[owner] + 0.7 * torch.randn(WORDS, WIDTH, generator=generator)
    return words.reshape(SENTENCES, -1, WIDTH), codes


def ours(size: int) -> Callable[[], None]:
    import dataclasses

    import torch

    from clvq_exp.concepts.quantizer import VectorQuantizer
    from clvq_exp.settings import QuantizerSettings

    words, codes = words_and_codes(size)
    quantizer = VectorQuantizer(WIDTH, dataclasses.replace(QuantizerSettings(), codebook_size=size))
    quantizer.initialise(codes, torch.full((size,), WORDS / size))
    real = torch.ones(words.shape[:2], dtype=torch.bool)
    ids = torch.arange(WORDS).reshape(real.shape)

    def repeat() -> None:
        for step in range(STEPS):
            z_e = words.clone().requires_grad_()
            out = quantizer(z_e, real, ids, (0, 0, step))
            (out.quantized.sum() + out.commitment_sum).backward()
            quantizer.update(quantizer.statistics(z_e.detach(), real, out.codes))

    return repeat


def peer(size: int) -> Callable[[], None]:
    from vector_quantize_pytorch import VectorQuantize

    words, codes = words_and_codes(size)
    quantizer = VectorQuantize(
        dim=WIDTH,
        codebook_size=size,
        decay=0.99,
        commitment_weight=0.1,
        stochastic_sample_codes=True,
        sample_codebook_temp=1.0,
        threshold_ema_dead_code=0,
    )
    quantizer.codebook = codes
    quantizer.train()

    def repeat() -> None:
        for _ in range(STEPS):
            z_e = words.clone().requires_grad_()
            quantized, _, loss = quantizer(z_e)
            (quantized.sum() + loss.sum()).backward()

    return repeat


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__, peers=True)
    parser.add_argument("--codes", type=int, nargs="+", default=list(WANTED), help="K (default 400 4096)")
    given = parser.parse_args()
    if given.side:
        import torch

        torch.set_num_threads(given.threads)
        (size,) = given.codes
        worker(lambda: {"ours": ours, "peer": peer}[given.side](size))
        return
    rows: list[Row] = []
    for size in given.codes:
        passed = ["--peers", given.peers, "--threads", str(given.threads), "--codes", str(size)]
        found = in_turn(__file__, passed, [Side("ours"), Side("peer", given.peers)], given.repetitions)
        own, other = found["ours"], found["peer"]
        used = versions("torch"), versions("vector-quantize-pytorch", python=given.peers)
        shape = f"quantizer step, {WORDS:,} words, d {WIDTH}, K {size:,}"
        against = "vector-quantize-pytorch"
        rows.append(
            Row(
                shape,
                against,
                seconds(own.median / STEPS),
                seconds(other.median / STEPS),
                other.median / own.median,
                WANTED.get(size, 2.5),
                versions={**used[0], **used[1]},
            )
        )
        memory = own.peak - own.before, other.peak - other.before
        rows.append(
            Row(
                f"{shape}: peak memory",
                against,
                mebibytes(memory[0]),
                mebibytes(memory[1]),
                memory[1] / memory[0],
                2,
            )
        )
    finish(rows, given.rows)


if __name__ == "__main__":
    main()
