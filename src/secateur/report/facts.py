"""What a page says of a run in words and tables: what was asked, what came out, where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from secateur.report.run import Run
from secateur.report.tables import human_count


@final
@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What is shown.
        value: What it is sorted by; None for text.
    """

    text: str
    value: float | None = None


@final
@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        name: What it is of, for a screen reader.
        columns: Heads; all but the first are numbers.
        rows: Rows.
        total: A last row that is not sorted.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: tuple[Cell, ...] = ()


@final
@dataclass(frozen=True)
class Figure:
    """A number that matters.

    Attributes:
        name: What it is.
        value: The number.
        before: What it was.
        detail: An interval, or how it was measured.
    """

    name: str
    value: str
    before: str = ""
    detail: str = ""


def asked(run: Run) -> Iterator[tuple[str, str]]:
    """What was asked of a run.

    Args:
        run: The run.

    Yields:
        Terms and what they are.
    """
    plan, settings = run.identity["plan"], run.identity.get("settings") or {}
    network = run.identity.get("network") or {}
    yield "Network", str(settings.get("model") or str(network.get("class", "?")).rpartition(".")[2])
    yield "Data", str((run.identity.get("data") or {}).get("source", "?"))
    for term, key in (("Budget", "target"), ("Cut", "cut")):
        if plan.get(key):
            yield term, _words(plan[key])
    if plan.get("rounds"):
        yield "Rounds", str(plan["rounds"])
    for number, turn in enumerate(plan.get("turns") or (), 1):
        yield f"Turn {number}", f"{', '.join(turn['layers'])}: {'; then '.join(map(_phase, turn['retrain']))}"
    for term, key in (("Dense training", "dense"), ("Retraining", "retrain"), ("Last round", "final")):
        if plan.get(key):
            yield term, "; then ".join(_phase(phase) for phase in plan[key])
    if plan.get("dropout"):
        rule = ", by the dropout rule in retraining" if plan.get("dropout_rule") else ""
        yield "Dropout", f"{plan['dropout']:g}{rule}"
    if plan.get("teach"):
        yield "Teacher", f"the dense network, {_words(plan['teach'])}"
    yield "Seed", str(run.identity["seed"])


def in_short(run: Run) -> str:
    """What was asked of a run, in one line.

    Args:
        run: The run.

    Returns:
        Network, data, cut and rounds.
    """
    said = dict(asked(run))
    wanted = said.get("Budget") or said.get("Cut")
    rounds = f" in {said['Rounds']} rounds" if "Rounds" in said else ""
    asked_for = f", pruned by {wanted}{rounds}" if wanted else ""
    return f"{said['Network']} on {said['Data']}{asked_for}."


def came_out(run: Run) -> Iterator[Figure]:
    """The numbers that matter, of a finished run.

    Args:
        run: The run.

    Yields:
        Weights, error and, where there is a compact file, bytes and time.
    """
    if run.record is None:
        return
    weights, error = run.record["weights"], run.record["error"]
    yield Figure(
        "Weights",
        f"{weights['kept']:,}",
        f"{weights['total']:,}",
        f"{run.record['compression']:.1f} times fewer",
    )
    low, high = error["pruned_interval"]
    yield Figure(
        "Test error",
        f"{error['pruned']:.2f} %",
        f"{error['dense']:.2f} %",
        f"95 %: {low:.2f} to {high:.2f} %",
    )
    low, high = error["difference_interval"]
    yield Figure(
        "Difference",
        f"{error['difference']:+.2f} points",
        "",
        f"95 %: {low:+.2f} to {high:+.2f}, paired over {error['test_images']:,} images",
    )
    measured = run.measured
    if measured is None:
        return
    yield Figure(
        "File",
        f"{measured.file_bytes / 1e3:,.1f} kB",
        f"{measured.dense_bytes / 1e3:,.1f} kB",
        f"{measured.dense_bytes / measured.file_bytes:.1f} times smaller",
    )
    dense = measured.dense_microseconds
    faster = "" if dense is None else f"{dense / measured.microseconds:.1f} times faster than PyTorch; "
    yield Figure(
        "One input",
        _milliseconds(measured.microseconds),
        "" if dense is None else _milliseconds(dense),
        f"{faster}80 % take {_milliseconds(measured.low)} to {_milliseconds(measured.high)}; {measured.how}",
    )


