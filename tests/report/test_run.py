from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.errors import CheckpointError
from secateur.report.run import read_run


def test_a_finished_run_is_read_whole(lenet_folder: Path) -> None:
    run = read_run(lenet_folder)
    assert run.name == "blobs, seed 3"
    assert run.stages == ("dense", "round-01", "round-02")
    assert run.record is not None
    assert run.masks["fc1.weight"].dtype == np.bool_
    kept = sum(int(mask.sum()) for mask in run.masks.values())
    assert kept == run.record["weights"]["kept"]
    assert all(not run.pruned[name][~mask].any() for name, mask in run.masks.items())
    assert run.missing == ()
    assert run.scan is None
    assert run.measured is None


def test_an_unfinished_run_gives_what_there_is(unfinished: Path) -> None:
    run = read_run(unfinished)
    assert run.record is None
    assert len(run.log) == 3  # the line that was cut short does not count
    assert run.stages == ("dense", "round-01")
    assert not run.dense
    assert run.missing == ()


def test_a_network_that_is_gone_is_named(folder: Path) -> None:
    (folder / "pruned.safetensors").unlink()
    assert read_run(folder).missing == ("pruned.safetensors",)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no run\.json: expected the folder of a run"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text('{"name": "x"}')
    with pytest.raises(CheckpointError, match=r"does not say what the run is \(name, seed and plan\)"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("result.json", b"{", r"result\.json is damaged .*; remove it, and the same `secateur run`"),
        ("result.json", b'{"format": 99}', r"is not a result of this version of Secateur \(format 1\)"),
        ("masks.safetensors", b"\x08\0\0", r"masks\.safetensors is damaged or not a safetensors file"),
        ("log.jsonl", b"{}\n{oops\n", r"log\.jsonl is damaged .*the same `secateur run`"),
        ("sensitivity.json", b"[", r"sensitivity\.json is damaged"),
        (
            "sensitivity.json",
            b'{"finished": true, "images": 3, "error": "much", "layers": []}',
            r"sensitivity\.json is damaged or of another kind \(error: Input should be a valid number",
        ),
        (
            "sensitivity.json",
            b"[]",
            r"\(the whole: Input should be a valid dictionary .*; remove it, and scan",
        ),
        (
            "result.json",
            b'{"format": 1}',
            r"result\.json is damaged or of another kind \(name: Field required\)",
        ),
        (
            "log.jsonl",
            b'{"stage": "dense"}\n',
            r"log\.jsonl is damaged or of another kind \(loss: Field required",
        ),
        ("log.jsonl", b"3\n", r"log\.jsonl is damaged or of another kind \(the whole"),
        (
            "run.json",
            b'{"name": "x", "seed": 0, "plan": {"dense": 3}}',
            r"run\.json is damaged or of another kind \(plan\.dense: Input should be a valid list",
        ),
    ],
)
def test_a_damaged_file_is_named(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_run(folder)
