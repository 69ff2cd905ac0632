"""The contests of `benchmarks.overhead`: pruning and the driver, each beside plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from benchmarks.masks_cost import DENSITY, measure_in_new_process, quickly_initialised
from benchmarks.measure import Contestant, interleaved
from benchmarks.rows import Comparison, Duration, Memory, Row, Share
from secateur.datasets import load_idx_folder
from secateur.datasets.images import ImageDataset
from secateur.networks import VGG16, LeNet300100
from secateur.pruning.criteria import GlobalDensity
from secateur.pruning.pruner import Pruner
from secateur.training.loop import run_phases
from secateur.training.phase import Phase, Sgd
from secateur.training.task import ImagesInMemory, Task, image_task

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"
COMPRESSION = 12
WEIGHT_DECAY = 5e-4
_SETTLING = 5  # steps
Batches = Sequence[tuple[Tensor, Tensor]]


@final
@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        threads: Threads of the computation.
        lenet_steps: Steps in one sample of LeNet-300-100.
        lenet_rounds: Samples of each contestant there.
        vgg_batch: Images in a step of VGG-16.
        vgg_rounds: Steps of each contestant there.
        epoch_images: Training images of the epoch.
        epoch_rounds: Epochs of each contestant.
        mask_network: Whose masks are computed.
        mask_repeats: How often.
    """

    threads: int = 2
    lenet_steps: int = 100
    lenet_rounds: int = 40
    vgg_batch: int = 8
    vgg_rounds: int = 25
    epoch_images: int = 55_000
    epoch_rounds: int = 11
    mask_network: str = "vgg-16"
    mask_repeats: int = 5


FULL = Effort()
QUICK = Effort(lenet_rounds=10, vgg_batch=1, vgg_rounds=3, epoch_images=6_400, epoch_rounds=3, mask_repeats=1)


def train_on(model: nn.Module, optimizer: Optimizer, batches: Batches) -> None:
    """A plain training step for every batch.

    Args:
        model: The network.
        optimizer: Its optimizer.
        batches: Images and labels.
    """
    for images, labels in batches:
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimizer.step()


def pruned_beside_plain(
    model: nn.Module,
    optimizer: Optimizer,
    run: Callable[[], object],
    units: int,
    settle: Callable[[], object] | None = None,
) -> tuple[Contestant, Contestant, Pruner]:
    """The same work of the same network and optimizer, with a pruner attached and without.

    One network for both: two would lie at different places in memory, and push each other out of the cache.

    Args:
        model: The network; it is pruned to 1/12 of its weights.
        optimizer: Its optimizer.
        run: The work, which steps the optimizer.
        units: Steps in it.
        settle: What both do before it, untimed: a pruner is attached once in a training, which goes through
            all weights and their masks, and not before every hundred steps.

    Returns:
        Under pruning, plain, and the pruner.
    """
    pruner = Pruner(model)
    pruner.prune(GlobalDensity(1 / COMPRESSION))

    def attached() -> None:
        pruner.attach(optimizer)
        if settle is not None:
            settle()

    def detached() -> None:
        pruner.detach()
        if settle is not None:
            settle()

    return (
        Contestant(run, prepare=attached, units=units),
        Contestant(run, prepare=detached, units=units),
        pruner,
    )


def random_batches(count: int, size: int, shape: Sequence[int], classes: int) -> Batches:
    """Normally distributed images with random labels.

    Args:
        count: Batches.
        size: Images a batch.
        shape: Of one image.
        classes: Labels are in 0..classes-1.

    Returns:
        Images [size, *shape] and labels [size] of every batch.
    """
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, *shape, generator=draw), torch.randint(classes, (size,), generator=draw))
        for _ in range(count)
    ]


def step_lenet(effort: Effort) -> list[Row]:
    """Training steps of LeNet-300-100 at batch 64, under pruning at 12x and plain."""
    sgd = partial(torch.optim.SGD, lr=1e-3, momentum=0.9, weight_decay=WEIGHT_DECAY)
    adam = partial(torch.optim.Adam, lr=1e-5, weight_decay=WEIGHT_DECAY)
    kinds: Sequence[tuple[str, Callable[..., Optimizer], float | None]] = (
        ("SGD", sgd, 1.05),
        ("SGD, fused", partial(sgd, fused=True), 1.05),
        ("Adam", adam, None),
        ("Adam, fused", partial(adam, fused=True), None),
    )
    batches = random_batches(effort.lenet_steps, 64, (1, 28, 28), 10)
    rows: list[Row] = []
    for kind, make, limit in kinds:
        model = quickly_initialised(LeNet300100)
        optimizer = make(model.parameters())
        for what, run, bound in (
            ("step", partial(train_on, model, optimizer, batches), limit),
            ("optimizer.step alone", partial(_repeat, optimizer.step, effort.lenet_steps), None),
        ):
            pruned, plain, pruner = pruned_beside_plain(
                model,
                optimizer,
                run,
                effort.lenet_steps,
                partial(train_on, model, optimizer, batches[:_SETTLING]),
            )
            candidate, reference = interleaved((pruned, plain), effort.lenet_rounds, warmup=5)
            pruner.attach(optimizer)
            assert int(model.get_parameter("fc1.weight").count_nonzero()) <= pruner.masks.kept_of(
                "fc1.weight"
            )
            pruner.detach()
            rows.append(
                Comparison(
                    f"lenet-300-100 {what}, {kind}",
                    candidate,
                    reference,
                    bound,
                    f"batch 64, {COMPRESSION}x, {effort.lenet_steps} steps a sample, after {_SETTLING} that "
                    "do not count; under pruning / plain",
                )
            )
    return rows


