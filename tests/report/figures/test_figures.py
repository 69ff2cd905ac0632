from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from secateur.analysis.energy import LayerWork, inference_energy
from secateur.analysis.sensitivity import LayerSensitivity, Point, Sensitivity
from secateur.errors import ConfigurationError, DataError, LayerSelectionError
from secateur.networks import NETWORKS
from secateur.report.figures.connections import connections, pixels
from secateur.report.figures.curves import sensitivity_curves, trade_off
from secateur.report.figures.energy import energy_bars
from secateur.report.figures.paper import FIG4_BANDS, FIG5, FIG6, TABLES
from secateur.report.figures.style import rendered, save
from secateur.report.figures.tables import paper_table
from secateur.report.figures.weights import remaining, weight_distributions
from secateur.report.folding import folded
from secateur.report.histograms import histograms
from secateur.report.run import Run

COMPARISONS = Path(__file__).parents[3] / "benchmarks" / "results" / "comparisons.json"


def alive(seed: int = 0) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.random.default_rng(seed).random((30, 784)) < 0.1


def scan() -> Sensitivity:
    points = (Point(50, 0.5, 0.1, 1.5), Point(10, 0.1, 0.4, 4.0))
    layers = tuple(
        LayerSensitivity(name, f"{name}.weight", 100, points, True, "", 0.1) for name in ("fc1", "fc2")
    )
    return Sensitivity(1000, 0.05, 1.5, layers, 0.1)


def texts(figure: Any) -> str:
    return rendered(figure, "svg").decode()


def test_a_raster_has_a_dot_for_each_connection() -> None:
    mask = alive()
    figure = connections(mask, "fc1")
    above, below = figure.axes
    dots = {(int(x), int(y)) for x, y in above.lines[0].get_xydata()}
    assert dots == {(column, row) for row, column in zip(*np.nonzero(mask), strict=True)}
    heights = [bar.get_height() for bar in below.patches if bar.get_width() < 28]
    bands = mask.reshape(30, 28, 28).sum(axis=(0, 2))
    assert heights == pytest.approx(bands / bands.max())


def test_a_layer_without_connections_has_a_raster() -> None:
    above, below = connections(np.zeros((30, 784), dtype=np.bool_), "fc1").axes
    assert len(above.lines[0].get_xydata()) == 0
    assert {bar.get_height() for bar in below.patches if bar.get_width() < 28} == {0.0}


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 6), st.sampled_from([1, 4, 9, 16]))))
def test_folding_loses_no_connection(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    counts = folded(mask)
    assert counts.shape[0] == counts.shape[1]
    assert counts.sum() == mask.sum()
    assert (counts.ravel() == mask.sum(axis=0)).all()


def test_filters_fold_onto_their_places() -> None:
    mask = np.zeros((2, 3, 5, 5), dtype=np.bool_)
    mask[:, 1, 2, 3] = True
    assert folded(mask)[2, 3] == folded(mask).sum() == 2
    shown = pixels(mask, "conv1").axes[0].images[0].get_array()
    assert shown is not None
    assert shown[2, 3] == 2


@pytest.mark.parametrize("shape", [(3, 7), (4,), (2, 3, 4)])
def test_what_reads_no_image_is_refused(shape: tuple[int, ...]) -> None:
    mask = np.ones(shape, dtype=np.bool_)
    with pytest.raises(LayerSelectionError, match=r"expected a weight of shape \[out, side x side\]"):
        pixels(mask, "fc2")
    with pytest.raises(LayerSelectionError, match="expected a"):
        connections(mask, "fc2")


def test_a_raster_of_filters_is_refused() -> None:
    with pytest.raises(LayerSelectionError, match="connections of conv1: expected a linear layer's weight"):
        connections(np.ones((2, 1, 5, 5), dtype=np.bool_), "conv1")


def test_the_committed_comparisons_make_the_trade_off() -> None:
    summary = json.loads(COMPARISONS.read_text())["summary"]
    figure = trade_off(summary)
    ours, papers = figure.axes
    lines = {container.get_label(): container.lines[0] for container in ours.containers}
    assert set(lines) == set(FIG5)
    dense = next(row["mean_test_error"] for row in summary if row["curve"] == "L2, dense")
    at = {row["compression"]: row["mean_test_error"] for row in summary if row["curve"] == "L2, iterative"}
    x, y = lines["L2, iterative"].get_data()
    assert x == pytest.approx([100 * (1 - 1 / compression) for compression in sorted(at)])
    assert y == pytest.approx([dense - at[compression] for compression in sorted(at)])
    assert len(papers.lines) == len(FIG5) + 1  # and the line at zero


def test_a_curve_that_is_not_there_is_named() -> None:
    rows = [{"curve": "L2, dense", "compression": 1, "mean_test_error": 1.0, "low": 1.0, "high": 1.0}]
    with pytest.raises(DataError, match="no curve 'L2, iterative'; found L2, dense"):
        trade_off(rows)


def test_sensitivity_is_drawn_for_the_layers_asked_for() -> None:
    ours, papers = sensitivity_curves(scan(), layers=["fc2"]).axes
    [line] = [line for line in ours.lines if line.get_label() == "fc2"]
    assert line.get_xydata().tolist() == [[50.0, 0.0], [90.0, -2.5]]
    assert {line.get_label() for line in papers.lines} >= set(FIG6)
    with pytest.raises(LayerSelectionError, match="the scan has no layer 'conv9'; expected any of fc1, fc2"):
        sensitivity_curves(scan(), layers=["conv9"])


@given(
    arrays.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1, 1, width=32)),
    st.integers(1, 40),
)
def test_a_histogram_counts_every_living_weight(dense: np.ndarray[Any, np.dtype[Any]], bins: int) -> None:
    pruned = np.where(np.abs(dense) > 0.5, dense, np.float32(0))
    edges, before, after = histograms(dense, pruned, bins)
    assert len(edges) == bins + 1
    assert before.sum() == dense.size
    assert after.sum() == np.count_nonzero(pruned)
    assert edges[0] == -edges[-1]


