"""Whether a plan fits a network and a task: found out before anything is trained or written."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from secateur.errors import ConfigurationError, UnsupportedModelError
from secateur.pruning.channel_graph import channel_graph
from secateur.pruning.criteria import check_leaves_something
from secateur.pruning.default import weights_to_prune
from secateur.pruning.layers import aliases, prunable_weights, resolve_layer_values
from secateur.recipes.cut import GlobalCut
from secateur.recipes.dropout import ruled_dropouts, set_dropout
from secateur.recipes.plan import Plan, Recipe
from secateur.recipes.turns import check_turns
from secateur.training.freezing import train_only
from secateur.training.gradients import check_precision
from secateur.training.phase import Phase
from secateur.training.processes import Processes
from secateur.training.seeding import seeded
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


def check_arguments(model: object, task: object, plan: object, settings: object) -> None:
    """Refuse arguments of the wrong kind, saying what to pass instead.

    Args:
        model: Should make a network.
        task: Should be a task.
        plan: Should be a plan.
        settings: Should be None or JSON values by name.

    Raises:
        ConfigurationError: One is something else.
    """
    if isinstance(model, nn.Module) or not callable(model):
        raise ConfigurationError(
            f"model: expected a function that makes the untrained network, found {_kind(model)}; "
            "pass its class, or `lambda: Network(...)`: every stage starts from a fresh one"
        )
    if not isinstance(task, Task):
        raise ConfigurationError(f"task: expected a Task, found {_kind(task)}; make one with image_task")
    if isinstance(plan, Recipe):
        raise ConfigurationError("plan: expected a Plan, found a Recipe; pass `recipe.plan`")
    if not isinstance(plan, Plan):
        raise ConfigurationError(
            f"plan: expected a Plan, found {_kind(plan)}; pass `Plan(...)`, or `builtin_recipe(...).plan`"
        )
    try:
        json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"settings: expected JSON values, found {settings!r} ({error})") from error


def check_fits(plan: Plan, network: nn.Module, task: Task, seed: int, processes: Processes) -> None:
    """Refuse a plan that would fail only after an hour of training.

    Args:
        plan: What shall be done.
        network: An untrained one, from `fresh_network`; its rates of dropout are the plan's afterwards.
        task: What it shall be trained on.
        seed: The run's seed.
        processes: Who trains it, and on what device.

    Raises:
        ConfigurationError: The seed is negative, the network does not take the task's images or give its
            classes, a phase leaves batch normalisation a single image, the device does not compute in its
            precision, the plan sets a dropout rate for a network without dropout, or a gradual cut is to be
            made while all it cuts is frozen.
        UnreachableTargetError: The cut leaves a layer empty whatever its weights are.
        LayerSelectionError: A pattern of the plan matches nothing or claims a layer twice.
        UnsupportedModelError: The plan sweeps or compacts a network that cannot be traced, or the dropout
            rule applies to a dropout module behind two layers.
    """
    if seed < 0:
        raise ConfigurationError(f"the seed must be a whole number at or above 0, found {seed}")
    with seeded(seed, "check"):
        _refuse_frozen(network)
        chosen = weights_to_prune(network, None, plan.exclude or None)
        check_outputs(network, task.example(), task.classes)
    names = aliases(prunable_weights(network))
    if plan.cut is not None:
        if not isinstance(plan.cut, GlobalCut):
            resolve_layer_values(list(chosen), plan.cut.layers, names)
        check_leaves_something(chosen, plan.cut.at(1.0, seed), names)
    check_turns(plan.turns, list(chosen), names)
    in_turns = [phase for turn in plan.turns for phase in turn.retrain]
    phases: Sequence[Phase] = (*plan.dense, *in_turns, *plan.retrain, *(plan.final or ()))
    for phase in phases:
        check_precision(phase, processes.device)
        with train_only(network, phase.only):
            continue
    _check_single_images(network, task, phases, processes)
    _check_gradual(plan, network, list(chosen.values()))
    if plan.dropout is not None and not any(isinstance(module, nn.Dropout) for module in network.modules()):
        raise ConfigurationError(
            f"the plan sets dropout to {plan.dropout}, but the network has no torch.nn.Dropout to set it in; "
            "leave `dropout` away or give the network such modules"
        )
    if plan.sweep or plan.compact:
        try:
            channel_graph(network, task.image_shape)
        except UnsupportedModelError as error:
            raise UnsupportedModelError(
                f"{error}. The plan sweeps dead neurons, which needs that: set `sweep: false` and leave "
                "`compact` away"
            ) from error
    set_dropout(network, plan.dropout)
    ruled_dropouts(network, plan, task.image_shape)


def fresh_network(model: Callable[[], nn.Module]) -> nn.Module:
    """An untrained network, of a function that makes a new one at every call.

    Args:
        model: The function; called with torch's generators seeded with 0, whatever the run's seed, so that
            runs of several seeds are known to be of one network.

    Returns:
        The network.

    Raises:
        ConfigurationError: It makes something else, or the same one again.
    """
    with seeded(0, "initial weights"):
        first, second = model(), model()
    if not isinstance(first, nn.Module):
        raise ConfigurationError(
            f"model: expected a function that makes a network, and it made {_kind(first)}"
        )
    lazy = [name for name, parameter in first.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise ConfigurationError(
            f"the network {type(first).__name__}: {', '.join(lazy)} have no shape yet; let the function that "
            "makes it run it once on an image, or give its lazy modules their sizes"
        )
    shared = {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    if first is second or shared:
        raise ConfigurationError(
            "model: expected a function that makes a fresh network at every call, and it gave "
            f"{'the same one' if first is second else 'the same parameters'} twice; make it in there"
        )
    return first


def _refuse_frozen(network: nn.Module) -> None:
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigurationError(
            f"the network {type(network).__name__}: nothing in it can be trained, all its parameters have "
            "requires_grad False; let the function that makes it leave them trainable"
        )


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


def _check_single_images(
    network: nn.Module, task: Task, phases: Sequence[Phase], processes: Processes
) -> None:
    """Refuse phases in which batch normalisation would have one number a channel to take a deviation of."""
    if processes.count > 1 and processes.device.type == "cuda":
        return  # there it is taken over the images of all processes
    count = task.train_count
    single = [phase for phase in phases if smallest_piece(count, phase, processes.count) == 1]
    if not single:
        return
    trained = copy.deepcopy(network).train()
    try:
        with torch.no_grad():
            trained(task.example().to(next(trained.parameters()).device))
    except ValueError as error:
        phase = single[0]
        raise ConfigurationError(
            f"the network {type(network).__name__} cannot be trained on one image at a time ({error}), and "
            f"{count} images in batches of {phase.batch_size}, computed by {processes.count} "
            f"processes in {phase.accumulate} pieces, leave one alone; choose another batch_size, so that "
            "the last batch has more, or fewer pieces or processes"
        ) from error


def _check_gradual(plan: Plan, network: nn.Module, chosen: Sequence[nn.Parameter]) -> None:
    if plan.gradual is None:
        return
    for where, phases in (("retrain", plan.retrain), ("final", plan.final or plan.retrain)):
        with train_only(network, phases[0].only):
            if not any(weight.requires_grad for weight in chosen):
                raise ConfigurationError(
                    f"a gradual cut is made in the first phase of {where}, where `only` "
                    f"({', '.join(phases[0].only or ())}) freezes every layer that is pruned; "
                    "let one of them train, or put that phase later"
                )


def _kind(thing: object) -> str:
    return (
        f"the network itself ({type(thing).__name__})" if isinstance(thing, nn.Module) else repr(thing)[:80]
    )


@torch.no_grad()
def check_outputs(network: nn.Module, image: Tensor, classes: int) -> None:
    """Refuse a network that does not take a task's images or does not give a number for each of its classes.

    Args:
        network: The network; it is in evaluation mode afterwards.
        image: One of them, float32 [1, channels, height, width].
        classes: How many classes there are.

    Raises:
        ConfigurationError: It does not.
    """
    where = f"the network {type(network).__name__} on images of shape {tuple(image.shape[1:])}"
    network.eval()
    try:
        outputs = network(image.to(next(network.parameters()).device))
    except _FAILURES as error:
        raise ConfigurationError(
            f"{where}: it does not run ({type(error).__name__}: {error}); choose a network for such images"
        ) from error
    if not isinstance(outputs, Tensor):
        raise ConfigurationError(
            f"{where}: expected a tensor of shape [1, {classes}], found a {type(outputs).__name__}; "
            "let forward return the outputs alone"
        )
    if outputs.shape != (1, classes):
        raise ConfigurationError(
            f"{where}: expected an output of shape [1, {classes}], one number a class, "
            f"found {list(outputs.shape)}; give its last layer {classes} outputs"
        )
