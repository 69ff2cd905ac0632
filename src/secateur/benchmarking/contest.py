"""Engines take turns on a work: each is prepared, loaded, checked, and only then timed."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from numpy.typing import NDArray

from secateur.benchmarking.engines import SECATEUR, Engine
from secateur.benchmarking.reference import compare, read_arrays, reference_outputs, write_arrays
from secateur.benchmarking.result import Row
from secateur.benchmarking.statistics import median, ratios
from secateur.benchmarking.worker import EngineAbsentError, EngineFailedError, Worker
from secateur.benchmarking.works import Work
from secateur.errors import ConfigurationError

Report = Callable[[str], None]


@final
@dataclass(frozen=True)
class Turn:
    """One engine's turn in one round.

    Attributes:
        median_ms: Of its inferences.
        least_ms: The fastest of them: what a machine that is busy with other things still lets through.
    """

    median_ms: float
    least_ms: float


# A turn a round; or why there are none.
Samples = list[Turn] | str


@final
@dataclass(frozen=True)
class Timing:
    """How long and how often.

    Attributes:
        rounds: Turns that each engine gets, at least 1.
        burst_seconds: Length of a turn, above 0.
        least: Inferences in a turn, however long they take, at least 1.
        discarded: Inferences before those, not counted: others had the caches meanwhile.
        tolerance: Largest relative error at which outputs agree.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    rounds: int = 15
    burst_seconds: float = 0.1
    least: int = 3
    discarded: int = 1
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if self.rounds < 1 or not self.burst_seconds > 0 or self.least < 1 or not self.tolerance >= 0:
            raise ConfigurationError(
                "a measurement needs rounds >= 1, bursts longer than 0 seconds of at least one inference, "
                f"and a tolerance of at least 0; found {self}"
            )


@final
@dataclass(frozen=True)
class Entrant:
    """An engine that has its work loaded and stands still.

    Attributes:
        row: What is known of it so far.
        worker: Its process.
    """

    row: Row
    worker: Worker


@final
@dataclass(frozen=True)
class Outcome:
    """What came of a contest.

    Attributes:
        rows: One an engine, in the order in which they were given.
        versions: Version by package of the engines that took part.
        reference: Whose outputs the others were compared with.
    """

    rows: list[Row]
    versions: dict[str, str]
    reference: str


def contest(work: Work, engines: Sequence[Engine], threads: int, timing: Timing, report: Report) -> Outcome:
    """Measure engines side by side on a work.

    Args:
        work: What is computed.
        engines: Who takes part.
        threads: Threads that each may use.
        timing: How long.
        report: Told in words what is being done.

    Returns:
        The rows, with ratios to secateur where it took part.

    Raises:
        ConfigurationError: The reference cannot be computed.
    """
    versions: dict[str, str] = {}
    rows: list[Row | Entrant] = []
    what = f"{work.name}, batch {work.batch}, {threads} threads"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secateur-bench-")))
        report(f"{what}: computing the reference")
        origin, reference = reference_outputs(work, folder)
        for engine in engines:
            report(f"{what}: loading {engine.name}")
            entrant = enter(work, engine, threads, folder / engine.name, stack)
            if isinstance(entrant, Entrant):
                versions |= entrant.worker.versions
                entrant = check(entrant, reference, folder / engine.name, timing.tolerance)
            rows.append(entrant)
        entrants = [each for each in rows if isinstance(each, Entrant)]
        samples = dict(
            zip(
                (each.row.engine for each in entrants),
                race([each.worker for each in entrants], timing, lambda words: report(f"{what}: {words}")),
                strict=True,
            )
        )
    base = samples.get(SECATEUR.name)
    finished = [
        timed(each.row, samples[each.row.engine], base) if isinstance(each, Entrant) else each
        for each in rows
    ]
    return Outcome(finished, versions, origin)


