"""Which network a run trains: a built-in one or what a function of the user's makes, from what weights."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from torch import nn

from secateur.errors import CheckpointError, ConfigurationError
from secateur.networks import NETWORKS, build_network
from secateur.recipes.plan import Recipe
from secateur.training.checkpoint import load_state


@final
@dataclass(frozen=True)
class NetworkChoice:
    """A network by name.

    Attributes:
        model: A built-in network's name, or ``package.module:factory``.
        arguments: What it is made with, by keyword.
        weights: A state file that it starts from, if any.

    Example:
        >>> NetworkChoice("torch.nn:Linear", {"in_features": 3, "out_features": 2}).factory(2)()
        Linear(in_features=3, out_features=2, bias=True)
    """

    model: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None

    def factory(self, classes: int | None = None) -> Callable[[], nn.Module]:
        """What makes the network, fresh at every call.

        Whether its outputs fit the classes is `secateur.recipes.fitting.check_fits`'s matter.

        Args:
            classes: Width of a built-in network's last layer; without it, what was published.

        Returns:
            A function that makes the network and loads the weights, where there are some.

        Raises:
            ConfigurationError: There is no such network, module or attribute, or it cannot be called so;
                what is returned raises it where the call fails or gives no network, and CheckpointError where
                the weights are of another one.
        """
        make = self._builtin(classes) if self.model in NETWORKS else self._own()
        if self.weights is None:
            return make
        weights, translate = self.weights, NETWORKS[self.model].translate if self.model in NETWORKS else None

        def trained() -> nn.Module:
            network = make()
            load_state(network, weights, translate)
            return network

        return trained

    def _builtin(self, classes: int | None) -> Callable[[], nn.Module]:
        others = self.arguments.keys() - {"dropout"}
        if others:
            raise ConfigurationError(
                f"network {self.model!r} takes no argument {', '.join(sorted(others))}; the only one is "
                "dropout (the number of classes is that of the data)"
            )
        dropout = self.arguments.get("dropout")
        if dropout is not None and (isinstance(dropout, bool) or not isinstance(dropout, int | float)):
            raise ConfigurationError(f"network {self.model!r}: dropout must be a number, found {dropout!r}")
        return lambda: build_network(self.model, num_classes=classes, dropout=dropout)

    def _own(self) -> Callable[[], nn.Module]:
        function = find_factory(self.model)
        arguments = dict(self.arguments)
        what = f"{self.model}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
        try:
            signature = inspect.signature(function)
        except ValueError:  # some functions written in C say nothing about themselves: the call will tell
            signature = None
        if signature is not None:
            try:
                signature.bind(**arguments)
            except TypeError as error:
                raise ConfigurationError(
                    f"{what}: {error}; it takes {signature}, and is given the recipe's model_arguments, or "
                    "--model-arg NAME=VALUE"
                ) from error

        def make() -> nn.Module:
            try:
                network = function(**arguments)
            except (Exception, SystemExit) as error:  # somebody else's code, perhaps a script's main
                raise ConfigurationError(f"{what} failed: {type(error).__name__}: {error}") from error
            if not isinstance(network, nn.Module):
                raise ConfigurationError(
                    f"{what}: expected a network (torch.nn.Module), found {type(network).__name__}; let the "
                    "function return the network"
                )
            return network

        return make


def find_factory(name: str) -> Callable[..., object]:
    """A function by the name of its module and its own; modules of the current folder are found too.

    The module is imported, which runs its code: name only what you trust.

    Args:
        name: ``package.module:factory``.

    Returns:
        The function, or a class.

    Raises:
        ConfigurationError: The name has another form, the module is not there or cannot be imported, or has
            no such function.

    Example:
        >>> find_factory("torch.nn:Linear") is nn.Linear
        True
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigurationError(
            f"model {name!r}: expected a built-in network ({', '.join(NETWORKS)}) or package.module:factory"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        # As `python -m` does it, and for good, since a module may import another one later; but behind all
        # that is installed, so that a file called like a library does not take its place.
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"model {name!r}: there is no module {error.name!r}, neither installed nor in the current "
                f"folder; start where it can be imported"
            ) from error
        raise ConfigurationError(f"model {name!r}: importing {module_name} failed: {error}") from error
    except Exception as error:  # somebody else's code
        raise ConfigurationError(
            f"model {name!r}: importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, attribute):
        there = [each for each, value in vars(module).items() if not each.startswith("_") and _makes(value)]
        raise ConfigurationError(
            f"model {name!r}: module {module_name} has no {attribute!r}; what can be called there: "
            f"{', '.join(sorted(there)[:20]) or 'nothing'}"
        )
    function = getattr(module, attribute)
    if not _makes(function):
        raise ConfigurationError(
            f"model {name!r}: expected a function that makes the network, found a {type(function).__name__}; "
            "every stage starts from a fresh network, so name what makes it"
        )
    found: Callable[..., object] = function
    return found


def choice_of(recipe: Recipe) -> NetworkChoice:
    """The network that a recipe names."""
    weights = None if recipe.weights is None else Path(recipe.weights)
    return NetworkChoice(recipe.model, recipe.model_arguments, weights)


def run_settings(recipe: Recipe, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """What a run of a recipe records beside its name and plan, from which its network can be made again.

    Weights are known by their content and not by where they lie.

    Args:
        recipe: The recipe.
        image_shape: Channels, height, width of one image.

    Returns:
        JSON values.

    Raises:
        CheckpointError: There is no such file of weights.
    """
    settings = recipe.model_dump(mode="json", exclude={"name", "plan", "weights"})
    if recipe.weights is not None:
        settings["weights"] = f"sha256:{_digest(Path(recipe.weights))}"
    if recipe.model not in NETWORKS or NETWORKS[recipe.model].input_shape != image_shape:
        settings["image_shape"] = list(image_shape)
    return settings


def recorded_choice(settings: Mapping[str, Any]) -> tuple[NetworkChoice, tuple[int, ...]] | None:
    """The network that a run recorded, and the shape of its images.

    Args:
        settings: What `run_settings` made.

    Returns:
        The network, without the weights that it started from, and channels, height, width of one image; None
        where the settings do not say.

    Example:
        >>> recorded_choice({"model": "lenet-5"})[1]
        (1, 28, 28)
    """
    model = settings.get("model")
    spec = NETWORKS.get(model) if isinstance(model, str) else None
    shape = settings.get("image_shape", None if spec is None else spec.input_shape)
    if not isinstance(model, str) or shape is None:
        return None
    return NetworkChoice(model, settings.get("model_arguments", {})), tuple(shape)


def _makes(value: object) -> bool:
    return callable(value) and not isinstance(value, nn.Module)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise CheckpointError(f"cannot read the weights {path}: {error.strerror or error}") from error