def layer_table(record: Mapping[str, Any]) -> Table:
    """The layers, as in the paper's Tables 2 to 5.

    Args:
        record: The content of a ``result.json``.

    Returns:
        The table.
    """
    return Table(
        "Layers",
        ("Layer", "Weights", "Kept", "Weights %", "FLOP", "Act %", "FLOP %"),
        tuple(_layer(row) for row in record["layers"]),
        _layer(record["total"]),
    )


def stage_table(run: Run) -> Table:
    """What every stage that has trained came to.

    Args:
        run: The run, finished or not.

    Returns:
        The table.
    """
    rows = []
    for stage in run.stages:
        lines = [line for line in run.log if line["stage"] == stage]
        last = lines[-1]
        seconds = sum(line["seconds"] for line in lines)
        rows.append(
            (
                Cell(stage),
                Cell(f"{len(lines)}", len(lines)),
                _percent(last["density"], 1),
                Cell(f"{last['validation_error']:.2f}", last["validation_error"]),
                Cell(f"{seconds:,.0f}", seconds),
            )
        )
    return Table("Stages", ("Stage", "Epochs", "Weights %", "Validation error %", "Seconds"), tuple(rows))


def search_table(search: Mapping[str, Any]) -> Table:
    """What a search for a budget tried, in order.

    Args:
        search: ``search`` of a ``result.json``.

    Returns:
        The table; its last columns say by how many points the validation error was over the budget, where
        that is one of error, and whether the network was kept.
    """
    unit = str(search["unit"])
    heads = [unit.capitalize()] if unit == "weights" else [unit.capitalize(), "Weights"]
    columns = ("Network", *heads, "Validation error %", "Over the budget", "Epochs", "Kept")
    rows = []
    for tried in search["attempts"]:
        price, excess = float(tried["price"]), tried["excess"]
        priced = Cell(f"{price:,.3g}" if unit == "milliseconds" else f"{price:,.0f}", price)
        weights = [] if unit == "weights" else [Cell(f"{tried['weights']:,}", tried["weights"])]
        rows.append(
            (
                Cell(tried["name"]),
                priced,
                *weights,
                Cell(f"{tried['validation_error']:.2f}", tried["validation_error"]),
                Cell("-", -100.0) if excess is None else Cell(f"{excess:+.2f}", excess),
                Cell(f"{tried['epochs']}", tried["epochs"]),
                Cell("yes" if tried["kept"] else "no", float(tried["kept"])),
            )
        )
    return Table("What the search tried", columns, tuple(rows))


def no_worse(search: Mapping[str, Any]) -> str:
    """What the test set says of the budget of a search, in a sentence; empty where it says nothing.

    Args:
        search: ``search`` of a ``result.json``.

    Returns:
        The sentence: a budget of size, or one that was missed, has none.
    """
    found = search.get("non_inferiority")
    if not found or not search["met"]:
        return ""
    claim = f"at most {found['margin']:.2f} points worse than the dense network"
    verdict = "is shown" if found["shown"] else "is not shown"
    return (
        f"On the test set, {claim} {verdict}: the upper end of the 95 % interval of the difference is "
        f"{found['bound']:+.2f}."
    )


def dead_neurons(record: Mapping[str, Any]) -> Table:
    """Neurons without inputs or without outputs.

    Args:
        record: The content of a ``result.json``.

    Returns:
        The table.
    """
    rows = tuple(
        (
            Cell(layer),
            Cell(f"{found['total']:,}", found["total"]),
            *(Cell(f"{found[key]:,}", found[key]) for key in ("without_inputs", "without_outputs")),
        )
        for layer, found in record["dead_neurons"].items()
    )
    return Table("Dead neurons", ("Layer", "Neurons", "Without inputs", "Without outputs"), rows)


def provenance(run: Run) -> Iterator[tuple[str, str]]:
    """Where the numbers come from.

    Args:
        run: The run.

    Yields:
        Terms and what they are.
    """
    if run.record is None:
        yield "Torch", str(run.identity.get("torch", "?"))
        yield "Threads", str(run.identity.get("threads", "?"))
        return
    made = run.record["provenance"]
    yield "Made", str(made["created"])
    yield "Commit", str(made["commit"]) or "outside a checkout"
    yield "Configuration", str(made["configuration_hash"])
    yield (
        "Processor",
        f"{made['cpu']}, {made['cores']} cores, {made['threads']} thread(s), {made['platform']}",
    )
    yield "Versions", ", ".join(f"{package} {version}" for package, version in made["versions"].items())


