"""A network run once as training will run it: what evaluation mode does not show is found out before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from secateur.errors import ConfigurationError
from secateur.recipes.plan import Plan
from secateur.training.checkpoint import same_bits
from secateur.training.phase import Phase
from secateur.training.processes import Processes
from secateur.training.task import Task

# What somebody else's forward may raise on images it was not made for.
_FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
)


@torch.no_grad()
def check_forward(network: nn.Module, images: Tensor, classes: int, where: str, advice: str) -> None:
    """Refuse a network that does not give a number for every image and class, in the mode that it is in.

    Args:
        network: The network.
        images: What it is called with, float32 [count, channels, height, width].
        classes: How many classes there are.
        where: What is called with what, for the message.
        advice: What to do when it does not run, for the message.

    Raises:
        ConfigurationError: It does not.

    Example:
        >>> check_forward(nn.Linear(3, 2), torch.ones(1, 3), 4, "here", "choose another")
        Traceback (most recent call last):
        ...
        secateur.errors.ConfigurationError: here: expected an output of shape [1, 4], one number a class, \
found [1, 2]; give its last layer 4 outputs
    """
    try:
        outputs = network(images)
    except _FAILURES as error:
        raise ConfigurationError(
            f"{where}: it does not run ({type(error).__name__}: {error}); {advice}"
        ) from error
    expected = [len(images), classes]
    if not isinstance(outputs, Tensor):
        raise ConfigurationError(
            f"{where}: expected a tensor of shape {expected}, found a {type(outputs).__name__}; "
            "let forward return the outputs alone"
        )
    if list(outputs.shape) != expected:
        raise ConfigurationError(
            f"{where}: expected an output of shape {expected}, one number a class, "
            f"found {list(outputs.shape)}; give its last layer {classes} outputs"
        )


def check_training(
    plan: Plan, phases: Sequence[Phase], network: nn.Module, task: Task, processes: Processes
) -> None:
    """Refuse a network that fails in training mode, or that a batch leaves too few images to train on.

    Draws from torch's global generators, as dropout does.

    Args:
        plan: What shall be done.
        phases: All that train on all images.
        network: An untrained one; modes and buffers are as they were afterwards.
        task: What it shall be trained on.
        processes: Who trains it, and on what device.

    Raises:
        ConfigurationError: It does not run in training mode, gives something else there than in evaluation
            mode, or a phase leaves batch normalisation a single image.
    """
    sizes = [(phase, task.train_count) for phase in phases]
    if plan.target is not None and plan.search.trial:  # cuts are tried out on fewer images
        sizes.append((plan.retrain[0], min(plan.search.trial, task.train_count)))
    smallest = [smallest_piece(images, phase, processes.count) for phase, images in sizes]
    try:
        with _training(network.to(processes.device)):
            _check_forward(network, task, processes.device, min(smallest))
            # On several GPUs it is taken over the images of all processes.
            if min(smallest) == 1 and not (processes.count > 1 and processes.device.type == "cuda"):
                _check_single(network, task, processes, *sizes[smallest.index(1)])
    finally:
        network.cpu()


def smallest_piece(images: int, phase: Phase, processes: int) -> int:
    """The fewest images that a network sees at once in training: of a last batch, of a process, of a piece.

    Args:
        images: That train, at least 1.
        phase: Its batch size, and in how many pieces a step is computed.
        processes: How many share a batch; one with fewer images than processes is computed by all.

    Returns:
        A number of images.

    Example:
        >>> from secateur.training.phase import Sgd
        >>> phase = Phase(epochs=1, batch_size=4, optimizer=Sgd(learning_rate=0.1))
        >>> smallest_piece(12, phase, 1), smallest_piece(13, phase, 1), smallest_piece(12, phase, 3)
        (4, 1, 1)
    """
    batches = {min(images, phase.batch_size), images % phase.batch_size or min(images, phase.batch_size)}
    shares = [batch // processes if batch >= processes else batch for batch in batches]
    return min(share // min(phase.accumulate, share) for share in shares)


def _check_forward(network: nn.Module, task: Task, device: torch.device, fewest: int) -> None:
    # Two images tell most and cost next to nothing. A forward that wants more, or one, is asked again with
    # what it will really see.
    for images in (2, fewest):
        where = f"the network {type(network).__name__} in training mode with a batch of {images}"
        advice = "let its forward do in training what it does in evaluation, on as many images as a step has"
        try:
            check_forward(network, task.example(images).to(device), task.classes, where, advice)
        except ConfigurationError:
            if images == fewest:
                raise
        else:
            return


def _check_single(network: nn.Module, task: Task, processes: Processes, phase: Phase, images: int) -> None:
    """Refuse a phase in which batch normalisation would have one number a channel to take a deviation of."""
    try:
        with torch.no_grad():
            network(task.example().to(processes.device))
    except ValueError as error:
        of_trial = images < task.train_count
        raise ConfigurationError(
            f"the network {type(network).__name__} cannot be trained on one image at a time ({error}), and "
            f"{images} images{', on which `search: trial` tries a cut out,' if of_trial else ''} in batches "
            f"of {phase.batch_size}, computed by {processes.count} processes in {phase.accumulate} pieces, "
            f"leave one alone; choose another batch_size{' or `trial`' if of_trial else ''}, so that the "
            "last batch has more, or fewer pieces or processes"
        ) from error


@contextmanager
def _training(network: nn.Module) -> Iterator[None]:
    """Training mode for a while; then every module's mode and buffers as they were.

    Not on a copy: a network may hold what cannot be copied, such as a tensor computed from its weights.
    """
    modes = {module: module.training for module in network.modules()}
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in modes
        for name, buffer in module.named_buffers(recurse=False)
    ]
    network.train()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for module, name, buffer, before in buffers:
            with torch.no_grad():
                # One that nobody wrote to may be one that nobody can write to: expanded, say.
                setattr(module, name, buffer if same_bits(buffer, before) else buffer.copy_(before))
