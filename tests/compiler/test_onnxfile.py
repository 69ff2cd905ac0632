from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from secateur.compiler.onnxfile import read_model
from secateur.compiler.reading import load_network
from secateur.compiler.reference import run
from secateur.errors import ConfigurationError, DataError, UnsupportedModelError
from tests.compiler.models import model, node, whole


def linear() -> onnx.ModelProto:
    return model(
        [node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        {"x": ("N", 4)},
        ["y"],
        {"w": whole((300, 4), 1), "b": whole((300,), 2)},
    )


def refusal(proto: onnx.ModelProto | Path) -> str:
    with pytest.raises((DataError, UnsupportedModelError)) as caught:
        load_network(proto)
    return str(caught.value)


def test_a_file_and_an_object_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "linear.onnx"
    onnx.save(linear(), path)
    x = {"x": whole((2, 4), 3)}
    expected = run(load_network(linear()), x)["y"]
    np.testing.assert_array_equal(run(load_network(path), x)["y"], expected)
    np.testing.assert_array_equal(run(load_network(str(path)), x)["y"], expected)


def test_reading_changes_no_object() -> None:
    proto = linear()
    before = proto.SerializeToString()
    load_network(proto)
    assert proto.SerializeToString() == before


def test_weights_beside_the_model(tmp_path: Path) -> None:
    path = tmp_path / "linear.onnx"
    onnx.save(linear(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size >= 300 * 4 * 4
    x = {"x": whole((2, 4), 3)}
    np.testing.assert_array_equal(run(load_network(path), x)["y"], run(load_network(linear()), x)["y"])

    (tmp_path / "weights.bin").write_bytes(b"short")
    assert refusal(path) == (
        f"{tmp_path / 'weights.bin'}: truncated: 'w' needs bytes 0 to 4800, but the file has 5; copy or "
        "export it "
        "again"
    )
    (tmp_path / "weights.bin").unlink()
    assert refusal(path) == (
        f"{path}: the numbers of 'w' lie in 'weights.bin', which is not beside the model; copy that file too"
    )


def test_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.onnx") == f"{tmp_path / 'no.onnx'}: no such file; expected an ONNX model"
    assert refusal(tmp_path) == f"{tmp_path}: a directory; expected an ONNX model"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not at all", b"\x00" * 64])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    assert f"{path}: not an ONNX model" in refusal(path)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "short.onnx"
    whole_file = linear().SerializeToString()
    for length in (1, 40, len(whole_file) // 2, len(whole_file) - 1):
        path.write_bytes(whole_file[:length])
        assert str(path) in refusal(path)


def test_nodes_that_feed_themselves() -> None:
    proto = model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"])], {"x": (2,)}, ["b"])
    message = refusal(proto)
    assert "the ONNX model: its nodes form a cycle: " in message
    assert "'a_node'" in message
    assert "'b_node'" in message
    assert message.endswith("a network must not feed itself")


def test_nodes_in_another_order() -> None:
    proto = model([node("Relu", ["a"], ["y"]), node("Neg", ["x"], ["a"])], {"x": (4,)}, ["y"])
    x = whole((4,), 1)
    np.testing.assert_array_equal(run(load_network(proto), {"x": x})["y"], np.maximum(-x, 0))


def test_a_value_that_nobody_makes() -> None:
    proto = model([node("Relu", ["a"], ["y"])], {"x": (4,)}, ["y"])
    assert "the ONNX model: not a valid ONNX model: " in refusal(proto)


def test_an_operator_that_does_not_exist() -> None:
    proto = model([node("Frobnicate", ["x"], ["y"])], {"x": (4,)}, ["y"])
    assert "No Op registered for Frobnicate" in refusal(proto)


@pytest.mark.parametrize(("opset", "supported"), [(6, False), (7, True), (20, True), (99, False)])
def test_operator_sets(opset: int, supported: bool) -> None:
    proto = model([node("Relu", ["x"], ["y"])], {"x": (4,)}, ["y"], opset=opset)
    if supported:
        read_model(proto)
    else:
        assert refusal(proto) == (
            f"the ONNX model: it uses ONNX operator set {opset}; supported are 7 to 28; convert it with "
            "onnx.version_converter or export it with another opset_version"
        )


def test_an_initialiser_with_too_few_bytes() -> None:
    proto = linear()
    proto.graph.initializer[0].raw_data = b"\x00" * 16
    assert "initialiser 'w': its bytes do not fit its shape (300, 4)" in refusal(proto)


@pytest.mark.parametrize("flat", [True, False])
def test_sparse_initialisers(flat: bool) -> None:
    dense = np.zeros((5, 4), np.float32)
    dense[1, 2], dense[3, 0], dense[4, 3] = 2, -3, 5
    places = np.flatnonzero(dense) if flat else np.argwhere(dense)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(dense[dense != 0], "w"),
        numpy_helper.from_array(places.astype(np.int64), "places"),
        [5, 4],
    )
    proto = model([node("Gemm", ["x", "w"], ["y"], transB=1)], {"x": ("N", 4)}, ["y"])
    proto.graph.sparse_initializer.append(sparse)
    x = whole((2, 4), 1)
    np.testing.assert_array_equal(run(load_network(proto), {"x": x})["y"], x @ dense.T)


def test_functions_of_the_models_own_are_inlined() -> None:
    square = helper.make_function(
        "mine",
        "Square",
        ["a"],
        ["b"],
        [helper.make_node("Mul", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 20)],
    )
    proto = model([helper.make_node("Square", ["x"], ["y"], domain="mine")], {"x": ("N", 4)}, ["y"])
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    proto.functions.append(square)
    x = whole((2, 4), 1)
    np.testing.assert_array_equal(run(load_network(proto), {"x": x})["y"], x * x)


def other_domain() -> onnx.ModelProto:
    proto = model(
        [helper.make_node("Gelu", ["x"], ["y"], name="g", domain="com.microsoft")], {"x": (4,)}, ["y"]
    )
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto


REFUSED: dict[str, tuple[onnx.ModelProto, str]] = {
    "operator": (
        model([node("Sin", ["x"], ["y"])], {"x": ("N", 4)}, ["y"]),
        "node 'y_node': operator 'Sin' is not supported; supported: Abs, Add, AveragePool, ",
    ),
    "domain": (
        other_domain(),
        "node 'g': operator 'Gelu' of domain 'com.microsoft'; supported: operators of ONNX itself",
    ),
    "weight": (
        model([node("Conv", ["x", "w"], ["y"])], {"x": ("N", 1, 4), "w": (2, 1, 3)}, ["y"]),
        "node 'y_node' (Conv): its weight ('w') is computed while the network runs; supported: a constant "
        "weight",
    ),
    "kernel": (
        model(
            [node("Conv", ["x", "w"], ["y"])], {"x": (1, 1, 4, 4, 4)}, ["y"], {"w": whole((1, 1, 2, 2, 2))}
        ),
        "node 'y_node' (Conv): its kernel has 3 dimensions; supported: one and two dimensions",
    ),
    "second output": (
        model([node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2])], {"x": ("N", 1, 4)}, ["y", "i"]),
        "node 'y_node' (MaxPool): more than its first output is used; supported: the first output alone",
    ),
    "training": (
        model(
            [node("Dropout", ["x", "r", "t"], ["y"])],
            {"x": ("N", 4)},
            ["y"],
            {"r": np.float32(0.5), "t": np.array(True)},
        ),
        "node 'y_node' (Dropout): it is in training mode; supported: inference; export the model in "
        "evaluation mode",
    ),
    "pad mode": (
        model(
            [node("Pad", ["x", "p"], ["y"], mode="wrap")],
            {"x": ("N", 4)},
            ["y"],
            {"p": np.array([0, 1, 0, 1], np.int64)},
        ),
        "node 'y_node' (Pad): mode is 'wrap'; supported: constant, reflect and edge",
    ),
    "random": (
        model([node("RandomNormalLike", ["x"], ["y"])], {"x": ("N", 4)}, ["y"]),
        "node 'y_node' (RandomNormalLike): it draws random numbers; supported: networks that give the same "
        "for the "
        "same input",
    ),
    "type of an output": (
        model([node("Equal", ["x", "x"], ["m"]), node("Cast", ["m"], ["y"], to=1)], {"x": ("N", 4)}, ["y"]),
        "node 'm_node': operator 'Equal' is not supported",
    ),
    "open dimension": (
        model([node("Relu", ["x"], ["y"])], {"x": ("N", 3, "height")}, ["y"]),
        "input 'x': dimension 2 (height) is open; supported: an open first dimension (the batch) alone; "
        "fix the "
        "others with onnx.tools.update_model_dims or when exporting",
    ),
    "two batches": (
        model([node("Add", ["a", "b"], ["y"])], {"a": ("N", 3), "b": ("M", 3)}, ["y"]),
        "the first dimensions of the inputs have different names: 'N' (input 'a'), 'M' (input 'b'); "
        "supported: one "
        "batch for all inputs; give them one name",
    ),
    "empty": (
        model([node("Relu", ["x"], ["y"])], {"x": (0, 3)}, ["y"]),
        "input 'x': dimension 0 is 0; expected at least 1, or a name",
    ),
    "negative": (
        model([node("Relu", ["x"], ["y"])], {"x": (3, -3)}, ["y"]),
        "input 'x': dimension 1 is -3; expected at least 1, or a name",
    ),
    "batch in a constant": (
        model(
            [node("Reshape", ["x", "s"], ["y"])], {"x": ("N", 6)}, ["y"], {"s": np.array([1, 6], np.int64)}
        ),
        "node 'y_node' (Reshape): (2, 6) does not fit into (1, 6) at batch size 2; supported: shapes that "
        "hold as many "
        "numbers at every batch size (export the model with a dynamic batch), or inputs of a fixed size",
    ),
    "part of the batch": (
        model(
            [node("Slice", ["x", "a", "b"], ["y"])],
            {"x": ("N", 6)},
            ["y"],
            {"a": np.array([1], np.int64), "b": np.array([99], np.int64)},
        ),
        "node 'y_node' (Slice): a dimension of its output 'y' is 0, 1, 6, 98, 98 at the batch sizes 1, 2, 7, "
        "1009, 16777213; supported: dimensions that are fixed or a multiple of the batch",
    ),
    "index": (
        model(
            [node("Gather", ["x", "i"], ["y"], axis=1)],
            {"x": ("N", 6)},
            ["y"],
            {"i": np.array([6], np.int64)},
        ),
        "node 'y_node' (Gather): an index is outside of -6 to 5; supported: indices into its input",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_refused_by_name(name: str) -> None:
    proto, expected = REFUSED[name]
    assert expected in refusal(proto)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(TensorProto.DOUBLE, "double"), (TensorProto.FLOAT16, "float16"), (TensorProto.INT32, "int32")],
)
def test_other_types_are_refused(kind: int, name: str) -> None:
    proto = model([node("Relu", ["x"], ["y"])], {"x": ("N", 4)}, ["y"], opset=14)
    proto.graph.input[0].type.tensor_type.elem_type = kind
    assert refusal(proto) == f"input 'x' is of type {name}; supported: float32, and int64 for indices"


def test_an_input_without_a_shape() -> None:
    proto = model([node("Relu", ["x"], ["y"])], {"x": (4,)}, ["y"])
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises((DataError, UnsupportedModelError), match="shape"):
        load_network(proto)


def test_graphs_inside_of_nodes_are_refused() -> None:
    def branch(name: str) -> Any:
        made = helper.make_tensor_value_info(name, TensorProto.FLOAT, [4])
        return helper.make_graph([helper.make_node("Neg", ["x"], [name])], name, [], [made])

    proto = model(
        [node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e"))],
        {"x": (4,)},
        ["y"],
        {"c": np.array(True)},
    )
    assert refusal(proto) == (
        "node 'y_node' (If): it holds graphs of its own; supported: networks without branches and loops; "
        "export the "
        "model with the branch decided"
    )


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize("text", ["abc", "-4", "1.5"])
def test_an_external_place_that_is_no_number_is_refused(tmp_path: Path, key: str, text: str) -> None:
    proto = _beside(location="weights.bin", **{key: text})
    (tmp_path / "weights.bin").write_bytes(bytes(4800))
    path = tmp_path / "linear.onnx"
    path.write_bytes(proto.SerializeToString())
    assert refusal(path) == (
        f"{path}: external data of 'w': expected a number of bytes as {key}, found {text!r}; export the "
        "model again"
    )


def test_an_object_without_its_numbers_is_refused() -> None:
    assert refusal(_beside(location="weights.bin")) == (
        "the ONNX model: the numbers of w lie in another file, not loaded; give the model's path, or load it "
        "with onnx.load(path)"
    )


def _beside(**where: str) -> onnx.ModelProto:
    proto = linear()
    weight = proto.graph.initializer[0]
    assert weight.name == "w"
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in where.items():
        weight.external_data.add(key=key, value=value)
    return proto


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (None, "NoneType"),
        (3, "int"),
        (b"onnx", "bytes: read a model's bytes with onnx.load_model_from_string"),
        ({"w": 1}, "dict: a state_dict holds numbers alone; load it into its module and give that"),
    ],
)
def test_what_is_no_model_is_refused(source: Any, found: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_network(source)
    assert str(caught.value) == (
        "expected a torch module, the path of an ONNX file or an onnx.ModelProto to compile, found " + found
    )


def test_a_weight_of_another_type_than_the_input_is_refused() -> None:
    proto = model([node("MatMul", ["x", "w"], ["y"])], {"x": ("N", 4)}, ["y"], {"w": np.ones((4, 3))})
    message = refusal(proto)
    assert "its inputs (x float, w double) are of types that do not go together" in message
    assert "export the model in float32" in message
