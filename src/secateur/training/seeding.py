"""Seeds: every draw of a run comes from the run's seed and the place where it is drawn.

Nothing random is carried from one epoch to the next, so resuming needs no generator states: an epoch that is
done again after a crash draws exactly what it drew before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, *place: str | int) -> int:
    """A seed for one place of a run.

    Args:
        seed: The run's seed.
        place: What names the place: ``"round-01", "order", 3``.

    Returns:
        An integer in 0..2^63-1; different places give unrelated ones.

    Example:
        >>> derive_seed(0, "dense", 1) == derive_seed(0, "dense", 1) != derive_seed(0, "dense", 2)
        True
    """
    text = "/".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *place: str | int) -> torch.Generator:
    """A fresh generator for one place of a run, on the CPU."""
    return torch.Generator().manual_seed(derive_seed(seed, *place))


@contextmanager
def seeded(seed: int, *place: str | int) -> Iterator[None]:
    """Run a block with torch's global generators seeded for its place, and put them back afterwards.

    Dropout and PyTorch's initialisers draw from the global generators and take no other.
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, *place))
        yield
