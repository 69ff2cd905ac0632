"""What a network takes in PyTorch, beside what it was made into."""

from __future__ import annotations

import time

import torch
from torch import nn

from secateur.cli.shipping import beside_pytorch


def test_pytorch_is_timed_on_its_threads_and_on_one_and_the_faster_counts() -> None:
    seen: list[int] = []

    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            time.sleep(0.001 if seen[-1] == 1 else 0.004)
            return x

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        dense, compact = beside_pytorch(Slow(), torch.ones(1), lambda times: [5_000] * times)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1, 2}
    assert 1_000 <= dense < 4_000
    assert compact == 5.0
