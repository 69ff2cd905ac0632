"""Bytes beside the entropy: that a file is counted, and that the bound is below it."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.sizes import main


def test_a_file_lies_a_little_above_its_entropy(tmp_path: Path) -> None:
    main(["--networks", "lenet-300-100@paper", "--json", str(tmp_path / "sizes.json")])
    (row,) = json.loads((tmp_path / "sizes.json").read_text())["rows"]
    assert row["within"]
    assert 0 < row["above_entropy"] < 0.25  # the graph counts, a kilobyte of a hundred
    assert row["file_bytes"] > 4 * 21_000  # a twelfth of 266,200 weights
