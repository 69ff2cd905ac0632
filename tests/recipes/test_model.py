from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from secateur.errors import CheckpointError, ConfigurationError
from secateur.networks import build_network
from secateur.networks.lenet import LeNet300100
from secateur.recipes.model import NetworkChoice, choice_of, find_factory, recorded_choice, run_settings
from secateur.recipes.plan import Recipe
from tests.small import Dense, plan

SOURCE = """
from torch import nn

width = 3
ready = nn.Linear(2, 2)


def make(outputs, *, bias=True):
    return nn.Linear(2, outputs, bias=bias)


def number():
    return 3


def broken():
    raise OSError("no network today")


def leaving():
    raise SystemExit(3)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the current folder; imported under this name by no other test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE)
    return name


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"name": "tiny", "model": "lenet-300-100", "plan": plan()} | changes)


def test_a_function_of_the_current_folder_makes_a_fresh_network_each_time(own: str) -> None:
    make = NetworkChoice(f"{own}:make", {"outputs": 4, "bias": False}).factory(4)
    first, second = make(), make()
    assert repr(first) == "Linear(in_features=2, out_features=4, bias=False)"
    assert first is not second


def test_a_class_of_an_installed_package_will_do() -> None:
    network = NetworkChoice("tests.small:Dense", {"dropout": 0.25}).factory(4)()
    assert isinstance(network, Dense)
    assert network.dropout1.p == 0.25


def test_a_built_in_network_takes_its_dropout_and_the_datas_classes() -> None:
    network = NetworkChoice("lenet-300-100", {"dropout": 0.25}).factory(7)()
    assert isinstance(network, LeNet300100)
    assert (network.fc3.out_features, network.dropout1.p) == (7, 0.25)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (
            "lenet",
            {},
            r"'lenet': expected a built-in network \(lenet-300-100, .*\) or package.module:factory",
        ),
        (
            "{own}x:make",
            {},
            r"there is no module '.*x', neither installed nor in the current folder; start where",
        ),
        ("{own}.sub:make", {}, r"importing .* failed: No module named|there is no module"),
        ("{own}:maker", {}, r"has no 'maker'; what can be called there: broken, leaving, make, number$"),
        ("{own}:width", {}, r"expected a function that makes the network, found a int; every stage starts"),
        (
            "{own}:ready",
            {},
            r"expected a function that makes the network, found a Linear; every stage starts",
        ),
        (
            "{own}:make",
            {},
            r"make\(\): missing a required argument: 'outputs'; it takes \(outputs, \*, bias=True\)",
        ),
        (
            "{own}:make",
            {"outputs": 1, "size": 2},
            r"make\(outputs=1, size=2\): got an unexpected keyword arg.*'size'",
        ),
        ("lenet-5", {"width": 2}, r"'lenet-5' takes no argument width; the only one is dropout"),
        ("lenet-5", {"dropout": "much"}, r"'lenet-5': dropout must be a number, found 'much'"),
    ],
)
def test_what_makes_no_network_is_refused_at_the_door(
    own: str, model: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        NetworkChoice(model.format(own=own), arguments).factory(4)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("number", r"number\(\): expected a network \(torch.nn.Module\), found int; let the function return"),
        ("broken", r"broken\(\) failed: OSError: no network today"),
        ("leaving", r"leaving\(\) failed: SystemExit: 3"),
    ],
)
def test_what_gives_no_network_is_refused_when_it_is_called(own: str, function: str, message: str) -> None:
    make = NetworkChoice(f"{own}:{function}").factory(4)
    with pytest.raises(ConfigurationError, match=message):
        make()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import nothing_of_this_name", "importing .* failed: No module named 'nothing_of_this_name'"),
        ("1 / 0", "importing .* failed: ZeroDivisionError: division by zero"),
        ("def make(:", "importing .* failed: SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(own: str, content: str, message: str) -> None:
    Path(f"{own}_bad.py").write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        find_factory(f"{own}_bad:make")


def test_the_current_folder_does_not_hide_what_is_installed(own: str) -> None:
    del own
    Path("colorsys.py").write_text("raise RuntimeError('the wrong one')")
    sys.modules.pop("colorsys", None)
    assert find_factory("colorsys:rgb_to_hsv")(1, 0, 0) == (0.0, 1.0, 1)  # of the standard library


def test_a_run_starts_from_weights(tmp_path: Path) -> None:
    trained = LeNet300100(4)
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "trained.pth")
    network = NetworkChoice("lenet-300-100", weights=tmp_path / "trained.pth").factory(4)()
    assert all(torch.equal(network.state_dict()[name], value) for name, value in trained.state_dict().items())
    make = NetworkChoice("lenet-300-100", weights=tmp_path / "trained.pth").factory(3)
    with pytest.raises(CheckpointError, match=r"fc3\.bias is \(4,\) but must be \(3,\); fc3\.weight is"):
        make()


def test_weights_of_torchvision_load_under_their_own_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        names = list(build_network("vgg-16").state_dict())
    seen: list[list[str]] = []

    def note(model: nn.Module, path: Path, translate: Any) -> None:
        del model, path
        seen.append(
            list(translate({"features.0.weight": torch.zeros(1), "classifier.6.bias": torch.zeros(1)}))
        )

    monkeypatch.setattr("secateur.recipes.model.load_state", note)
    monkeypatch.setattr("secateur.recipes.model.build_network", lambda *_, **__: nn.Identity())
    NetworkChoice("vgg-16", weights=tmp_path / "vgg16.pth").factory(10)()
    assert set(seen[0]) == {"conv1_1.weight", "fc8.bias"} <= set(names)


def test_a_recipe_without_these_keys_is_known_by_the_same_settings_as_ever() -> None:
    assert run_settings(recipe(), (1, 28, 28)) == {
        "model": "lenet-300-100",
        "data": recipe().data.model_dump(mode="json"),
    }


def test_settings_hold_arguments_shape_and_the_content_of_weights(tmp_path: Path) -> None:
    for name in ("a", "b"):
        torch.save(Dense().state_dict(), tmp_path / f"{name}.pt")
    (tmp_path / "same.pt").write_bytes((tmp_path / "a.pt").read_bytes())
    found = {
        name: run_settings(
            recipe(
                model="tests.small:Dense",
                model_arguments={"dropout": 0.1},
                weights=str(tmp_path / f"{name}.pt"),
            ),
            (1, 12, 12),
        )
        for name in ("a", "b", "same")
    }
    assert found["a"] == found["same"] != found["b"]
    assert found["a"]["weights"].startswith("sha256:")
    assert found["a"]["model_arguments"] == {"dropout": 0.1}
    choice, shape = recorded_choice(found["a"]) or (None, None)
    assert choice == NetworkChoice("tests.small:Dense", {"dropout": 0.1})
    assert shape == (1, 12, 12)


def test_a_run_that_does_not_say_has_no_recorded_network() -> None:
    assert recorded_choice({}) is None
    assert recorded_choice({"model": "tests.small:Dense"}) is None  # of which shape its images were
    assert recorded_choice({"model": 3}) is None


def test_weights_that_are_not_there_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"cannot read the weights none\.pt: No such file"):
        run_settings(recipe(weights="none.pt"), (1, 28, 28))


def test_a_recipe_names_a_network_of_ones_own() -> None:
    own = recipe(model="tests.small:Dense", model_arguments={"dropout": 0.5}, weights="a.pt")
    assert choice_of(own) == NetworkChoice("tests.small:Dense", {"dropout": 0.5}, Path("a.pt"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": "lenet"},
            "there is no such built-in network; .*name one of your own as package.module:factory",
        ),
        ({"model": "tests.small:"}, "expected package.module:factory, which names a function of a module"),
        (
            {"weights": "a.pt", "plan": plan(survivors={"kind": "reinitialise"})},
            "weights are what the run starts from, and survivors are to be drawn anew",
        ),
    ],
)
def test_recipes_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        recipe(**changes)