def enter(work: Work, engine: Engine, threads: int, folder: Path, stack: ExitStack) -> Entrant | Row:
    """Prepare an engine's file, find its fastest configuration, and load that in a fresh process.

    Args:
        work: What is computed.
        engine: The engine.
        threads: Threads it may use.
        folder: Made for the engine's files.
        stack: Ends its process.

    Returns:
        The loaded engine; a row that says what is in the way if it is absent, cannot read what there is, or
        fails.
    """
    row = Row(work.name, work.batch, threads, engine.name)
    source = work.sources.get(engine.reads)
    if source is None and engine.reads == "secateur":
        source = work.sources.get("onnx")
    if source is None:
        return replace(row, problem=f"it reads {_KINDS[engine.reads]}, and there is none for this work")
    folder.mkdir()
    inputs = write_arrays(folder / "inputs.npz", work.inputs)
    try:
        with Worker(engine, threads) as preparing:
            path = preparing.ask(
                "prepare", source=str(source), folder=str(folder), batch=work.batch, threads=threads
            )["path"]
            configuration = preparing.ask("tune", path=path, inputs=inputs, threads=threads)["configuration"]
        worker = stack.enter_context(Worker(engine, threads))
        loaded = worker.ask("load", path=path, inputs=inputs, configuration=configuration)
    except EngineAbsentError as error:
        return replace(row, absent=True, problem=str(error))
    except EngineFailedError as error:
        return replace(row, problem=str(error))
    return Entrant(
        replace(row, configuration=configuration, file_bytes=_file_bytes(Path(path)), **loaded), worker
    )


_KINDS = {
    "onnx": "ONNX files (--onnx FILE)",
    "torch": "programs of torch.export (--torch FILE.pt2)",
    "secateur": "ONNX or .secateur files",
}


def check(entrant: Entrant, reference: list[NDArray[Any]], folder: Path, tolerance: float) -> Entrant | Row:
    """Compare an engine's outputs with the reference's.

    Args:
        entrant: A loaded engine.
        reference: What its outputs should be.
        folder: For files in passing.
        tolerance: Largest relative error that is agreement.

    Returns:
        The entrant with its agreement; a row with a problem if it disagrees or fails: no time may be quoted.
    """
    outputs = folder / "outputs.npz"
    try:
        entrant.worker.ask("run", outputs=str(outputs))
    except EngineFailedError as error:
        return replace(entrant.row, problem=str(error))
    agreement = compare(read_arrays(outputs), reference, tolerance)
    row = replace(entrant.row, agreement=agreement)
    if agreement.agrees:
        return Entrant(row, entrant.worker)
    how = (
        "its outputs have other shapes or are not finite"
        if agreement.max_relative_error is None
        else f"its outputs are off by {agreement.max_relative_error:.2g} of the largest one"
    )
    return replace(row, problem=f"disagrees: {how}; the tolerance is {tolerance:.2g}, so no time is quoted")


def race(workers: Sequence[Worker], timing: Timing, report: Report) -> list[Samples]:
    """Time loaded engines in turns, the order reversed every round, all others standing still meanwhile.

    Args:
        workers: Who takes part.
        timing: How long.
        report: Told in words what is being done.

    Returns:
        For each its turns, or why there are none.
    """
    samples: list[Samples] = [[] for _ in workers]
    turns = list(range(len(workers)))
    for number in range(timing.rounds):
        for turn in turns if number % 2 == 0 else reversed(turns):
            so_far = samples[turn]
            if isinstance(so_far, str):
                continue
            report(f"round {number + 1} of {timing.rounds}, {workers[turn].engine.name}")
            try:
                answer = workers[turn].ask(
                    "burst", seconds=timing.burst_seconds, least=timing.least, discarded=timing.discarded
                )
            except EngineFailedError as error:
                samples[turn] = str(error)
                continue
            times = answer["nanoseconds"]
            so_far.append(Turn(statistics.median(times) / 1e6, min(times) / 1e6))
    return samples


def timed(row: Row, samples: Samples, base: Samples | None) -> Row:
    """A row with its times, and with its ratio to a base where that has times too.

    Args:
        row: The row.
        samples: Its engine's turns.
        base: The turns of what it is compared with.

    Returns:
        The finished row.
    """
    if isinstance(samples, str):
        return replace(row, problem=samples)
    own = [turn.median_ms for turn in samples]
    ratio = ratios(own, [turn.median_ms for turn in base]) if isinstance(base, list) else None
    return replace(row, latency=median(own), least_ms=min(turn.least_ms for turn in samples), ratio=ratio)


def _file_bytes(path: Path) -> int:
    # OpenVINO's weights lie in a second file beside the first.
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)
