from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from benchmarks.scan_cost import LIMIT, ScanCost, main, measure, result


@pytest.fixture(autouse=True)
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_point_is_counted_and_checked() -> None:
    cost = measure("lenet-5", images=5, batch=5, densities=(0.5, 0.1), check=8)
    assert (cost.points, cost.images, cost.checked) == (8, 5, 8)
    assert len(cost.evaluation_seconds) == 4
    assert cost.scan_seconds > 0


def test_the_ratio_is_that_of_the_scan_to_the_median_evaluation_of_every_point() -> None:
    cost = ScanCost("vgg-16", 160, 8, 40.0, [0.5, 9.0, 0.25], 80.0, [2.0, 1.0, 4.0], 0)
    assert cost.ratio == 40.0 / (160 * 0.5)
    assert cost.ratio_by_clock == 80.0 / (160 * 2.0)
    assert result(cost, "", {}, 0.0)["ratio"] == cost.ratio


def test_the_command_writes_its_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scan.json"
    main(["--network", "lenet-300-100", "--images", "4", "--check", "2", "--json", str(path)])
    assert "30 points on 4 images" in capsys.readouterr().out
    content = json.loads(path.read_text())
    assert (content["points"], content["checked"], content["limit"]) == (30, 2, LIMIT)
    assert str(tmp_path) not in path.read_text()
    assert content["command"].startswith("python -m benchmarks.scan_cost --network lenet-300-100 --images 4")
