"""Small steps stay on one thread, and afterwards everything is as it was."""

from __future__ import annotations

import pytest
import torch

from clvq_exp.threads import one_thread


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_thread__inside_there_is_one_and_afterwards_as_many_as_before() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_one_thread__an_error_leaves_no_trace() -> None:
    with pytest.raises(ValueError, match="broken"), one_thread():
        raise ValueError("broken")
    assert torch.get_num_threads() == 2


def test_one_thread__as_a_decorator_counts_for_each_call() -> None:
    @one_thread()
    def threads() -> int:
        return torch.get_num_threads()

    assert [threads(), threads(), torch.get_num_threads()] == [1, 1, 2]