def step_vgg(effort: Effort) -> list[Row]:
    """Training steps of VGG-16, under pruning at 12x and plain, and the enforcement alone."""
    model = quickly_initialised(VGG16)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, weight_decay=WEIGHT_DECAY)
    batches = random_batches(1, effort.vgg_batch, (3, 224, 224), 1000)
    pruned, plain, pruner = pruned_beside_plain(
        model, optimizer, partial(train_on, model, optimizer, batches), 1
    )
    candidate, reference = interleaved((pruned, plain), effort.vgg_rounds)
    pruner.attach(optimizer)
    alone = interleaved((Contestant(pruner.enforce),), 3 * effort.vgg_rounds)[0]
    where = f"batch {effort.vgg_batch} of 224 x 224, {COMPRESSION}x, SGD with momentum"
    return [
        Comparison("vgg-16 step, SGD", candidate, reference, 1.02, f"{where}; under pruning / plain"),
        Share(
            "vgg-16 step, SGD (derived)",
            alone,
            reference,
            1.02,
            f"{where}; the enforcement timed alone, ratio = 1 + its median / the plain step's median: a step "
            "varies by more than the limit from one to the next, so the direct ratio alone cannot decide",
        ),
    ]


def bare_epoch(
    model: nn.Module, optimizer: Optimizer, images: Tensor, labels: Tensor, size: int = 64
) -> None:
    """An epoch as anybody writes it by hand, with nothing besides.

    Args:
        model: The network.
        optimizer: Its optimizer.
        images: All training images.
        labels: All training labels.
        size: Images a batch.
    """
    model.train()
    for batch in torch.randperm(len(images)).split(size):  # type: ignore[no-untyped-call]  # torch has no types here
        loss = functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimizer.step()


def epoch(effort: Effort, folder: Path = MNIST) -> list[Row]:
    """An epoch of the driver on LeNet-300-100 at batch 64, beside a bare loop over the same tensors."""
    validated, source = _task(folder, effort.epoch_images)
    alone = replace(
        validated,
        validation_images=validated.validation_images[:1],
        validation_labels=validated.validation_labels[:1],
    )
    images = validated.images.take(validated.train, torch.zeros_like(validated.train))
    labels = validated.labels[validated.train]
    phase = Phase(epochs=1, batch_size=64, optimizer=Sgd(learning_rate=0.05), l2=WEIGHT_DECAY)

    def driver(task: Task) -> Contestant:
        model = LeNet300100()
        return Contestant(lambda: run_phases(model, task, [phase], seed=0, stage="benchmark"))

    def bare(fused: bool | None) -> Contestant:
        model = LeNet300100()
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.05, momentum=0.9, weight_decay=WEIGHT_DECAY, fused=fused
        )
        return Contestant(lambda: bare_epoch(model, optimizer, images, labels))

    turns = (driver(alone), driver(validated), bare(True), bare(None))
    lone, whole, fused, default = interleaved(turns, effort.epoch_rounds)
    held_out = len(validated.validation_labels)
    where = f"{source}, {len(labels):,} images, batch 64, SGD with momentum; driver / bare loop"
    validation = f"driver's validation on {held_out:,} images counted"
    none = "driver validates on a single image"
    return [
        Comparison("epoch, bare loop fused as the driver", lone, fused, 1.25, f"{where}; {none}"),
        Comparison("epoch, the same, with validation", whole, fused, 1.25, f"{where}; {validation}"),
        Comparison("epoch, bare loop with SGD's defaults", lone, default, None, f"{where}; {none}"),
        Comparison("epoch, the same, with validation", whole, default, None, f"{where}; {validation}"),
    ]


def masks(effort: Effort) -> list[Row]:
    """Computing the masks of VGG-16 at one global density: time, and memory beside the model."""
    rows: list[Row] = []
    for pruner, what in ((False, "compute_masks"), (True, "Pruner.prune")):
        cost = measure_in_new_process(effort.mask_network, effort.mask_repeats, effort.threads, pruner=pruner)
        name = f"masks of {effort.mask_network}, {what}"
        note = f"{cost.weights:,} weights at one global density {DENSITY}, in a process of its own"
        rows += [
            Duration(f"{name}, time", [1e3 * seconds for seconds in cost.seconds], 5_000, note),
            Memory(
                f"{name}, memory",
                [cost.extra_bytes],
                cost.model_bytes,
                1.5,
                f"{note}; peak resident bytes less those before, over the bytes of the model",
            ),
        ]
    return rows


def _task(folder: Path, images: int) -> tuple[ImagesInMemory, str]:
    """The task, whose training images are exactly as many as asked for, and where they come from."""
    held_out = 5_000
    if folder.is_dir():
        dataset, source = load_idx_folder(folder), "MNIST"
    else:
        draw = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (60_000, 1, 28, 28), dtype=torch.uint8, generator=draw)
        labels = torch.randint(10, (60_000,), generator=draw)
        dataset = ImageDataset(pixels, labels, pixels[:100], labels[:100], 10, "random pixels")
        source = dataset.source
    task = image_task(dataset, validation=held_out)
    return replace(task, train=task.train[:images]), source


def _repeat(function: Callable[[], object], times: int) -> None:
    for _ in range(times):
        function()
