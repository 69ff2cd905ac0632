"""The corridor between the wings: what training leaves behind becomes something to compile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from secateur.errors import CheckpointError, ConfigurationError
from secateur.networks import NETWORKS, build_network
from secateur.recipes.result import read_result
from secateur.training.checkpoint import UNREADABLE, load_into, load_weights


@final
@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its weights, and what it takes.

    Attributes:
        module: In evaluation mode.
        example: One input, with a batch of one.
        name: Where it comes from.
    """

    module: nn.Module
    example: Tensor
    name: str


def network_of_run(folder: Path) -> TrainedNetwork:
    """The pruned network of a finished run of a recipe.

    Args:
        folder: The run's folder.

    Returns:
        The network.

    Raises:
        CheckpointError: The run is not finished or damaged, or its network was not a built-in one.
    """
    result = read_result(folder)
    name = _network_name(folder)
    if name is None:
        raise CheckpointError(
            f"{folder} does not say which built-in network it trained ({', '.join(NETWORKS)}): it was not "
            "made by a recipe; load its pruned.safetensors into your own network and use "
            "secateur.compile(network, example)"
        )
    trained = network_of_weights(folder / "pruned.safetensors", name)
    return TrainedNetwork(trained.module, trained.example, str(result.record["name"]))


def network_of_weights(path: Path, network: str) -> TrainedNetwork:
    """A built-in network with the weights of a file.

    Args:
        path: A safetensors file, or what ``torch.save`` wrote of a ``state_dict`` (read with
            ``weights_only=True``).
        network: One of ``secateur.networks.NETWORKS``.

    Returns:
        The network.

    Raises:
        CheckpointError: There is no such file, it is damaged, or it is of another network.
        ConfigurationError: There is no such network.
    """
    state = _read_state(path)
    module = build_network(network, num_classes=_classes(network, state))
    load_into(module, state, str(path))
    shape = NETWORKS[network].input_shape
    draw = torch.Generator().manual_seed(0)
    return TrainedNetwork(module.eval(), torch.randn(1, *shape, generator=draw), network)


def _classes(network: str, state: Mapping[str, Tensor]) -> int | None:
    """How many classes the weights are for; None where they are of another network: loading says so."""
    with torch.device("meta"):  # names and shapes alone
        names = [name for name, tensor in build_network(network).state_dict().items() if tensor.ndim >= 2]
    last = state.get(names[-1])
    return None if last is None or not last.ndim else len(last)


def _read_state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_weights(path)
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}") from error
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors by name ({type(error).__name__}); save "
            "model.state_dict()"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise CheckpointError(
            f"{path}: expected tensors by name (a state_dict), found {type(state).__name__}"
        )
    return state


def _network_name(folder: Path) -> str | None:
    try:
        identity = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        name = identity["settings"].get("model")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'run.json'} is missing or damaged ({error})") from error
    return name if name in NETWORKS else None


def check_network(name: str | None, source: Path) -> str:
    """The network that a file of weights is for.

    Raises:
        ConfigurationError: None was named, or there is none of that name.
    """
    if name is None:
        raise ConfigurationError(
            f"{source} holds weights only: say of which network with --model, one of {', '.join(NETWORKS)}"
        )
    if name not in NETWORKS:
        raise ConfigurationError(f"--model: no network {name!r}; there are {', '.join(NETWORKS)}")
    return name
