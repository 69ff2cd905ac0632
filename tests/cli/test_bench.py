from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from secateur.benchmarking import contest as contest_module
from secateur.benchmarking import machine
from secateur.cli import bench
from secateur.cli.main import main
from tests.benchmarking.conftest import fake, write_relu
from tests.cli.test_main import refused

QUICK = ("--rounds", "2", "--burst", "0.002")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bench,
        "chosen_engines",
        lambda *_: [fake(name="secateur"), fake("late", "peer"), fake("absent", "gone")],
    )
    monkeypatch.setattr(machine, "measured_limits", lambda _: {"gflops": 1.0, "read_gb_per_s": 1.0})


@pytest.mark.usefixtures("fakes")
def test_a_file_is_measured_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_relu(tmp_path / "net.onnx", "N"), tmp_path / "out.json"
    words = ["bench", str(path), "--batch", "1", "3", "--threads", "1", "--json", str(out), *QUICK]
    monkeypatch.setattr(sys, "argv", ["secateur", *words])
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "net, batch 1, 1 threads" in text
    assert "net, batch 3, 1 threads" in text
    assert "gone: absent: " in text
    record = json.loads(out.read_text())
    assert set(record) == {"machine", "command", "rows"}
    assert record["machine"]["peak"]["gflops"] == 1.0
    assert record["machine"]["reference"] == ["onnxruntime"]
    assert record["machine"]["settings"]["rounds"] == 2
    assert record["command"].startswith("secateur bench net.onnx --batch 1 3 ")
    assert str(tmp_path) not in out.read_text().replace(sys.executable, "")
    assert [(row["engine"], row["batch"], row["agrees"], row["absent"]) for row in record["rows"]] == [
        (engine, batch, engine != "gone", engine == "gone")
        for batch in (1, 3)
        for engine in ("secateur", "peer", "gone")
    ]
    assert record["rows"][1]["ratio"] > 1.2


@pytest.mark.usefixtures("fakes")
def test_the_suite_runs_the_rows_that_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fake engine computes max(x, 0): the reference has to be of that kind.
    monkeypatch.setattr(contest_module, "reference_outputs", lambda work, _: ("itself", [_relu(work)]))
    words = ["bench", "paper", "--rows", "lenet-300-100@0.5", "--batch", "2", "--work", str(tmp_path), *QUICK]
    assert main(words) == 0
    assert "lenet-300-100@0.5, batch 2, 2 threads" in capsys.readouterr().out
    assert (tmp_path / "lenet-300-100@0.5-seed0-b2.onnx").is_file()


def _relu(work: contest_module.Work) -> contest_module.NDArray[contest_module.Any]:
    return work.inputs[0].clip(min=0)


@pytest.mark.parametrize("fault", ["wrong", "refuses", "absent"])
def test_the_status_tells_whether_secateur_was_measured(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "chosen_engines", lambda *_: [fake(fault, "secateur")])
    assert main(["bench", str(write_relu(tmp_path / "net.onnx")), *QUICK]) == 1
    assert "secateur: " in capsys.readouterr().out


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write_relu(tmp_path / "net.onnx"))
    assert "there is no file x.onnx" in refused(capsys, "bench", "x.onnx")
    assert "--batch must be at least 1, found 0" in refused(capsys, "bench", path, "--batch", "0")
    assert "--threads must be at least 1, found -2" in refused(capsys, "bench", path, "--threads", "-2")
    assert "--peers takes names among torch" in refused(capsys, "bench", path, "--peers", "tensorflow")
    assert "--python takes NAME=PATH" in refused(capsys, "bench", path, "--python", "mnn")
    assert "--rows belongs to the suite 'paper'" in refused(capsys, "bench", path, "--rows", "lenet-5@paper")
    assert "--onnx belongs to a file, not to the suite" in refused(capsys, "bench", "paper", "--onnx", path)
    assert "--rows takes NETWORK@paper" in refused(capsys, "bench", "paper", "--rows", "lenet")
    assert "a measurement needs rounds >= 1" in refused(capsys, "bench", path, "--rounds", "0")
    assert "--batch asks for 5" in refused(capsys, "bench", path, "--batch", "5")


def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith(("secateur.cli.bench", "secateur.benchmarking")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["bench", "net.onnx"]) == 1
    assert capsys.readouterr().err == (
        "secateur bench needs 'onnx', which is not installed: pip install \"secateur[train,compile]\"\n"
    )
