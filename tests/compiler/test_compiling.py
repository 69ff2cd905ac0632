from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import secateur as sc
from secateur.compiler import tuning
from secateur.compiler.compiling import examples_at, packed
from secateur.compiler.reading import load_network, onnx_of_module
from secateur.compiler.remembering import default_cache, read_times, write_times
from secateur.compiler.turns import Timed
from secateur.errors import ConfigurationError, InputError, StorageError, UnsupportedModelError
from secateur.format.graph import Batch, Graph, Value
from secateur.format.reader import read_model


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.classify = nn.Sequential(
            nn.Flatten(), nn.Linear(128, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 5)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.classify(self.features(images))
        return result


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    module = Small()
    module.features[1].running_mean.normal_()
    module.features[1].running_var.uniform_(0.5, 2)
    pruner = sc.Pruner(module)
    pruner.prune(sc.Density(0.2))
    pruner.finalize()
    return module.eval()


@pytest.fixture(scope="module")
def exported(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Exporting takes seconds, compiling what was exported milliseconds.
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    onnx.save(onnx_of_module(network, [torch.ones(1, 1, 8, 8)]), path)
    return path


def wanted(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = network.double()(images.double())
        network.float()
    return result


def agrees(found: torch.Tensor, expected: torch.Tensor) -> bool:
    # Five layers of at most 128 products, numbers around one.
    return bool(torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-5))


def test_measured_kernels_compute_what_the_module_does(
    network: nn.Module, exported: Path, tmp_path: Path
) -> None:
    program = sc.compile(exported, batch=(1, 16), cache=tmp_path / "kernels.json")
    for batch in (1, 3, 16):
        images = torch.randn(batch, 1, 8, 8)
        assert agrees(program(images), wanted(network, images))
    for batch in (1, 16):
        for layer in program.kernels(batch):
            assert layer.reason.startswith("fastest measured on ")
    assert [choice.batch for choice in program.model.choices] == [1, 16]


def test_batch_normalisation_is_folded_and_activations_are_fused(exported: Path) -> None:
    program = sc.compile(exported, measure=False)
    assert [type(node).__name__ for node in program.graph.nodes] == [
        "Convolution",
        "Pool",
        "Reshape",
        "Linear",
        "Linear",
    ]


def test_what_was_measured_is_remembered(exported: Path, tmp_path: Path) -> None:
    cache = tmp_path / "kernels.json"
    first = sc.compile(exported, threads=1, cache=cache)
    content = json.loads(cache.read_text())
    times = content["microseconds"]
    for layer in times.values():
        for kernel in layer:
            layer[kernel] = 5.0 if kernel == max(layer) else 9.0
    cache.write_text(json.dumps(content))
    second = sc.compile(exported, threads=1, cache=cache)
    assert {layer.layer for layer in first.kernels()} == {layer.layer for layer in second.kernels()}
    assert json.loads(cache.read_text()) == content  # nothing was measured again
    for layer in second.kernels():
        assert second.measured_microseconds(layer.layer, layer.kernel) == 5.0


@pytest.mark.parametrize(
    "content", ["", "[]", '{"version": 1, "microseconds": {}}', '{"version": 2, "microseconds": {"a": {}}}']
)
def test_a_damaged_cache_is_measured_again(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kernels.json"
    path.write_text(content)
    assert read_times(path) == {}
    write_times(path, {"layer": {"kernel": 1.5}})
    assert read_times(path) == {"layer": {"kernel": 1.5}}


def test_a_cache_folder_that_cannot_be_written_costs_time_alone(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    example = torch.ones(1, 1, 8, 8, requires_grad=True)
    assert sc.compile(exported, example, threads=1).kernels()
    with pytest.raises(StorageError):
        sc.compile(exported, threads=1, cache=tmp_path / "file" / "kernels.json")


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert read_times(default_cache()) == {}
    with pytest.raises(StorageError):
        write_times(default_cache(), {})


def test_without_measuring_two_compilations_give_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        sc.compile(exported, measure=False).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_onnx_file_and_the_module_come_to_the_same(network: nn.Module, exported: Path) -> None:
    images = torch.randn(4, 1, 8, 8)
    one = sc.compile(exported, measure=False)(images)
    other = sc.compile(network, images, measure=False)(images)
    assert torch.equal(one, other)


@pytest.mark.parametrize(("values", "relative"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_rounded_values(network: nn.Module, exported: Path, values: str, relative: float) -> None:
    images = torch.randn(2, 1, 8, 8)
    program = sc.compile(exported, images, measure=False, values=values)  # type: ignore[arg-type]
    expected = wanted(network, images)
    worst = (program(images).double() - expected).abs().max() / expected.abs().max()
    assert 0 < worst < 20 * relative


def test_what_a_caller_may_get_wrong(network: nn.Module, exported: Path) -> None:
    with pytest.raises(ConfigurationError, match="a torch module is compiled from an example of its input"):
        sc.compile(network)
    with pytest.raises(ConfigurationError, match="batch must be at least 1, or several such sizes; found 0"):
        sc.compile(exported, batch=0)
    for batch in (1.5, "1", ()):
        with pytest.raises(
            ConfigurationError, match="batch must be at least 1, or several such sizes; found"
        ):
            sc.compile(exported, batch=batch)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(
        ConfigurationError, match="values must be one of float32, float16, bfloat16; found 'f16'"
    ):
        sc.compile(exported, values="f16")  # type: ignore[arg-type]  # likewise
    with pytest.raises(ConfigurationError, match="threads must be at least 1, found 0"):
        sc.compile(exported, threads=0, measure=False)
    name = sc.compile(exported, measure=False).kernels()[0].layer
    with pytest.raises(ConfigurationError, match=f"{name}: kernel 'fast' was asked for; those that can run"):
        sc.compile(exported, measure=False, kernels={name: "fast"})
    with pytest.raises(UnsupportedModelError, match="Cos"):
        sc.compile(Cosine(), torch.ones(1, 1, 8, 8), measure=False)


def test_a_weight_that_another_node_reads_too_is_kept_for_both(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((11, 6)).astype(np.float32)
    table[table < 0.5] = 0
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["found"]),
        helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["found", "turned"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tied",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(table, "table")],
    )
    program = sc.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), measure=False)
    program.save(tmp_path / "tied.secateur")
    tokens = np.arange(8).reshape(2, 4)
    found = sc.load(tmp_path / "tied.secateur")(tokens)
    np.testing.assert_allclose(found, table[tokens] @ table.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("weight", "bias", "weight_now", "bias_now"),
    [
        ("w", "w:values", "w", "w.values"),
        ("w", "w:mask", "w", "w.mask"),
        ("w", "__metadata__", "w", "metadata"),
        ("__metadata__", "b", "metadata", "b"),
        ("__metadata__", "metadata:mask", "metadata", "metadata.mask"),
        ("w", "w:other", "w", "w:other"),
    ],
)
@pytest.mark.parametrize("density", [0.2, 1.0])
def test_names_that_the_file_has_for_other_things_are_changed(
    weight: str, bias: str, weight_now: str, bias_now: str, density: float, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    matrix = draw.standard_normal((6, 32)).astype(np.float32) * (draw.random((6, 32)) < density)
    numbers = draw.standard_normal(6).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", weight, bias], ["y"], transB=1)],
        "named",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(matrix, weight), numpy_helper.from_array(numbers, bias)],
    )
    program = sc.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), measure=False)
    program.save(tmp_path / "named.secateur")
    x = draw.standard_normal((3, 32)).astype(np.float32)
    found = sc.load(tmp_path / "named.secateur")
    np.testing.assert_allclose(found(x), x @ matrix.T + numbers, rtol=1e-5, atol=1e-5)
    model = read_model(tmp_path / "named.secateur")
    assert set(model.weights) == {weight_now}
    assert set(model.tensors) == {bias_now}


class Cosine(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cos(images)


def test_packing_and_examples(exported: Path) -> None:
    found = load_network(exported)
    model = packed(found.graph, found.constants, values="float32", batch=1)
    assert {weight.order for weight in model.weights.values() if len(weight.shape) == 2} == {"columns"}
    assert {
        weight.order
        for weight in packed(found.graph, found.constants, values="float32", batch=8).weights.values()
    } == {"rows"}
    (drawn,) = examples_at(model.graph, None, 3)
    assert drawn.shape == (3, 1, 8, 8)
    given = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    (repeated,) = examples_at(model.graph, [given], 2)
    assert (repeated == given).all()
    (instead,) = examples_at(model.graph, [np.zeros((1, 1, 8, 8), np.float32)], 3)
    assert (instead == drawn).all()  # a shape and no data
    (cut,) = examples_at(model.graph, [np.concatenate([np.zeros_like(given), given])], 1)
    assert (cut == drawn[:1]).all()  # what is left of it is a shape


def test_a_mask_of_ones_beside_data_is_data() -> None:
    values = (Value("x", (Batch(), 4)), Value("mask", (Batch(), 4)), Value("y", (Batch(), 4)))
    graph = Graph(("x", "mask"), ("y",), values, (), ())
    x, mask = np.arange(4, dtype=np.float32)[None], np.ones((1, 4), np.float32)
    images, ones = examples_at(graph, [x, mask], 2)
    assert (images == x).all()
    assert (ones == 1).all()
    images, ones = examples_at(graph, [mask, mask], 2)
    assert len(np.unique(images)) == len(np.unique(ones)) == 8


def test_times_are_remembered_for_inputs_as_sparse_and_for_no_others(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer, cache = nn.Linear(64, 64), tmp_path / "kernels.json"
    images = torch.randn(1, 64)
    for share, known in ((0.1, 3), (0.12, 3), (0.5, 6)):  # each cold, warm and in bytes
        sc.compile(layer, images * (torch.arange(64) < share * 64), cache=cache)
        assert len(read_times(cache)) == known


def test_compiling_onnx_needs_no_torch(exported: Path) -> None:
    script = f"""
import sys
sys.modules["torch"] = None
import numpy, secateur
print(secateur.compile({str(exported)!r}, measure=False)(numpy.ones((2, 1, 8, 8), numpy.float32)).shape)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)  # noqa: S603  # own script
    assert done.stdout.strip() == "(2, 5)"


def test_without_onnx_the_missing_extra_is_named(exported: Path) -> None:
    script = f"""
import sys
sys.modules["onnx"] = None
import secateur
secateur.compile({str(exported)!r})
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)  # noqa: S603  # own script
    said = "MissingExtraError: compiling needs 'onnx', which is not installed: pip install "
    assert f'{said}"secateur[compile]"' in done.stderr


def test_networks_of_scalars_run() -> None:
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ())
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ())
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "scalars", [x], [y])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    found = sc.compile(proto, measure=False)(np.array(-3.0, np.float32))
    assert found.shape == ()
    assert found == 0


