from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from secateur import _native
from secateur.errors import ConfigurationError, FormatError, InputError
from secateur.format.graph import Batch, Graph, Linear, LocalResponseNorm, Reduce, Softmax, Value
from secateur.format.layouts import VALUE_DTYPES, Bitmask, Gap8, Order
from secateur.format.model import KernelChoice, Model
from secateur.format.packing import pack, unpack
from secateur.format.values import round_values
from secateur.format.writer import write_model
from secateur.runtime.kernels import best_isa
from secateur.runtime.load import load
from secateur.runtime.program import Program
from tests.runtime.models import assert_close, small_convolutional, sparse, two_layers


def one_linear(inputs: int, outputs: int) -> Graph:
    values = (Value("x", (Batch(), inputs)), Value("y", (Batch(), outputs)))
    return Graph(("x",), ("y",), values, ("fc.weight",), (Linear("fc", "x", "fc.weight", "y"),))


def inputs(batch: int = 1) -> np.ndarray:
    return sparse((batch, 784), 0.5, 7)


@pytest.mark.parametrize("batch", [1, 2, 7, 8, 33])
@pytest.mark.parametrize("order", ["rows", "columns"])
@pytest.mark.parametrize("density", [0.02, 0.2, 0.9, 1.0])
def test_any_batch_size_density_and_order(batch: int, order: str, density: float) -> None:
    model = two_layers(density, order)  # type: ignore[arg-type]  # a parametrised string
    x = inputs(batch)
    assert_close(model, x, Program(model)(x))


def test_every_kernel_that_can_run_a_layer_agrees() -> None:
    for order in ("rows", "columns"):
        model = two_layers(order=order)  # type: ignore[arg-type]  # a literal tuple
        for batch in (1, 9):
            x = inputs(batch)
            for kernel in Program(model).candidates("fc1", batch):
                program = Program(model, kernels={"fc1": kernel})
                assert_close(model, x, program(x))
                (first, _) = program.kernels(batch)
                assert (first.kernel, first.reason) == (kernel, "asked for")


@pytest.mark.parametrize("order", ["rows", "columns"])
@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize(
    "size", ["small", "large"]
)  # small layers run on positions, large ones on the file's gaps
def test_an_infinite_input_passes_no_pruned_weight_in_a_sparse_kernel(
    order: Order, batch: int, size: str
) -> None:
    weight = np.zeros((600, 700) if size == "small" else (1200, 1400), np.float32)
    # Gaps that a byte cannot say, in lines of either order, beside ones that make gaps worth their bytes.
    weight[::30, ::50] = 1.0
    weight[:: 30 if size == "small" else 2, 300:420:2] = 2.0
    weight[7, 11] = weight[-1, -1] = 3.0
    outputs, inputs = weight.shape
    graph = one_linear(inputs, outputs)
    x = np.random.default_rng(0).integers(-4, 5, (batch, inputs)).astype(np.float32)
    dead = ~weight.any(axis=0)
    for value_type in VALUE_DTYPES:
        packed = pack(round_values(weight, value_type).values, order=order)
        assert isinstance(packed.layout, Gap8)
        assert packed.entries > np.count_nonzero(weight)  # fillers
        assert (packed.entries > 30_000) == (size == "large")
        model = Model(graph, {"fc.weight": packed}, {})
        for kernel in set(Program(model).candidates("fc", batch)) - {
            "dense",
            "panel_batch",
            "panel_batch_256",
            "dense_batch",
        }:
            program = Program(model, kernels={"fc": kernel})
            np.testing.assert_array_equal(program(x), x @ weight.T)
            infinite = np.where(dead, np.float32(np.inf), x)
            infinite[:, 11] = np.inf
            found = program(infinite)
            assert np.isfinite(np.delete(found, 7, axis=1)).all(), (kernel, value_type)
            assert np.isinf(found[:, 7]).all()


