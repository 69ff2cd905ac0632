"""What the machine can do at best: float32 FLOP/s of matrix products, and bytes a second from memory.

Started by path like the engines' workers, with the BLAS told to use one thread: the threads are ours, so that
their number is the one that was asked for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_SIZE = 768
_BYTES = 1 << 27
_SECONDS = 1.0


def best_rate(work: Callable[[], object], amount: float, threads: int) -> float:
    """The highest rate among repeats in which every thread does the work once.

    Args:
        work: What a thread does.
        amount: Of one thread's work.
        threads: How many work at once.

    Returns:
        Amount a second, over all threads.
    """
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        end = time.perf_counter() + _SECONDS
        while time.perf_counter() < end:
            began = time.perf_counter()
            for future in [pool.submit(work) for _ in range(threads)]:
                future.result()
            best = max(best, threads * amount / (time.perf_counter() - began))
    return best


def main(threads: int) -> None:
    """Measure both and print them as JSON."""
    left, right = (np.full((_SIZE, _SIZE), 0.5, np.float32) for _ in range(2))
    # Summing 64-bit integers is vectorised and reads as fast as memory gives; each thread has its own part.
    much = np.zeros(threads * _BYTES // 8, np.int64)
    parts = iter(np.array_split(much, threads) * 1000)
    flops = best_rate(lambda: [left @ right for _ in range(4)], 4 * 2.0 * _SIZE**3, threads)
    read = best_rate(lambda: next(parts).sum(), _BYTES, threads)
    print(json.dumps({"gflops": flops / 1e9, "read_gb_per_s": read / 1e9}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