@pytest.mark.parametrize("measure", [False, True])
@pytest.mark.parametrize("kernel", ["inputs", "outputs"])
def test_a_kernel_that_was_asked_for_runs_and_is_saved(
    exported: Path, tmp_path: Path, kernel: str, measure: bool
) -> None:
    layer = sc.compile(exported, measure=False).kernels()[1].layer
    cache = tmp_path / "kernels.json"
    program = sc.compile(exported, measure=measure, kernels={layer: kernel}, cache=cache)
    assert {each.layer: each.kernel for each in program.kernels()}[layer] == kernel
    program.save(tmp_path / "a.secateur")
    loaded = sc.load(tmp_path / "a.secateur")
    assert {each.layer: each.kernel for each in loaded.kernels()}[layer] == kernel


def test_both_orders_of_a_weight_take_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int] = []

    def counted(contenders: Mapping[Any, Any]) -> dict[Any, Timed]:
        asked.append(len({key for key, _ in contenders}))
        return dict.fromkeys(contenders, Timed(1.0, 1.0))

    monkeypatch.setattr(tuning, "in_turns", counted)
    layer = nn.Linear(64, 64)
    nn.init.sparse_(layer.weight, 0.9)
    sc.compile(layer, torch.ones(1, 64), cache=tmp_path / "kernels.json")
    assert asked == [2]


