from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from secateur.benchmarking.network_onnx import write_chain
from secateur.benchmarking.paper import ROWS, PaperRow, paper_work, parse_rows, pruned_network
from secateur.errors import ConfigurationError, UnsupportedModelError
from secateur.networks import PAPER_NETWORKS


def test_the_suite_is_the_four_networks_at_both_densities() -> None:
    assert ROWS == (
        "lenet-300-100@paper", "lenet-300-100@0.10", "lenet-5@paper", "lenet-5@0.10",
        "alexnet@paper", "alexnet@0.10", "vgg16@paper", "vgg16@0.10",
    )  # fmt: skip
    rows = parse_rows(ROWS)
    assert {row.network for row in rows} == set(PAPER_NETWORKS)
    assert {row.name: row.batches for row in rows}["alexnet@paper"] == (1, 16)
    assert [row.density for row in rows[:2]] == [None, 0.1]


@pytest.mark.parametrize(
    "word", ["alexnet", "alexnet@", "vgg-16@paper", "lenet-5@0", "lenet-5@1.5", "@paper", ""]
)
def test_other_rows_are_refused(word: str) -> None:
    with pytest.raises(ConfigurationError, match="--rows takes NETWORK@paper or NETWORK@DENSITY"):
        parse_rows([word])


@pytest.mark.parametrize("name", ["lenet-300-100@paper", "lenet-5@paper", "lenet-5@0.10"])
def test_every_layer_has_exactly_its_density_and_activations_keep_their_size(name: str) -> None:
    (row,) = parse_rows([name])
    model = pruned_network(row)
    for layer, density in PAPER_NETWORKS[row.network].paper_densities.items():
        weight = model.get_submodule(layer).weight
        assert isinstance(weight, torch.Tensor)
        asked = density if row.density is None else row.density
        assert int(weight.count_nonzero()) == round(asked * weight.numel())
    with torch.no_grad():
        outputs = model(torch.randn(64, *PAPER_NETWORKS[row.network].input_shape))
    assert 0.3 < float(outputs.std()) < 10
    again = pruned_network(row)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_files_hold_the_network_and_are_found_again(tmp_path: Path) -> None:
    (row,) = parse_rows(["lenet-5@paper"])
    work = paper_work(row, 3, tmp_path / "cache")
    assert (work.name, work.batch) == ("lenet-5@paper", 3)
    with torch.no_grad():
        expected = pruned_network(row)(torch.from_numpy(work.inputs[0])).numpy()
    session = onnxruntime.InferenceSession(str(work.sources["onnx"]), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": work.inputs[0]})
    assert np.max(np.abs(found - expected)) <= 1e-5 * np.max(np.abs(expected))
    exported = torch.export.load(work.sources["torch"]).module()(torch.from_numpy(work.inputs[0]))
    assert np.max(np.abs(exported.detach().numpy() - expected)) <= 1e-5 * np.max(np.abs(expected))

    written = {path: path.stat().st_mtime_ns for path in work.sources.values()}
    paper_work(row, 3, tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in work.sources.values()} == written
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        "lenet-5@paper-seed0-b3.onnx", "lenet-5@paper-seed0-b3.pt2",
    ]  # fmt: skip


def test_alexnets_kinds_of_layers_are_written_as_torch_computes_them(tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.ReLU(),
        nn.LocalResponseNorm(5, alpha=1e-1, beta=0.75, k=1.0),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(54, 5, bias=False),
    ).eval()
    images = torch.randn(2, 4, 12, 12)
    write_chain(model, (2, 4, 12, 12), tmp_path / "net.onnx")
    file = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(file, full_check=True)
    assert [node.op_type for node in file.graph.node] == ["Conv", "Relu", "LRN", "MaxPool", "Flatten", "Gemm"]
    assert {numpy_helper.to_array(each).shape for each in file.graph.initializer} == {
        (6, 2, 3, 3),
        (6,),
        (5, 54),
    }
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": images.numpy()})
    np.testing.assert_allclose(found, model(images).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_other_layers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedModelError, match="layer '0' is a GELU; the benchmark writes Conv2d, Linear"
    ):
        write_chain(nn.Sequential(nn.GELU()), (1, 3), tmp_path / "net.onnx")
    with pytest.raises(UnsupportedModelError, match="layer '0': padding is 'same'"):
        write_chain(nn.Sequential(nn.Conv2d(1, 1, 3, padding="same")), (1, 1, 4, 4), tmp_path / "net.onnx")


def test_a_row_is_a_plain_value() -> None:
    assert parse_rows(["vgg16@0.25"]) == [PaperRow("vgg16@0.25", "vgg-16", 0.25, (1,))]
