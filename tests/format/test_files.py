from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

from secateur.errors import FormatError, StorageError
from secateur.format.graph import Batch, Graph, Linear, Value
from secateur.format.layouts import Array, LayoutKind, Order, ValueType, arrays
from secateur.format.model import KernelChoice, Model
from secateur.format.packing import pack, unpack_values
from secateur.format.reader import read_model
from secateur.format.values import round_values
from secateur.format.writer import write_model
from tests.format.files import taken_apart, written
from tests.format.samples import (
    LAYOUTS,
    ORDERS,
    VALUE_TYPES,
    matrices,
    same_models,
    same_numbers,
    small_model,
    wide_model,
)


def one_layer(values: Array, layout: LayoutKind | None = None, order: Order = "rows") -> Model:
    out, size = values.shape
    graph = Graph(
        ("x",),
        ("y",),
        (Value("x", (Batch(), size)), Value("y", (Batch(), out))),
        ("w",),
        (Linear("layer", "x", "w", "y"),),
    )
    return Model(graph, {"w": pack(values, layout=layout, order=order)}, {})


@pytest.mark.parametrize("value_type", VALUE_TYPES)
def test_a_model_comes_back_as_it_was(tmp_path: Path, value_type: ValueType) -> None:
    model = small_model(value_type)
    size = write_model(tmp_path / "a.secateur", model)
    assert size == (tmp_path / "a.secateur").stat().st_size
    back = read_model(tmp_path / "a.secateur")
    assert same_models(back, model)
    write_model(tmp_path / "b.secateur", back)
    assert (tmp_path / "b.secateur").read_bytes() == (tmp_path / "a.secateur").read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    matrix=matrices().filter(lambda matrix: matrix.size > 0),
    layout=st.sampled_from(LAYOUTS),
    order=st.sampled_from(ORDERS),
    value_type=st.sampled_from(VALUE_TYPES),
)
def test_every_weight_comes_back_as_it_was(
    tmp_path: Path, matrix: Array, layout: LayoutKind, order: Order, value_type: ValueType
) -> None:
    values = round_values(matrix, value_type).values
    model = one_layer(values, layout, order)
    content = written(model, tmp_path)
    back = read_model(tmp_path / "model.secateur")
    assert same_models(back, model)
    assert same_numbers(unpack_values(back.weights["w"]), values)
    # What is counted is what is in the file: nothing but the header comes on top.
    assert len(taken_apart(content).data) == model.weights["w"].nbytes


def test_equal_models_give_equal_bytes_whatever_the_order_of_their_parts(tmp_path: Path) -> None:
    model = small_model()
    turned = dataclasses.replace(
        model,
        weights=dict(reversed(model.weights.items())),
        tensors=dict(reversed(model.tensors.items())),
        provenance=dict(reversed(model.provenance.items())),
    )
    assert written(turned, tmp_path) == written(model, tmp_path)


@pytest.mark.parametrize("value_type", VALUE_TYPES)
def test_safetensors_reads_it(tmp_path: Path, value_type: ValueType) -> None:
    model = small_model(value_type)
    path = tmp_path / "a.secateur"
    write_model(path, model)
    names = {
        name + suffix for name, weight in model.weights.items() for suffix in arrays(weight.layout)
    } | model.tensors.keys()
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == names
        assert file.metadata().keys() == {"secateur"}
        for name in names:
            file.get_tensor(name)
    if value_type != "bfloat16":  # which NumPy does not have
        loaded = load_file(path)
        np.testing.assert_array_equal(loaded["fc3.weight"], model.weights["fc3.weight"].layout.values)
        np.testing.assert_array_equal(loaded["conv.bias"], model.tensors["conv.bias"])


def test_everything_lies_where_vectors_can_load_it(tmp_path: Path) -> None:
    path = tmp_path / "a.secateur"
    write_model(path, small_model("float16"))
    parts = taken_apart(path.read_bytes())
    assert (path.stat().st_size - len(parts.data)) % 64 == 0
    sizes = {"I64": 8, "F32": 4, "U32": 4, "F16": 2, "U16": 2, "U8": 1}
    for entry in parts.header.values():
        assert entry["data_offsets"][0] % sizes[entry["dtype"]] == 0
    for weight in read_model(path).weights.values():
        for array in arrays(weight.layout).values():
            assert array.ctypes.data % array.dtype.itemsize == 0


def test_arrays_are_views_of_the_map_that_cannot_be_written(tmp_path: Path) -> None:
    write_model(tmp_path / "a.secateur", wide_model())
    model = read_model(tmp_path / "a.secateur")
    for array in (*arrays(model.weights["w"].layout).values(), model.tensors["indices"]):
        assert not array.flags.writeable
        assert not array.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_a_map_outlives_the_replacement_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.secateur"
    write_model(path, small_model())
    old = read_model(path)
    write_model(path, wide_model())
    assert same_models(old, small_model())
    assert same_models(read_model(path), wide_model())


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.secateur"
    write_model(path, small_model())
    before = path.read_bytes()
    broken = dataclasses.replace(small_model(), tensors={})
    with pytest.raises(
        FormatError, match=r"cannot write .*a\.secateur: constant 'conv.bias': expected its tensor"
    ):
        write_model(path, broken)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.secateur"]
    with pytest.raises(StorageError):
        write_model(path / "b.secateur", small_model())


def test_choices_keep_every_digit(tmp_path: Path) -> None:
    choice = KernelChoice("scalar", "CPU", 64, 1, {"layer": "k"}, {"layer": {"k": 0.1 + 0.2, "j": 3}})
    model = dataclasses.replace(one_layer(np.eye(3, dtype=np.float32)), choices=(choice,))
    written(model, tmp_path)
    assert read_model(tmp_path / "model.secateur").choices == (choice,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"provenance": {"score": float("nan")}},
            "the metadata: expected JSON values, found: Out of range float",
        ),
        (
            {"provenance": {"what": object()}},
            "the metadata: expected JSON values, found: Object of type object",
        ),
        ({"provenance": {"what": "\ud800"}}, "the metadata: expected JSON values, found: .*surrogates"),
        (
            {"choices": (KernelChoice("avx2", "CPU", 0, 1, {}),)},
            r"choices\[0\]: expected a batch and threads from 1 on, found 0 and 1",
        ),
        (
            {"choices": (KernelChoice("avx2", "CPU", 1, 1, {}, {"fc": {"k": float("inf")}}),)},
            r"choices\[0\]\.microseconds\['fc'\]\['k'\]: expected a number, found Infinity",
        ),
        (
            {"tensors": {"indices": np.zeros((1, 2), np.int32)}},
            "tensor 'indices': expected F32 or I64, found int32",
        ),
        (
            {"tensors": {"indices": np.zeros(2, np.int64), "w:gaps": np.zeros(2, np.int64)}},
            "tensor 'w:gaps': expected a name that nothing else has",
        ),
    ],
)
def test_a_model_that_breaks_a_rule_is_not_written(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        write_model(tmp_path / "a.secateur", dataclasses.replace(wide_model(), **change))
    assert not os.listdir(tmp_path)


def test_the_deep_check_can_be_done_elsewhere(tmp_path: Path) -> None:
    write_model(tmp_path / "a.secateur", small_model())
    seen = []
    read_model(tmp_path / "a.secateur", validate=lambda name, weight: seen.append((name, weight.kind)))
    assert seen == [
        ("conv.weight", "bitmask"),
        ("fc1.weight", "gap8"),
        ("fc2.weight", "index16"),
        ("fc3.weight", "dense"),
    ]
