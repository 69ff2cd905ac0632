from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.compiler.allotment import Measured, within_memory

KERNELS = ("sparse_columns", "panel_columns", "winograd", "winograd4")
layers = st.dictionaries(
    st.text("abc", min_size=1, max_size=2),
    st.builds(
        Measured,
        st.dictionaries(st.sampled_from(KERNELS), st.floats(1, 1e4), min_size=1),
        st.integers(1, 10**6),
        st.floats(0, 1),
    ),
    max_size=5,
)


def taken(found: dict[str, Measured], kernels: dict[str, str]) -> float:
    return sum(layer.extra_bytes(kernels[name]) for name, layer in found.items())


@given(layers, st.floats(0, 1e7))
def test_the_limit_holds_wherever_it_can(found: dict[str, Measured], limit: float) -> None:
    kernels = within_memory(found, limit)
    assert kernels.keys() == found.keys()
    assert all(kernels[name] in layer.microseconds for name, layer in found.items())
    least = sum(min(map(layer.extra_bytes, layer.microseconds)) for layer in found.values())
    assert taken(found, kernels) <= max(limit, least)


@given(layers)
def test_without_a_limit_the_cheapest_are_taken(found: dict[str, Measured]) -> None:
    assert within_memory(found, float("inf")) == {name: layer.cheapest for name, layer in found.items()}


def test_what_saves_most_time_for_its_memory_is_kept() -> None:
    found = {
        "large": Measured({"winograd4": 10.0, "sparse_columns": 12.0}, 9_000, 0.3),
        "small": Measured({"winograd4": 10.0, "sparse_columns": 12.0}, 900, 0.3),
        "dense": Measured({"winograd4": 10.0, "panel_columns": 90.0}, 90_000, 1.0),
    }
    expected = {"large": "sparse_columns", "small": "winograd4", "dense": "winograd4"}
    assert within_memory(found, 3_600) == expected


def test_a_smaller_transform_may_do() -> None:
    layer = Measured({"winograd4": 10.0, "winograd": 11.0, "sparse_columns": 30.0}, 900, 0.4)
    assert within_memory({"conv": layer}, 1_600) == {"conv": "winograd"}
    assert within_memory({"conv": layer}, 1_599) == {"conv": "sparse_columns"}


@pytest.mark.parametrize(("density", "bytes_taken"), [(0.49, 3600.0), (0.5, 0.0)])
def test_only_what_was_pruned_counts(density: float, bytes_taken: float) -> None:
    assert Measured({"winograd4": 1.0}, 900, density).extra_bytes("winograd4") == bytes_taken


def test_wide_filters_grow_less() -> None:
    assert Measured({"winograd": 1.0}, 2500, 0.3, taps=5).extra_bytes("winograd") == 3600.0


def test_the_reading_of_filters_costs() -> None:
    # 16 kB a microsecond: 3.6 MB of them cost 225 us.
    layer = Measured({"winograd4": 800.0, "sparse_columns": 1024.0}, 900_000, 0.3)
    assert layer.cost("winograd4") == 1025.0
    assert layer.cheapest == "sparse_columns"


def test_what_a_cache_keeps_is_not_read_from_memory() -> None:
    layer = Measured({"winograd4": 1000.0, "winograd": 1001.0}, 4_000_000, 1.0)
    assert layer.cheapest == "winograd"
    assert replace(layer, cold=False).cheapest == "winograd4"
    assert replace(layer, cold=False).least == 1000.0
