from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from secateur.format.graph import (
    Activation,
    Batch,
    Binary,
    Elementwise,
    Graph,
    Linear,
    Node,
    Reshape,
    Value,
)
from secateur.runtime.planning import ALIGNMENT, Place, Request, Space, pack, plan_memory

RELU = Activation("relu")


def requests() -> st.SearchStrategy[list[Request]]:
    spans = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted)
    return st.lists(
        st.builds(lambda size, span: Request(size, span[0], span[1]), st.integers(1, 1000), spans),
        max_size=20,
    )


@given(requests())
def test_what_lives_at_the_same_time_does_not_overlap(wanted: list[Request]) -> None:
    offsets, total = pack(wanted)
    for offset, each in zip(offsets, wanted, strict=True):
        assert offset % ALIGNMENT == 0
        assert 0 <= offset <= total - each.size
    for one in range(len(wanted)):
        for other in range(one):
            apart_in_time = wanted[one].last < wanted[other].first or wanted[other].last < wanted[one].first
            apart_in_space = (
                offsets[one] + wanted[one].size <= offsets[other]
                or offsets[other] + wanted[other].size <= offsets[one]
            )
            assert apart_in_time or apart_in_space


@given(requests())
def test_packing_takes_no_more_than_no_sharing_and_no_less_than_the_busiest_moment(
    wanted: list[Request],
) -> None:
    _, total = pack(wanted)
    aligned = [-(-each.size // ALIGNMENT) * ALIGNMENT for each in wanted]
    assert total <= sum(aligned)
    busiest = max(
        (sum(each.size for each in wanted if each.first <= moment <= each.last) for moment in range(10)),
        default=0,
    )
    assert total >= busiest


def chain(*nodes: Node, outputs: tuple[str, ...], inputs: tuple[str, ...] = ("x",)) -> Graph:
    names = dict.fromkeys([*inputs, *(node.output for node in nodes)])
    values = tuple(Value(name, (Batch(), 100)) for name in names)
    return Graph(inputs, outputs, values, ("w", "b"), nodes)


def test_a_chain_needs_two_buffers_and_none_for_what_is_the_callers() -> None:
    graph = chain(
        Elementwise("1", "x", "a", RELU),
        Elementwise("2", "a", "b1", RELU),
        Elementwise("3", "b1", "c", RELU),
        Elementwise("4", "c", "y", RELU),
        outputs=("y",),
    )
    plan = plan_memory(graph, 2, {})
    assert plan.places["x"] == Place(Space.INPUT, 0)
    assert plan.places["y"] == Place(Space.OUTPUT, 0)
    assert plan.places["a"] == plan.places["c"]
    assert plan.places["a"] != plan.places["b1"]
    assert plan.arena_bytes == 2 * 832  # 2 x 100 x 4 bytes, rounded up to 64
    assert plan.copies == ()


def test_a_reshaped_value_is_the_same_memory() -> None:
    graph = chain(
        Elementwise("1", "x", "a", RELU),
        Reshape("2", "a", "r"),
        Elementwise("3", "r", "y", RELU),
        outputs=("y",),
    )
    plan = plan_memory(graph, 1, {})
    assert plan.places["a"] == plan.places["r"]


def test_a_reshaped_output_is_written_in_place() -> None:
    graph = chain(Elementwise("1", "x", "a", RELU), Reshape("2", "a", "y"), outputs=("y",))
    plan = plan_memory(graph, 1, {})
    assert plan.places["a"] == plan.places["y"] == Place(Space.OUTPUT, 0)
    assert plan.arena_bytes == 0


def test_an_input_that_is_an_output_is_copied() -> None:
    plan = plan_memory(chain(Reshape("1", "x", "y"), outputs=("y",)), 3, {})
    (copy,) = plan.copies
    assert (copy.source, copy.output, copy.elements) == (Place(Space.INPUT, 0), Place(Space.OUTPUT, 0), 300)


def test_one_value_that_is_two_outputs_is_copied_once() -> None:
    graph = chain(Elementwise("1", "x", "a", RELU), Reshape("2", "a", "r"), outputs=("a", "r"))
    plan = plan_memory(graph, 1, {})
    assert plan.places["a"] == Place(Space.OUTPUT, 0)
    assert [copy.output for copy in plan.copies] == [Place(Space.OUTPUT, 1)]


def test_a_residual_lives_until_it_is_added() -> None:
    graph = chain(
        Elementwise("1", "x", "a", RELU),
        Elementwise("2", "a", "t", RELU),
        Linear("3", "t", "w", "u", bias="b", residual="a"),
        Binary("4", "add", "u", "u", "y"),
        outputs=("y",),
    )
    plan = plan_memory(graph, 1, {})
    assert len({plan.places[name] for name in ("a", "t", "u")}) == 3


def test_a_workspace_overlaps_nothing_of_its_node() -> None:
    graph = chain(
        Elementwise("1", "x", "a", RELU),
        Linear("2", "a", "w", "t"),
        Elementwise("3", "t", "y", RELU),
        outputs=("y",),
    )
    plan = plan_memory(graph, 1, {1: 1000})
    assert len({plan.places["a"], plan.places["t"], plan.workspaces[1]}) == 3
