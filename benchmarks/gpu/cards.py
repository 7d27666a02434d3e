"""What a card can do at most: published rates of known ones; of others what a large product and a copy reach."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Card(NamedTuple):
    """Rates at most, in FLOP/s and byte/s; dense, without sparsity."""

    name: str
    bfloat16: float
    tf32: float
    """float32 products where torch may round their inputs."""
    float32: float
    bandwidth: float
    published: bool
    """False: measured here."""

    def rate(self, number_format: str) -> float:
        """Of matrix products in a number format: bfloat16, float16, tf32 or float32."""
        return {"tf32": self.tf32, "float32": self.float32}.get(number_format, self.bfloat16)


# Of NVIDIA's data sheets; by a part of the name that the driver gives, the more special ones first.
_PUBLISHED = (
    ("H200 NVL", 835.5e12, 417.5e12, 60.0e12, 4.8e12),
    ("H200", 989.5e12, 494.7e12, 66.9e12, 4.8e12),
    ("H100 PCIe", 756e12, 378e12, 51.2e12, 2.0e12),
    ("H100 NVL", 835.5e12, 417.5e12, 60.0e12, 3.9e12),
    ("H100", 989.5e12, 494.7e12, 66.9e12, 3.35e12),
    ("A100-SXM4-40GB", 312e12, 156e12, 19.5e12, 1.555e12),
    ("A100-PCIE-40GB", 312e12, 156e12, 19.5e12, 1.555e12),
    ("A100 80GB PCIe", 312e12, 156e12, 19.5e12, 1.935e12),
    ("A100", 312e12, 156e12, 19.5e12, 2.039e12),
    ("L40S", 362e12, 183e12, 91.6e12, 0.864e12),
    ("RTX 4090", 165.2e12, 82.6e12, 82.6e12, 1.008e12),
)


def published(name: str) -> Card | None:
    """The rates of a card by the name that its driver gives; None for one that is not listed."""
    for part, *rates in _PUBLISHED:
        if part.lower() in name.lower():
            return Card(name, *rates, True)
    return None


def card_of(device: Any) -> Card:
    """The card of a device; what is not known is measured, a few seconds."""
    import torch

    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return published(name) or measured(name, device)
    return measured("processor", device)


def measured(name: str, device: Any) -> Card:
    """Rates of a large product in each number format, and of a copy, which reads and writes."""
    import torch

    n = 8192 if device.type == "cuda" else 1024
    rates: dict[str, float] = {}
    before = torch.get_float32_matmul_precision()
    for kind, dtype, precision in (
        ("bfloat16", torch.bfloat16, before),
        ("tf32", torch.float32, "high"),
        ("float32", torch.float32, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        rates[kind] = 2 * n**3 / _fastest(lambda a=a, b=b: a @ b, device)
    torch.set_float32_matmul_precision(before)
    source = torch.ones(2**28 if device.type == "cuda" else 2**25, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / _fastest(lambda: target.copy_(source), device)
    return Card(name, rates["bfloat16"], rates["tf32"], rates["float32"], bandwidth, False)


def _fastest(work: Callable[[], Any], device: Any, times: int = 5) -> float:
    import torch

    found = float("inf")
    for _ in range(times):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found = min(found, time.perf_counter() - start)
    return max(found, 1e-9)