@pytest.mark.parametrize("isa", _native.isas())
@pytest.mark.parametrize(
    ("order", "kernel"), [("rows", "bitmask"), ("rows", "outputs"), ("columns", "inputs")]
)
@pytest.mark.parametrize("batch", [1, 7])
def test_an_infinite_input_passes_no_unset_bit(
    isa: str, order: Order, kernel: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECATEUR_ISA", isa)
    weight = np.random.default_rng(0).integers(-3, 4, (90, 75)).astype(np.float32)
    weight[np.random.default_rng(1).random(weight.shape) > 0.6] = 0
    weight[:, 32] = 0
    weight[7, 32] = 3.0
    graph = one_linear(75, 90)
    x = np.random.default_rng(2).integers(-4, 5, (batch, 75)).astype(np.float32)
    for value_type in VALUE_DTYPES:
        packed = pack(round_values(weight, value_type).values, order=order)
        assert isinstance(packed.layout, Bitmask)
        program = Program(Model(graph, {"fc.weight": packed}, {}), kernels={"fc": kernel})
        assert program.isa == isa
        np.testing.assert_array_equal(program(x), x @ weight.T)
        infinite = x.copy()
        infinite[-1, 32] = np.inf
        found = program(infinite)
        np.testing.assert_array_equal(found[:-1], x[:-1] @ weight.T)
        assert np.isfinite(np.delete(found[-1], 7)).all()
        assert found[-1, 7] == np.inf


@pytest.mark.parametrize("isa", sorted({"scalar", best_isa()} - {"avx2"}))
def test_an_infinite_input_reaches_one_output_of_a_strip(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_ISA", isa)
    # It is the first of its strip, which lanes without a weight may pick; one output is connected with it.
    weight = np.random.default_rng(0).integers(-3, 4, (40, 70)).astype(np.float32)
    weight[np.random.default_rng(1).random(weight.shape) > 0.1] = 0
    weight[:, 32] = 0
    weight[7, 32] = 3.0
    graph = one_linear(70, 40)
    x = np.random.default_rng(2).integers(-4, 5, (3, 70)).astype(np.float32)
    for value_type in VALUE_DTYPES:
        packed = pack(round_values(weight, value_type).values)
        program = Program(Model(graph, {"fc.weight": packed}, {}), kernels={"fc": "strips"})
        assert program.isa == isa
        np.testing.assert_array_equal(program(x), x @ weight.T)
        infinite = x.copy()
        infinite[1, 32] = np.inf
        found = program(infinite)
        np.testing.assert_array_equal(np.delete(found, 7, axis=1), np.delete(x @ weight.T, 7, axis=1))
        assert found[1, 7] == np.inf


@pytest.mark.parametrize(
    ("shape", "density", "may"),
    [((300, 784), 0.02, True), ((1200, 1400), 0.1, False), ((1200, 1400), 0.45, True)],
    ids=["small", "large", "large and hardly pruned"],
)
def test_pruned_weights_are_written_out_only_where_that_takes_little_memory(
    shape: tuple[int, int], density: float, may: bool
) -> None:
    weight = sparse(shape, density, 3)
    values = (Value("x", (Batch(), shape[1])), Value("y", (Batch(), shape[0])))
    graph = Graph(("x",), ("y",), values, ("fc.weight",), (Linear("fc", "x", "fc.weight", "y"),))
    packed = pack(weight, order="rows")
    assert packed.kind != "dense"
    model = Model(graph, {"fc.weight": packed}, {})
    program = Program(model)
    assert ("dense" in program.candidates("fc", 1)) == may
    assert "dense" not in program.candidates("fc", 64)  # nor does it read the matrix for each of many rows
    if may:
        x = sparse((3, shape[1]), 0.5, 7)
        found = Program(model, kernels={"fc": "dense"})(x)
        np.testing.assert_allclose(found, x @ weight.T, rtol=1e-4, atol=1e-3)


def test_it_says_what_it_takes_and_gives() -> None:
    values = (Value("x", (Batch(), 7)), Value("y", (Batch(), 5)))
    graph = Graph(("x",), ("y",), values, ("fc.weight",), (Linear("fc", "x", "fc.weight", "y"),))
    program = Program(Model(graph, {"fc.weight": pack(sparse((5, 7), 0.5, 3))}, {}))
    assert repr(program) == f"Program(x (batch, 7) -> y (batch, 5); 1 packed weights, {program.isa})"


def test_sixteen_batch_sizes_are_kept_those_used_last() -> None:
    model = two_layers()
    program = Program(model)
    first, second = program.bind(1), program.bind(2)
    for batch in range(3, 17):
        program.bind(batch)
    assert program.bind(1) is first
    program.bind(17)
    assert program.bind(1) is first
    assert program.bind(2) is not second
    for batch in (*range(18, 40), 2):
        x = inputs(batch)
        assert_close(model, x, program(x))
        assert_close(model, x, program(x))  # the short way for what is known


def test_results_do_not_depend_on_threads() -> None:
    program = Program(small_convolutional())
    x = sparse((5, 1, 12, 12), 0.8)
    one = program(x, threads=1)
    for threads in (2, 3, 8):
        assert (program(x, threads=threads) == one).all()


def test_tensors_in_tensors_out() -> None:
    model = two_layers()
    x = inputs(3)
    result = Program(model)(torch.from_numpy(x))
    assert isinstance(result, torch.Tensor)
    assert_close(model, x, result.numpy())


def test_an_empty_batch_is_an_empty_result() -> None:
    assert Program(two_layers())(inputs(0)).shape == (0, 10)


def test_what_is_computed_over_the_whole_batch_refuses_an_empty_one() -> None:
    graph = Graph(
        inputs=("x",),
        outputs=("y",),
        values=(Value("x", (Batch(), 5)), Value("y", (5,))),
        constants=(),
        nodes=(Reduce("mean", "mean", "x", "y", (0,)),),
    )
    program = Program(Model(graph, {}, {}))
    assert (program(np.ones((3, 5), np.float32)) == 1).all()
    with pytest.raises(InputError, match="an empty batch: an output is over the whole batch"):
        program(np.zeros((0, 5), np.float32))


def test_calls_from_several_threads_at_once() -> None:
    model = two_layers()
    program = Program(model)
    xs = [inputs(batch) for batch in (1, 2, 3, 4, 5, 6)] * 10
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda x: program(x, threads=2), xs))
    for x, result in zip(xs, results, strict=True):
        assert_close(model, x, result)


