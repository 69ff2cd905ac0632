"""What a run is: everything that decides its result, so that a folder is never taken for another run's."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from secateur import __version__
from secateur.pruning.channel_graph import zero_batch
from secateur.pruning.modes import evaluating
from secateur.recipes.plan import Plan
from secateur.records import content_hash
from secateur.training.seeding import generator, seeded
from secateur.training.task import Task

OUTPUTS = "outputs"
_KEPT_OUTPUTS = 16
_ROUNDING = 1e-3  # of the largest; a leaky slope of 0.01 for a relu changes more
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe(
    network: Mapping[str, Any],
    task: Task,
    plan: Plan,
    settings: Mapping[str, Any] | None,
    *,
    seed: int,
    name: str,
    processes: int = 1,
) -> tuple[dict[str, Any], str]:
    """What a run is, and its configuration's name by content, which is the same for every seed.

    Args:
        network: From `describe_network`, with `outputs_for_noise` as ``outputs``.
        task: What it is trained on.
        plan: What is done.
        settings: What else is on record.
        seed: The run's seed.
        name: The run's name.
        processes: How many work on it.

    Returns:
        JSON values for ``run.json``, and twelve hexadecimal digits.
    """
    configuration = {
        "name": name,
        "plan": plan.model_dump(mode="json"),
        "settings": dict(settings or {}),
        "network": {key: value for key, value in network.items() if key != OUTPUTS},
    }
    identity = {
        **configuration,
        "network": dict(network),
        "seed": seed,
        "data": {"source": task.source, "fingerprint": task.fingerprint},
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
    if processes > 1:
        identity["processes"] = processes
    return identity, content_hash({**configuration, "data": task.fingerprint})


def agreed(identity: Mapping[str, Any]) -> dict[str, object]:
    """What all processes of a run must have in common, by the place where it stands.

    Args:
        identity: What a run is, from `describe`.

    Returns:
        Values by place, ``plan.cut.density``, with versions; without what may differ: where the data lie,
        the number of threads, and the last bits of outputs.

    Example:
        >>> sorted(agreed({"seed": 0, "plan": {"rounds": 2}, "threads": 4}))
        ['plan.rounds', 'python', 'secateur', 'seed']
    """
    found = dict(_places(identity, ""))
    found = {
        place: value
        for place, value in found.items()
        if place not in ("threads", "data.source") and not place.startswith(f"network.{OUTPUTS}")
    }
    return found | {"secateur": __version__, "python": platform.python_version()}


def _places(value: object, where: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _places(part, f"{where}.{key}" if where else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for number, part in enumerate(value):
            yield from _places(part, f"{where}.{number}")
    else:
        yield where, value


@torch.no_grad()
def outputs_for_noise(network: nn.Module, image_shape: tuple[int, ...]) -> list[float]:
    """The first few outputs of a network for fixed images of noise: what its ``forward`` is.

    Structure and weights do not tell whether ``forward`` calls relu or sigmoid between the layers.

    Args:
        network: Left as it was.
        image_shape: The shape of one image.

    Returns:
        Sixteen numbers at most; none where they are not finite.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <...>
        >>> len(outputs_for_noise(nn.Linear(3, 2), (3,)))
        4
    """
    like = zero_batch(network, image_shape)
    images = torch.randn(like.shape, generator=generator(0, "images of noise")).to(like)
    with evaluating(network), seeded(0, "outputs for noise"):
        outputs = network(images).detach().float().flatten()[:_KEPT_OUTPUTS]
    return [float(each) for each in outputs] if bool(outputs.isfinite().all()) else []


def are_alike(some: Sequence[float], others: Sequence[float]) -> bool:
    """Whether outputs are those of one network, but for rounding on another machine.

    Args:
        some: From `outputs_for_noise`.
        others: The same, at another time.

    Returns:
        True also where one of them is not known.

    Example:
        >>> are_alike([1.0, -2.0], [1.0001, -2.0]), are_alike([1.0, -2.0], [1.0, -1.9])
        (True, False)
    """
    if not some or not others:
        return True
    most = max(abs(each) for each in (*some, *others))
    return len(some) == len(others) and all(
        abs(one - other) <= _ROUNDING * most for one, other in zip(some, others, strict=True)
    )


def describe_network(network: nn.Module) -> dict[str, str]:
    """A network's class, structure and untrained weights, as JSON values.

    Args:
        network: As its function made it.

    Returns:
        The class's path, the network's ``repr``, and a hash of its untrained state.

    Example:
        >>> describe_network(nn.Linear(3, 2))["repr"]
        'Linear(in_features=3, out_features=2, bias=True)'
    """
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