def test_kernels_that_are_new_are_measured(exported: Path, tmp_path: Path) -> None:
    cache = tmp_path / "kernels.json"
    sc.compile(exported, threads=1, cache=cache)
    content = json.loads(cache.read_text())
    for times in content["microseconds"].values():
        times.popitem()
        times["gone"] = 0.001
    cache.write_text(json.dumps(content))
    program = sc.compile(exported, threads=1, cache=cache)
    assert "gone" not in {layer.kernel for layer in program.kernels()}
    assert "gone" not in cache.read_text()


@pytest.mark.parametrize(
    ("layer", "example", "cold", "warm"),
    [
        # 2.4 MB of filters or 1: the larger ones win where they are not read from memory, and only there.
        (
            nn.Conv2d(128, 128, 3, padding=1),
            torch.ones(1, 128, 6, 6),
            {"winograd4": 100.0, "winograd": 100.5},
            {"winograd4": 100.0, "winograd": 100.5},
        ),
        # Two orders of a weight.
        (
            nn.Linear(512, 256),
            torch.ones(1, 512),
            {"outputs": 1.0, "inputs": 2.0},
            {"outputs": 2.0, "inputs": 1.0},
        ),
    ],
    ids=["filters", "orders"],
)
def test_what_a_cache_may_keep_is_decided_by_the_whole_network(
    layer: nn.Module, example: torch.Tensor, cold: dict[str, float], warm: dict[str, float], tmp_path: Path
) -> None:
    cache = tmp_path / "kernels.json"
    if isinstance(layer, nn.Linear):
        nn.init.sparse_(layer.weight, 0.9)

    reasons: dict[str, str] = {}

    def compiled() -> str:
        (only,) = sc.compile(layer, example, threads=1, cache=cache).kernels()
        reasons[only.kernel] = only.reason
        return only.kernel

    compiled()
    known = {
        key: {kernel: (warm if key.startswith("warm ") else cold).get(kernel, 900.0) for kernel in times}
        for key, times in read_times(cache).items()
        if not key.startswith("network ")
    }
    write_times(cache, known)
    chosen = compiled()
    (network,) = read_times(cache).keys() - known.keys()
    both = read_times(cache)[network]
    assert chosen in cold
    assert len(both) == 2
    fastest = min(both, key=both.__getitem__)
    (other,) = both.keys() - {fastest}  # the slowest may be the same: of two equal times
    expected = {**known, network: {**both, other: 0.001}}
    write_times(cache, expected)
    assert {chosen, compiled()} == cold.keys()
    assert read_times(cache) == expected  # nothing was measured again
    # The times that decided are told: those where the kernel is the fastest, but for the reading of filters.
    for kernel, reason in reasons.items():
        counted = kernel == "winograd"
        assert reason.startswith("fastest, memory counted, as measured" if counted else "fastest measured")
        assert counted or re.search(rf"in us: {kernel} [\d.]+,", reason)


