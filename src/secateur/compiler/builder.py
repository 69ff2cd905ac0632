"""The graph while it grows: names are handed out, constants are kept, nodes are appended."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import final

import numpy as np

from secateur.compiler.network import Array, Network
from secateur.compiler.operands import Call, Known, Operand, growing, once
from secateur.errors import UnsupportedModelError
from secateur.format.graph import DataType, Expand, Gather, Graph, Node, Reshape, Shape, Value, reads


@final
class Builder:
    """Collects what the translated nodes add.

    Args:
        reserved: Names that belong to the model's own values.
    """

    def __init__(self, reserved: Iterable[str]) -> None:
        self._names = set(reserved)
        self._node_names: set[str] = set()
        self._values: dict[str, Value] = {}
        self._constants: dict[str, Array] = {}
        self._of_array: dict[int, str] = {}
        self._nodes: list[Node] = []
        self._added: dict[str, int] = {}
        self._reshaped: dict[str, Value] = {}  # indices, by the names of their Reshapes, which nobody writes
        self._unwritten: dict[str, Value] = {}

    def value(self, value: Value) -> None:
        """Take in one of the model's own values."""
        self._values[value.name] = value

    def temporary(self, hint: str, shape: Shape, dtype: DataType = "float32") -> Value:
        """A new value between the nodes that one ONNX node becomes."""
        value = Value(unused(hint, self._names), shape, dtype)
        self._names.add(value.name)
        self._values[value.name] = value
        return value

    def constant(self, array: Array, label: str) -> str:
        """The name under which an array is kept; the same array is kept once."""
        if id(array) in self._of_array:
            return self._of_array[id(array)]
        name = unused(label, self._names)
        self._names.add(name)
        self._constants[name] = array
        self._of_array[id(array)] = name
        return name

    def zeros_added(self, name: str, count: int) -> None:
        """Say that so many zeros of a constant are not the model's own."""
        if count:
            self._added[name] = count

    def shape(self, name: str) -> Shape:
        """The shape of a value or constant."""
        value = self._values.get(name) or self._unwritten.get(name)
        return self._constants[name].shape if value is None else value.shape

    def data_type(self, name: str) -> DataType:
        """The type of a value or constant."""
        value = self._values.get(name) or self._unwritten.get(name)
        return _data_type(self._constants[name]) if value is None else value.dtype

    def scalar(self, number: float, label: str) -> str:
        """A constant of rank 0."""
        return self.constant(np.array(number, np.float32), label)

    def node_name(self, hint: str) -> str:
        """A node's name that no other node has."""
        name = unused(hint, self._node_names)
        self._node_names.add(name)
        return name

    def add(self, node: Node) -> None:
        """Append a node.

        Raises:
            UnsupportedModelError: It reads indices otherwise than to look them up.
        """
        if isinstance(node, Reshape) and self._are_indices(node.source):
            # What is looked up is reshaped instead, see `indices`.
            self._reshaped[node.output] = self.indices(node.source)
            self._unwritten[node.output] = self._values.pop(node.output)
            return
        indices = node.indices if isinstance(node, Gather) else None
        for name in (*reads(node), node.output):
            if name != indices and self._are_indices(name):
                # The core moves numbers of four bytes: what it made of these would be others.
                raise UnsupportedModelError(
                    f"node {node.name!r} moves or computes with {name!r}, which is int64; supported: int64 "
                    "for the indices of a Gather (an embedding) alone. Give the indices in the order in "
                    "which they are to be looked up"
                )
        self._nodes.append(node)

    def _are_indices(self, name: str) -> bool:
        return name in self._reshaped or (name in self._values and self._values[name].dtype == "int64")

    def indices(self, name: str) -> Value:
        """Indices as they are, of which those of this name are a Reshape."""
        return self._reshaped.get(name) or self._values[name]

    def name(self, call: Call, operand: Operand) -> str:
        """The name by which a node reads an operand, a value or a constant."""
        if isinstance(operand, Value):
            return operand.name
        if operand.fixed is not None:
            return self.constant(_usable(call, operand.fixed, operand.label), operand.label)
        return self._expanded(call, operand)

    def _expanded(self, call: Call, operand: Known) -> str:
        # A constant repeated along the batch (a class token, say) is kept once and repeated at run time.
        shape = growing(operand.at, call.probes)
        if shape is None:
            raise call.refused(
                f"a size in {operand.label!r} is no multiple of the batch", "sizes that are fixed or are"
            )
        base = once(operand.at, shape)
        if base is None:
            raise call.refused(
                f"the numbers in {operand.label!r} depend on the batch size",
                "constants, and constants repeated along the batch",
            )
        array = _usable(call, base, operand.label)
        value = self.temporary(operand.label, shape, _data_type(array))
        self.add(Expand(self.node_name(value.name), self.constant(array, f"{operand.label}.one"), value.name))
        return value.name

    def network(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Network:
        """What has been built."""
        graph = Graph(
            inputs, outputs, tuple(self._values.values()), tuple(self._constants), tuple(self._nodes)
        )
        return Network(graph, dict(self._constants), dict(self._added))


def _data_type(array: Array) -> DataType:
    return "int64" if array.dtype == np.int64 else "float32"


def _usable(call: Call, array: Array, label: str) -> Array:
    if array.dtype not in (np.float32, np.int64):
        raise call.refused(
            f"constant {label!r} holds {array.dtype}", "float32, and int64 for indices; convert the model"
        )
    return array


def unused(hint: str, taken: Collection[str]) -> str:
    """A name like a hint that is not taken.

    Example:
        >>> unused("fc", {"fc"})
        'fc.1'
    """
    if hint not in taken:
        return hint
    number = 1
    while f"{hint}.{number}" in taken:
        number += 1
    return f"{hint}.{number}"
