"""Random numbers that depend on names, not on history.

Every draw comes from a generator, or a hash, of (seed, purpose, epoch, step): a resumed run, another batch
layout or another device sees the same noise, and no global state is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

_MULTIPLIER_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9 as a signed number
_MULTIPLIER_2 = -7723592293110705685  # 0x94D049BB133111EB
_INCREMENT = -7046029254386353131  # 0x9E3779B97F4A7C15


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed for a purpose: `derived_seed(seed, "dropout", epoch, step)`."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def torch_generator(*parts: int | str) -> torch.Generator:
    """A CPU generator for a purpose."""
    return torch.Generator().manual_seed(derived_seed(*parts))


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """A NumPy generator for a purpose."""
    return np.random.default_rng(derived_seed(*parts))


@contextmanager
def scoped_seed(*parts: int | str, device: torch.device | None = None) -> Generator[None, None, None]:
    """Seed torch's global generators inside the block only: for modules that accept no generator."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        seed = derived_seed(*parts)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU for good
        for each in devices:
            with torch.cuda.device(each):
                torch.cuda.manual_seed(seed)
        yield


def hashed_uniform(names: Int64[Tensor, "*n"], *parts: int | str) -> Float64[Tensor, "*n"]:
    """One uniform number in (0, 1) for each name (SplitMix64's finaliser over name and purpose).

    Args:
        names: what the noise belongs to: the row of a word in the store, say.
        parts: seed and purpose, as in `derived_seed`.

    Returns:
        The same number for the same name and parts, whatever else is in the tensor.
    """
    x = names * _INCREMENT + derived_seed(*parts)
    x = (x ^ _shift(x, 30)) * _MULTIPLIER_1
    x = (x ^ _shift(x, 27)) * _MULTIPLIER_2
    x = x ^ _shift(x, 31)
    return (_shift(x, 12).double() + 0.5) * 2.0**-52  # with 53 bits the half would round up to 1


def _shift(x: Int64[Tensor, "*n"], bits: int) -> Int64[Tensor, "*n"]:
    """Logical right shift: torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
