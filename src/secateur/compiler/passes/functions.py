"""Functions that exporters write as several nodes become the one function that they are."""

from __future__ import annotations

import math
from typing import final

from secateur.compiler.network import Network
from secateur.compiler.passes.rewriting import Wiring, rebuilt
from secateur.format.graph import Activation, Binary, Elementwise, Node

# Constants in a model are float32, some of them rounded by hand ("1.4142").
_CLOSE = 1e-4


def fuse_functions(network: Network) -> Network:
    """Put GELU, Swish, HardSwish and HardSigmoid together again.

    A product is taken apart into its factors, however it is nested, so that ``0.5 x (1 + erf(x / 1.414))``
    is found in every order.

    Args:
        network: Any network; nodes that are no longer read stay for a later pass.

    Returns:
        The same function, up to rounding.
    """
    nodes = list(network.graph.nodes)
    for index, node in enumerate(nodes):
        if isinstance(node, Binary) and node.kind in ("multiply", "divide") and node.activation is None:
            found = _function(_Products(Wiring(rebuilt(network, nodes))), node)
            if found is not None:
                source, activation = found
                nodes[index] = Elementwise(node.name, source, node.output, activation)
    return rebuilt(network, nodes)


@final
class _Products:
    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring

    def factors(self, name: str, depth: int = 4) -> tuple[float, tuple[str, ...]]:
        """A number, and the values that it is multiplied with."""
        number = self.wiring.scalar(name)
        if number is not None:
            return number, ()
        node = self.wiring.maker.get(name)
        if not isinstance(node, Binary) or node.activation is not None or depth == 0:
            return 1.0, (name,)
        divisor = self.wiring.scalar(node.right)
        if node.kind == "divide" and divisor:
            scale, names = self.factors(node.left, depth - 1)
            return scale / divisor, names
        if node.kind == "multiply" and node.left != node.right:
            scale, names = self.factors(node.left, depth - 1)
            other, more = self.factors(node.right, depth - 1)
            return scale * other, (*names, *more)
        return 1.0, (name,)

    def elementwise(self, name: str) -> tuple[str, Activation] | None:
        """What a function of one number is taken of, and which."""
        node = self.wiring.maker.get(name)
        return (node.source, node.activation) if isinstance(node, Elementwise) else None

    def plus(self, name: str, number: float) -> str | None:
        """The x of ``x + number``."""
        found, value = self.wiring.with_scalar(name, "add")
        return value if found is not None and _is(found, number) else None

    def scaled(self, name: str) -> tuple[float, str] | None:
        """The number and the value of ``number * value``."""
        scale, names = self.factors(name)
        return (scale, names[0]) if len(names) == 1 else None


def _is(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=_CLOSE)


def _function(products: _Products, node: Node) -> tuple[str, Activation] | None:
    scale, names = products.factors(node.output)
    if len(names) == 1 and _is(scale, 1 / 6):
        source = _relu6_of_plus_three(products, names[0])
        return None if source is None else (source, Activation("hard_sigmoid", 1 / 6, 0.5))
    if len(names) != 2:
        return None
    for x, gate in (names, names[::-1]):
        kind = _gate(products, scale, x, gate)
        if kind is not None:
            return x, kind
    return None


def _gate(products: _Products, scale: float, x: str, gate: str) -> Activation | None:
    # The function that ``scale * x * gate`` is.
    if _is(scale, 1.0):
        return _gated(products.elementwise(gate), x)
    if _is(scale, 1 / 6) and _relu6_of_plus_three(products, gate) == x:
        return Activation("hard_swish")
    opened = products.plus(gate, 1.0) if _is(scale, 0.5) else None
    inner = None if opened is None else products.elementwise(opened)
    match inner:
        case (argument, Activation(kind="erf")):
            found = products.scaled(argument)
            return Activation("gelu") if found and found[1] == x and _is(found[0], math.sqrt(0.5)) else None
        case (argument, Activation(kind="tanh")):
            return Activation("gelu_tanh") if _cubic(products, argument, x) else None
        case _:
            return None


def _gated(function: tuple[str, Activation] | None, x: str) -> Activation | None:
    match function:
        case (source, Activation(kind="sigmoid")) if source == x:
            return Activation("swish")
        case (source, Activation(kind="hard_sigmoid", alpha=alpha, beta=beta)) if source == x:
            return Activation("hard_swish") if _is(alpha, 1 / 6) and _is(beta, 0.5) else None
        case _:
            return None


def _relu6_of_plus_three(products: _Products, name: str) -> str | None:
    function = products.elementwise(name)
    if function is None or function[1] != Activation("clip", 0.0, 6.0):
        return None
    return products.plus(function[0], 3.0)


def _cubic(products: _Products, name: str, x: str) -> bool:
    # sqrt(2 / pi) (x + 0.044715 x^3)
    outer = products.scaled(name)
    if outer is None or not _is(outer[0], math.sqrt(2 / math.pi)):
        return False
    total = products.wiring.plain(outer[1], "add")
    if total is None or x not in (total.left, total.right):
        return False
    scale, names = products.factors(total.right if total.left == x else total.left)
    return _is(scale, 0.044715) and _is_cube(products, names, x)


def _is_cube(products: _Products, names: tuple[str, ...], x: str) -> bool:
    made = [products.wiring.maker.get(name) for name in names]
    if len(names) == 1:
        node = made[0]
        exponent = products.wiring.scalar(node.right) if isinstance(node, Binary) else None
        return isinstance(node, Binary) and node.kind == "power" and node.left == x and exponent == 3.0
    squares = [node for node in made if isinstance(node, Binary) and node.left == node.right == x]
    return len(names) == 2 and x in names and len(squares) == 1
