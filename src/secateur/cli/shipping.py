"""What shipping a run comes to: kilobytes and microseconds, before and after."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from secateur.compiler.compiling import compile as compile_network
from secateur.compiler.turns import in_turns
from secateur.errors import UnsupportedModelError
from secateur.export import network_of_run

NAME = "pruned.secateur"


def ship(folder: Path, image: Tensor, console: Console) -> None:
    """Compile the network of a finished run into its folder and measure it beside its dense one in PyTorch.

    Args:
        folder: Of the run.
        image: A real input, with a batch of one.
        console: Where it is said.

    Raises:
        MissingExtraError: What the compiler needs is not installed.
        StorageError: The folder cannot be written.
    """
    pruned = network_of_run(folder)
    dense = network_of_run(folder, dense=True)
    program = compile_network(pruned.module, image)
    program.save(folder / NAME)
    pixels = image.numpy()
    contenders = {
        "before": eager_timer(dense.module, image),
        "after": lambda repeats: [_timed(lambda: program(pixels)) for _ in range(repeats)],
    }
    times = {name: timed.again for name, timed in in_turns(contenders).items()}
    before, after = (folder / "dense.safetensors").stat().st_size, (folder / NAME).stat().st_size
    for line in (
        f"file        {before / 1e3:,.1f} kB -> {after / 1e3:,.1f} kB   {before / after:.1f}x smaller",
        f"one image   {times['before']:,.1f} us in PyTorch -> {times['after']:,.1f} us without it   "
        f"{times['before'] / times['after']:.1f}x faster",
        f"shipped     {folder / NAME}; run it with secateur.load, which needs NumPy alone",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def why_not_shipped(make: Callable[[], nn.Module], shape: Sequence[int]) -> list[str]:
    """What to know before hours of training: that the compiler will refuse the network, and why.

    Args:
        make: Makes the network.
        shape: Of one input, without the batch.

    Returns:
        A note; none where the network compiles, or where the packages that compiling needs are absent.
    """
    try:
        from secateur.compiler.reading import network_of_module  # noqa: PLC0415  # needs onnx
    except ModuleNotFoundError:
        return []
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, which no run shall notice
        network = make()
    try:
        network_of_module(network.eval(), (torch.zeros(1, *shape),))
        del network
        gc.collect()  # the exporter leaves cycles that hold it, and its weights would stay beside the run
    except UnsupportedModelError as error:
        return [
            "note: this network trains and is pruned here, but as it is, secateur export will refuse it: "
            f"{error}"
        ]
    return []


def eager_timer(module: nn.Module, image: Tensor) -> Callable[[int], Sequence[int]]:
    """What measures a module as PyTorch runs it.

    Args:
        module: In evaluation mode.
        image: Its input.

    Returns:
        A function of a number of runs that gives the nanoseconds of each.
    """

    @torch.inference_mode()
    def run(repeats: int) -> list[int]:
        return [_timed(lambda: module(image)) for _ in range(repeats)]

    return run


def _timed(call: Callable[[], object]) -> int:
    began = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - began