def test_weights_of_a_real_run(lenet: Run) -> None:
    figure = weight_distributions(lenet.dense, lenet.pruned, ["conv2", "fc1"])
    assert len(figure.axes) == 4
    assert f"fc1, pruned and retrained: {int(lenet.masks['fc1.weight'].sum()):,}" in texts(figure)
    with pytest.raises(LayerSelectionError, match="no such layer; expected any of conv1, conv2, fc1, fc2"):
        weight_distributions(lenet.dense, lenet.pruned, ["fc9"])


def test_bars_end_where_the_layer_ends(lenet: Run) -> None:
    assert lenet.record is not None
    rows = lenet.record["layers"]
    kept, pruned = remaining(rows).axes[0].containers
    assert [bar.get_width() for bar in kept] == [row["kept"] for row in rows]
    assert [bar.get_x() + bar.get_width() for bar in pruned] == [row["weights"] for row in rows]


def test_a_table_has_the_papers_numbers_beside_ours(lenet: Run) -> None:
    assert lenet.record is not None
    written = [text.get_text() for text in paper_table(lenet.record, "lenet-5").axes[0].texts]
    for place, row in enumerate((*lenet.record["layers"], lenet.record["total"])):
        cells = written[place + 1 :: 1 + len(lenet.record["layers"]) + 1]
        assert cells[0] == row["name"]
        assert cells[5] == f"{100 * row['kept'] / row['weights']:.1f}"
        assert cells[6] == f"{TABLES['lenet-5'][row['name']].density:g}"
    with pytest.raises(
        ConfigurationError, match="the paper has no table of 'resnet-50'; it has lenet-300-100"
    ):
        paper_table(lenet.record, "resnet-50")
    with pytest.raises(ConfigurationError, match="of lenet-300-100 has the layers fc1, fc2, fc3; the record"):
        paper_table(lenet.record, "lenet-300-100")


def test_the_papers_flop_is_the_product_of_its_columns() -> None:
    for network, rows in TABLES.items():
        inputs = 100.0
        for name, row in list(rows.items())[:-1]:
            assert row.flop_kept == pytest.approx(row.density * inputs / 100, abs=1), (network, name)
            inputs = row.activation


@pytest.mark.parametrize("network", TABLES)
def test_the_papers_numbers_are_written_down_once_and_the_same(network: str) -> None:
    spec = NETWORKS[network]
    for what, densities in (("density", spec.paper_densities), ("activation", spec.paper_activation)):
        found = {name: getattr(row, what) / 100 for name, row in TABLES[network].items() if name != "total"}
        assert found == pytest.approx(dict(densities))


def test_the_papers_figures_fall_as_they_should() -> None:
    assert len(FIG4_BANDS) == 28
    for series in (*FIG5.values(), *FIG6.values()):
        assert list(series) == sorted(series)
        assert series[-1][1] < series[0][1]


def test_energy_is_stacked_and_compared_with_the_first() -> None:
    dense = inference_energy([LayerWork(1000, 0, 1000)], on_chip_bytes=0)
    pruned = inference_energy([LayerWork(100, 5, 100)], on_chip_bytes=10_000)
    figure = energy_bars({"dense": dense, "pruned": pruned})
    ends = [bar.get_x() + bar.get_width() for bar in figure.axes[0].containers[-1]]
    assert ends == pytest.approx([dense.total / 1000, pruned.total / 1000])
    assert f"{dense.total / pruned.total:.1f}x less" in texts(figure)


def test_figures_are_saved_twice_with_the_same_bytes_and_show_themselves(tmp_path: Path) -> None:
    svg, png = save(sensitivity_curves(scan(), note="a note"), tmp_path / "new", "fig6")
    again, _ = save(sensitivity_curves(scan(), note="a note"), tmp_path, "fig6")
    assert svg.read_bytes() == again.read_bytes()
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"a note" in svg.read_bytes()
    assert "<svg" in sensitivity_curves(scan())._repr_html_()
