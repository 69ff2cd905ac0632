"""Whether a plan fits a network and a task: found out before anything is trained or written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from secateur.errors import ConfigurationError, UnsupportedModelError
from secateur.pruning.channel_graph import channel_graph
from secateur.pruning.criteria import check_leaves_something
from secateur.pruning.default import weights_to_prune
from secateur.pruning.layers import aliases, prunable_weights, resolve_layer_values
from secateur.recipes.cut import GlobalCut
from secateur.recipes.dropout import ruled_dropouts, set_dropout
from secateur.recipes.plan import NAME, Plan, Recipe
from secateur.recipes.rehearsal import check_forward, check_training
from secateur.recipes.turns import check_turns
from secateur.training.checkpoint import same_bits
from secateur.training.freezing import train_only
from secateur.training.gradients import check_precision
from secateur.training.phase import Phase
from secateur.training.processes import Processes
from secateur.training.seeding import seeded
from secateur.training.task import Task


def check_arguments(
    model: object,
    task: object,
    plan: object,
    run_dir: object,
    *,
    seed: object,
    name: object,
    settings: object,
    save_every: object,
) -> None:
    """Refuse arguments of the wrong kind, saying what to pass instead.

    Args:
        model: Should make a network.
        task: Should be a task.
        plan: Should be a plan.
        run_dir: Should be None or a folder's path.
        seed: Should be a whole number, at least 0.
        name: Should be a recipe's name, of which a folder is made.
        settings: Should be None or JSON values by name.
        save_every: Should be a number of seconds, at least 0.

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
    if not isinstance(run_dir, Path | str | None):
        raise ConfigurationError(
            f"run_dir: expected a folder's path, found {_kind(run_dir)}; a seed is passed as `seed=`"
        )
    # A bool is an int, and would be another run's identity than the number that it equals.
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigurationError(f"the seed must be a whole number at or above 0, found {_kind(seed)}")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise ConfigurationError(
            f"name: expected letters, digits, points, dashes and underscores alone, found {_kind(name)}; "
            "where the run lies is `run_dir`'s to say"
        )
    try:
        json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"settings: expected JSON values, found {settings!r} ({error})") from error
    seconds = isinstance(save_every, int | float) and not isinstance(save_every, bool) and save_every >= 0
    if not seconds:
        raise ConfigurationError(
            f"save_every: expected seconds, at least 0, found {_kind(save_every)}; 20 is the default"
        )


def check_fits(plan: Plan, network: nn.Module, task: Task, seed: int, processes: Processes) -> None:
    """Refuse a plan that would fail only after an hour of training.

    Args:
        plan: What shall be done.
        network: An untrained one, from `fresh_network`; its rates of dropout are the plan's afterwards.
        task: What it shall be trained on.
        seed: The run's seed.
        processes: Who trains it, and on what device.

    Raises:
        ConfigurationError: The network does not take the task's images or give its classes, in evaluation or
            in training mode, a phase leaves batch normalisation a single image, the device does not compute
            in its precision, the plan sets a dropout rate for a network without dropout, or a gradual cut is
            to be made while all it cuts is frozen.
        UnreachableTargetError: The cut leaves a layer empty whatever its weights are.
        LayerSelectionError: A pattern of the plan matches nothing or claims a layer twice.
        UnsupportedModelError: The plan sweeps or compacts a network that cannot be traced, or the dropout
            rule applies to a dropout module behind two layers.
    """
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
    with seeded(seed, "check"):
        check_training(plan, phases, network, task, processes)
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
    """An untrained network, of a function that makes a new one at every call, and the same at every seed.

    Args:
        model: The function; called with torch's generators seeded with 0, whatever the run's seed, so that
            runs of several seeds are known to be of one network.

    Returns:
        The network.

    Raises:
        ConfigurationError: It makes something else, or the same one again, or draws weights from elsewhere
            than torch's generators.
    """
    first, second = _made(model), _made(model)
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
    differs = _first_difference(first, second)
    if differs is not None:
        raise ConfigurationError(
            f"the network {type(first).__name__}: made twice with torch's generators seeded alike, it "
            f"differs in {differs}, so no stage could start from what another started from; draw initial "
            "weights from torch's generators alone"
        )
    return first


def _made(model: Callable[[], nn.Module]) -> nn.Module:
    with seeded(0, "initial weights"):
        network: object = model()
    if not isinstance(network, nn.Module):
        raise ConfigurationError(
            f"model: expected a function that makes a network, and it made {_kind(network)}"
        )
    return network


def _first_difference(first: nn.Module, second: nn.Module) -> str | None:
    """The first parameter or buffer that two networks do not have alike, those that no file keeps as well."""
    own, other = (dict(chain(each.named_parameters(), each.named_buffers())) for each in (first, second))
    for name in dict.fromkeys((*own, *other)):
        if name not in own or name not in other or not same_bits(own[name], other[name]):
            return name
    return None


def _refuse_frozen(network: nn.Module) -> None:
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigurationError(
            f"the network {type(network).__name__}: nothing in it can be trained, all its parameters have "
            "requires_grad False; let the function that makes it leave them trainable"
        )


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
    image = image.to(next(network.parameters()).device)
    check_forward(network, image, classes, where, "choose a network for such images")