def test_an_array_like_one_before_is_checked_all_the_same() -> None:
    program = Program(two_layers())
    x = inputs(2)
    first = program(x)
    assert (program(x) == first).all()
    assert (program(np.asfortranarray(x)) == first).all()
    with pytest.raises(InputError, match="expected float32, found float64"):
        program(x.astype(np.float64))
    with pytest.raises(InputError, match=r"expected shape \(batch, 784\), found \(2, 783\)"):
        program(x[:, 1:])
    with pytest.raises(InputError, match="expected a NumPy array or a torch tensor, found NoneType"):
        program(None)
    with pytest.raises(ConfigurationError, match="threads must be at least 1, found 0"):
        program(x, threads=0)
    with pytest.raises(ConfigurationError, match="threads must be at most 2147483647, found 2147483648"):
        program(x, threads=2**31)
    with pytest.raises(ConfigurationError, match=r"threads must be a whole number, found 1\.5"):
        program(x, threads=1.5)  # type: ignore[arg-type]  # what is tested


def test_a_batch_size_and_kernels_of_the_wrong_kind() -> None:
    with pytest.raises(ConfigurationError, match=r"batch must be a whole number, found 1\.5"):
        Program(two_layers()).kernels(1.5)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ConfigurationError, match=r"expected a name by layer, as .* found \['fc1'\]"):
        Program(two_layers(), kernels=["fc1"])  # type: ignore[arg-type]  # what is tested


def test_a_kernel_that_cannot_run_the_layer() -> None:
    program = Program(two_layers(), kernels={"fc1": "winograd"})
    with pytest.raises(ConfigurationError, match="fc1: kernel 'winograd' was asked for; those that can run"):
        program(inputs())


def test_a_layer_that_is_not_there_and_an_empty_batch_are_refused() -> None:
    unknown = "there is no convolution or linear layer 'fc9'; there are fc1, fc2"
    with pytest.raises(ConfigurationError, match=unknown):
        Program(two_layers(), kernels={"fc9": "outputs"})
    program = Program(two_layers())
    with pytest.raises(ConfigurationError, match=unknown):
        program.candidates("fc9")
    with pytest.raises(ConfigurationError, match="batch must be at least 1, found 0"):
        program.kernels(0)


def test_copies_and_pickles_run_and_give_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "small.secateur"
    Program(two_layers(order="rows")).save(path)
    program = load(path, threads=1, kernels={"fc1": "outputs"})
    for again in (copy.deepcopy(program), pickle.loads(pickle.dumps(program))):  # noqa: S301  # our own
        assert again.threads == 1
        assert again.kernels()[0].reason == "asked for"
        assert (again(inputs()) == program(inputs())).all()


def test_a_measured_choice_is_taken_and_says_why() -> None:
    choice = KernelChoice(
        best_isa(), "a processor", 1, 2, {"fc1": "outputs"}, {"fc1": {"outputs": 0.25, "dense": 712.4}}
    )
    program = Program(two_layers(order="rows", choices=(choice,)))
    first, second = program.kernels(1)
    assert first.kernel == "outputs"
    assert first.reason == "fastest measured on a processor, in us: outputs 0.25, dense 712"
    assert second.reason == "by rule of thumb, not measured"
    assert program.kernels(2)[0].reason.startswith("fastest measured at batch 1 on a processor")
    assert program.measured_microseconds("fc1", "outputs") == 0.25
    assert program.measured_microseconds("fc1", "outputs", 2) is None


