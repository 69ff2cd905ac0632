"""Tables of the README and docs/runtime.md, from the committed results: ``python -m benchmarks.readme``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.checkout import ROOT
from benchmarks.readme_cifar import accuracy_rows
from benchmarks.readme_runtime import disagreeing, latency_rows, size_rows
from benchmarks.readme_sweep import EVEN, slower, sweep_rows

RESULTS = ROOT / "benchmarks" / "results"
BEGIN = "<!-- results: made by `python -m benchmarks.readme` from benchmarks/results/ -->\n"
END = "<!-- end of results -->\n"
RUNTIME = ROOT / "docs" / "runtime.md"
SWEEPS = ("sweep-zen4", "sweep-ice-lake", "sweep")
# The same suite on three machines; those with today's kernels first.
_BENCHES = ("bench-paper-zen4", "bench-paper-ice-lake", "bench-paper")
_RECIPES = {
    "lenet-300-100": "the paper's: 12x, 1.64 -> 1.59 %",
    "lenet-5": "the paper's: 12x, 0.80 -> 0.77 %",
    "lenet-300-100-far": "best published: 68x, 1.92 %",
    "lenet-5-far": "best published: 280x, 0.75 %",
}


def results_section(results: Path = RESULTS) -> str:
    """Everything between the README's markers.

    Args:
        results: The folder of the committed JSON files.

    Returns:
        Markdown.
    """
    parts = [
        _runtime(results),
        _recipes(results),
        _layers(results),
        _curves(results),
        _cifar(results),
        _comparisons(results),
        _overhead(results),
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)


def write_readme() -> None:
    """Put the section into the README."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(_filled(text, BEGIN, END, results_section()), encoding="utf-8")


def sweep_section(name: str, results: Path = RESULTS) -> str:
    """Everything between the markers of a table of single layers.

    Args:
        name: That of the result.
        results: The folder of the committed JSON files.

    Returns:
        Markdown.
    """
    rows = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    below, for_sure, points = slower(rows)
    counted = (
        f"{below} of {points} points slower than dense (below {EVEN}, bold); "
        f"of {for_sure} the whole interval lies below 1."
    )
    return f"{_table(*sweep_rows(rows))}\n{counted}\n"


def sweep_markers(name: str) -> tuple[str, str]:
    """The lines around the table of a result, by its name."""
    return f"<!-- {name}: made by `python -m benchmarks.readme` -->\n", f"<!-- end of {name} -->\n"


def write_runtime() -> None:
    """Put the tables of single layers into docs/runtime.md."""
    text = RUNTIME.read_text(encoding="utf-8")
    for name in SWEEPS:
        text = _filled(text, *sweep_markers(name), sweep_section(name))
    RUNTIME.write_text(text, encoding="utf-8")


def _filled(text: str, begin: str, end: str, section: str) -> str:
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return head + begin + section + end + tail


def _load(results: Path, name: str) -> Mapping[str, Any] | None:
    path = results / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _runtime(results: Path) -> str:
    found = [loaded for name in _BENCHES if (loaded := _load(results, name)) is not None]
    if not found:
        return ""
    parts = [_latencies(loaded) for loaded in found]
    parts.append(
        "`@paper`: the densities of the paper's Tables 2 to 5, `@0.10`: every layer at 10 %; faster by: the "
        "peer's time over ours, with its 95 % interval.\n"
    )
    return "\n".join((*parts, _sizes(found[0])))


def _latencies(loaded: Mapping[str, Any]) -> str:
    machine = loaded["machine"]
    header = ("network", "batch", "Secateur, ms", "fastest peer, ms", "faster by", "other peers, ms")
    failed = disagreeing(loaded)
    vectors = "AVX-512" if "avx512f" in machine["instruction_sets"] else "AVX2"
    how = f"{vectors}, {machine['threads']} threads, float32, medians of interleaved runs"
    return (
        _table(header, latency_rows(loaded))
        + f"\n{machine['cpu']}, {how}, {machine['created'][:10]}."
        + (f" No time, since the results were wrong or none came: {'; '.join(failed)}." if failed else "")
        + "\n"
    )


def _sizes(loaded: Mapping[str, Any]) -> str:
    sizes = (
        "network",
        "file",
        "ONNX file",
        "memory, running",
        "ONNX Runtime's",
        "ms to load",
        "ONNX Runtime's",
    )
    return _table(sizes, size_rows(loaded))