@pytest.mark.parametrize(("kept", "transformed"), [(0.01, False), (1.0, True)])
def test_in_a_pruned_network_dense_layers_keep_to_the_limit_as_well(
    kept: float, transformed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Filters of 9 MB, of a convolution with 60 % of its weights; 4 MB go for nothing.
    network = nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.Flatten(), nn.Linear(256 * 4, 2048))
    nn.init.sparse_(network[2].weight, 1 - kept)
    with torch.no_grad():
        network[0].weight *= torch.rand(256, 256, 3, 3) < 0.6

    def said(contenders: Mapping[Any, Any]) -> dict[Any, Timed]:
        return {each: Timed(1.0, 1.0) if "winograd4" in each else Timed(900.0, 900.0) for each in contenders}

    monkeypatch.setattr(tuning, "in_turns", said)
    program = sc.compile(network, torch.ones(1, 256, 2, 2), threads=1, cache=tmp_path / "kernels.json")
    assert (program.kernels()[0].kernel == "winograd4") == transformed


def test_what_every_cache_keeps_is_never_cold(tmp_path: Path) -> None:
    cache = tmp_path / "kernels.json"
    layer, example = nn.Conv2d(16, 16, 3, padding=1), torch.ones(1, 16, 12, 12)
    sc.compile(layer, example, threads=1, cache=cache)
    warm = {"winograd4": 100.0, "winograd": 100.5}
    known = {
        key: {kernel: warm.get(kernel, 900.0) if key.startswith("warm ") else 1.0 for kernel in times}
        for key, times in read_times(cache).items()
    }
    write_times(cache, known)
    (only,) = sc.compile(layer, example, threads=1, cache=cache).kernels()
    assert only.kernel == "winograd4"
    assert read_times(cache) == known  # the network as a whole was not asked


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.ones(1, 1, 8, 9), "which differs in dimension 3"),
        ((torch.ones(1, 1, 8, 8), torch.ones(1)), "expected 1 inputs"),
        ("digits", "expected a NumPy array or a torch tensor, found str"),
        (np.ones((1, 1, 8, 8)), "expected float32, found float64"),
    ],
    ids=["shape", "number", "kind", "type"],
)
def test_an_example_that_does_not_fit(exported: Path, example: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sc.compile(exported, example, measure=False)


def test_examples_by_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="found a dict by name; give a tuple of its values"):
        sc.compile(torch.nn.Linear(4, 3), {"input": torch.ones(1, 4)})


