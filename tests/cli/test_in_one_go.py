"""The whole way, on real digits and with nothing put in anything's place: run, export, bench."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.cli.main import main
from tests.cli.test_main import recipe


def test_from_a_recipe_to_microseconds_beside_another_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run, file, onnx, result = (
        str(tmp_path / name) for name in ("run", "tiny.secateur", "tiny.onnx", "r.json")
    )
    assert main(["run", str(recipe(tmp_path)), "--out", run, "--quiet"]) == 0
    assert main(["export", run, "-o", onnx]) == 0
    assert main(["export", run, "-o", file]) == 0
    words = ["bench", file, "--onnx", onnx, "--peers", "onnxruntime", "--threads", "1", "--rounds", "2"]
    assert main([*words, "--burst", "0.01", "--json", result]) == 0
    assert "tiny, batch 1, 1 threads" in capsys.readouterr().out
    rows = {row["engine"]: row for row in json.loads(Path(result).read_text())["rows"]}
    assert rows.keys() == {"secateur", "onnxruntime"}
    assert all(row["agrees"] and row["median_ms"] > 0 for row in rows.values())
    assert rows["secateur"]["file_bytes"] == Path(file).stat().st_size
    assert rows["secateur"]["file_bytes"] < Path(onnx).stat().st_size / 5
