from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import (
    ConfigurationError,
    LayerSelectionError,
    UnreachableTargetError,
    UnsupportedModelError,
)
from secateur.recipes.builtin import builtin_recipe
from secateur.recipes.driver import train_prune_retrain
from secateur.recipes.fitting import check_fits, fresh_network
from secateur.training.processes import join
from tests.small import CLASSES, Conv, Dense, blob_task, phase, plan

TASK = blob_task()


class Narrow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(100, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.fc1(self.flatten(x))


class Branching(Dense):
    def forward(self, x: Any) -> Any:
        return super().forward(x if float(x.sum()) >= 0 else -x)


class SharedDropout(Dense):
    def __init__(self) -> None:
        super().__init__(dropout=0.5)
        self.body = nn.Sequential(self.flatten, self.fc1, self.dropout1, self.fc2, self.dropout1, self.fc3)

    def forward(self, x: Any) -> Any:
        return self.body(x)


class Pair(Dense):
    def forward(self, x: Any) -> Any:
        return super().forward(x), None


class Unpacking(Dense):
    def forward(self, x: Any) -> Any:
        _rows, _columns = x.shape
        return super().forward(x)


ONE = Dense()
LAYER = nn.Linear(144, 4)


@pytest.mark.parametrize(
    ("model", "changes", "seed", "error", "match"),
    [
        (Branching, {}, 0, UnsupportedModelError, "needs that: set `sweep: false` and leave `compact` away"),
        (
            Branching,
            {"sweep": False, "compact": True},
            0,
            UnsupportedModelError,
            "set `sweep: false` and leave `compact` away",
        ),
        (SharedDropout, {"sweep": False}, 0, UnsupportedModelError, "or set `dropout_rule: false`"),
        (Pair, {}, 0, ConfigurationError, r"expected a tensor of shape \[1, 4\], found a tuple; let forward"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)),
            {},
            0,
            ConfigurationError,
            "the network Sequential: 1.weight, 1.bias have no shape yet; let the function",
        ),
        (Unpacking, {}, 0, ConfigurationError, r"it does not run \(ValueError: too many values to unpack"),
        (
            Dense,
            {"gradual": {}, "exclude": ["fc3"], "retrain": [phase(only=["fc3"])]},
            0,
            ConfigurationError,
            r"first phase of retrain, where `only` \(fc3\) freezes every layer that is pruned",
        ),
        (
            Dense,
            {"gradual": {}, "exclude": ["fc3"], "final": [phase(only=["fc3"])]},
            0,
            ConfigurationError,
            "in the first phase of final, where",
        ),
        (ONE, {}, 0, ConfigurationError, r"found the network itself \(Dense\); pass its class, or `lambda:"),
        (lambda: ONE, {}, 0, ConfigurationError, "it gave the same one twice; make it in there"),
        (
            lambda: nn.Sequential(nn.Flatten(), LAYER),
            {},
            0,
            ConfigurationError,
            "it gave the same parameters twice",
        ),
        (lambda: 3, {}, 0, ConfigurationError, "expected a function that makes a network, and it made 3"),
        (3, {}, 0, ConfigurationError, "makes the untrained network, found 3"),
        (Dense, {}, -1, ConfigurationError, "the seed must be a whole number at or above 0, found -1"),
        (
            Narrow,
            {},
            0,
            ConfigurationError,
            r"the network Narrow on images of shape \(1, 12, 12\): it does not",
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 3)),
            {},
            0,
            ConfigurationError,
            r"expected an output of shape \[1, 4\], one number a class, found \[1, 3\]; give its",
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 4)),
            {"dropout": 0.5},
            0,
            ConfigurationError,
            r"sets dropout to 0\.5, but the network has no torch\.nn\.Dropout",
        ),
        (
            Dense,
            {"cut": {"kind": "density", "density": 0.5, "layers": {"conv1": 0.5}}},
            0,
            LayerSelectionError,
            "'conv1' is given a value of its own but matches nothing",
        ),
        (
            Dense,
            {"cut": {"kind": "quality", "quality": 0.5, "layers": {"fc*": 0.5, "fc1": 0.4}}},
            0,
            LayerSelectionError,
            "'fc1' is asked for twice",
        ),
        (
            Dense,
            {"cut": {"kind": "density", "density": 1e-5}},
            0,
            UnreachableTargetError,
            r"Density\(1e-05\) would leave no weight at all in fc1, fc2, fc3",
        ),
        (
            Dense,
            {"cut": {"kind": "global", "density": 1e-5}},
            0,
            UnreachableTargetError,
            r"GlobalDensity\(1e-05\) would leave 0 of [0-9,]+ weights, and 3 layers need one each at least",
        ),
        (
            Dense,
            {"retrain": [phase(precision="fp16")]},
            0,
            ConfigurationError,
            "fp16 is for GPUs, and this process computes on a CPU",
        ),
        (
            lambda: Dense().requires_grad_(False),
            {},
            0,
            ConfigurationError,
            "the network Dense: nothing in it can be trained",
        ),
        (Dense, {"exclude": ["conv*"]}, 0, LayerSelectionError, r"exclude: 'conv\*' matches nothing"),
        (Dense, {"exclude": ["fc*"]}, 0, LayerSelectionError, "nothing to prune"),
        (
            Conv,
            {"retrain": [phase(only=["fc2"])]},
            0,
            LayerSelectionError,
            "only: 'fc2' matches no parameter",
        ),
        (Conv, {"final": [phase(only=["fc2"])]}, 0, LayerSelectionError, "only: 'fc2' matches no parameter"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained_or_written(
    tmp_path: Path,
    model: Any,
    changes: dict[str, Any],
    seed: int,
    error: type[Exception],
    match: str,
) -> None:
    with pytest.raises(error, match=match):
        train_prune_retrain(model, TASK, plan(**changes), tmp_path / "run", seed=seed)
    assert not (tmp_path / "run").exists()


def test_a_network_that_cannot_be_traced_may_be_pruned_without_a_sweep(tmp_path: Path) -> None:
    record = train_prune_retrain(Branching, TASK, plan(sweep=False, rounds=1), tmp_path).record
    # Counting FLOP looks at no values either: the run's result says so and has the rest.
    assert record["layers"][0] == {
        "name": "fc1",
        "weights": 144 * 24,
        "kept": record["layers"][0]["kept"],
        "flop": None,
        "activation_density": None,
        "flop_kept": None,
    }
    assert record["total"]["kept"] == record["weights"]["kept"] == round(0.25 * record["weights"]["total"])
    assert record["total"]["weights"] == record["weights"]["total"]
    (note,) = record["notes"]
    assert note.startswith("FLOP and activation densities could not be counted (")


def test_one_dropout_behind_two_layers_may_stay_where_the_rule_is_off(tmp_path: Path) -> None:
    record = train_prune_retrain(
        SharedDropout, TASK, plan(sweep=False, rounds=1, dropout_rule=False), tmp_path / "off"
    ).record
    assert record["dropout"] == {}
    assert train_prune_retrain(
        SharedDropout, TASK, plan(sweep=False, rounds=1, dropout=0.0), tmp_path / "none"
    ).record


class Channels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.drop1 = nn.Dropout2d(0.5)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(400, 4)
        self.drop2 = nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        return self.drop2(self.fc(self.flatten(self.drop1(self.conv(x)))))


def test_the_rule_knows_every_kind_of_dropout(tmp_path: Path) -> None:
    cut = {"kind": "density", "density": 0.25}
    record = train_prune_retrain(Channels, TASK, plan(sweep=False, rounds=1, cut=cut), tmp_path).record
    assert record["dropout"] == {"drop1": pytest.approx(0.25), "drop2": pytest.approx(0.25)}


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"plan": builtin_recipe("demo")}, "plan: expected a Plan, found a Recipe; pass `recipe.plan`"),
        ({"plan": {"rounds": 1}}, r"plan: expected a Plan, found \{'rounds': 1\}; pass `Plan\(...\)`"),
        ({"task": None}, "task: expected a Task, found None; make one with image_task"),
        ({"settings": {"path": Path()}}, "settings: expected JSON values"),
        ({"run_dir": 5}, "run_dir: expected a folder's path, found 5; a seed is passed as `seed=`"),
        ({"seed": 1.5}, r"the seed must be a whole number at or above 0, found 1\.5"),
        ({"seed": True}, "the seed must be a whole number at or above 0, found True"),
        ({"name": "../../x"}, r"name: expected letters, digits, .*, found '\.\./\.\./x'; where the run lies"),
        ({"name": "x\n"}, "name: expected letters, digits, "),
        ({"name": 3}, "name: expected letters, digits, .*, found 3"),
        ({"save_every": -1}, "save_every: expected seconds, at least 0, found -1; 20 is the default"),
        ({"save_every": float("nan")}, "save_every: expected seconds, at least 0, found nan"),
        ({"save_every": None}, "save_every: expected seconds, at least 0, found None"),
    ],
)
def test_arguments_of_the_wrong_kind(tmp_path: Path, wrong: dict[str, Any], match: str) -> None:
    run = {"run_dir": tmp_path / "run"}
    arguments: dict[str, Any] = {"model": Dense, "task": TASK, "plan": plan()} | run | wrong
    with pytest.raises(ConfigurationError, match=match):
        train_prune_retrain(**arguments)
    assert not (tmp_path / "run").exists()


