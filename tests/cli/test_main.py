from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import secateur
from secateur.cli import run as run_module
from secateur.cli.main import main
from secateur.datasets.images import ImageDataset
from secateur.recipes.builtin import RECIPES
from secateur.recipes.driver import Observer
from secateur.recipes.plan import read_recipe
from secateur.training.checkpoint import load_checkpoint
from tests.small import blobs, phase


def big_blobs() -> ImageDataset:
    # 28x28, for the built-in networks: every pixel three times, less the border
    def grow(images: torch.Tensor) -> torch.Tensor:
        return images.repeat_interleave(3, 2).repeat_interleave(3, 3)[:, :, 4:32, 4:32].contiguous()

    small = blobs()
    return ImageDataset(
        grow(small.train_images), small.train_labels, grow(small.test_images), small.test_labels, 4, "blobs"
    )


def recipe(folder: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "name": "tiny",
        "model": "lenet-300-100",
        "data": {"name": "digits", "validation": 40},
        "plan": {
            "dense": [phase(2)],
            "cut": {"kind": "global", "density": 0.1},
            "retrain": [phase(1)],
        },
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


@pytest.fixture
def on_blobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.recipes.data.load_dataset", lambda *_: big_blobs())


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run what must be refused: status 1, one message on stderr, no traceback."""
    assert main(words) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("secateur: ")
    assert "Traceback" not in captured.err
    return captured.err


def test_help_names_the_verbs_and_loads_nothing_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "run" in out
    assert "demo" in out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"secateur {secateur.__version__}\n"


def test_help_of_run_lists_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for name, what in RECIPES.items():
        assert f"{name:<20} {what}" in out
    for option in ("--data", "--seed", "--out", "--threads", "--tensorboard", "--quiet"):
        assert option in out


@pytest.mark.parametrize(
    "words", [[], ["prune"], ["run"], ["run", "demo", "--sed", "1"], ["run", "demo", "--seed", "x"]]
)
def test_words_that_make_no_sense_are_a_usage_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: secateur" in capsys.readouterr().err


def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "secateur.cli.demo", raising=False)
    monkeypatch.delitem(sys.modules, "secateur.cli.run", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["run", "demo"]) == 1
    message = "secateur run needs 'torch', which is not installed: pip install \"secateur[train]\"\n"
    assert capsys.readouterr().err == message


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    at = ("--out", str(out))
    message = refused(capsys, "run", "lenet", *at)
    assert "'lenet' is neither a built-in recipe (lenet-300-100, lenet-5," in message
    message = refused(capsys, "run", "lenet-300-100", "--data", str(tmp_path / "none"), *at)
    assert str(tmp_path / "none") in message
    message = refused(capsys, "run", "demo", "--threads", "0", *at)
    assert "--threads must be at least 1, found 0" in message
    message = refused(capsys, "run", "demo", "--seed", "-1", *at)
    assert "--seed must be at least 0, found -1" in message
    message = refused(capsys, "demo", "--seed", "-1", *at)
    assert "--seed must be at least 0, found -1" in message
    message = refused(capsys, "run", "demo", "--data", str(tmp_path), *at)
    assert "data set 'digits': expected no folder" in message
    message = refused(capsys, "run", str(recipe(tmp_path, modle="lenet-5")), *at)
    assert "modle: there is no such key" in message
    message = refused(capsys, "run", str(recipe(tmp_path, model="lenet")), *at)
    assert "model: there is no such built-in network" in message
    message = refused(capsys, "run", str(tmp_path), *at)
    assert "cannot read the recipe" in message
    assert not out.exists()


@pytest.mark.usefixtures("on_blobs")
def test_refusals_once_the_data_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    path = str(recipe(tmp_path, data={"name": "digits", "validation": 5000}))
    assert "5000 of 240 images for validation" in refused(capsys, "run", path, "--out", str(out))
    path = str(recipe(tmp_path, model="alexnet"))
    assert "the network AlexNet on images of shape (1, 28, 28): it does not run" in refused(
        capsys, "run", path, "--out", str(out)
    )
    assert not out.exists()
    path = str(recipe(tmp_path))
    assert "tiny.yaml is a file; give the run a folder of its own" in refused(
        capsys, "run", path, "--out", path
    )
    assert "is not empty and not the folder of a run" in refused(capsys, "run", path, "--out", str(tmp_path))


@pytest.mark.usefixtures("on_blobs")
def test_tensorboard_is_asked_for_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.cli.tensorboard.find_spec", lambda _: None)
    words = ("run", str(recipe(tmp_path)), "--out", str(tmp_path / "out"), "--tensorboard")
    assert 'pip install "secateur[tensorboard]"' in refused(capsys, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("on_blobs")
def test_a_run_in_plain_lines_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(recipe(tmp_path)), "--out", str(tmp_path / "out"), "--seed", "2"]
    assert main(words) == 0
    first = capsys.readouterr()
    assert first.err == ""
    assert "\x1b" not in first.out
    lines = [line.rstrip() for line in first.out.splitlines()]
    assert lines[0] == "tiny: lenet-300-100 on blobs, seed 2"
    assert lines[1] == "[1/2] dense: 2 epochs"
    assert lines[2].startswith("  epoch 1: loss ")
    assert "validation error" in lines[2]
    assert lines[4] == "[2/2] round-01: 1 epochs"
    assert any(line.split()[:1] == ["fc1"] for line in lines)
    assert any("fewer" in line for line in lines)
    (difference,) = [line for line in lines if line.startswith("difference")]
    assert len(difference) > 80  # the console's width, at which a line must not break
    assert difference.endswith("paired over 200 test images")
    assert lines[-1] == f"result      {tmp_path / 'out' / 'result.json'}"
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (record["name"], record["seed"]) == ("tiny", 2)
    assert record["configuration"]["settings"] == {
        "model": "lenet-300-100",
        "data": {"name": "digits", "validation": 40, "shift": 0},
    }
    assert main(words) == 0
    again = capsys.readouterr().out
    assert "[1/2] dense: finished before, kept" in again
    assert "epoch 1" not in again
    assert again.splitlines()[-12:] == first.out.splitlines()[-12:]


@pytest.mark.usefixtures("on_blobs")
def test_quiet_prints_nothing_but_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(recipe(tmp_path)), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "epoch" not in out
    assert "dense: " not in out
    assert out.lstrip().startswith("tiny, seed 0")
    assert "result.json" in out


@pytest.mark.usefixtures("on_blobs")
def test_an_interrupt_ends_with_130_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", str(recipe(tmp_path)), "--out", str(tmp_path / "out"), "--quiet"]
    real = run_module.train_prune_retrain

    def interrupted(*given: Any, **named: Any) -> Any:
        def stop(_: Any) -> None:
            raise KeyboardInterrupt

        return real(*given, **named | {"observer": Observer(on_epoch=stop)})

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "train_prune_retrain", interrupted)
        assert main(words) == 130
    captured = capsys.readouterr()
    assert "secateur: interrupted; what was done is kept in" in captured.err
    assert "Traceback" not in captured.err
    assert main(words) == 0


def _terminated(*_: object) -> None:
    signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def deaf() -> Iterator[None]:
    """Where nobody listens to SIGTERM it does nothing, instead of ending the tests."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    assert signal.signal(signal.SIGTERM, before) is signal.SIG_IGN


@pytest.mark.usefixtures("on_blobs", "deaf")
@pytest.mark.parametrize("verb", ["run", "scan", "demo"])
def test_what_trains_and_is_terminated_ends_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = recipe(tmp_path)
    monkeypatch.setattr("secateur.cli.demo.builtin_recipe", {"demo": read_recipe(tiny)}.__getitem__)
    monkeypatch.setattr("secateur.cli.demo.load_dataset", {"digits": big_blobs()}.__getitem__)
    monkeypatch.setattr("secateur.cli.progress.RunDisplay._on_epoch", _terminated)
    assert main([verb] if verb == "demo" else [verb, str(tiny)]) == 130
    assert "secateur: interrupted; what was done is kept in runs" in capsys.readouterr().err
    (kept,) = tmp_path.rglob("dense.partial.pt")
    assert load_checkpoint(kept)["records"]


@pytest.mark.usefixtures("deaf")
def test_a_demo_that_is_terminated_while_it_ships_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "secateur.cli.demo.builtin_recipe", {"demo": read_recipe(recipe(tmp_path))}.__getitem__
    )
    monkeypatch.setattr("secateur.cli.demo.load_dataset", {"digits": big_blobs()}.__getitem__)
    monkeypatch.setattr("secateur.cli.demo.ship", _terminated)
    out = tmp_path / "out"
    assert main(["demo", "--out", str(out), "--quiet"]) == 130
    assert f"interrupted; the run in {out} is finished: run the same command again" in capsys.readouterr().err


