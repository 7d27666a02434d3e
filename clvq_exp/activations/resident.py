"""Layers that stay on the device of training, and batches that go there while the host goes on."""

from __future__ import annotations

from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor

from clvq_exp.activations.store import BLOCK, ActivationStore


def resident_device(
    store: ActivationStore, layers: Collection[int], device: torch.device, limit_gib: float
) -> torch.device | None:
    """The device that keeps whole layers, or None where batches are read from the store.

    Only a GPU keeps them: in the machine's own memory the file cache does the same, and gives way when somebody
    else needs the room.

    Args:
        store: the activations.
        layers: the layers that training reads.
        device: where training runs.
        limit_gib: the most that the layers may take together, in GiB.
    """
    files = [store.word_file(layer) for layer in set(layers)]
    fits = sum(file.rows * file.row_bytes for file in files) <= limit_gib * 2**30
    return device if fits and device.type != "cpu" else None


def whole_layers(
    store: ActivationStore, layers: Collection[int], device: torch.device
) -> dict[int, Float[Tensor, "n_words d"]]:
    """All words of some layers on a device, in the store's number format, copied a block at a time."""
    kept: dict[int, Tensor] = {}
    for layer in set(layers):
        file = store.word_file(layer)
        kept[layer] = torch.empty((file.rows, file.width), dtype=file.dtype, device=device)
        for start in range(0, file.rows, BLOCK):
            kept[layer][start : start + BLOCK] = file[start : start + BLOCK].to(device)
    return kept


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Values of the host on a device; for a GPU the host does not wait until they are there.

    A plain copy ends with a wait for all that the GPU was given before. From pinned memory it takes its turn
    behind it, and torch keeps the memory until then.

    Args:
        values: on the CPU.
        device: where they go.
    """
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
