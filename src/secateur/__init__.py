"""Secateur: train, prune and retrain PyTorch networks, and ship the smaller network for real.

The public names on one screen. They are imported when they are first used, so that `import secateur` is light
and works where only the inference wing is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from secateur.errors import MissingExtraError, SecateurError

if TYPE_CHECKING:
    from secateur.compiler.compiling import compile  # the field's word
    from secateur.datasets import load_dataset
    from secateur.datasets.images import ImageDataset
    from secateur.networks import build_network
    from secateur.pruning.allocation import erdos_renyi, erdos_renyi_kernel, uniform
    from secateur.pruning.criteria import Criterion, Density, GlobalDensity, StdThreshold
    from secateur.pruning.gradual import Gradual
    from secateur.pruning.masks import Masks
    from secateur.pruning.pruner import Pruner
    from secateur.pruning.regularisation import Regularisation
    from secateur.pruning.schedules import Cubic, Geometric, GrowingQuality, Linear, OneShot
    from secateur.pruning.scores import ProbabilisticMagnitude, Random, lamp, magnitude
    from secateur.recipes.builtin import builtin_recipe
    from secateur.recipes.cut import DensityCut, GlobalCut, QualityCut
    from secateur.recipes.data import DataChoice, ImageChoice, load_task
    from secateur.recipes.driver import train_prune_retrain
    from secateur.recipes.plan import Plan, Recipe, read_recipe
    from secateur.recipes.result import RunResult, read_result
    from secateur.runtime.load import load
    from secateur.runtime.program import Program
    from secateur.training.checkpoint import load_state
    from secateur.training.phase import Adam, AdamW, Phase, Sgd
    from secateur.training.task import ImagesInMemory, Task, image_task

__version__ = "0.1.0"

# Name -> where it lives and which extra brings what it needs.
_PUBLIC: dict[str, tuple[str, str]] = {
    "Adam": ("secateur.training.phase", "train"),
    "AdamW": ("secateur.training.phase", "train"),
    "Criterion": ("secateur.pruning.criteria", "train"),
    "Cubic": ("secateur.pruning.schedules", "train"),
    "DataChoice": ("secateur.recipes.data", "train"),
    "Density": ("secateur.pruning.criteria", "train"),
    "DensityCut": ("secateur.recipes.cut", "train"),
    "Geometric": ("secateur.pruning.schedules", "train"),
    "GlobalCut": ("secateur.recipes.cut", "train"),
    "GlobalDensity": ("secateur.pruning.criteria", "train"),
    "Gradual": ("secateur.pruning.gradual", "train"),
    "GrowingQuality": ("secateur.pruning.schedules", "train"),
    "ImageChoice": ("secateur.recipes.data", "train"),
    "ImageDataset": ("secateur.datasets.images", "train"),
    "ImagesInMemory": ("secateur.training.task", "train"),
    "Linear": ("secateur.pruning.schedules", "train"),
    "Masks": ("secateur.pruning.masks", "train"),
    "OneShot": ("secateur.pruning.schedules", "train"),
    "Phase": ("secateur.training.phase", "train"),
    "Plan": ("secateur.recipes.plan", "train"),
    "ProbabilisticMagnitude": ("secateur.pruning.scores", "train"),
    "Program": ("secateur.runtime.program", "all"),
    "Pruner": ("secateur.pruning.pruner", "train"),
    "QualityCut": ("secateur.recipes.cut", "train"),
    "Random": ("secateur.pruning.scores", "train"),
    "Recipe": ("secateur.recipes.plan", "train"),
    "Regularisation": ("secateur.pruning.regularisation", "train"),
    "RunResult": ("secateur.recipes.result", "train"),
    "Sgd": ("secateur.training.phase", "train"),
    "StdThreshold": ("secateur.pruning.criteria", "train"),
    "Task": ("secateur.training.task", "train"),
    "build_network": ("secateur.networks", "train"),
    "builtin_recipe": ("secateur.recipes.builtin", "train"),
    "compile": ("secateur.compiler.compiling", "compile"),
    "erdos_renyi": ("secateur.pruning.allocation", "train"),
    "erdos_renyi_kernel": ("secateur.pruning.allocation", "train"),
    "image_task": ("secateur.training.task", "train"),
    "lamp": ("secateur.pruning.scores", "train"),
    "load": ("secateur.runtime.load", "all"),
    "load_dataset": ("secateur.datasets", "train"),
    "load_state": ("secateur.training.checkpoint", "train"),
    "load_task": ("secateur.recipes.data", "train"),
    "magnitude": ("secateur.pruning.scores", "train"),
    "read_recipe": ("secateur.recipes.plan", "train"),
    "read_result": ("secateur.recipes.result", "train"),
    "train_prune_retrain": ("secateur.recipes.driver", "train"),
    "uniform": ("secateur.pruning.allocation", "train"),
}

__all__ = [
    "Adam",
    "AdamW",
    "Criterion",
    "Cubic",
    "DataChoice",
    "Density",
    "DensityCut",
    "Geometric",
    "GlobalCut",
    "GlobalDensity",
    "Gradual",
    "GrowingQuality",
    "ImageChoice",
    "ImageDataset",
    "ImagesInMemory",
    "Linear",
    "Masks",
    "OneShot",
    "Phase",
    "Plan",
    "ProbabilisticMagnitude",
    "Program",
    "Pruner",
    "QualityCut",
    "Random",
    "Recipe",
    "Regularisation",
    "RunResult",
    "SecateurError",
    "Sgd",
    "StdThreshold",
    "Task",
    "build_network",
    "builtin_recipe",
    "compile",
    "erdos_renyi",
    "erdos_renyi_kernel",
    "image_task",
    "lamp",
    "load",
    "load_dataset",
    "load_state",
    "load_task",
    "magnitude",
    "read_recipe",
    "read_result",
    "train_prune_retrain",
    "uniform",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'secateur' has no attribute {name!r}")
    module, extra = _PUBLIC[name]
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("secateur"):
            raise
        raise MissingExtraError(
            f'secateur.{name} needs {error.name!r}, which is not installed: pip install "secateur[{extra}]"'
        ) from error


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
