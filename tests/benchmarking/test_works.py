from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from secateur.benchmarking.works import work_from_files, work_from_onnx
from secateur.errors import ConfigurationError
from tests.benchmarking.conftest import write_compact_relu, write_relu


def test_a_fixed_batch_size_is_the_files(tmp_path: Path) -> None:
    path = write_relu(tmp_path / "net.onnx", 4)
    work = work_from_onnx(path, None, tmp_path)
    assert (work.name, work.batch, work.sources) == ("net", 4, {"onnx": path})
    assert [array.shape for array in work.inputs] == [(4, 3)]
    assert work.inputs[0].dtype == np.float32
    assert np.count_nonzero(work.inputs[0]) == 12
    assert work_from_onnx(path, 4, tmp_path).batch == 4
    with pytest.raises(
        ConfigurationError, match=r"'x' has the batch size 4 fixed in the file, and --batch asks"
    ):
        work_from_onnx(path, 1, tmp_path)


@pytest.mark.parametrize(("asked", "batch"), [(None, 1), (8, 8)])
def test_a_symbolic_batch_size_is_filled_in(tmp_path: Path, asked: int | None, batch: int) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    path = write_relu(tmp_path / "net.onnx", "N")
    work = work_from_onnx(path, asked, folder)
    assert (work.name, work.batch, work.inputs[0].shape) == ("net", batch, (batch, 3))
    model = onnx.load(work.sources["onnx"])
    for value in (*model.graph.input, *model.graph.output):
        assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [batch, 3]
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_inputs_are_the_same_every_time(tmp_path: Path) -> None:
    path = write_relu(tmp_path / "net.onnx", 4)
    first, second = (work_from_onnx(path, None, tmp_path).inputs[0] for _ in range(2))
    assert np.array_equal(first, second)


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="input 'x' holds INT64; only float32 inputs can be measured"
    ):
        work_from_onnx(write_relu(tmp_path / "int.onnx", dtype=TensorProto.INT64), None, tmp_path)
    model = onnx.load(write_relu(tmp_path / "open.onnx", "N"))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    onnx.save(model, tmp_path / "open.onnx")
    with pytest.raises(ConfigurationError, match="'x' has dimensions of unknown size beside its first"):
        work_from_onnx(tmp_path / "open.onnx", None, tmp_path)
    with pytest.raises(ConfigurationError, match=r"is a folder: expected a file; of a run, give"):
        work_from_files(tmp_path, None, tmp_path)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ConfigurationError, match=r"text\.onnx cannot be read as an ONNX file"):
        work_from_onnx(tmp_path / "text.onnx", None, tmp_path)


def test_files_that_belong_together(tmp_path: Path) -> None:
    path, program, compact = write_relu(tmp_path / "a.onnx"), tmp_path / "a.pt2", tmp_path / "b.secateur"
    program.write_bytes(b"x")
    write_compact_relu(compact)
    work = work_from_files(path, None, tmp_path, torch_file=program)
    assert (work.name, work.sources) == ("a", {"onnx": path, "torch": program})
    work = work_from_files(compact, None, tmp_path, onnx_file=path)
    assert (work.name, work.sources) == ("b", {"onnx": path, "secateur": compact})
    work = work_from_files(compact, 5, tmp_path)
    assert (work.name, work.batch, work.sources) == ("b", 5, {"secateur": compact})
    assert [array.shape for array in work.inputs] == [(5, 3)]
    with pytest.raises(
        ConfigurationError, match=r"--onnx belongs to a \.secateur file, and .*a\.onnx is none"
    ):
        work_from_files(path, None, tmp_path, onnx_file=path)
    with pytest.raises(ConfigurationError, match=r"there is no file .*none\.onnx"):
        work_from_files(tmp_path / "none.onnx", None, tmp_path)