def _drawn_by_numpy() -> nn.Module:
    model = Dense()
    with torch.no_grad():
        model.fc2.weight.copy_(torch.from_numpy(np.random.standard_normal((16, 24))))  # noqa: NPY002  # what users do
    return model


def _of_ever_wider_layers() -> nn.Module:
    width = next(WIDTHS)
    return nn.Sequential(nn.Flatten(), nn.Linear(144, width), nn.ReLU(), nn.Linear(width, CLASSES))


class Projecting(Dense):
    def __init__(self) -> None:
        super().__init__()
        projection = torch.from_numpy(np.random.standard_normal(4))  # noqa: NPY002  # what users do
        self.register_buffer("projection", projection, persistent=False)


WIDTHS = count(5)


@pytest.mark.parametrize(
    ("model", "differs"),
    [
        (_drawn_by_numpy, r"Dense: made twice .*, it differs in fc2\.weight, so"),
        (_of_ever_wider_layers, r"Sequential: .* it differs in 1\.weight, so"),
        (Projecting, "Projecting: .* it differs in projection, so"),
    ],
)
def test_weights_that_torchs_generators_do_not_fix_are_refused(
    tmp_path: Path, model: Callable[[], nn.Module], differs: str
) -> None:
    with pytest.raises(
        ConfigurationError, match=f"{differs} .*; draw initial weights from torch's generators"
    ):
        train_prune_retrain(model, TASK, plan(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_may_draw_its_shape_and_hold_what_is_no_number() -> None:
    def model() -> nn.Module:
        network = nn.Linear(3, int(torch.randint(5, 500, ())))
        network.register_buffer("unset", torch.tensor(float("nan")))
        return network

    assert fresh_network(model).state_dict()["unset"].isnan()


class Buffered(Dense):
    """With buffers that nobody can write to: a sparse one, and one number seen as many."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("links", torch.eye(4).to_sparse(), persistent=False)
        self.register_buffer("ones", torch.ones(1).expand(5), persistent=False)


def test_buffers_that_nobody_can_write_to() -> None:
    network = fresh_network(Buffered)
    check_fits(plan(), network, blob_task(), 0, join())
    assert network.get_buffer("ones").stride() == (0,)
