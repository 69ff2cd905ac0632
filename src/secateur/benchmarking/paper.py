"""The built-in suite: the paper's four networks with random weights, pruned to its densities or to one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import nn

from secateur.benchmarking.network_onnx import write_chain
from secateur.benchmarking.works import Work, normal_inputs
from secateur.errors import ConfigurationError
from secateur.networks import NETWORKS, build_network
from secateur.pruning.criteria import Density
from secateur.pruning.pruner import Pruner

# Name in rows -> name of the network, batch sizes.
SUITE: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "lenet-300-100": ("lenet-300-100", (1, 64)),
    "lenet-5": ("lenet-5", (1, 64)),
    "alexnet": ("alexnet", (1, 16)),
    "vgg16": ("vgg-16", (1,)),
}
ROWS = tuple(f"{name}@{density}" for name in SUITE for density in ("paper", "0.10"))
_SEED = 0


@final
@dataclass(frozen=True)
class PaperRow:
    """A network of the suite at some densities.

    Attributes:
        name: Such as ``alexnet@paper`` or ``vgg16@0.10``.
        network: Name of the network among ``NETWORKS``.
        density: Of every layer, or None for the paper's.
        batches: Batch sizes of the suite.
    """

    name: str
    network: str
    density: float | None
    batches: tuple[int, ...]


def parse_rows(words: Sequence[str]) -> list[PaperRow]:
    """Rows by name.

    Args:
        words: ``NETWORK@paper`` or ``NETWORK@DENSITY`` with a density above 0 and at most 1.

    Returns:
        The rows.

    Raises:
        ConfigurationError: A row is none of these.

    Example:
        >>> parse_rows(["vgg16@0.10"])[0].density
        0.1
    """
    return [_parse_row(word) for word in words]


def _parse_row(word: str) -> PaperRow:
    name, _, density = word.partition("@")
    try:
        value = None if density == "paper" else float(density)
        if name not in SUITE or (value is not None and not 0 < value <= 1):
            raise ValueError
    except ValueError:
        raise ConfigurationError(
            "--rows takes NETWORK@paper or NETWORK@DENSITY with a density above 0 and at most 1 and a "
            f"network among {', '.join(SUITE)}; found {word!r}"
        ) from None
    network, batches = SUITE[name]
    return PaperRow(word, network, value, batches)


def pruned_network(row: PaperRow) -> nn.Module:
    """The network with random weights, cut by magnitude, in evaluation mode.

    Weights are normal and what survives is scaled so that activations keep their size from layer to layer:
    neither denormal numbers nor overflows come up, which some engines would pay for and some not.

    Args:
        row: Which.

    Returns:
        The network.
    """
    model = build_network(row.network).eval()
    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
        spec = NETWORKS[row.network]
        pruner = Pruner(model)
        if row.density is None:
            pruner.prune(Density(1.0, layers=spec.paper_densities))
        else:
            pruner.prune(Density(row.density))
        pruner.finalize()
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.mul_(math.sqrt(2 * layer.weight.shape[0]) / layer.weight.norm())
                if layer.bias is not None:
                    layer.bias.mul_(0.1)
    return model


def paper_work(row: PaperRow, batch: int, folder: Path) -> Work:
    """A row of the suite at a batch size, its files written once into a folder and found again there.

    Args:
        row: Which.
        batch: Batch size.
        folder: Where the files are kept.

    Returns:
        The work.
    """
    shape = (batch, *NETWORKS[row.network].input_shape)
    stem = f"{row.name}-seed{_SEED}-b{batch}"
    file, program = folder / f"{stem}.onnx", folder / f"{stem}.pt2"
    folder.mkdir(parents=True, exist_ok=True)
    if not (file.is_file() and program.is_file()):
        model = pruned_network(row)
        exported = torch.export.export(model, (torch.zeros(shape),))
        # Both are written under a name that nobody looks for, and moved when they are whole.
        partial = folder / f".{stem}.onnx", folder / f".{stem}.pt2"
        write_chain(model, shape, partial[0])
        torch.export.save(exported, partial[1])
        partial[0].replace(file)
        partial[1].replace(program)
    return Work(row.name, batch, normal_inputs([shape]), {"onnx": file, "torch": program})
