"""From a run to a file that ships: export, info, and the end of the demo."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, save
from rich.console import Console
from safetensors.torch import save_file

import secateur as sc
from secateur.cli.main import main
from secateur.cli.shipping import ship
from secateur.errors import CheckpointError
from secateur.export import network_of_run, network_of_weights
from secateur.networks import LeNet300100, build_network
from secateur.training.checkpoint import load_weights
from tests.cli.test_main import big_blobs, recipe


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secateur.recipes.data.load_dataset", lambda *_: big_blobs())
        assert main(["run", str(recipe(base)), "--out", str(base / "out"), "--quiet"]) == 0
    return base / "out"


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 1
    return capsys.readouterr().err


def test_a_run_is_exported_and_described(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "tiny.secateur"
    assert main(["export", str(run_folder), "-o", str(target), "--no-measure", "--batch", "1", "8"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"x smaller than dense float32", said)
    images = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    network = build_network("lenet-300-100", num_classes=4)
    network.load_state_dict(load_weights(run_folder / "pruned.safetensors"))
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(sc.load(target)(images), expected, rtol=1e-4, atol=1e-5)
    assert main(["info", str(target), "--why"]) == 0
    said = capsys.readouterr().out
    for word in ("fc1", "fc2", "fc3", "by rule of thumb, not measured", "(batch, 1, 28, 28)"):
        assert word in said
    assert main(["info", str(run_folder)]) == 0
    assert "fewer" in capsys.readouterr().out


def test_a_run_whose_network_computes_something_else_now_is_not_exported(
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["export", str(run_folder), "-o", str(tmp_path / "a.secateur"), "--no-measure"]
    assert main(words) == 0
    (tmp_path / "a.secateur").unlink()
    plain = LeNet300100.forward
    monkeypatch.setattr(LeNet300100, "forward", lambda self, x: torch.sigmoid(plain(self, x)))
    capsys.readouterr()
    assert "its forward, or what that calls, was changed since" in refusal(capsys, *words)
    with pytest.raises(CheckpointError, match="computes something else"):
        network_of_run(run_folder, dense=True)
    assert not (tmp_path / "a.secateur").exists()


def test_a_run_is_exported_as_onnx_and_that_again(run_folder: Path, tmp_path: Path) -> None:
    middle, target = tmp_path / "tiny.onnx", tmp_path / "tiny.secateur"
    assert main(["export", str(run_folder), "-o", str(middle)]) == 0
    assert main(["export", str(middle), "-o", str(target), "--no-measure", "--values", "float16"]) == 0
    images = np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    session = onnxruntime.InferenceSession(middle)
    (expected,) = session.run(None, {session.get_inputs()[0].name: images})
    worst = np.abs(sc.load(target)(images) - expected).max() / np.abs(expected).max()
    assert 0 < worst < 20 * 2**-11  # three layers, each weight rounded to eleven bits


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_of_weights(tmp_path: Path, suffix: str) -> None:
    state = build_network("lenet-300-100").state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    target = tmp_path / "a.secateur"
    words = ["export", str(path), "-o", str(target), "--model", "lenet-300-100", "--no-measure"]
    assert main(words) == 0
    assert sc.load(target)(np.zeros((1, 1, 28, 28), np.float32)).shape == (1, 10)


def test_what_cannot_be_exported(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "a.secateur")
    assert "expected a name that ends in .secateur or .onnx" in refusal(
        capsys, "export", str(run_folder), "-o", str(tmp_path / "a.bin")
    )
    assert "expected a run's folder, a file of weights or an ONNX file" in refusal(
        capsys, "export", str(tmp_path / "nothing"), "-o", target
    )
    assert "holds no result.json" in refusal(capsys, "export", str(tmp_path), "-o", target)
    assert "is a compact file already" in refusal(capsys, "export", "a.secateur", "-o", target)
    weights = tmp_path / "weights.pt"
    torch.save({"fc1.weight": torch.zeros(3, 3)}, weights)
    assert "say of which network with --model" in refusal(capsys, "export", str(weights), "-o", target)
    assert "no network 'lenet'" in refusal(capsys, "export", str(weights), "-o", target, "--model", "lenet")
    message = refusal(capsys, "export", str(weights), "-o", target, "--model", "lenet-5")
    assert "is of another network" in message
    assert "missing conv1.weight" in message
    weights.write_bytes(b"not a checkpoint")
    assert "is damaged, or holds more than tensors by name" in refusal(
        capsys, "export", str(weights), "-o", target, "--model", "lenet-5"
    )
    torch.save([1, 2], weights)
    assert "expected tensors by name (a state_dict), found list" in refusal(
        capsys, "export", str(weights), "-o", target, "--model", "lenet-5"
    )
    assert not Path(target).exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "there is no file "),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "is damaged or not a safetensors file: "),
    ],
)
def test_a_run_whose_network_is_gone_or_damaged_says_how_to_have_it_again(
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object],
    said: str,
) -> None:
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    spoil(folder / "pruned.safetensors")
    message = refusal(capsys, "export", str(folder), "-o", str(tmp_path / "a.secateur"))
    assert said in message
    assert message.endswith("; the same `secateur run` writes it again\n")


def test_a_run_of_ones_own_network_says_how_to_ship_it(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("result.json", "run.json", "pruned.safetensors"):
        (tmp_path / name).write_bytes((run_folder / name).read_bytes())
    identity = json.loads((tmp_path / "run.json").read_text())
    identity["settings"] = {}
    (tmp_path / "run.json").write_text(json.dumps(identity))
    message = refusal(capsys, "export", str(tmp_path), "-o", str(tmp_path / "a.secateur"))
    assert "use secateur.compile(network, example)" in message


def test_info_of_what_is_no_compact_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.secateur"
    path.write_bytes(b"nonsense")
    assert str(path) in refusal(capsys, "info", str(path))
    assert "--batch must be at least 1" in refusal(capsys, "info", str(path), "--batch", "0")
    assert "holds no run.json: expected the folder of a run" in refusal(capsys, "info", str(tmp_path))
    path = path.rename(tmp_path / "a.safetensors")
    assert "holds weights alone: expected a .secateur file" in refusal(capsys, "info", str(path))


@pytest.mark.parametrize(("batch", "title"), [("batch", "batch 1, "), (64, "fixed batch, ")])
def test_names_with_brackets_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], batch: int | str, title: str
) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 2], [0.0, 1.0] * 4)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="[/fc]")
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size])
        for name, size in (("x", 4), ("y", 2))
    )
    path = tmp_path / "named.onnx"
    save(helper.make_model(helper.make_graph([node], "named", [x], [y], [weight])), path)
    target = tmp_path / "named.secateur"
    assert main(["export", str(path), "-o", str(target), "--no-measure"]) == 0
    assert main(["info", str(target)]) == 0
    (layer,) = (each.layer for each in sc.load(target).kernels())
    said = capsys.readouterr().out
    assert said.count(layer) == 2
    assert said.startswith(title)


def test_no_number_is_cut_on_a_terminal_of_80_columns_nor_in_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [512, 512, 3, 3], np.ones(512 * 512 * 9, np.float32))
    name = "/a/name/as/exporters/of/deep/networks/make/them/layer4/layer4.2/conv3/Conv"
    node = helper.make_node("Conv", ["x", "w"], ["y"], name=name, pads=[1] * 4)
    x, y = (
        helper.make_tensor_value_info(value, TensorProto.FLOAT, ["batch", 512, 14, 14])
        for value in ("x", "y")
    )
    save(helper.make_model(helper.make_graph([node], "deep", [x], [y], [weight])), tmp_path / "deep.onnx")
    target = tmp_path / "deep.secateur"
    assert main(["export", str(tmp_path / "deep.onnx"), "-o", str(target), "--no-measure"]) == 0
    (kernel,) = (each.kernel for each in sc.load(target).kernels())
    for columns in (80, None):
        capsys.readouterr()
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns is not None:
            monkeypatch.setenv("COLUMNS", str(columns))
        assert main(["info", str(target)]) == 0
        said = capsys.readouterr().out
        for shown in ("512x512x3x3", "100.0", "dense", "9,437", kernel):
            assert shown in said
        assert "…" not in said


def test_shipping_says_kilobytes_and_microseconds(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    console = Console(record=True, width=120, file=io.StringIO())
    ship(run_folder, torch.rand(1, 1, 28, 28), console)
    said = console.export_text()
    assert re.search(r"file +[\d.,]+ kB -> [\d.,]+ kB +\d+\.\dx smaller", said)
    assert re.search(r"one image +[\d.,]+ us in PyTorch -> [\d.,]+ us without it +\d+\.\dx faster", said)
    assert (run_folder / "pruned.secateur").stat().st_size < (run_folder / "dense.safetensors").stat().st_size


def test_a_state_file_of_torchvision_is_loaded_by_its_own_names_and_classes(tmp_path: Path) -> None:
    saved = build_network("mobilenet-v2", num_classes=7)
    state = {f"module.{name}": tensor for name, tensor in saved.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 90}, tmp_path / "mobilenet.pth")
    trained = network_of_weights(tmp_path / "mobilenet.pth", "mobilenet-v2")
    assert trained.example.shape == (1, 3, 224, 224)
    assert not trained.module.training
    found = trained.module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in saved.state_dict().items())
