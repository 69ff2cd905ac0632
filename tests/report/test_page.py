from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.errors import ConfigurationError
from secateur.report import facts
from secateur.report.page import report_page
from secateur.report.panels.results import result_panels
from secateur.report.run import Measured, Run, read_run

SCAN = {
    "finished": True,
    "images": 40,
    "error": 1.0,
    "layers": [{"layer": "fc1", "points": [{"kept": 5, "density": 0.5, "loss": 0.1, "error": 3.5}]}],
}


def test_one_file_says_what_came_out(lenet: Run) -> None:
    html = report_page([lenet]).html
    assert lenet.record is not None
    assert f"{lenet.record['weights']['kept']:,}" in html
    assert f"{lenet.record['error']['difference']:+.2f} points" in html
    for heading in ("Layers", "Stages", "Dead neurons", "What was asked", "Where this comes from"):
        assert f">{heading}</h2>" in html
    assert lenet.record["provenance"]["configuration_hash"] in html


def test_it_is_small_and_quickly_built(lenet: Run) -> None:
    report_page([lenet])  # bundles the script
    began = time.process_time()  # others may have the processor
    html = report_page([lenet]).html
    assert time.process_time() - began < 5
    assert len(html.encode()) < 4_000_000


def test_the_numbers_of_a_shipped_network(lenet: Run) -> None:
    shipped = replace(lenet, measured=Measured(10_000, 1_000_000, 20.0, 19.0, 25.0, 100.0, "avx2, 1 thread"))
    figures = {figure.name: figure for figure in facts.came_out(shipped)}
    assert (figures["File"].value, figures["File"].before) == ("10.0 kB", "1,000.0 kB")
    assert figures["File"].detail == "100.0 times smaller"
    assert (figures["One input"].value, figures["One input"].before) == ("0.02 ms", "0.1 ms")
    assert figures["One input"].detail.startswith(
        "5.0 times faster than PyTorch; 80 % take 0.019 ms to 0.025"
    )


def test_an_unfinished_run_says_so_and_shows_what_there_is(unfinished: Path) -> None:
    html = report_page([read_run(unfinished)]).html
    said = "This run is not finished: 2 of 3 stages have begun, 3 epochs are done. The test set has not been"
    assert said in html
    assert "Validation error" in html
    assert "Dead neurons" not in html


def test_a_run_without_an_epoch_has_a_page(unfinished: Path) -> None:
    (unfinished / "log.jsonl").unlink()
    assert "no epoch is done yet" in report_page([read_run(unfinished)]).html


def test_a_missing_network_is_named(folder: Path) -> None:
    (folder / "pruned.safetensors").unlink()
    html = report_page([read_run(folder)]).html
    assert "Missing in the run&#39;s folder, and left out here: pruned.safetensors." in html.replace(
        "'", "&#39;"
    )
    assert "Weights of fc1" not in html


def test_several_runs_stand_side_by_side(lenet: Run, unfinished: Path) -> None:
    html = report_page([lenet, read_run(unfinished)]).html
    assert "Runs side by side" in html
    assert "blobs, seed 3, in lenet" in html
    assert "blobs, seed 3, in run (not finished)" in html


def test_a_name_cannot_break_out_of_the_page(lenet: Run) -> None:
    nasty = replace(lenet, name="</script><script>alert(1)</script>")
    assert "<script>alert(1)" not in report_page([nasty, lenet]).html


def test_it_shows_itself_in_a_notebook(lenet: Run) -> None:
    page = report_page([lenet])
    shown = page._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!doctype html')
    assert 'title="blobs, seed 3"' in shown
    assert len(repr(page)) < 100


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a report is of one run or of several; found none"):
        report_page([])


def test_the_figures_follow_what_is_there(lenet: Run) -> None:
    titles = [panel.title for panel in result_panels(replace(lenet, scan=SCAN))]
    assert titles[:4] == [
        "What remains of each layer",
        "Error against compression",
        "Energy of one inference",
        "What conv1 looks at",
    ]
    assert titles[-1] == "Sensitivity"
    assert [title for title in titles if title.startswith("Weights of")] == [
        f"Weights of {layer}" for layer in ("conv1", "conv2", "fc1", "fc2")
    ]


def test_the_numbers_in_a_figure_are_the_runs(lenet: Run) -> None:
    sensitivity = list(result_panels(replace(lenet, scan=SCAN)))[-1]
    assert sensitivity.rows == (("fc1", "50.0%", "5", "+2.50"),)
    assert lenet.record is not None
    [remains, *_] = result_panels(lenet)
    kept = {row["name"]: f"{row['kept']:,}" for row in (*lenet.record["layers"], lenet.record["total"])}
    assert {name: remaining for name, remaining, _ in remains.rows} == kept


def test_arithmetic_that_was_not_counted_leaves_out_the_energy_alone(lenet: Run) -> None:
    assert lenet.record is not None
    layers = [{**row, "flop": None, "flop_kept": None} for row in lenet.record["layers"]]
    titles = [
        panel.title for panel in result_panels(replace(lenet, record={**lenet.record, "layers": layers}))
    ]
    assert "Energy of one inference" not in titles
    assert "What remains of each layer" in titles


def test_every_figure_lies_in_the_page_as_json(lenet: Run) -> None:
    html = report_page([lenet]).html
    specs = re.findall(r'<script type="application/json" data-chart="chart-\d+">(.*?)</script>', html)
    assert len(specs) == html.count('class="chart"') == 10
    assert all(
        json.loads(spec)["$schema"].startswith("https://vega.github.io/schema/vega-lite/") for spec in specs
    )
