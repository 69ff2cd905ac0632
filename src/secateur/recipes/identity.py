"""What a run is: everything that decides its result, so that a folder is never taken for another run's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from secateur.recipes.plan import Plan
from secateur.records import content_hash
from secateur.training.seeding import seeded
from secateur.training.task import Task

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe(
    model: Callable[[], nn.Module],
    task: Task,
    plan: Plan,
    settings: Mapping[str, Any] | None,
    *,
    seed: int,
    name: str,
) -> tuple[dict[str, Any], str]:
    """What a run is, and its configuration's name by content, which is the same for every seed.

    Args:
        model: Makes the network.
        task: What it is trained on.
        plan: What is done.
        settings: What else is on record.
        seed: The run's seed.
        name: The run's name.

    Returns:
        JSON values for ``run.json``, and twelve hexadecimal digits.
    """
    configuration = {
        "name": name,
        "plan": plan.model_dump(mode="json"),
        "settings": dict(settings or {}),
        "network": describe_network(model),
    }
    identity = {
        **configuration,
        "seed": seed,
        "data": {"source": task.source, "fingerprint": task.fingerprint},
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
    return identity, content_hash({**configuration, "data": task.fingerprint})


def describe_network(model: Callable[[], nn.Module]) -> dict[str, str]:
    """A network's class, structure and untrained weights, as JSON values.

    Args:
        model: Makes the network; called with torch's generators seeded with 0, whatever the run's seed, so
            that runs of several seeds are known to be of one network.

    Returns:
        The class's path, the network's ``repr``, and a hash of its untrained state.

    Example:
        >>> describe_network(lambda: nn.Linear(3, 2))["repr"]
        'Linear(in_features=3, out_features=2, bias=True)'
    """
    with seeded(0, "initial weights"):
        network = model()
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
    kind = type(network)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "repr": _ADDRESS.sub("", repr(network)),
        "initial_weights": digest.hexdigest()[:16],
    }
