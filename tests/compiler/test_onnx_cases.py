"""The operator cases of the onnx package itself. The executor is a parameter: the native runtime takes the
same."""

from __future__ import annotations

from functools import cache

import pytest
from benchmarks.onnx_cases import Executor, Refused, Taken, classify, collect, failure, report

from secateur.compiler.reference import run

EXECUTORS: dict[str, Executor] = {"reference": run}


@cache
def outcomes() -> tuple[Taken | Refused, ...]:
    return tuple(classify(case) for case in collect())


@pytest.mark.slow
@pytest.mark.parametrize("name", EXECUTORS)
def test_every_case_that_compiles_gives_what_onnx_expects(name: str) -> None:
    taken = [outcome for outcome in outcomes() if isinstance(outcome, Taken)]
    assert len(taken) > 450
    assert [text for text in (failure(outcome, EXECUTORS[name]) for outcome in taken) if text] == []


@pytest.mark.slow
def test_every_refusal_names_what_is_supported() -> None:
    refused = [outcome for outcome in outcomes() if isinstance(outcome, Refused)]
    # Inputs without numbers in them are wrong rather than unsupported.
    unhelpful = [
        outcome.reason
        for outcome in refused
        if "supported" not in outcome.reason and "expected" not in outcome.reason
    ]
    assert unhelpful == []


@pytest.mark.slow
def test_the_page_has_every_case() -> None:
    page = report(outcomes(), [])
    refused = [outcome.case.name for outcome in outcomes() if isinstance(outcome, Refused)]
    assert [name for name in refused if name not in page] == []


@pytest.mark.slow
def test_a_wrong_result_is_noticed() -> None:
    taken = next(
        outcome for outcome in outcomes() if isinstance(outcome, Taken) and outcome.case.name == "test_relu"
    )
    right = run(taken.network, taken.inputs)
    assert failure(taken, lambda _network, _inputs: right) is None
    wrong = {name: array + 1 for name, array in right.items()}
    assert "differs by up to 1" in str(failure(taken, lambda _network, _inputs: wrong))
    assert "no output" in str(failure(taken, lambda _network, _inputs: {}))
    flat = {name: array.reshape(-1) for name, array in right.items()}
    assert "expected float32 (3, 4, 5)" in str(failure(taken, lambda _network, _inputs: flat))
