"""Which tensors of a network can be pruned, and how a user names them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from secateur.errors import LayerSelectionError

Predicate = Callable[[str, nn.Parameter], bool]
Selection = str | Sequence[str] | Predicate
T = TypeVar("T")

# Modules whose connections are what the paper prunes. Depth of inheritance is respected: a subclass counts.
CONNECTED = (
    nn.Linear,
    nn.Bilinear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass(frozen=True)
class PrunableWeight:
    """One weight tensor that can be pruned.

    Attributes:
        name: The parameter's name in ``model.named_parameters()``: ``"fc1.weight"``.
        aliases: Other names of the same tensor (tied weights are one weight).
        parameter: The parameter itself.
        is_connection: Whether it is a matrix or filter bank of a layer; biases and normalisation parameters
            are not, and are pruned only when they are asked for by name.
    """

    name: str
    aliases: tuple[str, ...]
    parameter: nn.Parameter
    is_connection: bool

    @property
    def layer(self) -> str:
        """The name people use: the module's path where that is enough (``"fc1"``)."""
        return layer_name(self.name)

    def names(self) -> Iterator[str]:
        """Every name by which it may be asked for."""
        for name in (self.name, *self.aliases):
            yield name
            if layer_name(name) != name:
                yield layer_name(name)


def layer_name(parameter_name: str) -> str:
    """The layer's name for people: the parameter's name less a trailing ``.weight``.

    Example:
        >>> layer_name("features.conv1.weight"), layer_name("lstm.weight_hh_l0")
        ('features.conv1', 'lstm.weight_hh_l0')
    """
    return parameter_name.removesuffix(".weight")


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``, DataParallel and DistributedDataParallel wrappers.

    Names then never carry ``module.`` or ``_orig_mod.``, so that a pattern that matches on one process
    matches on many.
    """
    while True:
        if isinstance(model, (DataParallel, DistributedDataParallel)):
            model = model.module
        elif _is_compiled(model):
            model = model.get_submodule("_orig_mod")
        else:
            return model


def _is_compiled(model: nn.Module) -> bool:
    # Looked up and not imported: torch.compile loads this module, which takes over a second, and where it is
    # not loaded nothing is compiled.
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    return dynamo is not None and isinstance(model, dynamo.OptimizedModule)


def prunable_weights(model: nn.Module) -> tuple[PrunableWeight, ...]:
    """Every parameter of a network, with tied ones once, saying which of them are connections.

    Connections are the weights of Linear, Bilinear, Conv1-3d, transposed convolutions, RNN/LSTM/GRU
    (including their cells) and MultiheadAttention.

    Args:
        model: Any module; wrappers of ``torch.compile`` and data parallelism are looked through.

    Returns:
        The parameters in the order of ``model.named_parameters()``.

    Raises:
        LayerSelectionError: A lazy parameter has no shape yet.
    """
    model = unwrap(model)
    connections = set(_connection_names(model))
    names_of: dict[int, list[str]] = {}
    parameters: dict[int, nn.Parameter] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if isinstance(parameter, UninitializedParameter):
            raise LayerSelectionError(
                f"{name!r} is a lazy parameter without a shape; run one batch through the network before "
                "pruning it"
            )
        names_of.setdefault(id(parameter), []).append(name)
        parameters[id(parameter)] = parameter
    return tuple(
        PrunableWeight(
            names[0], tuple(names[1:]), parameters[key], any(name in connections for name in names)
        )
        for key, names in names_of.items()
    )


def _connection_names(model: nn.Module) -> Iterator[str]:
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if isinstance(parameter, UninitializedParameter) or parameter.dim() < 2 or not parameter.numel():
                continue
            if (
                (isinstance(module, CONNECTED) and name == "weight")
                or (isinstance(module, (nn.RNNBase, nn.RNNCellBase)) and name.startswith("weight_"))
                or (isinstance(module, nn.MultiheadAttention) and name in _ATTENTION_WEIGHTS)
            ):
                yield prefix + name


def select_weights(
    model: nn.Module, layers: Selection | None = None, exclude: Selection | None = None
) -> dict[str, nn.Parameter]:
    """The weights to prune, by canonical parameter name, in the network's order.

    Args:
        model: The network.
        layers: A name or glob pattern (``"fc1"``, ``"conv*"``, ``"encoder.*.weight"``), a regular expression
            after ``re:``, a sequence of those, or a predicate ``(parameter name, parameter) -> bool``.
            A module's path names all connections in it: ``"lstm"``, ``"attention"``, ``"encoder"``.
            Without it, every connection. A bias or a normalisation parameter is chosen only by a
            predicate, or by a pattern that names the parameter itself and no connection (``"fc1.bias"``,
            ``"norm*.weight"``).
        exclude: What to leave out, said in the same ways.

    Returns:
        Parameter name -> parameter; never empty.

    Raises:
        LayerSelectionError: A pattern matches nothing, a name is asked for twice, or nothing is left.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> list(select_weights(model, exclude="2"))
        ['0.weight']
    """
    weights = prunable_weights(model)
    computed = _reparametrised(unwrap(model))
    _refuse_reparametrised(computed, layers, exclude)
    if layers is None:
        chosen = {weight.name for weight in weights if weight.is_connection}
    else:
        chosen = _matching(weights, layers, "layers")
    if exclude is not None:
        chosen -= _matching(weights, exclude, "exclude", computed)
    if not chosen:
        raise LayerSelectionError(
            "nothing to prune: no weight is left of "
            f"{_known(weights) or 'a network without any Linear, convolution, RNN or attention weight'}"
        )
    return {weight.name: weight.parameter for weight in weights if weight.name in chosen}


def resolve_layer_values(
    names: Sequence[str], values: Mapping[str, T], model_names: Mapping[str, str]
) -> dict[str, T]:
    """Per-layer values given by pattern, as values by canonical parameter name.

    Args:
        names: Canonical parameter names under pruning.
        values: Pattern (as in `select_weights`) -> value; a module's path gives it to all weights in it.
        model_names: Every accepted alias -> canonical name.

    Returns:
        Canonical name -> value, only for layers that were named.

    Raises:
        LayerSelectionError: A pattern matches nothing that is being pruned, or two patterns claim one layer.
    """
    resolved: dict[str, T] = {}
    claimed: dict[str, str] = {}
    paths = {alias: tuple(_modules_around(alias, model_names)) for alias in model_names}
    for pattern, value in values.items():
        hits = {
            canonical
            for alias, canonical in model_names.items()
            if any(_matches(name, pattern) for name in (alias, *paths[alias]))
        } & set(names)
        if not hits:
            raise LayerSelectionError(
                f"layer {pattern!r} is given a value of its own but matches nothing that is being pruned; "
                f"being pruned: {', '.join(layer_name(name) for name in names)}"
            )
        for name in sorted(hits):
            if name in claimed:
                raise LayerSelectionError(
                    f"layer {layer_name(name)!r} is asked for twice: by {claimed[name]!r} and by "
                    f"{pattern!r}; give it one value"
                )
            claimed[name] = pattern
            resolved[name] = value
    return resolved


def aliases(weights: Sequence[PrunableWeight]) -> dict[str, str]:
    """Every accepted name -> canonical parameter name."""
    return {alias: weight.name for weight in weights for alias in weight.names()}


def _check_selection(weights: Sequence[PrunableWeight], given: object, argument: str) -> None:
    # Modules and types can be called, too: with other arguments than a predicate's.
    if isinstance(given, Iterable) and not isinstance(given, nn.Module):
        unknown = [each for each in given if not isinstance(each, str)]
    else:
        unknown = [] if callable(given) and not isinstance(given, type | nn.Module) else [given]
    if unknown:
        found = ", ".join(getattr(each, "__name__", type(each).__name__) for each in unknown)
        raise LayerSelectionError(
            f"{argument}: expected names or patterns (strings), or a predicate of a name and a parameter, "
            f"found {found}; the weights are {_known(weights)}"
        )


def _matching(
    weights: Sequence[PrunableWeight], selection: Selection, argument: str, computed: Iterable[str] = ()
) -> set[str]:
    _check_selection(weights, selection, argument)
    if callable(selection):
        hits = {weight.name for weight in weights if selection(weight.name, weight.parameter)}
        if not hits:
            raise LayerSelectionError(f"{argument}: the predicate chose none of {_known(weights)}")
        return hits
    patterns = [selection] if isinstance(selection, str) else list(selection)
    if not patterns:
        raise LayerSelectionError(
            f"{argument}: an empty list chooses nothing; leave it out to mean every layer"
        )
    chosen: dict[str, str] = {}
    for pattern in patterns:
        hits = _asked_for(weights, pattern)
        if not hits and not any(_names_module(pattern, path, if_none=False) for path in computed):
            raise LayerSelectionError(
                f"{argument}: {pattern!r} matches nothing; the weights are {_known(weights)}"
            )
        for name in hits:
            if name in chosen and argument == "layers":
                raise LayerSelectionError(
                    f"layer {layer_name(name)!r} is asked for twice: by {chosen[name]!r} and by {pattern!r}"
                )
            chosen[name] = pattern
    return set(chosen)


def _asked_for(weights: Sequence[PrunableWeight], pattern: str) -> set[str]:
    layers = {name for weight in weights if weight.is_connection for name in weight.names()}
    connections = {
        weight.name
        for weight in weights
        if weight.is_connection
        for name in weight.names()
        if any(_matches(each, pattern) for each in (name, *_modules_around(name, layers)))
    }
    if connections:
        return connections  # "encoder.*.weight" asks for the layers there, not for the norms between them
    # Only a pattern that speaks of the parameter (ends in its own last name) reaches another one.
    return {
        weight.name
        for weight in weights
        for name in (weight.name, *weight.aliases)
        if _matches(name, pattern) and pattern.rpartition(".")[2] == name.rpartition(".")[2]
    }


def _modules_around(name: str, layers: Container[str]) -> Iterator[str]:
    """The paths of the modules that hold a weight, less those that are a weight's own name.

    ``"fc"`` with a weight of its own means that one, and not what a subclass may hold beside it.
    """
    while name := name.rpartition(".")[0]:
        if name not in layers:
            yield name


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("re:"):
        try:
            return re.fullmatch(pattern.removeprefix("re:"), name) is not None
        except re.error as error:
            raise LayerSelectionError(f"{pattern!r} is not a regular expression: {error}") from error
    return fnmatchcase(name, pattern)


def _known(weights: Sequence[PrunableWeight]) -> str:
    return ", ".join(weight.layer for weight in weights if weight.is_connection)


def _reparametrised(model: nn.Module) -> dict[str, str]:
    """Path of every layer whose weight is no parameter -> the parameters that it is computed from."""
    computed: dict[str, str] = {}
    for path, module in model.named_modules():
        if not isinstance(module, (*CONNECTED, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)):
            continue
        names = {name for name, _ in module.named_parameters(recurse=False)}
        # torch.nn.utils.prune and the older weight_norm leave weight_orig, or weight_g and _v.
        stems = {name.rpartition("_")[0] for name in names if name.endswith(("_orig", "_g", "_v"))}
        if any("weight" in stem for stem in (stems - names) | _parametrized(module)):
            computed[path] = ", ".join(sorted(names)) or "a parametrization"
    return computed


def _parametrized(module: nn.Module) -> set[str]:
    # A dictionary by the name of the tensor: a bias may have one, too.
    each: object = module.parametrizations if parametrize.is_parametrized(module) else None
    return set(each) if isinstance(each, nn.ModuleDict) else set()


def _refuse_reparametrised(
    computed: Mapping[str, str], layers: Selection | None, exclude: Selection | None
) -> None:
    for path, names in computed.items():
        if _names_module(layers, path, if_none=True) and not _names_module(exclude, path, if_none=False):
            raise LayerSelectionError(
                f"layer {path!r}: its weight is computed from other parameters ({names}), so there is no "
                "plain weight to prune; make it plain first with torch.nn.utils.remove_weight_norm, "
                "torch.nn.utils.prune.remove or torch.nn.utils.parametrize.remove_parametrizations"
            )


def _names_module(selection: Selection | None, path: str, *, if_none: bool) -> bool:
    if selection is None:
        return if_none
    if callable(selection):  # a predicate sees the parameters that are there and answers for itself
        return False
    patterns = [selection] if isinstance(selection, str) else selection
    named = (f"{path}.weight", path, *_modules_around(path, ()))
    return any(_matches(name, pattern) for name in named for pattern in patterns)