def test_a_log_softmax_is_finite_where_the_softmax_is_zero() -> None:
    network = torch.nn.LogSoftmax(dim=1)
    x = torch.tensor([[0.0, -500.0, 3.0] * 7, [1e4, -1e4, 0.0] * 7])
    program = sc.compile(network, x, measure=False)
    torch.testing.assert_close(program(x), network(x), rtol=1e-6, atol=1e-6)
    assert torch.isfinite(program(x)).all()


class WithConstants(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("levels", torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        levels = self.get_buffer("levels")
        return self.linear(x), levels, levels * 2, self.linear.weight


def test_outputs_may_be_constants(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = WithConstants().eval()
    program = sc.compile(model, torch.randn(2, 3), measure=False)
    program.save(tmp_path / "constants.secateur")
    x = torch.randn(4, 3)
    with torch.no_grad():
        expected = model(x)
    for each in (program, sc.load(tmp_path / "constants.secateur")):
        for found, wanted_here in zip(each(x), expected, strict=True):
            torch.testing.assert_close(found, wanted_here, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        nn.Conv2d(1, 2, 3, padding=4),
        nn.Conv2d(1, 2, 3, padding=(1, 9), stride=2),
        nn.Sequential(nn.ZeroPad2d(3), nn.Conv2d(1, 2, 3, padding=1)),
    ],
    ids=["all around", "one dimension", "an operator of its own"],
)
def test_whole_windows_may_lie_in_the_padding(model: nn.Module) -> None:
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        expected = model.eval()(x)
    torch.testing.assert_close(sc.compile(model, x, measure=False)(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("given", [[1.0, 2.0, 3.0], [[1.0, 2.0, 3.0]], (torch.zeros(1, 3), 4)])
def test_examples_that_are_no_tensors_are_refused_in_words(given: object) -> None:
    with pytest.raises(InputError, match="expected a NumPy array or a torch tensor for each of the network"):
        sc.compile(nn.Linear(3, 2), given)
