from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from secateur.errors import ConfigurationError, LayerSelectionError
from secateur.recipes.driver import train_prune_retrain
from tests.small import CLASSES, Conv, Dense, blob_task, phase, plan

TASK = blob_task()


class Narrow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(100, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.fc1(self.flatten(x))


@pytest.mark.parametrize(
    ("model", "changes", "seed", "error", "match"),
    [
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