def test_an_interrupt_before_the_run_ends_with_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("secateur.recipes.data.load_dataset", stop)
    assert main(["run", "demo"]) == 130
    assert "secateur: interrupted before the run began" in capsys.readouterr().err


def test_threads_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_blobs: None) -> None:
    del on_blobs
    counts: list[int] = []
    monkeypatch.setattr(run_module.torch, "set_num_threads", counts.append)
    assert (
        main(["run", str(recipe(tmp_path)), "--out", str(tmp_path / "o"), "--threads", "3", "--quiet"]) == 0
    )
    assert counts == [3]


def test_the_demo_runs_its_own_recipe_and_ships_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = read_recipe(recipe(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("secateur.cli.demo.builtin_recipe", {"demo": tiny}.__getitem__)
    monkeypatch.setattr("secateur.cli.demo.load_dataset", {"digits": big_blobs()}.__getitem__)
    assert main(["demo", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "us in PyTorch ->" in said
    assert secateur.load(tmp_path / "out" / "pruned.secateur").outputs[0].shape[-1] == 4


def test_what_only_some_arguments_need_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # An ONNX file is exported without torch; a run is not.
    monkeypatch.delitem(sys.modules, "secateur.export", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "run").mkdir()
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "out.secateur")]) == 1
    assert capsys.readouterr().err == (
        "secateur export needs 'torch', which is not installed: pip install \"secateur[compile,train]\"\n"
    )
