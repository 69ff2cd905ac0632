"""What computing the masks of VGG-16 costs. A process of its own: a peak of memory is never forgotten.

``python -m benchmarks.masks_cost`` prints one JSON object; ``benchmarks.overhead`` starts it.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import final

import torch
from torch import Tensor, nn

from benchmarks.checkout import ROOT
from benchmarks.measure import resident_bytes
from secateur.networks import VGG16, AlexNet, LeNet300100
from secateur.pruning.criteria import GlobalDensity, compute_masks
from secateur.pruning.layers import select_weights
from secateur.pruning.pruner import Pruner

DENSITY = 0.1
NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "vgg-16": VGG16,
    "alexnet": AlexNet,
    "lenet-300-100": LeNet300100,
}


@final
@dataclass(frozen=True)
class MaskCost:
    """What one process found.

    Attributes:
        weights: Weights that were ranked.
        model_bytes: Bytes of all parameters.
        extra_bytes: Peak of the process less what it held before the first call.
        seconds: Of every call.
    """

    weights: int
    model_bytes: int
    extra_bytes: int
    seconds: Sequence[float]


def quickly_initialised(factory: Callable[[], nn.Module]) -> nn.Module:
    """A network with Kaiming's normal weights and zero biases, each tensor filled once.

    Args:
        factory: Builds the network.

    Returns:
        The network, every page of its memory touched.
    """
    with torch.device("meta"):
        model = factory()
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, math.sqrt(2 / parameter[0].numel()))
            else:
                parameter.zero_()
    return model


def measure(model: nn.Module, repeats: int, *, pruner: bool) -> MaskCost:
    """Compute masks at one global density, some times over, in this process.

    Args:
        model: The network.
        repeats: How often.
        pruner: Through `Pruner.prune`, which holds masks already and cuts too, not `compute_masks`.

    Returns:
        Seconds and memory. Only the first measurement of a process is to be believed for the memory.
    """
    weights: dict[str, Tensor] = dict(select_weights(model))
    total = sum(weight.numel() for weight in weights.values())
    before, _ = resident_bytes()
    seconds = []
    for _ in range(repeats):
        keeper = Pruner(model) if pruner else None
        began = time.perf_counter()
        if keeper is None:
            masks = compute_masks(weights, GlobalDensity(DENSITY))
        else:
            masks = keeper.prune(GlobalDensity(DENSITY))
        seconds.append(time.perf_counter() - began)
        assert masks.kept == round(DENSITY * total)
        del masks, keeper
    _, peak = resident_bytes()
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return MaskCost(total, size, peak - before, seconds)


def measure_in_new_process(network: str, repeats: int, threads: int, *, pruner: bool) -> MaskCost:
    """The same in a fresh process.

    Args:
        network: A key of ``NETWORKS``.
        repeats: How often the masks are computed.
        threads: Threads of the computation.
        pruner: See `measure`.

    Returns:
        What it found.
    """
    command = [sys.executable, "-m", "benchmarks.masks_cost", network, str(repeats), str(threads)]
    finished = subprocess.run(  # noqa: S603  # this very module, with arguments of ours
        command + (["--pruner"] if pruner else []), cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True
    )
    return MaskCost(**json.loads(finished.stdout))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=tuple(NETWORKS))
    parser.add_argument("repeats", type=int)
    parser.add_argument("threads", type=int)
    parser.add_argument("--pruner", action="store_true", help="through Pruner.prune, cut included")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    cost = measure(quickly_initialised(NETWORKS[given.network]), given.repeats, pruner=given.pruner)
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
