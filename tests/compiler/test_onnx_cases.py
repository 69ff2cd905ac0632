"""The operator cases of the onnx package itself. The executor is a parameter: the native runtime takes the
same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from benchmarks.onnx_cases import Case, Executor, Refused, Taken, classify, collect, failure, report

from secateur.compiler.compiling import packed
from secateur.compiler.network import Array, Network
from secateur.compiler.reference import run
from secateur.runtime.program import Program
from tests.compiler.models import model, node


def run_program(network: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
    program = Program(packed(network.graph, network.constants, values="float32", batch=1), threads=1)
    results = program(*(inputs[name] for name in network.graph.inputs))
    found = results if isinstance(results, tuple) else (results,)
    return dict(zip(network.graph.outputs, found, strict=True))


EXECUTORS: dict[str, Executor] = {"reference": run, "program": run_program}


def relu() -> Case:
    x = np.array([-1, 2, 3], np.float32)
    proto = model([node("Relu", ["x"], ["y"])], {"x": (3,)}, ["y"])
    return Case("relu", proto, (((x,), (np.maximum(x, 0),)),), 1e-3, 1e-7)


@pytest.mark.slow
def test_every_case_that_compiles_gives_what_onnx_expects_and_the_others_are_told() -> None:
    outcomes = [classify(case) for case in collect()]
    taken = [outcome for outcome in outcomes if isinstance(outcome, Taken)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert len(taken) > 450
    for name, execute in EXECUTORS.items():
        assert (name, [text for text in (failure(case, execute) for case in taken) if text]) == (name, [])
    # Inputs without numbers in them are wrong rather than unsupported.
    unhelpful = [
        case.reason for case in refused if "supported" not in case.reason and "expected" not in case.reason
    ]
    assert unhelpful == []
    page = report(outcomes, [])
    assert [case.case.name for case in refused if case.case.name not in page] == []


def test_a_wrong_result_is_noticed() -> None:
    taken = classify(relu())
    assert isinstance(taken, Taken)
    right = run(taken.network, taken.inputs)
    assert failure(taken, lambda _network, _inputs: right) is None
    wrong = {name: array + 1 for name, array in right.items()}
    assert "differs by up to 1" in str(failure(taken, lambda _network, _inputs: wrong))
    assert "no output" in str(failure(taken, lambda _network, _inputs: {}))
    flat = {name: array.reshape(-1, 1) for name, array in right.items()}
    assert "expected float32 (3,)" in str(failure(taken, lambda _network, _inputs: flat))


def test_a_failing_executor_fails_its_case() -> None:
    taken = classify(relu())
    assert isinstance(taken, Taken)

    def broken(_network: Network, _inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        raise ValueError("no kernel")

    text = failure(taken, broken)
    assert text == "relu: ValueError: no kernel"
    assert text in report([taken], [text])