def comparison(runs: Sequence[Run]) -> Table:
    """Several runs side by side, a row each.

    Args:
        runs: Finished or not.

    Returns:
        The table.
    """
    columns = (
        "Run",
        "Weights",
        "Times fewer",
        "Dense error %",
        "Pruned error %",
        "Difference, points",
        "kB",
        "ms",
    )
    return Table("Runs side by side", columns, tuple(_compared(run) for run in runs))


def unfinished(run: Run) -> str:
    """What is there of a run that is not finished; empty for one that is.

    Args:
        run: The run.

    Returns:
        Sentences.
    """
    if run.record is not None:
        return ""
    rounds = run.identity["plan"].get("rounds")
    of = f" of {1 + rounds}" if isinstance(rounds, int) and run.identity["plan"].get("cut") else ""
    begun = (
        f"{len(run.stages)}{of} stages have begun, {len(run.log)} epochs are done"
        if run.log
        else "no epoch is done yet"
    )
    return (
        f"This run is not finished: {begun}. The test set has not been looked at. The same secateur run "
        "command goes on where it stopped."
    )


def _compared(run: Run) -> tuple[Cell, ...]:
    nothing = Cell("-", float("inf"))
    if run.record is None:
        return (Cell(f"{run.name} (not finished)"), *[nothing] * 7)
    error, weights = run.record["error"], run.record["weights"]
    low, high = error["difference_interval"]
    measured = run.measured
    missed = "" if (run.record.get("search") or {}).get("met", True) else " (budget missed)"
    return (
        Cell(f"{run.name}{missed}"),
        Cell(f"{weights['kept']:,}", weights["kept"]),
        Cell(f"{run.record['compression']:.1f}", run.record["compression"]),
        Cell(f"{error['dense']:.2f}", error["dense"]),
        Cell(f"{error['pruned']:.2f}", error["pruned"]),
        Cell(f"{error['difference']:+.2f} [{low:+.2f}, {high:+.2f}]", error["difference"]),
        Cell(f"{measured.file_bytes / 1e3:,.1f}", measured.file_bytes) if measured else nothing,
        Cell(f"{measured.microseconds / 1e3:.3f}", measured.microseconds) if measured else nothing,
    )


def _layer(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    flop = row["flop"]
    return (
        Cell(row["name"]),
        Cell(f"{row['weights']:,}", row["weights"]),
        Cell(f"{row['kept']:,}", row["kept"]),
        _percent(row["kept"] / row["weights"], 1) if row["weights"] else Cell("tied", -1.0),
        Cell("-", -1.0) if flop is None else Cell(human_count(flop), flop),
        _percent(row["activation_density"], 0),
        _percent(row["flop_kept"], 1),
    )


def _percent(fraction: float | None, digits: int) -> Cell:
    return Cell("-", -1.0) if fraction is None else Cell(f"{100 * fraction:.{digits}f}", fraction)


def _milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1e3:.3g} ms"


def _phase(phase: Mapping[str, Any]) -> str:
    optimizer, schedule = phase["optimizer"], phase["schedule"]
    penalties = [f"{name.upper()} {phase[name]:g}" for name in ("l1", "l2") if phase.get(name)]
    only = [f"only {', '.join(phase['only'])}"] if phase.get("only") else []
    rate = f"{optimizer['kind']} at {optimizer['learning_rate']:g}"
    parts = [f"{phase['epochs']} epochs", rate, str(schedule["kind"]), *penalties, *only]
    return ", ".join(parts)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        said = {key.replace("_", " "): each for key, each in value.items() if each not in ({}, None)}
        kind = said.pop("kind", None)  # "quality 1.04" says that it is one
        named = [str(kind)] if kind is not None and kind not in said else []
        return ", ".join([*named, *(f"{key} {_words(each)}" for key, each in said.items())])
    return f"{value:g}" if isinstance(value, float) else str(value)
