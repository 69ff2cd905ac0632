"""The operator cases of the onnx package's own backend test suite: which the compiler takes, and why not.

``python -m benchmarks.onnx_cases`` compiles every case, runs those that are taken, and writes what it
found to docs/onnx-coverage.md.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from secateur.compiler.network import Array, Network
from secateur.compiler.reading import load_network
from secateur.compiler.reference import run
from secateur.errors import SecateurError

Executor = Callable[[Network, Mapping[str, Array]], Mapping[str, Array]]

_REPORT = Path(__file__).parent.parent / "docs" / "onnx-coverage.md"


@final
@dataclass(frozen=True)
class Case:
    """A model of one operator with inputs and the outputs that ONNX expects.

    Attributes:
        name: Of the case, ``test_relu``.
        model: The model; its weights, axes and sizes are inputs like any other.
        data: Pairs of inputs and expected outputs.
        rtol: Relative tolerance, as ONNX gives it.
        atol: Absolute tolerance, as ONNX gives it.
    """

    name: str
    model: onnx.ModelProto
    data: tuple[tuple[Sequence[Any], Sequence[Any]], ...]
    rtol: float
    atol: float


@final
@dataclass(frozen=True)
class Taken:
    """A case that compiles.

    Attributes:
        case: The case.
        network: What it became.
        inputs: Input name -> array; those that had to be constants are in the network.
        expected: Output name -> array.
    """

    case: Case
    network: Network
    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]


@final
@dataclass(frozen=True)
class Refused:
    """A case that does not compile.

    Attributes:
        case: The case.
        reason: The compiler's own words.
    """

    case: Case
    reason: str


def collect() -> tuple[Case, ...]:
    """Every operator case of the installed onnx package.

    Returns:
        In the package's order; the numbers in them are drawn anew in every process.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    return tuple(
        Case(case.name, case.model, tuple(case.data_sets), case.rtol, case.atol)
        for case in cases
        if case.kind == "node" and case.model is not None and case.data_sets
    )


def classify(case: Case) -> Taken | Refused:
    """Compile a case, with as few of its inputs made constants as the compiler lets pass.

    A case gives its weights, axes and shapes as inputs; networks have them as constants. First nothing is
    made constant, then what is not float32, then all inputs but the first.

    Args:
        case: The case.

    Returns:
        The network and its inputs, or why there is none.
    """
    given, expected = case.data[0]
    names = [entry.name for entry in case.model.graph.input]
    arrays = {
        name: np.asarray(array)
        for name, array in zip(names, given, strict=False)
        if isinstance(array, np.ndarray | np.generic)
    }
    reason = ""
    for constant in _bindings(names, arrays):
        try:
            network = load_network(_bound(case.model, {name: arrays[name] for name in constant}))
        except SecateurError as error:
            reason = str(error)
            continue
        return Taken(
            case,
            network,
            {name: np.asarray(arrays[name]) for name in network.graph.inputs},
            {entry.name: array for entry, array in zip(case.model.graph.output, expected, strict=True)},
        )
    return Refused(case, reason)


def _bindings(names: Sequence[str], arrays: Mapping[str, Array]) -> Iterator[tuple[str, ...]]:
    there = [name for name in names if name in arrays]
    sizes = tuple(name for name in there if arrays[name].dtype != np.float32)
    attempts = [(), sizes, tuple(there[1:])]
    # A network with no input at all is arithmetic that any folding gets right.
    yield from (attempt for attempt in dict.fromkeys(attempts) if len(attempt) < len(there) or not there)


def _bound(model: onnx.ModelProto, constants: Mapping[str, Array]) -> onnx.ModelProto:
    if not constants:
        return model
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    kept = [entry for entry in model.graph.input if entry.name not in constants]
    del bound.graph.input[:]
    bound.graph.input.extend(kept)
    bound.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()
    )
    return bound


def failure(taken: Taken, execute: Executor) -> str | None:
    """Run a case and compare.

    Args:
        taken: A case that compiled.
        execute: Computes a network.

    Returns:
        What is wrong, or None.
    """
    try:
        results = execute(taken.network, taken.inputs)
    except Exception as error:  # noqa: BLE001  # whatever an executor raises is this case's failure
        return f"{taken.case.name}: {type(error).__name__}: {error}"
    for name, expected in taken.expected.items():
        if name not in results:
            return f"{taken.case.name}: no output {name!r}"
        found = results[name]
        if found.shape != expected.shape or found.dtype != expected.dtype:
            wanted = f"expected {expected.dtype} {expected.shape}"
            return f"{taken.case.name}: {name!r} is {found.dtype} {found.shape}; {wanted}"
        if not np.allclose(found, expected, rtol=taken.case.rtol, atol=taken.case.atol, equal_nan=True):
            worst = np.nanmax(np.abs(found.astype(np.float64) - expected))
            return f"{taken.case.name}: {name!r} differs by up to {worst:.3g}"
    return None


def report(outcomes: Sequence[Taken | Refused], failures: Sequence[str]) -> str:
    """The page about all cases.

    Args:
        outcomes: One for each case.
        failures: What ``failure`` found.

    Returns:
        Markdown.
    """
    taken = [outcome for outcome in outcomes if isinstance(outcome, Taken)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    operators = Counter(_operators(outcome.case) for outcome in taken)
    reasons: dict[str, list[str]] = {}
    for outcome in refused:
        reasons.setdefault(outcome.reason.split("; supported")[0], []).append(outcome.case.name)
    lines = [
        "# Coverage of ONNX",
        "",
        "Written by `python -m benchmarks.onnx_cases`; do not edit.",
        "",
        f"The operator cases of the backend test suite of onnx {onnx.__version__}: {len(outcomes)} in all. "
        f"{len(taken)} compile, and {len(taken) - len(failures)} of those give what ONNX expects. "
        f"{len(refused)} are refused.",
        "",
        "## Taken",
        "",
        "| operators of the case | cases |",
        "|---|---:|",
        *(f"| {name} | {count} |" for name, count in sorted(operators.items())),
        "",
        "## Failing",
        "",
        *(f"- {text}" for text in failures or ("none",)),
        "",
        "## Refused, in the compiler's own words",
        "",
        *(f"- {reason}: {', '.join(names)}" for reason, names in sorted(reasons.items())),
        "",
    ]
    return "\n".join(lines)


def _operators(case: Case) -> str:
    return ", ".join(sorted({node.op_type for node in case.model.graph.node}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page.

    Args:
        arguments: Of the command line.

    Returns:
        0 where every case that compiles gives what ONNX expects.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=_REPORT)
    options = parser.parse_args(arguments)
    logging.getLogger("onnx").setLevel(logging.ERROR)
    outcomes = [classify(case) for case in collect()]
    taken = [outcome for outcome in outcomes if isinstance(outcome, Taken)]
    failures = [text for text in (failure(outcome, run) for outcome in taken) if text]
    options.output.write_text(report(outcomes, failures))
    print(f"{len(outcomes)} cases, {len(taken)} compile, {len(failures)} of those fail")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
