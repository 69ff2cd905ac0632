"""A network of the user's, from the recipe through every verb."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from secateur.cli.main import main
from secateur.cli.model import parse_arguments, with_model
from secateur.errors import ConfigurationError
from secateur.networks.lenet import LeNet300100
from secateur.recipes.plan import Recipe
from secateur.training.checkpoint import load_weights
from tests.cli.test_main import big_blobs, recipe, refused
from tests.small import phase, plan

SOURCE = """
from torch import nn


def perceptron(hidden, *, classes=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def softened(*, classes=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.Softplus(), nn.Linear(8, classes))
"""


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("secateur.recipes.data.load_dataset", lambda *_: big_blobs())
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.chdir(tmp_path)


def own(tmp_path: Path) -> str:
    name = f"nets_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE)
    return f"{name}:perceptron"


def test_what_will_not_ship_is_said_before_it_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, path = own(tmp_path).replace("perceptron", "softened"), str(recipe(tmp_path))
    assert main(["run", path, "--model", model, "--out", "run"]) == 0
    printed = capsys.readouterr().out
    note = printed.index(
        "note: this network trains and is pruned here, but as it is, secateur export will refuse it: node "
    )
    assert "operator 'Softplus' is not supported" in printed[note:]
    assert note < printed.index("result ")
    capsys.readouterr()
    assert main(["export", "run", "-o", "own.secateur", "--no-measure"]) == 1
    assert "operator 'Softplus' is not supported" in capsys.readouterr().err


def test_a_factory_is_run_exported_scanned_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model, path = own(tmp_path), str(recipe(tmp_path))
    assert main(["run", path, "--model", model, "--model-arg", "hidden=16", "--out", "run"]) == 0
    printed = capsys.readouterr().out
    assert f"tiny: {model} on blobs" in printed
    assert "note:" not in printed
    settings = json.loads(Path("run/run.json").read_text())["settings"]
    assert settings["model"] == model
    assert settings["model_arguments"] == {"hidden": 16}
    assert settings["image_shape"] == [1, 28, 28]
    assert main(["export", "run", "-o", "own.secateur", "--no-measure"]) == 0
    assert main(["scan", "run", "--densities", "0.5", "--quiet"]) == 0
    assert main(["report", "run", "--compile"]) == 0
    assert Path("run/report.html").exists()
    assert main(["run", path, "--model", model, "--model-arg", "hidden=16", "--out", "run", "--quiet"]) == 0
    message = refused(capsys, "run", path, "--model", model, "--model-arg", "hidden=8", "--out", "run")
    assert "run" in message  # the folder is of another run


def test_a_run_starts_from_weights_and_is_known_by_their_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = LeNet300100(4)
    torch.save({"model": trained.state_dict()}, "a.pt")
    torch.save({"model": LeNet300100(4).state_dict()}, "b.pt")
    untrained: dict[str, Any] = {"plan": {
        "dense": [phase(0)], "cut": {"kind": "global", "density": 1.0}, "retrain": [phase(0)], "sweep": False,
    }}  # fmt: skip
    path = str(recipe(tmp_path, **untrained))
    assert main(["run", path, "--weights", "a.pt", "--out", "run", "--quiet"]) == 0
    for name in ("dense", "pruned"):
        state = load_weights(Path(f"run/{name}.safetensors"))
        assert all(torch.equal(state[key], tensor) for key, tensor in trained.state_dict().items())
    assert json.loads(Path("run/run.json").read_text())["settings"]["weights"].startswith("sha256:")
    Path("moved.pt").write_bytes(Path("a.pt").read_bytes())
    assert main(["run", path, "--weights", "moved.pt", "--out", "run", "--quiet"]) == 0  # only read
    refused(capsys, "run", path, "--weights", "b.pt", "--out", "run")
    torch.save(LeNet300100(5).state_dict(), "five.pt")
    message = refused(capsys, "run", path, "--weights", "five.pt")
    assert "five.pt is of another network: fc3.bias is (5,) but must be (4,); fc3.weight is" in message


def test_what_is_no_network_for_the_data_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, path = own(tmp_path), str(recipe(tmp_path))
    words = ("run", path, "--model", model, "--model-arg", "hidden=16")
    assert "expected an output of shape [1, 4], one number a class, found [1, 5]" in refused(
        capsys, *words, "--model-arg", "classes=5"
    )
    assert "missing a required argument: 'hidden'; it takes (hidden, *, classes=4)" in refused(
        capsys, "run", path, "--model", model
    )
    assert "there is no such built-in network" in refused(capsys, "run", path, "--model", "lenet")
    assert "there is no module 'nothing'" in refused(capsys, "run", path, "--model", "nothing:net")
    assert "--model-arg: expected NAME=VALUE, found 'hidden'" in refused(
        capsys, "run", path, "--model-arg", "hidden"
    )
    assert not Path("runs").exists()


def test_a_run_whose_function_is_gone_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = own(tmp_path)
    words = [
        "run",
        str(recipe(tmp_path)),
        "--model",
        model,
        "--model-arg",
        "hidden=4",
        "--out",
        "run",
        "--quiet",
    ]
    assert main(words) == 0
    identity = json.loads(Path("run/run.json").read_text())
    identity["settings"]["model"] = "gone_for_good:net"
    Path("run/run.json").write_text(json.dumps(identity))
    capsys.readouterr()
    message = refused(capsys, "export", "run", "-o", "a.secateur")
    assert "there is no module 'gone_for_good', neither installed nor in the current folder" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hidden"], "expected NAME=VALUE, found 'hidden'"),
        (["1=2"], "expected NAME=VALUE, found '1=2'"),
        (["a=1", "a=2"], "a is given twice; give it once"),
        (["a={"], "the value is not YAML; put text with such signs into quotes"),
    ],
)
def test_arguments_that_cannot_be_read(words: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_arguments(words)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("tests.small:Dense", {"dropout": 0.5}, "a.pt")),
        ({"model_arg": ["dropout=0.1"]}, ("tests.small:Dense", {"dropout": 0.1}, "a.pt")),
        ({"weights": "b.pt"}, ("tests.small:Dense", {"dropout": 0.5}, "b.pt")),
        ({"model": "lenet-5"}, ("lenet-5", {}, None)),
        (
            {"model": "lenet-5", "model_arg": ["dropout=0"], "weights": "c.pt"},
            ("lenet-5", {"dropout": 0}, "c.pt"),
        ),
    ],
)
def test_the_command_line_goes_before_the_recipe(given: dict[str, Any], expected: tuple[Any, ...]) -> None:
    before = Recipe.model_validate({
        "name": "tiny", "model": "tests.small:Dense", "model_arguments": {"dropout": 0.5}, "weights": "a.pt",
        "plan": plan(),
    })  # fmt: skip
    after = with_model(before, Namespace(**{"model": None, "model_arg": [], "weights": None} | given))
    assert (after.model, dict(after.model_arguments), after.weights) == expected
    assert after.plan == before.plan
