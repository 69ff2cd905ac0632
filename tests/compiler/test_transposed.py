"""Transposed convolutions: over generated windows, and within networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateur.compiler.compiling import packed
from secateur.compiler.network import Array, Network
from secateur.compiler.operators.transposed import Axis, sub_kernels
from secateur.compiler.reading import load_network
from secateur.errors import UnsupportedModelError
from secateur.format.graph import Convolution, Reshape, Slice
from secateur.runtime.program import Program
from tests.compiler.models import assert_close, check, model, node, normal, onnx_runtime, whole


def executed(network: Network, x: Array) -> Array:
    """What the native runtime gives."""
    program = Program(packed(network.graph, network.constants, values="float32", batch=1), threads=1)
    found = program(x)
    assert isinstance(found, np.ndarray)
    return found


def pruned(shape: tuple[int, ...], density: float) -> Array:
    kept = np.random.default_rng(7).random(shape) < density
    return whole(shape, 1) * kept


@st.composite
def ups(draw: st.DrawFn) -> tuple[list[int], list[int], dict[str, Any]]:
    rank = draw(st.integers(1, 2))

    def each(low: int, high: int, count: int = rank) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    sizes, kernel, strides, dilations = each(1, 6), each(1, 5), each(1, 4), each(1, 3)
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "dilations": dilations}
    # ONNX Runtime has no more.
    attributes["output_padding"] = [min(more, s - 1) for more, s in zip(each(0, 3), strides, strict=True)]
    pads = each(0, 7, 2 * rank)
    for place, size in enumerate(sizes):
        full = strides[place] * (size - 1) + (kernel[place] - 1) * dilations[place]
        pads[place] = min(pads[place], full)
        pads[place + rank] = min(pads[place + rank], full - pads[place])
    attributes["pads"] = pads
    return sizes, kernel, attributes


@settings(deadline=None, max_examples=150)
@given(
    ups(),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([1, 2, 5]),
    st.sampled_from([0.05, 0.3, 1.0]),
)
def test_transposed_convolutions(
    up: tuple[list[int], list[int], dict[str, Any]],
    groups: int,
    each: int,
    bias: bool,
    batch: int,
    density: float,
) -> None:
    sizes, kernel, attributes = up
    constants = {"w": pruned((4, each, *kernel), density)}
    if bias:
        constants["b"] = whole((groups * each,), 2)
    proto = model(
        [node("ConvTranspose", ["x", *constants], ["y"], group=groups, **attributes)],
        {"x": ("N", 4, *sizes)},
        ["y"],
        constants,
    )
    x = whole((batch, 4, *sizes), 3)
    network = check(proto, {"x": x}, exact=True)
    np.testing.assert_array_equal(executed(network, x), onnx_runtime(proto, {"x": x})["y"])


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
)
def test_automatic_padding_and_asked_for_shapes(
    kind: str, size: int, kernel: int, stride: int, asked: bool
) -> None:
    # ONNX's inference and ONNX Runtime differ where kernels do not touch; that is refused below.
    stride = min(stride, kernel)
    attributes: dict[str, Any] = {"auto_pad": kind, "strides": [stride]}
    if asked:
        attributes["output_shape"] = [max(stride * (size - 1) + kernel - 1, size)]
    proto = model(
        [node("ConvTranspose", ["x", "w"], ["y"], **attributes)],
        {"x": ("N", 2, size)},
        ["y"],
        {"w": whole((2, 3, kernel), 1)},
    )
    check(proto, {"x": whole((2, 2, size), 3)}, exact=True)


def axes_of(draw: st.DrawFn) -> Axis:
    size, kernel, stride, dilation = (draw(st.integers(1, most)) for most in (9, 6, 5, 4))
    before = draw(st.integers(0, 12))
    return Axis(size, kernel, stride, dilation, before, draw(st.integers(1, 40)))


@settings(deadline=None, max_examples=300)
@given(st.composite(axes_of)(), st.integers(0, 99))
def test_a_dimension_falls_apart_into_its_phases(axis: Axis, seed: int) -> None:
    # With whatever is cut off or asked for beyond the outputs that inputs reach.
    weight, x = whole((axis.kernel,), seed), whole((axis.size,), seed + 1)
    expected = np.zeros(axis.before + axis.result + axis.stride * axis.size + axis.dilation * axis.kernel)
    for i, k in np.ndindex(axis.size, axis.kernel):
        expected[axis.stride * i + axis.dilation * k] += weight[k] * x[i]
    kernels = sub_kernels(weight.reshape(1, 1, -1), 1, [axis])[:, 0]
    assert kernels.shape == (axis.stride, axis.taps)
    assert np.count_nonzero(kernels) == np.count_nonzero(weight)
    padded = np.pad(x, axis.pads)
    found = np.zeros((axis.places, axis.stride))
    for place, tap in np.ndindex(axis.places, axis.taps):
        found[place] += kernels[:, tap] * padded[place + tap * axis.apart]
    assert 0 <= axis.start <= axis.places * axis.stride - axis.result
    kept = found.reshape(-1)[axis.start : axis.start + axis.result]
    np.testing.assert_array_equal(kept, expected[axis.before : axis.before + axis.result])


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_layers_of_torch(data: st.DataObject) -> None:
    draw, rank = data.draw, data.draw(st.integers(1, 2))
    kernel, stride, dilation = (
        tuple(draw(st.lists(st.integers(1, most), min_size=rank, max_size=rank))) for most in (4, 3, 3)
    )
    padding = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    # ONNX Runtime takes none from the stride on, torch where the dilation is larger.
    added = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    kind: Any = nn.ConvTranspose1d if rank == 1 else nn.ConvTranspose2d
    torch.manual_seed(0)
    layer = kind(4, 6, kernel, stride, padding, added, draw(st.sampled_from([1, 2])), dilation=dilation)
    sizes = tuple(draw(st.integers(4, 7)) for _ in range(rank))
    attributes = {
        "strides": stride,
        "pads": padding * 2,
        "output_padding": added,
        "dilations": dilation,
        "group": layer.groups,
    }
    constants = {"w": layer.weight.detach().numpy(), "b": layer.bias.detach().numpy()}
    made = node("ConvTranspose", ["x", *constants], ["y"], **attributes)
    network = load_network(model([made], {"x": ("N", 4, *sizes)}, ["y"], constants))
    for batch in (1, 2, 5):
        x = normal((batch, 4, *sizes), batch)
        with torch.no_grad():
            expected = layer(torch.from_numpy(x)).numpy()
        assert_close(executed(network, x), expected)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "added", "taps", "cut"),
    [
        (2, 2, 0, 0, 1, False),
        (2, 2, 1, 0, 1, True),
        (4, 4, 0, 0, 1, False),
        (3, 2, 1, 1, 2, False),
        (3, 2, 1, 0, 2, True),
        (4, 2, 1, 0, 3, False),
        (6, 2, 1, 0, 3, True),
        (5, 2, 2, 1, 3, False),
        (8, 2, 3, 0, 5, False),
        (3, 1, 1, 0, 3, False),
    ],
)
def test_what_a_layer_becomes(
    kernel: int, stride: int, padding: int, added: int, taps: int, cut: bool
) -> None:
    weight = pruned((3, 5, kernel, kernel), 0.4)
    attributes = {"strides": [stride] * 2, "pads": [padding] * 4, "output_padding": [added] * 2}
    made = node("ConvTranspose", ["x", "up.weight"], ["y"], **attributes)
    network = load_network(model([made], {"x": ("N", 3, 6, 6)}, ["y"], {"up.weight": weight}))
    (layer,) = [each for each in network.graph.nodes if isinstance(each, Convolution)]
    assert (layer.name, layer.weight) == ("up", "up.weight")
    found = network.constants[layer.weight]
    assert found.shape == (5 * stride**2, 3, taps, taps)
    assert np.count_nonzero(found) == np.count_nonzero(weight)
    assert any(isinstance(each, Slice) for each in network.graph.nodes) == cut


def test_one_input_makes_all_outputs_at_once() -> None:
    proto = model(
        [node("ConvTranspose", ["x", "w"], ["y"]), node("Relu", ["y"], ["z"])],
        {"x": ("N", 6, 1, 1)},
        ["z"],
        {"w": pruned((6, 5, 4, 4), 0.5)},
    )
    network = check(proto, {"x": whole((3, 6, 1, 1), 2)}, exact=True)
    assert [type(each) for each in network.graph.nodes] == [Convolution, Reshape]
    (weight,) = network.constants.values()
    assert weight.shape == (5 * 16, 6, 1, 1)


def up(
    weight: tuple[int, ...] = (2, 3, 3), bias: int | None = None, given: bool = False, **attributes: Any
) -> onnx.ModelProto:
    constants = {} if given else {"w": whole(weight, 1)}
    if bias is not None:
        constants["b"] = whole((bias,), 2)
    inputs: dict[str, Any] = {"x": ("N", 2, *(4,) * (len(weight) - 2))}
    if given:
        inputs["w"] = weight
    names = ["x", "w", *(["b"] if bias is not None else [])]
    return model([node("ConvTranspose", names, ["y"], **attributes)], inputs, ["y"], constants)


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (up((2, 3, 2, 2, 2)), "its kernel has 3 dimensions; supported: one and two dimensions"),
        (
            up(given=True),
            "its weight ('w') is computed while the network runs; supported: a constant weight",
        ),
        (
            up((4, 3, 3)),
            "a weight of shape (4, 3, 3) does not fit kernel (3,), 2 channels and 1 groups; supported: "
            "(channels, out / groups, kernel...)",
        ),
        (
            up(kernel_shape=[2]),
            "a weight of shape (2, 3, 3) does not fit kernel (2,), 2 channels and 1 groups; supported: "
            "(channels, out / groups, kernel...)",
        ),
        (up(bias=4), "a bias of shape (4,) does not fit 3 outputs; supported: (out,)"),
        (
            up((2, 3, 1), auto_pad="SAME_UPPER", strides=[2]),
            "its pads and output_padding give an output of (8,), and ONNX's inference one of (7,); "
            "supported: attributes that both read in the same way; give pads in place of auto_pad",
        ),
        (up(pads=[9, 9]), "its pads cut its output down to (-12,); supported: outputs that hold numbers"),
        (
            up(auto_pad="SOME"),
            "auto_pad is 'SOME'; supported: NOTSET, VALID, SAME_UPPER and SAME_LOWER",
        ),
    ],
)
def test_what_is_not_supported_is_refused(proto: onnx.ModelProto, expected: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        load_network(proto)
    assert str(caught.value) == f"node 'y_node' (ConvTranspose): {expected}"


@pytest.mark.parametrize("pads", [[3, 3], [-1, 0], [1]])
def test_pads_that_leave_nothing_or_make_no_sense_are_refused(pads: list[int]) -> None:
    with pytest.raises(UnsupportedModelError, match=r"node 'y_node' \(ConvTranspose\): .*; supported: "):
        load_network(up(pads=pads))
