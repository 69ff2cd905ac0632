"""What the machine can do at best: float32 FLOP/s of matrix products, and bytes a second from memory.

Started by path like the engines' workers, with the BLAS told to use one thread: the threads are ours, so that
their number is the one that was asked for.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Pieces of a millisecond or two: on a machine that has other things to do, too, some run undisturbed.
_SIZE = 384
_PIECE = 1 << 24
_PIECES = 16
_SECONDS = 1.5


def rates(work: Callable[[], object], amount: float, threads: int) -> list[list[float]]:
    """How fast every thread does pieces of work, all at the same time.

    Args:
        work: A piece.
        amount: In a piece.
        threads: How many work at once.

    Returns:
        For each thread the amount a second of each of its pieces.
    """

    def loop(_: int) -> list[float]:
        seen = []
        end = time.perf_counter() + _SECONDS
        while (began := time.perf_counter()) < end:
            work()
            seen.append(amount / (time.perf_counter() - began))
        return seen

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(loop, range(threads)))


def main(threads: int) -> None:
    """Measure both and print them as JSON."""
    left, right = (np.full((_SIZE, _SIZE), 0.5, np.float32) for _ in range(2))
    # Summing 64-bit integers is vectorised and reads as fast as memory gives. Ones, since fresh zeros are all
    # the same page; and enough of them that a piece is out of the caches when its turn comes again.
    pieces = np.ones((threads * _PIECES, _PIECE // 8), np.int64)
    turns = itertools.cycle(pieces)
    # A core's best is a core's best whatever the others do; memory is shared, and a thread that has it alone
    # for a moment is faster than its share: there the median counts.
    flops = sum(max(each) for each in rates(lambda: left @ right, 2.0 * _SIZE**3, threads))
    read = sum(statistics.median(each) for each in rates(lambda: next(turns).sum(), _PIECE, threads))
    print(json.dumps({"gflops": flops / 1e9, "read_gb_per_s": read / 1e9}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
