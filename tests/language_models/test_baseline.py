"""The baseline of attribution changes the embeddings of the text and of nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from families import ENCODERS


@pytest.mark.parametrize("name", list(ENCODERS))
def test_baseline__changes_the_embeddings_of_the_text_alone(opened: Callable[..., Any], name: str):
    model = opened(name)
    encoded = model.encode(["I can't say more: dull, as was the script in its hero's journey!"])
    batch = model.pad(encoded)
    baseline = batch._replace(input_ids=model.attribution_baseline(encoded))
    one, other = (model.run(each, [0]).hidden[0][0] for each in (batch, baseline))
    special = [index for index, span in enumerate(encoded[0].spans) if span is None]
    assert torch.equal(one[special], other[special])
