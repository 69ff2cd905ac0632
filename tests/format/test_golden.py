from __future__ import annotations

import hashlib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from secateur.format.graph import Node
from secateur.format.packing import unpack
from secateur.format.reader import read_model
from secateur.format.writer import write_model
from tests.format.make_golden import FOLDER, MODELS
from tests.format.samples import same_models

FILES = sorted(FOLDER.glob("*/*.secateur"))
# Of every file as it was written, so that none is ever changed to make a test pass.
DIGESTS = {
    "v1/every-node": "0ff1c7ad7dda8886",
    "v1/log-softmax": "bbf3935ed5ab03ab",
    "v1/small-bfloat16": "31b47d62f9bf2a4c",
    "v1/small-float16": "294b928b02ba5886",
    "v1/small-float32": "390253b3ca713a21",
    "v1/wide-gaps": "70a0b1f51cc8dc28",
}


def test_no_golden_file_was_changed_or_lost() -> None:
    found = {
        f"{path.parent.name}/{path.stem}": hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in FILES
    }
    assert found == DIGESTS


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_golden_file_is_read_and_written_byte_for_byte(path: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "again.secateur", read_model(path))
    assert (tmp_path / "again.secateur").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", MODELS)
def test_a_golden_file_says_what_it_said(name: str) -> None:
    assert same_models(read_model(FOLDER / "v1" / f"{name}.secateur"), MODELS[name]())


def test_every_kind_of_node_is_in_some_golden_file() -> None:
    kinds = {type(node) for path in FILES for node in read_model(path).graph.nodes}
    assert kinds == set(get_args(Node))


def test_numbers_of_a_golden_file() -> None:
    model = read_model(FOLDER / "v1" / "wide-gaps.secateur")
    line = unpack(model.weights["w"])[0]
    assert np.flatnonzero(line).tolist() == [3, 259, 516, 1030]
    assert line[[3, 259, 516]].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(line[1030])
