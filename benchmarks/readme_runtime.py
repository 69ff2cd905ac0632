"""The README's tables of the runtime, from the results of ``secateur bench``; see `benchmarks.readme`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OURS = "secateur"
Json = Mapping[str, Any]


def latency_rows(bench: Json) -> list[tuple[str, ...]]:
    """A row for every work and batch size: ours, the fastest peers, and by how much.

    Args:
        bench: The content of a result of ``secateur bench paper``.

    Returns:
        Cells: work, batch, ours in ms, the fastest peer and its ms, the ratio with its interval, then every
        other peer that agreed with the reference.
    """
    rows: list[tuple[str, ...]] = []
    for (work, batch), timed in _by_work(bench).items():
        ours = timed.get(OURS)
        peers = sorted(
            (each for name, each in timed.items() if name != OURS), key=lambda each: each["median_ms"]
        )
        if ours is None or not peers:
            continue
        best = peers[0]
        rest = ", ".join(f"{each['engine']} {each['median_ms']:.3g}" for each in peers[1:])
        rows.append(
            (
                f"`{work}`",
                str(batch),
                f"**{ours['median_ms']:.3g}**",
                f"{best['engine']} {best['median_ms']:.3g}",
                f"{best['ratio']:.2f} [{best['ratio_low']:.2f}, {best['ratio_high']:.2f}]",
                rest,
            )
        )
    return rows


def size_rows(bench: Json) -> list[tuple[str, ...]]:
    """A row for every work: bytes on the disk and in memory, and the time to load, beside ONNX Runtime's.

    Args:
        bench: The content of a result of ``secateur bench paper``.

    Returns:
        Cells: work, file, dense file, memory when running, ONNX Runtime's, milliseconds to load, its.
    """
    rows: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for (work, _), timed in _by_work(bench).items():
        ours, dense = timed.get(OURS), timed.get("onnxruntime")
        if ours is None or dense is None or work in seen:
            continue
        seen.add(work)
        rows.append(
            (
                f"`{work}`",
                _megabytes(ours["file_bytes"]),
                _megabytes(dense["file_bytes"]),
                _megabytes(ours["running_bytes"]),
                _megabytes(dense["running_bytes"]),
                f"{ours['load_ms']:.1f}",
                f"{dense['load_ms']:.1f}",
            )
        )
    return rows


def disagreeing(bench: Json) -> list[str]:
    """What gave no time, and why: said as plainly as what did."""
    return [
        f"{row['engine']} on `{row['work']}` at batch {row['batch']}"
        for row in bench["rows"]
        if row["median_ms"] is None and not row["absent"]
    ]


def _by_work(bench: Json) -> dict[tuple[str, int], dict[str, Json]]:
    found: dict[tuple[str, int], dict[str, Json]] = {}
    rows: Sequence[Json] = bench["rows"]
    for row in rows:
        if row["median_ms"] is not None:
            found.setdefault((row["work"], row["batch"]), {})[row["engine"]] = row
    return found


def _megabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.3g} MB"
