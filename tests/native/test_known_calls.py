"""Calls like one before: what is taken for one, and that nothing else is."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from secateur import _native
from tests.native.programs import INPUT, NO_ACTIVATION, OUTPUT

ALL = 3 * 4
RELU = (1, 0.0, 0.0)


def rectifier(count: int = ALL) -> _native.Program:
    program = _native.Program()
    program.elementwise(INPUT, OUTPUT, count, RELU)
    program.finish(0)
    return program


def known(shape: tuple[int, ...] = (3, 4), result: tuple[int, ...] = (4, 3)) -> _native.KnownCalls:
    calls = _native.KnownCalls()
    calls.add(rectifier(), shape, result)
    return calls


X = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)


def test_an_array_of_a_known_shape_is_run() -> None:
    found = known().run(X, 2)
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.maximum(X, 0).reshape(4, 3))
    found[:] = -1  # the caller's own: the next call has another
    np.testing.assert_array_equal(known().run(X, 1), np.maximum(X, 0).reshape(4, 3))


@pytest.mark.parametrize(
    "other",
    [
        X.reshape(4, 3),
        X.ravel(),
        X.astype(np.float64),
        X.astype(np.int32),
        X.astype(">f4"),
        np.asfortranarray(X),
        np.zeros((3, 8), np.float32)[:, ::2],
        np.frombuffer(bytes(4 * ALL + 1), np.uint8)[1:].view(np.float32).reshape(3, 4),
        X.view(np.matrix),
        X.tolist(),
        None,
    ],
    ids=lambda other: f"{type(other).__name__}",
)
def test_anything_else_is_not(other: object) -> None:
    assert known().run(other, 1) is None


def test_every_shape_has_its_own_and_the_last_one_counts() -> None:
    calls = known()
    calls.add(rectifier(), (2, 6), (12,))
    calls.add(rectifier(), (3, 4), (2, 6))
    assert [
        None if found is None else found.shape for found in (calls.run(X, 1), calls.run(X.reshape(2, 6), 1))
    ] == [
        (2, 6),
        (12,),
    ]
    calls.clear()
    assert calls.run(X, 1) is None


@pytest.mark.parametrize(("shape", "result"), [((3, 3), (4, 3)), ((3, 4), (11,)), ((0, 4), (4, 3))])
def test_an_array_that_is_too_small_for_its_program_is_refused(
    shape: tuple[int, ...], result: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="the shapes of the program's one input and one output"):
        known(shape, result)


def test_a_program_of_two_inputs_is_refused() -> None:
    program = _native.Program()
    program.binary("add", INPUT, (2, 1), OUTPUT, (ALL,), (ALL,), (ALL,), NO_ACTIVATION)
    program.finish(0)
    with pytest.raises(ValueError, match="one input"):
        _native.KnownCalls().add(program, (ALL,), (ALL,))


def test_threads_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="threads"):
        known().run(X, 0)


def test_a_program_lives_as_long_as_its_calls() -> None:
    calls = known()
    gc.collect()
    np.testing.assert_array_equal(calls.run(X, 1), np.maximum(X, 0).reshape(4, 3))


def test_calls_that_are_cleared_while_others_run() -> None:
    large = np.ones((1 << 16,), np.float32)
    calls = _native.KnownCalls()
    stop = threading.Event()
    wrong: list[object] = []

    def run() -> None:
        while not stop.is_set():
            found = calls.run(large, 1)
            if found is not None and not (found == 1).all():
                wrong.append(found)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        calls.add(rectifier(large.size), large.shape, large.shape)
        calls.clear()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
