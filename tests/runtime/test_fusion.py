from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secateur.format.graph import Activation, Batch, Convolution, Graph, Node, Pool, Value
from secateur.format.model import Model
from secateur.format.packing import pack
from secateur.runtime.fusion import poolable, without_pools
from secateur.runtime.planning import plan_memory
from secateur.runtime.program import Program
from tests.runtime.models import small_convolutional, sparse

POOL = Pool("pool", "max", "a", "y", kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0), dilations=(1, 1))
CONVOLUTION = Convolution(
    "conv",
    "x",
    "w",
    "a",
    strides=(1, 1),
    pads=(1, 1, 1, 1),
    dilations=(1, 1),
    bias="b",
    activation=Activation("relu"),
)
COLUMNS = ("sparse_columns", "panel_columns", "winograd", "winograd4")
IMAGES = ("sparse_images", "panel_images")


def pooled(
    *,
    pool: Pool = POOL,
    convolution: Convolution = CONVOLUTION,
    after: tuple[int, int] = (6, 5),
    outputs: tuple[str, ...] = ("y",),
    more: tuple[Node, ...] = (),
) -> Model:
    """3 x 13 x 11 -> convolution 5 @ 3 x 3 (ReLU) -> pool 2, whose last row and column are dropped."""
    graph = Graph(
        inputs=("x",),
        outputs=outputs,
        values=(
            Value("x", (Batch(), 3, 13, 11)),
            Value("a", (Batch(), 5, 13, 11)),
            Value("y", (Batch(), 5, *after)),
            *(Value(node.output, (Batch(), 5, *after)) for node in more),
        ),
        constants=("w", "b"),
        nodes=(convolution, pool, *more),
    )
    return Model(graph, {"w": pack(sparse((5, 3, 3, 3), 0.5))}, {"b": sparse((5,), 1.0, 3)})


def native_steps(program: Program, batch: int) -> list[str]:
    return list(program.bind(batch).native.steps)


@pytest.mark.parametrize(
    ("kernel", "batch"),
    [(kernel, batch) for kernel in COLUMNS for batch in (1, 2, 9)]
    + [(kernel, batch) for kernel in IMAGES for batch in (2, 8, 9)],
)
def test_a_pool_within_a_convolution_changes_no_bit(kernel: str, batch: int) -> None:
    x = sparse((batch, 3, 13, 11), 0.9, 5)
    fused = Program(pooled(), kernels={"conv": kernel})
    # The convolution's output is asked for as well, so it cannot be pooled on the way.
    apart = Program(pooled(outputs=("y", "a")), kernels={"conv": kernel})
    assert native_steps(fused, batch) == [f"convolution {kernel}"]
    assert len(native_steps(apart, batch)) == 2
    result, whole = apart(x)
    assert fused(x).tobytes() == result.tobytes()
    assert (whole[:, :, :12, :10].reshape(batch, 5, 6, 2, 5, 2).max(axis=(3, 5)) == result).all()


def test_a_kernel_that_cannot_pool_leaves_the_pool_alone() -> None:
    threes = replace(POOL, kernel=(3, 3), strides=(3, 3))
    program = Program(pooled(pool=threes, after=(4, 3)), kernels={"conv": "winograd"})
    assert len(native_steps(program, 2)) == 2


def test_what_can_be_pooled() -> None:
    assert poolable(small_convolutional().graph) == {"conv": small_convolutional().graph.nodes[1]}
    assert poolable(pooled().graph) == {"conv": POOL}


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(pooled(outputs=("y", "a")), id="the output is a result"),
        pytest.param(pooled(more=(replace(POOL, name="again", output="z"),)), id="another reader"),
        pytest.param(pooled(pool=replace(POOL, kind="average")), id="a mean"),
        pytest.param(pooled(pool=replace(POOL, strides=(1, 1)), after=(12, 10)), id="windows overlap"),
        pytest.param(pooled(pool=replace(POOL, pads=(0, 0, 1, 1)), after=(7, 6)), id="padding"),
        pytest.param(pooled(after=(7, 6)), id="windows reach beyond the end"),
        pytest.param(pooled(pool=replace(POOL, dilations=(2, 2))), id="windows with gaps"),
        pytest.param(pooled(convolution=replace(CONVOLUTION, residual="r")), id="a residual"),
    ],
)
def test_what_stays_apart(model: Model) -> None:
    assert poolable(model.graph) == {}


def test_a_pooled_convolution_needs_no_memory_for_its_output() -> None:
    graph = small_convolutional().graph
    scheduled = without_pools(graph, poolable(graph))
    assert [node.name for node in scheduled.nodes] == ["conv", "flatten", "fc"]
    plan = plan_memory(scheduled, 8, {})
    assert "a" not in plan.places
    assert plan.arena_bytes < plan_memory(graph, 8, {}).arena_bytes


def test_a_pool_in_one_dimension() -> None:
    graph = Graph(
        inputs=("x",),
        outputs=("y",),
        values=(Value("x", (Batch(), 2, 30)), Value("a", (Batch(), 4, 28)), Value("y", (Batch(), 4, 14))),
        constants=("w",),
        nodes=(
            Convolution("conv", "x", "w", "a", strides=(1,), pads=(0, 0), dilations=(1,)),
            Pool("pool", "max", "a", "y", kernel=(2,), strides=(2,), pads=(0, 0), dilations=(1,)),
        ),
    )
    weight = sparse((4, 2, 3), 0.6)
    x = sparse((3, 2, 30), 0.9, 1)
    program = Program(Model(graph, {"w": pack(weight)}, {}), kernels={"conv": "sparse_columns"})
    assert len(native_steps(program, 3)) == 1
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), 3, axis=2)
    whole = np.einsum("nctk,ock->not", windows, weight)
    bound = 2 * (6 + 4) * 2.0**-24 * np.einsum("nctk,ock->not", abs(windows), abs(weight)).max()
    assert abs(program(x) - whole.reshape(3, 4, 14, 2).max(axis=3)).max() <= bound