def test_a_choice_of_another_instruction_set_does_not_count() -> None:
    choice = KernelChoice("riscv", "another", 1, 2, {"fc1": "outputs"})
    assert Program(two_layers(order="rows", choices=(choice,))).kernels()[0].reason.startswith("by rule")


def test_a_saved_program_loads_and_gives_the_same_bits(tmp_path: Path) -> None:
    program = Program(small_convolutional())
    path = tmp_path / "small.secateur"
    program.save(path)
    x = sparse((3, 1, 12, 12), 0.8)
    assert (load(path)(x) == program(x)).all()


def test_damage_is_found_at_the_door(tmp_path: Path) -> None:
    path = tmp_path / "small.secateur"
    model = two_layers()
    weight = pack(unpack(model.weights["fc1.weight"]), order="columns", layout="gap8")
    model = replace(model, weights={**model.weights, "fc1.weight": weight})
    layout = weight.layout
    assert isinstance(layout, Gap8)
    Program(model).save(path)
    content = bytearray(path.read_bytes())
    gaps = layout.gaps.tobytes()
    content[content.index(gaps) : content.index(gaps) + 8] = b"\xfe" * 8
    path.write_bytes(content)
    with pytest.raises(FormatError, match=rf"^{re.escape(str(path))}: weight 'fc1.weight': "):
        load(path)


def test_half_the_bytes() -> None:
    model = two_layers()
    halves = {
        name: pack(unpack(weight).astype(np.float16), order=weight.order)
        for name, weight in model.weights.items()
    }
    rounded = replace(model, weights=halves)
    x = inputs(4)
    assert_close(rounded, x, Program(rounded)(x))


def test_the_runtime_needs_numpy_alone(tmp_path: Path) -> None:
    path = tmp_path / "small.secateur"
    Program(two_layers()).save(path)
    script = f"""
import sys
for name in ("torch", "onnx", "scipy", "pydantic", "rich", "yaml", "accelerate", "safetensors", "ml_dtypes"):
    sys.modules[name] = None
import numpy, secateur
print(secateur.load({str(path)!r})(numpy.ones((2, 784), numpy.float32)).shape)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)  # noqa: S603  # own script
    assert done.stdout.strip() == "(2, 10)"


def test_an_instruction_set_that_is_not_there() -> None:
    script = (
        "from tests.runtime.models import two_layers; from secateur.runtime.program import Program; "
        "Program(two_layers())"
    )
    done = subprocess.run(  # noqa: S603  # own script
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env={"SECATEUR_ISA": "sse9", "PATH": ""},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 1
    assert "ConfigurationError" in done.stderr
    assert "SECATEUR_ISA" in done.stderr


def test_the_density_of_what_is_not_there_is_refused() -> None:
    program = Program(two_layers())
    with pytest.raises(ConfigurationError, match="weight 'nope' is not in this program; expected one of "):
        program.density("nope")


@pytest.mark.parametrize("batch", [2**31, 10**20])
def test_a_batch_beyond_all_sizes(batch: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"batch must be at most 2147483647, found {batch}"):
        Program(two_layers()).bind(batch)


def test_a_batch_that_the_core_cannot_take(tmp_path: Path) -> None:
    values = (Value("x", (Batch(), 1 << 20)), Value("y", (Batch(), 1 << 20)))
    graph = Graph(("x",), ("y",), values, (), (Softmax("softmax", "x", "y", 1),))
    program = Program(Model(graph, {}, {}))
    with pytest.raises(ConfigurationError, match=r"cannot be run at batch 2147483647: .*a smaller batch"):
        program.bind(2**31 - 1)
    program.save(tmp_path / "a.secateur")
    with pytest.raises(ConfigurationError, match="cannot be run at batch 2147483647"):
        load(tmp_path / "a.secateur", batch=2**31 - 1)


def test_what_only_the_core_refuses_names_the_file(tmp_path: Path) -> None:
    graph = Graph(
        inputs=("x",),
        outputs=("y",),
        values=(Value("x", (Batch(), 1, 4, 4)), Value("y", (Batch(), 1, 4, 4))),
        constants=(),
        nodes=(LocalResponseNorm("norm", "x", "y", size=65537, alpha=1e-4, beta=0.75, k=1.0),),
    )
    path = tmp_path / "a.secateur"
    write_model(path, Model(graph, {}, {}))
    with pytest.raises(FormatError, match=r"a\.secateur: the network cannot be run: .* a local response is"):
        load(path)
