from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import FormatError
from secateur.format.codec import decode, encode
from secateur.format.graph import Activation, Batch, Graph, Node, Pool, Value
from tests.format.samples import small_model


def finite(value: object) -> bool:
    """Whether JSON can hold all numbers of a dataclass, which hypothesis draws without mercy."""
    if isinstance(value, dict):
        return all(finite(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


@given(st.from_type(Graph).filter(lambda graph: finite(asdict(graph))))
def test_every_graph_comes_back(graph: Graph) -> None:
    assert decode(json.loads(json.dumps(encode(graph, Graph))), Graph, "graph") == graph


@pytest.mark.parametrize("kind", get_args(Node), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_kind_of_node_comes_back(kind: type, data: st.DataObject) -> None:
    node = data.draw(st.from_type(kind).filter(lambda node: finite(asdict(node))))
    encoded = encode(node, Node)
    assert encoded["type"] == kind.__name__
    back = decode(json.loads(json.dumps(encoded)), Node, "node")
    assert back == node
    assert type(back) is kind


def test_defaults_are_left_out_and_come_back() -> None:
    assert encode(Activation("relu"), Activation) == {"kind": "relu"}
    assert encode(Activation("clip", beta=6.0), Activation) == {"kind": "clip", "beta": 6.0}
    assert decode({"kind": "clip", "beta": 6}, Activation, "a") == Activation("clip", 0.0, 6.0)
    assert encode(Activation("clip", 0, 6), Activation) == {"kind": "clip", "beta": 6.0}


def test_a_type_is_told_where_several_are_possible() -> None:
    assert encode(Value("x", (Batch(2), 3)), Value)["shape"] == [{"type": "Batch", "multiple": 2}, 3]
    pool = encode(Pool("p", "max", "x", "y", (2,), (2,), (0, 0), (1,)), Node)
    assert pool["type"] == "Pool"
    assert pool["kind"] == "max"
    assert encode(Activation("relu"), Activation | None) == {"kind": "relu"}
    assert encode(None, Activation | None) is None


@dataclass(frozen=True)
class Everything:
    text: str
    integer: int
    number: float
    flag: bool
    choice: Literal["a", "b"]
    many: tuple[int, ...]
    table: Mapping[str, Mapping[str, float]]
    maybe: str | None = None


RIGHT: dict[str, Any] = {
    "text": "t",
    "integer": 1,
    "number": 1.5,
    "flag": True,
    "choice": "a",
    "many": [1, 2],
    "table": {"x": {"y": 2.0}},
}


def test_what_is_right_is_built() -> None:
    assert decode(RIGHT, Everything, "e") == Everything("t", 1, 1.5, True, "a", (1, 2), {"x": {"y": 2.0}})
    assert encode(decode(RIGHT, Everything, "e"), Everything) == RIGHT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": 1}, "e.text: expected a text, found 1"),
        ({"integer": "1"}, 'e.integer: expected an integer, found "1"'),
        ({"integer": True}, "e.integer: expected an integer, found true"),
        ({"integer": 1.0}, "e.integer: expected an integer, found 1.0"),
        ({"number": "1"}, 'e.number: expected a number, found "1"'),
        ({"number": False}, "e.number: expected a number, found false"),
        ({"number": 2**53 + 1}, "e.number: expected a number, found 9007199254740993"),
        ({"flag": 1}, "e.flag: expected true or false, found 1"),
        ({"choice": "c"}, 'e.choice: expected one of a, b, found "c"'),
        ({"choice": ["a"]}, r'e.choice: expected one of a, b, found ["a"]'),
        ({"many": "12"}, 'e.many: expected a list, found "12"'),
        ({"many": [1, None]}, "e.many[1]: expected an integer, found null"),
        ({"table": []}, "e.table: expected an object, found []"),
        ({"table": {"x": {"y": "z"}}}, "e.table['x']['y']: expected a number, found \"z\""),
        ({"maybe": 3}, "e.maybe: expected str or null, found 3"),
        (
            {"more": 3},
            "e: expected the keys text, integer, number, flag, choice, many, table, maybe, found 'more' too",
        ),
    ],
)
def test_what_is_wrong_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError) as found:
        decode(RIGHT | change, Everything, "e")
    assert str(found.value).startswith(message)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(FormatError, match="e: expected the key 'number' of Everything, found none"):
        decode({key: value for key, value in RIGHT.items() if key != "number"}, Everything, "e")
    with pytest.raises(FormatError, match=r"e: expected an object \(Everything\), found null"):
        decode(None, Everything, "e")


def test_unions_are_closed() -> None:
    with pytest.raises(FormatError, match=r"d: expected a type among Batch, found \"Value\""):
        decode({"type": "Value"}, int | Batch, "d")
    with pytest.raises(FormatError, match="d: expected a type among Batch, found null"):
        decode({"multiple": 2}, int | Batch, "d")
    with pytest.raises(FormatError, match="d: expected int or Batch, found true"):
        decode(True, int | Batch, "d")


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(FormatError) as found:
        decode("x" * 10_000, int, "d")
    assert len(str(found.value)) < 130


def test_an_encoded_value_is_checked_too() -> None:
    with pytest.raises(FormatError, match=r"Value\.dtype: expected one of float32, int64, found \"int8\""):
        encode(Value("x", (1,), "int8"), Value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="has no form in JSON"):
        decode({}, set, "d")


def test_a_graph_as_json() -> None:
    graph = encode(small_model().graph, Graph)
    assert graph["inputs"] == ["image"]
    assert graph["nodes"][0] == {
        "type": "Convolution",
        "name": "conv",
        "source": "image",
        "weight": "conv.weight",
        "output": "conv",
        "strides": [1, 1],
        "pads": [1, 1, 1, 1],
        "dilations": [1, 1],
        "bias": "conv.bias",
        "activation": {"kind": "relu"},
    }