def _recipes(results: Path) -> str:
    rows = []
    for name, other in _RECIPES.items():
        loaded = _load(results, name)
        if loaded is None:
            continue
        summary = loaded["summary"]
        low, high = summary["difference"]["interval"]
        rows.append(
            (
                f"`{name}`",
                f"{summary['compression']['mean']:.1f}x ({summary['compression']['low']:.1f}x at least)",
                f"{summary['dense_error']['mean']:.2f} %",
                f"**{summary['pruned_error']['mean']:.2f} %**",
                f"{summary['difference']['mean']:+.2f} [{low:+.2f}, {high:+.2f}]",
                str(len(summary["seeds"])),
                other,
            )
        )
    if not rows:
        return ""
    header = (
        "recipe",
        "fewer weights",
        "dense error",
        "pruned error",
        "difference, points",
        "seeds",
        "for comparison",
    )
    return (
        _table(header, rows)
        + "\nMNIST, test set, means over seeds; the difference is paired over seeds and test images, with its"
        + " 95 % interval. The far recipes shift training images by up to one pixel, for the dense network "
        + "as well.\n"
    )


def _layers(results: Path) -> str:
    rows = []
    for name in ("lenet-300-100", "lenet-5"):
        loaded = _load(results, name)
        if loaded is None:
            continue
        rows += [
            (
                name,
                layer["name"],
                f"{100 * layer['density']['mean']:.1f}",
                f"{100 * layer['paper_density']:.0f}",
            )
            for layer in loaded["summary"]["layers"]
        ]
    return (
        ""
        if not rows
        else "\nWeights kept by layer, per cent:\n\n" + _table(("recipe", "layer", "here", "paper"), rows)
    )


def _curves(results: Path) -> str:
    parts = []
    for name, title in (("lenet-300-100-curve", "LeNet-300-100"), ("lenet-5-far", "LeNet-5")):
        loaded = _load(results, name)
        if loaded is None:
            continue
        points = loaded["summary"]["curve"]
        header = (title, *(f"{point['compression']['mean']:.0f}x" for point in points))
        row = ("test error, %", *(f"{point['test_error']['mean']:.2f}" for point in points))
        parts.append(_table(header, [row]))
    return (
        ""
        if not parts
        else "\nError against compression (each point is a round, retrained briefly):\n\n" + "\n".join(parts)
    )


def _cifar(results: Path) -> str:
    loaded = _load(results, "cifar-resnet-20")
    if loaded is None:
        return ""
    header = (
        "ResNet-20",
        "weights",
        "epochs",
        "right, %",
        "less the dense, uncut",
        "narrow dense network, right, %",
        "less that",
    )
    summary = loaded["summary"]
    return (
        f"\nCIFAR-10, test set, a schedule shortened to {summary['longer']['epochs']} epochs in all "
        f"(`{loaded['command'].partition(' --json')[0]}`; the recipe has 320), mean and deviation of "
        f"{len(summary['seeds'])} seeds (one seed where no deviation is given), differences in points with "
        "their 95 % interval. So short a schedule does not reach the aim of no loss at 9x. With full ones "
        "91.78 % were published for the dense network, 91.43 at 69 % sparse and 89.4 at 89 %; they want a "
        "GPU, as the CIFAR VGG-16 does, and were not run here.\n\n" + _table(header, accuracy_rows(loaded))
    )


def _comparisons(results: Path) -> str:
    loaded = _load(results, "comparisons")
    if loaded is None:
        return ""
    points = loaded["summary"]
    compressions = sorted({point["compression"] for point in points if point["compression"] > 1})
    rows = []
    for curve in sorted({point["curve"] for point in points}):
        errors = {p["compression"]: f"{p['mean_test_error']:.2f}" for p in points if p["curve"] == curve}
        if set(errors) == {1}:
            continue
        rows.append((curve, *(errors.get(compression, "") for compression in compressions)))
    dense = {p["curve"]: p["mean_test_error"] for p in points if p["compression"] == 1}
    told = ", ".join(f"{curve} {error:.2f} %" for curve, error in dense.items())
    return (
        "\nThe paper's own comparisons on LeNet-300-100, test error in per cent, "
        f"means of {points[0]['seeds']} seeds ({told}):\n\n"
        + _table(("", *(f"{compression}x" for compression in compressions)), rows)
    )


def _overhead(results: Path) -> str:
    loaded = [_load(results, name) or {"rows": []} for name in ("overhead", "run-cost")]
    rows = [
        (
            row["name"],
            f"{row['ratio']:.3f}" if row["ratio"] is not None else f"{row['median_ms'] / 1000:.2f} s",
            f"{row['limit']}" if row["ratio"] is not None else f"{row['limit'] / 1000:.0f} s",
            "yes" if row["within"] else "**no**",
        )
        for each in loaded
        for row in each["rows"]
        if row["limit"] is not None
    ]
    if not rows:
        return ""
    return (
        "\nWhat pruning costs, as ratios to doing without it, measured side by side in one run (memory: "
        "extra over the model's); what rounds (a run's memory: extra over training the dense network alone) "
        "and taking up a run cost, in another:\n\n"
        + _table(("measurement", "measured", "limit we set ourselves", "within"), rows)
    )


if __name__ == "__main__":
    write_readme()
    write_runtime()
