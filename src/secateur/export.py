"""The corridor between the wings: what training leaves behind becomes something to compile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from secateur.errors import CheckpointError, ConfigurationError
from secateur.networks import NETWORKS
from secateur.recipes.identity import are_alike, outputs_for_noise
from secateur.recipes.model import NetworkChoice, recorded_choice
from secateur.recipes.result import read_network, read_result
from secateur.training.checkpoint import Translate, fitted, load_into, read_state


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


def network_of_run(folder: Path, *, dense: bool = False) -> TrainedNetwork:
    """The pruned network of a finished run of a recipe.

    A network of the user's is made by the function that the run recorded, which is imported for it.

    Args:
        folder: The run's folder.
        dense: Its dense network instead.

    Returns:
        The network.

    Raises:
        CheckpointError: The run is not finished or damaged, does not say which network it trained, or that
            network's ``forward`` was changed since.
        ConfigurationError: The function that made the network is not there any more.
    """
    result = read_result(folder)
    recorded = _recorded(folder)
    if recorded is None:
        raise CheckpointError(
            f"{folder} does not say which network it trained: it was not made by a recipe; load its "
            "pruned.safetensors into your own network and use secateur.compile(network, example)"
        )
    choice, shape = recorded
    which = "dense" if dense else "pruned"
    network = _filled(choice, read_network(folder, which), folder)
    expected = result.record.get("outputs", {}).get(which, [])  # none in the result of an older version
    if not are_alike(outputs_for_noise(network, shape), expected):
        raise CheckpointError(
            f"{choice.model} makes a network now that computes something else with the weights of {folder} "
            "than the one that was trained and tested did: its forward, or what that calls, was changed "
            "since. Export with the code of that time, or train anew"
        )
    return TrainedNetwork(network, _example(shape), str(result.record["name"]))


def network_of_weights(path: Path, network: str) -> TrainedNetwork:
    """A built-in network with the weights of a file.

    Args:
        path: What `secateur.training.checkpoint.read_state` reads; of torchvision too.
        network: One of ``secateur.networks.NETWORKS``.

    Returns:
        The network.

    Raises:
        CheckpointError: There is no such file, it is damaged, or it is of another network.
        ConfigurationError: There is no such network.
    """
    module = _filled(NetworkChoice(network), read_state(path), path)
    return TrainedNetwork(module, _example(NETWORKS[network].input_shape), network)


def _filled(choice: NetworkChoice, state: Mapping[str, Tensor], source: Path) -> nn.Module:
    spec = NETWORKS.get(choice.model)
    translate, classes = None, None
    if spec is not None:
        translate = spec.translate
        with torch.device("meta"):  # names and shapes alone
            classes = _classes(spec.factory(), state, translate)
    module = choice.factory(classes)()
    load_into(module, fitted(module, state, translate), str(source))
    return module.eval()


def _classes(template: nn.Module, state: Mapping[str, Tensor], translate: Translate | None) -> int | None:
    """How many classes the weights are for; None where they are of another network: loading says so."""
    names = [name for name, tensor in template.state_dict().items() if tensor.ndim >= 2]
    last = fitted(template, state, translate).get(names[-1])
    return None if last is None or not last.ndim else len(last)


def _example(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def _recorded(folder: Path) -> tuple[NetworkChoice, tuple[int, ...]] | None:
    try:
        identity = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return recorded_choice(identity["settings"])
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{folder / 'run.json'} is missing or damaged ({error})") from error


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
        raise ConfigurationError(
            f"--model: no network {name!r}; there are {', '.join(NETWORKS)}; of one of your own, export the "
            "run's folder, or give it to secateur.compile(network, example)"
        )
    return name
