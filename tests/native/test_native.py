"""Programs and matrices at the door: what they refuse, and that they may be used from anywhere at once."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from secateur import _native
from tests.native.programs import INPUT, NO_ACTIVATION, NONE, OUTPUT, Floats, integers, normal

RELU = (1, 0.0, 0.0)
LARGE = 300_000  # elements: several items


def large_program() -> _native.Program:
    """Several steps of several items, through the arena."""
    program = _native.Program()
    program.elementwise(INPUT, (1, 0), LARGE, RELU)
    program.binary("add", INPUT, (1, 0), (1, 4 * LARGE), (LARGE,), (LARGE,), (LARGE,), NO_ACTIVATION)
    program.elementwise((1, 4 * LARGE), OUTPUT, LARGE, (14, 0.0, 0.0))
    program.finish(8 * LARGE)
    return program


def expected_of(x: Floats) -> Floats:
    return -(x + np.maximum(x, 0))


def test_the_best_instruction_set_comes_last() -> None:
    assert _native.isas()[0] == "scalar"
    assert _native.isa() in _native.isas()
    assert _native.Program().isa == _native.isa()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("scalar", "scalar"),
        ("", _native.isas()[-1]),
        ("sse9", "SECATEUR_ISA=sse9: expected scalar, avx2 or avx512"),
    ],
)
def test_the_environment_chooses_the_instruction_set(value: str, told: str) -> None:
    script = "from secateur import _native\ntry: print(_native.isa())\nexcept ValueError as e: print(e)"
    found = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script],
        env={**os.environ, "SECATEUR_ISA": value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == told


@pytest.mark.skipif("avx512" in _native.isas(), reason="this processor has them all")
def test_an_instruction_set_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="avx512: this processor has no more than"):
        _native.Program("avx512")


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same(threads: int) -> None:
    program = large_program()
    x = normal((LARGE,))
    y = np.empty_like(x)
    for _ in range(20):
        y.fill(0)
        program.run([x], [y], threads)
        np.testing.assert_array_equal(y, expected_of(x))


def test_calls_at_once_do_not_meet() -> None:
    program = large_program()
    wrong: list[int] = []

    def call(seed: int) -> None:
        x = normal((LARGE,), seed)
        y = np.empty_like(x)
        for _ in range(10):
            program.run([x], [y], 2)
            if not np.array_equal(y, expected_of(x)):
                wrong.append(seed)

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def run_in_child(program: _native.Program, queue: multiprocessing.Queue[bool]) -> None:
    x = normal((LARGE,))
    y = np.empty_like(x)
    program.run([x], [y], 2)
    queue.put(bool(np.array_equal(y, expected_of(x))))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    context = multiprocessing.get_context("fork")
    program = large_program()
    x = normal((LARGE,))
    y = np.empty_like(x)
    program.run([x], [y], 2)
    queue = context.Queue()
    child = context.Process(target=run_in_child, args=(program, queue))
    child.start()
    assert queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    program.run([x], [y], 2)
    np.testing.assert_array_equal(y, expected_of(x))


def test_times_are_told_per_run_and_per_step() -> None:
    program = large_program()
    x = normal((LARGE,))
    y = np.empty_like(x)
    assert program.steps == ["elementwise relu", "binary add", "elementwise negative"]
    whole = program.time([x], [y], 1, 5)
    steps = program.time_steps([x], [y], 1, 5)
    assert len(whole) == 5
    assert [len(times) for times in steps] == [5, 5, 5]
    assert min(whole) > 0
    assert min(map(min, steps)) > 0
    assert program.packed_bytes == 0


def test_arrays_of_a_call_are_checked() -> None:
    program = large_program()
    x, y = normal((LARGE,)), np.empty(LARGE, dtype=np.float32)
    assert program.input_bytes == [4 * LARGE]
    assert program.output_bytes == [4 * LARGE]
    with pytest.raises(ValueError, match=r"inputs: array 0: expected 1200000 bytes, found 1199996"):
        program.run([x[1:]], [y], 1)
    with pytest.raises(ValueError, match=r"outputs: expected 1 arrays, found 0"):
        program.run([x], [], 1)
    with pytest.raises(ValueError, match=r"inputs: expected a C-contiguous array, found ndarray"):
        program.run([np.empty((LARGE, 2), np.float32)[:, 0]], [y], 1)
    y.flags.writeable = False
    with pytest.raises(ValueError, match=r"outputs: expected a C-contiguous writable array"):
        program.run([x], [y], 1)
    with pytest.raises(ValueError, match=r"threads: expected at least 1, found 0"):
        program.run([x], [np.empty_like(x)], 0)
    with pytest.raises(ValueError, match=r"repeats: expected at least 1, found 0"):
        program.time([x], [np.empty_like(x)], 1, 0)


def test_plans_that_leave_their_memory_are_refused() -> None:
    program = _native.Program()
    with pytest.raises(ValueError, match=r"elementwise: arena byte 4: an offset is a multiple of 64"):
        program.elementwise((1, 4), OUTPUT, 1, RELU)
    with pytest.raises(ValueError, match=r"elementwise: input 0: inputs are only read"):
        program.elementwise(INPUT, INPUT, 1, RELU)
    with pytest.raises(ValueError, match=r"elementwise: constant 0: there are 0 constants"):
        program.elementwise((4, 0), OUTPUT, 1, RELU)
    with pytest.raises(ValueError, match=r"elementwise: nothing: there must be something to read"):
        program.elementwise(NONE, OUTPUT, 1, RELU)
    with pytest.raises(ValueError, match=r"space: expected 0 to 4, found 5"):
        program.elementwise((5, 0), OUTPUT, 1, RELU)
    with pytest.raises(ValueError, match=r"activation: expected 0 to 15, found 16"):
        program.elementwise(INPUT, OUTPUT, 1, (16, 0.0, 0.0))
    with pytest.raises(ValueError, match=r"a size is -1, expected 0 or more"):
        program.elementwise(INPUT, OUTPUT, -1, RELU)
    index = program.constant(np.ones(3, dtype=np.float32))
    with pytest.raises(ValueError, match=r"constant 0: the step reads 16 bytes, the constant has 12"):
        program.elementwise((4, index), OUTPUT, 4, RELU)
    program.elementwise(INPUT, (1, 64), 16, RELU)
    with pytest.raises(ValueError, match=r"the arena has 100 bytes, the steps use 128"):
        program.finish(100)
    with pytest.raises(ValueError, match=r"threads: expected at least 1, found 0"):
        program.finish(128, 0)
    with pytest.raises(ValueError, match=r"the program is not finished"):
        program.run([np.ones(16, np.float32)], [], 1)
    program.finish(128)
    with pytest.raises(ValueError, match=r"the program is finished already"):
        program.finish(128)
    with pytest.raises(ValueError, match=r"copy: the program is finished"):
        program.copy(INPUT, OUTPUT, 1)


def test_shapes_that_do_not_fit_are_refused() -> None:
    program = _native.Program()
    with pytest.raises(ValueError, match=r"the shape \(3,\) does not broadcast to \(2, 4\)"):
        program.binary("add", INPUT, (2, 1), OUTPUT, (3,), (2, 4), (2, 4), NO_ACTIVATION)
    with pytest.raises(ValueError, match=r"kind: expected one of add, subtract.*found 'plus'"):
        program.binary("plus", INPUT, (2, 1), OUTPUT, (4,), (4,), (4,), NO_ACTIVATION)
    with pytest.raises(
        ValueError, match=r"slice: dimension 0: 3 elements from 1 in steps of 2 leave a size of 4"
    ):
        program.slice(INPUT, OUTPUT, (4,), (1,), (2,), (3,))
    with pytest.raises(ValueError, match=r"slice: dimension 0: a step is not 0"):
        program.slice(INPUT, OUTPUT, (4,), (1,), (0,), (3,))
    with pytest.raises(ValueError, match=r"transpose: a permutation of 2 dimensions, found \(0, 0\)"):
        program.transpose(INPUT, OUTPUT, (2, 3), (0, 0))
    with pytest.raises(ValueError, match=r"matmul: the shapes \(2, 3\) and \(4, 5\) do not give \(2, 5\)"):
        program.matmul(INPUT, (2, 1), OUTPUT, (2, 3), (4, 5), (2, 5))
    with pytest.raises(ValueError, match=r"reduce: axes of 2 dimensions, each once, found \(2,\)"):
        program.reduce("sum", INPUT, OUTPUT, (2, 3), (2,))
    with pytest.raises(ValueError, match=r"pad: dimension 0: 3 after 1 do not fit in 3"):
        program.pad(INPUT, OUTPUT, (3,), (1,), (3,), "constant", 0.0)
    with pytest.raises(ValueError, match=r"concat: expected a size for each of 1 sources, found 2"):
        program.concat([INPUT], [1, 2], OUTPUT, 1)
    with pytest.raises(ValueError, match=r"pool: a pool's window lies outside its input"):
        program.pool("max", INPUT, OUTPUT, 1, 1, 4, 4, 5, 4, (1, 1), (1, 1), (0, 0), (1, 1), False, (0, 0))
    with pytest.raises(ValueError, match=r"a tensor of more than 2\^48 elements"):
        program.softmax(INPUT, OUTPUT, 2**40, 2**20, 2**20)


def test_the_arrays_of_a_matrix_are_kept() -> None:
    dense = integers((5, 7)) + 10
    matrix = _native.Matrix(0, 0, 5, 7, dense.copy(), None, None)
    np.testing.assert_array_equal(matrix.to_dense(), dense)
    assert (matrix.entries, matrix.nonzeros) == (35, 35)
