"""What shipping a run comes to: kilobytes and microseconds, before and after."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from secateur.compiler.compiling import compile as compile_network
from secateur.compiler.turns import Timer, in_turns
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
    dense_us, pruned_us = beside_pytorch(
        dense.module, image, lambda repeats: [_timed(lambda: program(pixels)) for _ in range(repeats)]
    )
    before, after = (folder / "dense.safetensors").stat().st_size, (folder / NAME).stat().st_size
    for line in (
        f"file        {before / 1e3:,.1f} kB -> {after / 1e3:,.1f} kB   {before / after:.1f}x smaller",
        f"one image   {dense_us:,.1f} us in PyTorch -> {pruned_us:,.1f} us without it   "
        f"{dense_us / pruned_us:.1f}x faster",
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
    except UnsupportedModelError as error:
        return [
            "note: this network trains and is pruned here, but as it is, secateur export will refuse it: "
            f"{error}"
        ]
    finally:
        del network
        gc.collect()  # the exporter leaves cycles that hold it, and its weights would stay beside the run
    return []


def beside_pytorch(module: nn.Module, image: Tensor, compact: Timer) -> tuple[float, float]:
    """How long a module takes in PyTorch, and something beside it, taking turns.

    PyTorch runs on its threads and on one, and the faster counts: where another program has a core, its
    threads wait for each other at every layer, and a small network takes ten times as long.

    Args:
        module: In evaluation mode.
        image: Its input.
        compact: What is measured beside it.

    Returns:
        Microseconds of both.
    """
    eager = eager_timer(module, image)

    def alone(repeats: int) -> Sequence[int]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return eager(repeats)
        finally:
            torch.set_num_threads(threads)

    times = in_turns({"threads": eager, "one": alone, "compact": compact}, hopeless=math.inf)
    return min(times["threads"].again, times["one"].again), times["compact"].again


def eager_timer(module: nn.Module, image: Tensor) -> Timer:
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
