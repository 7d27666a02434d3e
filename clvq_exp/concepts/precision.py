"""In which number format a concept model's products are computed while it is trained."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch

from clvq_exp.settings import TrainingPrecision

_EXACT, _ROUNDED = "highest", "high"


def lightning_precision(precision: TrainingPrecision) -> Literal["bf16-mixed", "32-true"]:
    """What Lightning's trainer calls it: weights, gradients and Adam's moments are float32 in every case."""
    return "bf16-mixed" if precision is TrainingPrecision.bfloat16 else "32-true"


@contextmanager
def rounded_products(precision: TrainingPrecision) -> Generator[None]:
    """Inside, a GPU may round the inputs of float32 products to TF32, if that is what is asked for."""
    with _float32_products(_ROUNDED if precision is TrainingPrecision.tf32 else _EXACT):
        yield


@contextmanager
def exact_products(device: torch.device) -> Generator[None]:
    """Inside, float32 products are those of float32, in training too: what decides which code a word gets."""
    with torch.autocast(device.type, enabled=False), _float32_products(_EXACT):
        yield


@contextmanager
def _float32_products(precision: str) -> Generator[None]:
    before = torch.get_float32_matmul_precision()
    if before == precision:
        yield
        return
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
