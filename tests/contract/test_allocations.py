"""Every allocation is one row of `ALLOCATIONS`, and every row passes the same checks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import ConfigurationError
from secateur.pruning.allocation import ALLOCATIONS, Allocation
from secateur.pruning.selection import kept_count

every_allocation = pytest.mark.parametrize("allocation", ALLOCATIONS.values(), ids=ALLOCATIONS.keys())

NETWORKS = {
    "LeNet-300-100": {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)},
    "LeNet-5": {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)},
    "tiny layers": {"a": (1, 1), "b": (3, 7), "c": (2,), "d": (13, 11, 3, 3)},
    "one layer": {"a": (5, 3)},
    "a scalar": {"scale": (), "fc": (9, 9)},
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())

shapes_of_layers = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.integers(1, 60), min_size=1, max_size=4).map(tuple),
    min_size=1,
)
densities = st.floats(0.01, 1.0)


def check(allocation: Allocation, network: dict[str, tuple[int, ...]], density: float) -> None:
    shapes = {name: torch.Size(shape) for name, shape in network.items()}
    before = dict(shapes)
    shares = allocation(shapes, density)
    assert shapes == before
    assert list(shares) == list(shapes)
    assert shares == allocation(shapes, density)
    assert all(0.0 <= share <= 1.0 for share in shares.values())
    total = sum(shape.numel() for shape in shapes.values())
    exact = sum(shares[name] * shape.numel() for name, shape in shapes.items())
    assert exact == pytest.approx(density * total, rel=1e-9)
    kept = sum(kept_count(shares[name], shape.numel()) for name, shape in shapes.items())
    assert abs(kept - density * total) <= 0.5 * len(shapes) + 1e-6


@every_allocation
@every_network
@pytest.mark.parametrize("density", [0.01, 0.083, 1 / 3, 0.5, 0.9, 1.0])
def test_the_budget_is_met(
    allocation: Allocation, network: dict[str, tuple[int, ...]], density: float
) -> None:
    check(allocation, network, density)


@every_allocation
@given(network=shapes_of_layers, density=densities)
def test_the_budget_is_met_by_any_network(
    allocation: Allocation, network: dict[str, tuple[int, ...]], density: float
) -> None:
    check(allocation, network, density)


@every_allocation
def test_everything_is_kept_at_density_one(allocation: Allocation) -> None:
    shapes = {name: torch.Size(shape) for name, shape in NETWORKS["LeNet-5"].items()}
    shares = allocation(shapes, 1.0)
    assert all(kept_count(shares[name], shape.numel()) == shape.numel() for name, shape in shapes.items())


@every_allocation
def test_no_layers_is_no_densities(allocation: Allocation) -> None:
    assert allocation({}, 0.5) == {}


@every_allocation
@pytest.mark.parametrize("density", [-0.1, 1.1, float("nan")])
def test_refuses_what_is_no_density(allocation: Allocation, density: float) -> None:
    with pytest.raises(ConfigurationError, match=r"a fraction of weights kept, in 0\.\.1; found"):
        allocation({"a": torch.Size([2, 2])}, density)
