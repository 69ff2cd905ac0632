"""Which machine, which versions, and what the machine can do at best."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secateur.records import content_hash, provenance

_LIMITS = Path(__file__).with_name("workers") / "limits.py"
# The instruction sets that make a difference to these engines, as Linux names them.
_SETS = ("sse4_2", "avx", "avx2", "fma", "f16c", "bmi2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
         "avx512_vbmi2", "avx512_bf16", "amx_tile", "asimd", "sve")  # fmt: skip


def machine_record(threads: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that must be known to make a measurement again, and the machine's measured limits.

    Args:
        threads: Threads that the limits are measured with.
        settings: Of the benchmark, hashed into the record.

    Returns:
        JSON values.
    """
    record = provenance(configuration_hash=content_hash(settings), seed=0, threads=threads).to_json()
    return {
        **record,
        "instruction_sets": instruction_sets(),
        "peak": measured_limits(threads),
        "settings": dict(settings),
    }


def instruction_sets() -> list[str]:
    """The processor's instruction sets that matter here; empty where the system does not say."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else ""
    flags = next(
        (line.partition(":")[2] for line in text.splitlines() if line.startswith(("flags", "Features"))), ""
    )
    return [name for name in _SETS if name in flags.split()]


def measured_limits(threads: int) -> dict[str, float]:
    """GFLOP/s of a good float32 matrix product and GB/s of reading memory, each watched for a second or two.

    Args:
        threads: Threads.

    Returns:
        ``gflops`` and ``read_gb_per_s``.
    """
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    ended = subprocess.run(  # noqa: S603  # our own file and a number
        [sys.executable, str(_LIMITS), str(threads)],
        env={**os.environ, **one},
        capture_output=True,
        text=True,
        check=True,
    )
    limits: dict[str, float] = json.loads(ended.stdout)
    return limits
