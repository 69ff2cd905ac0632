from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.analysis.energy import LayerWork, dense_work, inference_energy, pruned_work
from secateur.errors import ConfigurationError, DataError

works = st.builds(
    LayerWork,
    weights=st.integers(0, 10**8),
    index_bits=st.integers(0, 16),
    macs=st.floats(0, 1e10, allow_nan=False),
)


def row(name: str, weights: int, kept: int, flop: int | None, flop_kept: float | None) -> dict[str, Any]:
    return {"name": name, "weights": weights, "kept": kept, "flop": flop, "flop_kept": flop_kept}


def test_every_part_by_hand() -> None:
    layers = [LayerWork(100, 0, 1000.0), LayerWork(32, 5, 32.0)]
    energy = inference_energy(layers, on_chip_bytes=0)
    assert energy.arithmetic == pytest.approx(1032 * 4.6)
    assert energy.sram == pytest.approx(1032 * 10)
    assert energy.stored_bytes == pytest.approx((100 * 32 + 32 * 37) / 8)
    assert energy.dram == pytest.approx((100 + 37) * 640)
    assert energy.total == energy.arithmetic + energy.sram + energy.dram


def test_weights_that_fit_on_the_chip_cost_no_dram_to_the_byte() -> None:
    layers = [LayerWork(256, 0, 256)]
    assert inference_energy(layers, on_chip_bytes=1024).dram == 0
    assert inference_energy(layers, on_chip_bytes=1023).dram == 256 * 640


@given(st.lists(works, min_size=1, max_size=5), st.lists(works, min_size=1, max_size=5))
def test_layers_add_up(some: list[LayerWork], others: list[LayerWork]) -> None:
    parts = [inference_energy(each, on_chip_bytes=0).total for each in (some, others)]
    assert inference_energy(some + others, on_chip_bytes=0).total == pytest.approx(sum(parts))


def test_a_convolution_gets_the_wider_index_and_a_linear_layer_the_narrower_one() -> None:
    rows = [row("conv1", 500, 339, 576_000, 0.678), row("fc1", 4000, 240, 8000, 0.02)]
    assert pruned_work(rows) == [
        LayerWork(339, 8, pytest.approx(288_000 * 0.678)),
        LayerWork(240, 5, pytest.approx(80.0)),
    ]
    assert dense_work(rows) == [LayerWork(500, 0, 288_000), LayerWork(4000, 0, 4000)]


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(DataError, match="expected at least one layer, found none"):
        inference_energy([], on_chip_bytes=0)
    with pytest.raises(ConfigurationError, match="on_chip_bytes must be >= 0, but is -1"):
        inference_energy([LayerWork(1, 0, 1)], on_chip_bytes=-1)
    with pytest.raises(ConfigurationError, match="layer 1 counts -3 weights"):
        inference_energy([LayerWork(1, 0, 1), LayerWork(-3, 0, 1)], on_chip_bytes=0)
    with pytest.raises(DataError, match="the arithmetic of layer 'lstm' was not counted"):
        pruned_work([row("lstm", 10, 5, None, None)])
